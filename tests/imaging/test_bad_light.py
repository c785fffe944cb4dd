"""Odd input for light: each is explained before a model runs, or gives the right answer; nothing is lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command import MODEL, QUICK, run, write_photo
from PIL import Image
from test_images import encoded, png_header

from iclight.errors import ImageError, RecipeError
from iclight.imaging import crop, images
from iclight.imaging.environment import read_environment
from iclight.recipes import KEY, read_recipe
from iclight.request import read_backdrop
from iclight.settings import Settings

PLAIN = [*QUICK, "--matting", "none"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def relit(photo):
    out = photo.parent / "relit.png"
    assert run("relight", photo, "-o", out, "--light", "left", *PLAIN) == 0
    return out


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.full((10, 30), 255, np.uint8), "The mask is 30x10, the picture 240x240; give one of the same size"),
        (np.zeros((240, 240), np.uint8), "The mask is empty"),
    ],
    ids=["another size", "all zero"],
)
@pytest.mark.parametrize("command", ["relight", "mix", "normals", "shade"])
def test_a_mask_that_does_not_fit_is_refused_before_a_model_is_loaded(
    command, mask, words, photo, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("iclight.relighter.Relighter.load", None)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    lights = ["--mix", "left=1"] if command == "mix" else []
    assert run(command, photo, "-o", tmp_path / "new.png", "--mask", tmp_path / "mask.png", *lights, *PLAIN) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "new.png").exists()


@pytest.mark.parametrize("shape", [(20, 200), (200, 20), (1, 300)])
def test_a_light_map_of_another_aspect_is_cropped_to_the_picture(shape, golden_relighter):
    light_map = np.zeros((*shape, 3), np.uint8)
    light_map[:, : shape[1] // 2] = 255
    settings = Settings(light="upload", width=64, height=64, steps=1, highres_scale=1)
    assert np.array_equal(read_backdrop(settings, light_map), light_map)
    picture = np.full((80, 64, 3), 120, np.uint8)
    result = golden_relighter("fc").relight(picture, settings, light_map=light_map)
    assert result.images[0].shape == (64, 64, 3)
    square = crop.resize_and_center_crop(light_map, 64, 64)
    again = golden_relighter("fc").relight(picture, settings, light_map=square)
    assert np.array_equal(result.images[0], again.images[0]), "its middle is what lights"


def tampered(relit, target, change) -> None:
    """The same picture with its recipe's text changed."""
    from PIL import PngImagePlugin

    with Image.open(relit) as made:
        made.load()
        values = json.loads(made.text[KEY])
        info = PngImagePlugin.PngInfo()
        info.add_itxt(KEY, change(values))
        made.save(target, pnginfo=info)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda values: json.dumps({**values, "settings": {**values["settings"], "steps": 100_000}}),
            "steps is 100000",
        ),
        (lambda values: json.dumps({**values, "settings": {**values["settings"], "light": "moon"}}), "'moon'"),
        (lambda values: json.dumps({**values, "settings": {**values["settings"], "shell": "rm"}}), "no setting named"),
        (lambda values: json.dumps({**values, "index": -1}), "broken"),
        (lambda values: json.dumps({**values, "format": 99}), "newer iclight"),
        (lambda values: json.dumps(values)[:-40], "broken"),
        (lambda _: "[1, 2]", "broken"),
    ],
    ids=["steps", "light", "unknown", "index", "newer", "cut short", "a list"],
)
def test_a_tampered_recipe_is_refused(change, words, relit, tmp_path):
    tampered(relit, tmp_path / "t.png", change)
    with pytest.raises(RecipeError, match=words):
        read_recipe(tmp_path / "t.png")


def test_a_recipe_of_another_model_is_refused_and_nothing_is_written(relit, tmp_path, capsys):
    def other(values):
        return json.dumps({**values, "model": {**values["model"], "base_sha256": "0" * 64}})

    tampered(relit, relit.parent / "other.png", other)
    assert run("relight", "--recipe", relit.parent / "other.png", "-o", tmp_path / "x.png", *MODEL) == 1
    assert "base model is not the loaded one" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_an_exr_with_nan_and_infinities_is_read_as_light(tmp_path):
    OpenEXR = pytest.importorskip("OpenEXR")
    values = np.full((16, 32, 3), 0.5, np.float32)
    values[0], values[1], values[2], values[3, 0] = np.nan, np.inf, -np.inf, 7.0
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": values}) as file:
        file.write(str(tmp_path / "a.exr"))
    light = read_environment(tmp_path / "a.exr")
    assert np.isfinite(light).all() and light.min() >= 0
    assert not light[0].any() and (light[1] == 7).all() and not light[2].any() and np.allclose(light[4:], 0.5)


@pytest.mark.parametrize("broken", [np.nan, -1.0], ids=["nan", "negative"])
def test_an_exr_without_any_light_is_refused(broken, tmp_path):
    with pytest.raises(ImageError, match="black everywhere"):
        read_environment(np.full((8, 16, 3), broken, np.float32))


def test_a_hundred_megapixels_and_more_are_refused_from_the_header_whatever_they_are(
    photo, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("iclight.relighter.Relighter.load", None)
    large = tmp_path / "large.png"
    large.write_bytes(png_header(10_001, 10_000))
    calls = (
        ["relight", large],
        ["relight", photo, "--light-map", large],
        ["relight", photo, "--background", large],
        ["relight", photo, "--behind", large],
        ["relight", photo, "--mask", large],
        ["shade", large],
        ["normals", large],
        ["mix", large, "--mix", "left=1"],
    )
    for command, *rest in calls:
        assert run(command, *rest, "-o", tmp_path / "new" / "x.png", *PLAIN) == 1
        assert "more than 100 megapixels; scale it down first" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["large.png"]


@pytest.mark.slow
def test_a_picture_of_just_a_hundred_megapixels_is_read():
    """One colour, so that it is small as a file: read whole, no more than its pixels."""
    picture, alpha = images.read_image(encoded(Image.new("L", (10_000, 10_000), 7), compress_level=1))
    assert picture.shape == (10_000, 10_000, 3) and alpha is None and picture[5000, 5000].tolist() == [7, 7, 7]
