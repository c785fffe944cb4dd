"""The diffusers pipeline: diffusers' parts and call, the engine's pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_data import GOLDEN
from PIL import Image

from iclight import Settings
from iclight.errors import Cancelled, ModelError, SettingsError

diffusers = pytest.importorskip("diffusers")

FOLDER = str(Path(__file__).parents[1] / "deploy" / "diffusers")
SMALL = {"width": 64, "height": 64, "matting": "none"}


def opened(source: Any, **options: Any) -> Any:
    pipe = diffusers.DiffusionPipeline.from_pretrained(
        str(source),
        custom_pipeline=FOLDER,
        trust_remote_code=True,
        torch_dtype=torch.float32,
        local_files_only=True,
        **options,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe() -> Any:
    return opened(GOLDEN / "model")


def photo(seed: int = 3) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8))


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_pipeline_makes_the_relighters_pixels(pipe, fc):
    settings = Settings.for_workflow(
        "fc", prompt="warm", negative_prompt="cold", light="left", steps=3, cfg=3.0, seed=7, num_images=2, width=64,
        height=64,
    )  # fmt: skip
    expected = fc.relight(photo(), settings)
    asked: dict[str, Any] = {
        "image": photo(),
        "negative_prompt": "cold",
        "num_inference_steps": 3,
        "guidance_scale": 3.0,
        "num_images_per_prompt": 2,
        "light": "left",
        **SMALL,
    }
    images = pipe("warm", generator=seeded(), **asked).images
    assert [np.array(one).tolist() for one in images] == [one.tolist() for one in expected.images]
    (arrays,) = pipe("warm", generator=seeded(), output_type="np", return_dict=False, **asked)
    assert np.array_equal(np.rint(arrays * 255).astype(np.uint8), np.stack(expected.images))
    latents = pipe("warm", generator=seeded(), output_type="latent", **asked).images
    assert torch.equal(latents, expected.latents["highres"])


def test_a_background_and_a_mask_light_as_the_relighter_does(fbc):
    mask = Image.linear_gradient("L").resize((96, 64))
    settings = Settings.for_workflow("fbc", prompt="shore", steps=2, seed=7, width=64, height=64)
    expected = fbc.relight(photo(), settings, background=photo(4), mask=mask)
    pipe = opened(GOLDEN / "model", workflow="fbc")
    given = {"image": photo(), "mask_image": mask, "background": photo(4), "num_inference_steps": 2, **SMALL}
    picture = pipe("shore", generator=seeded(), output_type="pt", **given).images
    pixels = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(pixels, expected.images[0])


def test_a_saved_pipeline_is_whole_and_makes_the_same_pixels(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    again = opened(tmp_path / "saved")
    assert again.unet.config.in_channels == 8 and not list((tmp_path / "saved").glob("*.safetensors"))
    first, second = (
        one("dusk", photo(), num_inference_steps=2, generator=seeded(), output_type="np", **SMALL).images
        for one in (pipe, again)
    )
    assert np.array_equal(first, second)
    with pytest.raises(ModelError, match="8 input channels; workflow fbc needs 12"):
        opened(tmp_path / "saved", workflow="fbc")


def test_the_models_card_gives_what_is_left_open():
    pipe = opened(Path(FOLDER).parents[1] / "models" / "mini")
    assert pipe.config.native_size == [192, 256] and pipe.config.defaults["steps"] == 9


def test_a_callback_sees_each_step_and_can_stop(pipe):
    seen: list[tuple[int, int, tuple[int, ...]]] = []

    def follow(pipe: Any, step: int, timestep: int, values: dict[str, torch.Tensor]) -> dict[str, Any]:
        seen.append((step, timestep, tuple(values["latents"].shape)))
        pipe._interrupt = step == 2
        return values

    with pytest.raises(Cancelled):
        pipe("", photo(), num_inference_steps=4, callback_on_step_end=follow, highres_scale=1, **SMALL)
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert seen[0][1] > seen[1][1] > seen[2][1] and seen[0][2] == (1, 4, 8, 8)


def test_what_cannot_be_asked_is_refused_in_words(pipe):
    with pytest.raises(SettingsError, match="steps is 1000"):
        pipe("", photo(), num_inference_steps=1000)
    with pytest.raises(SettingsError, match="output_type takes one of pil"):
        pipe("", photo(), output_type="jpeg")
    with pytest.raises(SettingsError, match="no setting named strength"):
        pipe("", photo(), strength=0.5)
    with pytest.raises(SettingsError, match="for env use iclight.Relighter"):
        opened(GOLDEN / "model", workflow="env")
