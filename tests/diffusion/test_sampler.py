"""The denoising loop: the reference's steps, at least one of them, and the same numbers however the batch is split."""

from __future__ import annotations

import pytest
import torch

from iclight.diffusion.sampler import Guidance, LightGuidance, NoisePredictor, denoise, make_scheduler, plan
from iclight.errors import ModelError
from iclight.parameters import PARAMETERS

SAMPLERS = tuple(PARAMETERS["sampler"].choices)
# Those that add noise on their way, so that fewer steps, or another sampler, end in another picture.
STOCHASTIC = {"dpmpp_sde_karras", "euler_a", "lcm", "tcd"}
# Of the first order, or of consistency models: how much narrower they draw with a model that is not distilled.
SHRINKS = {"euler_a": 0.15, "tcd": 0.25, "lcm": 0.4}

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


def run(unet, scale=2.0, count=3, steps=4, strength=None, latents=None, **options):
    texts = torch.full((1, 77, 8), 0.5), torch.full((1, 77, 8), -0.5)
    condition = torch.linspace(-1, 1, 4 * 6 * 5).reshape(1, 4, 6, 5)
    predict = NoisePredictor(unet, Guidance(*texts, scale), condition)
    generator = torch.Generator().manual_seed(7)
    return denoise(predict, steps, strength, latents, (count, 4, 6, 5), generator, **options)


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


class Gaussian(torch.nn.Module):
    """The exact noise predictor of clean latents drawn from N(mean, spread^2): every sampler's answer is known."""

    device = torch.device("cpu")
    dtype = torch.float32
    mean, spread = 0.7, 0.4

    def __init__(self, prediction_type: str = "epsilon") -> None:
        super().__init__()
        self.prediction_type = prediction_type
        self.alphas = make_scheduler().alphas_cumprod

    def forward(self, sample, timestep, text, return_dict):
        position = timestep.double().reshape(1)
        low = position.floor().long().clamp(0, 999)
        kept = torch.lerp(self.alphas[low].double(), self.alphas[(low + 1).clamp(max=999)].double(), position - low)
        alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
        noisy = sample[:, :4].double()
        variance = (alpha * self.spread) ** 2 + sigma**2
        noise = sigma * (noisy - alpha * self.mean) / variance
        if self.prediction_type == "epsilon":
            return (noise.float(),)
        clean = (noisy - sigma * noise) / alpha
        if self.prediction_type == "sample":
            return (clean.float(),)
        return ((alpha * noise - sigma * clean).float(),)


def sample(sampler, steps=50, strength=None, latents=None, prediction_type="epsilon", seed=7, on_step=None):
    """Latents of a Gaussian, 2 x 4 x 64 x 64."""
    empty = torch.zeros(1, 77, 8)
    predict = NoisePredictor(
        Gaussian(prediction_type), Guidance(empty, empty, 1.0), torch.zeros(1, 4, 64, 64), prediction_type
    )
    random = torch.Generator().manual_seed(seed)
    return denoise(predict, steps, strength, latents, (2, 4, 64, 64), random, on_step, sampler)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_from_what_the_model_knows(sampler, prediction_type):
    drawn = sample(sampler, prediction_type=prediction_type)
    assert drawn.mean().item() == pytest.approx(Gaussian.mean, abs=0.03)
    assert drawn.std().item() == pytest.approx(Gaussian.spread, rel=SHRINKS.get(sampler, 0.12))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_starts_from_a_picture_noised_by_its_strength(sampler):
    picture = torch.full((1, 4, 64, 64), 3.0)
    kept = [(sample(sampler, 2, strength, picture).mean() - Gaussian.mean).item() for strength in (0.1, 0.5, 1.0)]
    assert kept[0] > kept[1] > kept[2]
    assert kept[2] == pytest.approx(0, abs=0.1), "at strength 1 nothing of the picture is left"


@pytest.mark.parametrize("strength", [None, 0.5])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_previews_become_the_picture_whatever_the_sampler(sampler, strength):
    seen = []
    latents = None if strength is None else torch.full((1, 4, 64, 64), Gaussian.mean)
    drawn = sample(sampler, 12, strength, latents, on_step=lambda *event: seen.append(event))
    apart = [(clean - drawn).pow(2).mean().sqrt().item() for _, _, clean in seen]
    assert [step for step, _, _ in seen] == list(range(1, seen[0][1] + 1))
    assert apart[-1] < 0.02 and apart[0] > 2 * apart[-1]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_decides_a_samplers_picture(sampler):
    assert torch.equal(sample(sampler, 6), sample(sampler, 6))
    assert not torch.equal(sample(sampler, 6), sample(sampler, 6, seed=8))


def test_samplers_that_add_no_noise_agree():
    calm = {name: sample(name, 60) for name in SAMPLERS if name not in STOCHASTIC}
    first = calm.pop("dpmpp_2m_karras")
    for other in calm.values():
        assert (other - first).pow(2).mean().sqrt() < 0.05


@pytest.mark.parametrize("steps", [1, 100])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_from_one_step_to_a_hundred_at_any_strength(sampler, steps):
    for strength in (None, 0.1, 1.0):
        latents = None if strength is None else torch.zeros(1, 4, 6, 5)
        result = run(LinearUNet(), count=1, steps=steps, strength=strength, latents=latents, sampler=sampler)
        assert torch.isfinite(result).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_light_is_guided_whatever_the_sampler(sampler):
    slope = torch.linspace(-1, 1, 5).expand(1, 4, 6, 5)
    tilt = []
    for extra in (0.0, 1.0):
        _, predict = lit(LinearUNet(), 2.0, torch.full((1, 1, 6, 5), extra))
        predict.prediction_type = "v_prediction"  # of a constant sign in what is clean, at every noise
        drawn = denoise(predict, 6, None, None, (1, 4, 6, 5), torch.Generator().manual_seed(7), sampler=sampler)
        tilt.append((drawn * slope).mean().item())
    assert abs(tilt[1] - tilt[0]) > 0.01
