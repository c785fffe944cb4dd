"""The env workflow end to end, on a tiny model with random tokens: the map decides, and reaches the model whole."""

from __future__ import annotations

import golden_data
import numpy as np
import pytest
import torch
from golden_data import GOLDEN, PICTURE

from iclight import Relighter, Settings
from iclight.errors import Cancelled, ImageError, ModelError
from iclight.imaging.environment import expose, preset, to_map


def quick(workflow: str = "env", **changes) -> Settings:
    return golden_data.quick(workflow, **changes)


def panorama(bright: slice) -> np.ndarray:
    """16x32x3 radiance, bright in some columns, dim in the others."""
    light = np.full((16, 32, 3), 0.1, np.float32)
    light[:, bright] = 40
    return light


def test_an_environment_map_changes_the_picture_and_the_same_map_gives_the_same_pixels(env):
    left, right = panorama(slice(4, 12)), panorama(slice(20, 28))
    first = env.relight(PICTURE, quick(), environment=left)
    assert np.array_equal(first.images[0], env.relight(PICTURE, quick(), environment=left).images[0])
    assert not np.array_equal(first.images[0], env.relight(PICTURE, quick(), environment=right).images[0])
    assert first.environment is not None
    assert np.array_equal(first.environment, expose(to_map(left)))
    brighter = env.relight(PICTURE, quick(), environment=left * 8)
    assert np.allclose(brighter.environment, first.environment, rtol=1e-5), "a panorama's own unit means nothing"


def test_env_lights_of_their_own_need_no_map_and_differ(env):
    made = {light: env.relight(PICTURE, quick(light=light)) for light in ("left", "back", "ambient")}
    for light, result in made.items():
        assert np.array_equal(result.environment, preset(light))
        assert result.background is None
    assert not np.array_equal(made["left"].images[0], made["back"].images[0])
    assert not np.array_equal(made["left"].images[0], made["ambient"].images[0])


def test_env_without_a_map_says_what_to_do(env):
    with pytest.raises(
        ImageError, match="give an environment map, or choose left, right, .*, front, back, ambient or angle"
    ):
        env.relight(PICTURE, quick())


@pytest.mark.parametrize("environment", [b"junk", "/no/such.hdr", np.zeros((4, 8, 3), np.float32), np.ones((4, 8))[:0]])
def test_a_bad_map_is_refused_before_any_model_runs(environment, env):
    def nothing_runs(event):
        raise AssertionError("a step ran")

    with pytest.raises(ImageError, match="^The environment map"):
        env.relight(PICTURE, quick(), environment=environment, on_step=nothing_runs)


def test_tokens_follow_both_texts_so_that_guidance_leaves_the_light_alone(env, monkeypatch):
    seen = {}

    def record(predict, *arguments, **options):
        seen["cond"], seen["uncond"] = predict.cond, predict.uncond
        raise Cancelled

    monkeypatch.setattr("iclight.diffusion.sampler.denoise", record)
    with pytest.raises(Cancelled):
        env.relight(PICTURE, quick(light="top"))
    tokens = env.environment_encoder.of(preset("top"))
    assert tokens.shape == (1, 3, 32)
    assert seen["cond"].shape == seen["uncond"].shape == (1, 77 + 3, 32)
    assert torch.equal(seen["cond"][:, -3:], tokens)
    assert torch.equal(seen["uncond"][:, -3:], tokens)
    assert not torch.equal(seen["cond"][:, :77], seen["uncond"][:, :77])


def test_env_starts_from_noise_and_other_workflows_have_no_map(env, fc):
    steps = []
    env.relight(PICTURE, quick(light="left", steps=3, lowres_denoise=0.4), on_step=steps.append)
    assert steps[0].steps == 3
    assert fc.environment_encoder is None
    assert fc.relight(PICTURE, quick("fc", light="left")).environment is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_an_env_model_runs_in_every_number_format_of_a_cpu(dtype, env_model):
    relighter = Relighter.load(env_model, "env", matting="none", device="cpu", dtype=dtype)
    assert relighter.environment_encoder.inner.weight.dtype == relighter.unet.dtype
    assert relighter.relight(PICTURE, quick(light="front")).images[0].any()


@pytest.mark.parametrize(
    ("workflow", "offset", "words"),
    [
        ("env", GOLDEN / "model" / "iclight_sd15_fc.safetensors", r"holds no environment.* \(an fc file\)"),
        ("env", GOLDEN / "model" / "iclight_sd15_fbc.safetensors", r"12 input channels \(an fbc file\), expected 8"),
        ("fc", "iclight_sd15_env.safetensors", r"holds environment.* \(an env file\).*run the env workflow"),
        ("fbc", "iclight_sd15_env.safetensors", r"8 input channels \(an env file\), expected 12"),
    ],
)
def test_an_offset_of_another_workflow_is_named_as_what_it_is(workflow, offset, words, env_model):
    with pytest.raises(ModelError, match=words):
        Relighter.load(env_model, workflow, offset=env_model / offset, matting="none", device="cpu")
