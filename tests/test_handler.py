"""The handler of an Inference Endpoint, as its server makes and calls it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from golden_data import GOLDEN
from PIL import Image

from handler import EndpointHandler
from iclight import Settings
from iclight.errors import ImageError, SettingsError
from iclight.recipes import read_recipe

SMALL: dict[str, Any] = {"steps": 1, "width": 64, "height": 64, "matting": "none"}


@pytest.fixture(scope="module")
def handler() -> EndpointHandler:
    return EndpointHandler(str(GOLDEN / "model"))


def photo(seed: int = 3) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8))


def base64_of(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def pixels(answer: dict[str, Any]) -> Any:
    return np.array(Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))))


def test_a_request_gives_the_librarys_pixels_with_their_recipe(handler):
    asked = {"prompt": "dusk", "light": "left", "seed": 7, **SMALL}
    answer = handler({"inputs": base64_of(photo()), "parameters": asked})
    values = {name: value for name, value in asked.items() if name != "matting"}
    expected = handler._relighter("fc").relight(photo(), Settings.for_workflow("fc", **values), matting="none")
    assert np.array_equal(pixels(answer), expected.images[0]) and answer["seed"] == 7
    recipe = read_recipe(base64.b64decode(answer["images"][0]))
    assert recipe.settings == expected.settings and recipe.model["name"] == answer["model"]


def test_a_picture_that_the_server_decoded_and_a_background_choose_the_workflow(handler):
    by_picture = handler({"inputs": photo(), "parameters": {"background": photo(4), **SMALL}})
    by_text = handler(
        {
            "inputs": base64_of(photo()),
            "parameters": {"background": f"data:image/png;base64,{base64_of(photo(4))}", **SMALL},
        }
    )
    assert np.array_equal(pixels(by_picture), pixels(by_text))
    assert read_recipe(base64.b64decode(by_text["images"][0])).settings.workflow == "fbc"


def test_what_cannot_be_used_is_refused_in_words_and_no_path_is_read(handler):
    with pytest.raises(ImageError, match="as `inputs`"):
        handler({})
    for path in (str(GOLDEN / "README.md"), "/etc/hostname"):
        with pytest.raises(ImageError, match="The picture is no base64"):
            handler({"inputs": path})
    with pytest.raises(SettingsError, match="no setting named stepz"):
        handler({"inputs": photo(), "parameters": {"stepz": 3}})
