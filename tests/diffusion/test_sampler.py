"""The denoising loop: the reference's steps, at least one of them, and the same numbers however the batch is split."""

from __future__ import annotations

import pytest
import torch

from iclight.diffusion.sampler import Guidance, LightGuidance, NoisePredictor, denoise, make_scheduler, plan
from iclight.errors import ModelError

# facts: for 28 requested steps the reference's scheduler visits these
TIMESTEPS_28 = "999 972 943 913 881 848 812 774 733 689 642 592 537 479 418 354 290 228 171 123 83 53 32 17 9 4 1 0"


class LinearUNet(torch.nn.Module):
    """Stands in for a UNet where only the loop is looked at: predicts a mix of its inputs."""

    def __init__(self, fail_above: int | None = None) -> None:
        super().__init__()
        self.fail_above = fail_above
        self.batches: list[int] = []

    device = torch.device("cpu")
    dtype = torch.float32

    def forward(self, sample, timestep, text, return_dict):
        self.batches.append(len(sample))
        if self.fail_above is not None and len(sample) > self.fail_above:
            raise torch.OutOfMemoryError("out of memory")
        return (0.3 * sample[:, :4] + 0.1 * sample[:, 4:8] + text.mean(dim=(1, 2))[:, None, None, None],)


def run(unet, scale=2.0, count=3, steps=4, strength=None, latents=None):
    texts = torch.full((1, 77, 8), 0.5), torch.full((1, 77, 8), -0.5)
    condition = torch.linspace(-1, 1, 4 * 6 * 5).reshape(1, 4, 6, 5)
    predict = NoisePredictor(unet, Guidance(*texts, scale), condition)
    generator = torch.Generator().manual_seed(7)
    return denoise(predict, steps, strength, latents, (count, 4, 6, 5), generator)


def test_timesteps_are_the_references():
    scheduler = make_scheduler()
    scheduler.set_timesteps(28)
    assert " ".join(str(int(step)) for step in scheduler.timesteps) == TIMESTEPS_28


def test_steps_and_strength_are_planned_as_the_reference_does():
    assert plan(25, 0.9) == type(plan(1, None))(28, 25)
    assert (plan(20, 0.9).requested, plan(20, 0.9).running) == (22, 19)
    assert (plan(20, 0.5).requested, plan(20, 0.5).running) == (40, 20)
    assert (plan(7, None).requested, plan(7, None).running) == (7, 7)


@pytest.mark.parametrize("strength", [None, *(tenth / 100 for tenth in range(10, 101))])
def test_at_least_one_step_runs_at_every_strength(strength):
    for steps in (1, 2, 3):
        chosen = plan(steps, strength)
        assert 1 <= chosen.running <= chosen.requested
    latents = None if strength is None else torch.zeros(1, 4, 6, 5)
    assert torch.isfinite(run(LinearUNet(), steps=1, strength=strength, latents=latents)).all()


@pytest.mark.parametrize("steps", [100, 97])
def test_many_steps_whose_timesteps_repeat_run_through(steps):
    for strength in (None, 0.1, 0.5):
        latents = None if strength is None else torch.zeros(1, 4, 6, 5)
        assert torch.isfinite(run(LinearUNet(), steps=steps, strength=strength, latents=latents)).all()


def test_a_batch_that_does_not_fit_is_split_and_gives_the_same_numbers():
    whole = run(LinearUNet())
    small = LinearUNet(fail_above=1)
    assert torch.allclose(run(small), whole, atol=1e-6)
    assert small.batches[:4] == [6, 3, 1, 1]
    assert max(small.batches[2:]) == 1, "once found, the size that fits is kept"


def test_what_does_not_fit_alone_is_out_of_memory():
    with pytest.raises(torch.OutOfMemoryError):
        run(LinearUNet(fail_above=0))


def test_at_cfg_1_the_unconditional_branch_is_not_evaluated():
    unet = LinearUNet()
    run(unet, scale=1.0, count=2)
    assert set(unet.batches) == {2}


def test_numbers_that_overflow_are_an_error_not_a_picture():
    class Broken(LinearUNet):
        def forward(self, sample, timestep, text, return_dict):
            return (super().forward(sample, timestep, text, return_dict)[0] * float("nan"),)

    with pytest.raises(ModelError, match="float32"):
        run(Broken())


def lit(unet, scale, extra):
    """A predictor with and without light guidance, over conditions that differ by a slope across."""
    slope = torch.linspace(-1, 1, 5).expand(1, 4, 6, 5)
    texts = torch.full((1, 77, 8), 0.5), torch.full((1, 77, 8), -0.5)
    guidance = Guidance(*texts, scale)
    light = LightGuidance(torch.zeros(1, 4, 6, 5), texts[1] if scale > 1 else texts[0], extra)
    return NoisePredictor(unet, guidance, slope), NoisePredictor(unet, guidance, slope, light=light)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_light_guidance_strengthens_the_slope_of_the_light_and_not_its_level(scale):
    latents = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    extra = torch.full((1, 1, 6, 5), 2.0)
    plain, guided = (predict(latents, torch.tensor(500)) for predict in lit(LinearUNet(), scale, extra))
    slope = torch.linspace(-1, 1, 5).expand(2, 4, 6, 5)
    torch.testing.assert_close(guided - plain, 2 * 0.1 * slope)


def test_light_guidance_works_where_it_is_asked_for_alone():
    latents = torch.zeros(1, 4, 6, 5)
    extra = torch.zeros(1, 1, 6, 5)
    extra[..., :2] = 1
    plain, guided = (predict(latents, torch.tensor(500)) for predict in lit(LinearUNet(), 2.0, extra))
    difference = guided - plain
    assert not difference[..., 2:].any()
    torch.testing.assert_close(difference[..., :2].mean(), torch.tensor(0.0))
    assert difference[..., 1].mean() > difference[..., 0].mean()


def test_light_guidance_over_nothing_changes_nothing():
    plain, guided = lit(LinearUNet(), 2.0, torch.zeros(1, 1, 6, 5))
    latents = torch.ones(1, 4, 6, 5)
    torch.testing.assert_close(guided(latents, torch.tensor(9)), plain(latents, torch.tensor(9)))


def test_a_guided_batch_that_does_not_fit_is_split_without_changing_numbers():
    latents = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    extra = torch.ones(1, 1, 6, 5)
    whole, parts = (lit(LinearUNet(limit), 2.0, extra)[1](latents, torch.tensor(5)) for limit in (None, 2))
    torch.testing.assert_close(whole, parts)
