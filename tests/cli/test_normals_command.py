"""`iclight normals` and `iclight shade`: maps that other programs read, and a picture lit by them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import QUICK, run, write_photo
from PIL import Image

from iclight.cli.normals import DEEP, FILES
from iclight.editing.shading import shade
from iclight.recipes import read_recipe

PLAIN = [*QUICK, "--matting", "none"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    return write_photo(tmp_path_factory.mktemp("normals"))


@pytest.fixture(scope="module")
def maps(photo) -> Path:
    folder = photo.parent / "maps"
    assert run("normals", photo, "-o", folder, "--green", "directx", "--exponent", 3, "--sixteen-bit", *PLAIN) == 0
    return folder


def test_ten_files_are_written_the_nine_pictures_and_a_map_of_sixteen_bits(maps):
    assert {path.name for path in maps.iterdir()} == {*(f"{name}.png" for name in FILES), DEEP}
    deep = cv2.imread(str(maps / DEEP), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert deep.dtype == np.uint16
    vectors = deep.astype(float) / 32767.5 - 1
    assert np.abs(np.linalg.norm(vectors, axis=2) - 1).max() < 1e-3
    assert np.abs(np.array(Image.open(maps / "normal.png")) - deep / 257.0).max() <= 1.1, "one map, two depths"


def test_both_depths_carry_the_recipe(maps):
    for name in ("normal.png", DEEP):
        recipe = read_recipe(maps / name)
        assert (recipe.kind, recipe.normals) == ("normals", {"exponent": 3.0, "green": "directx"})


def test_the_exponent_and_the_green_channel_reach_the_map(photo, maps, tmp_path):
    assert run("normals", photo, "-o", tmp_path, *PLAIN) == 0
    plain, other = (np.array(Image.open(folder / "normal.png")).astype(int) for folder in (tmp_path, maps))
    up, down = plain[..., 1] - 127.5, other[..., 1] - 127.5
    steep = np.abs(up) > 8
    assert steep.any() and (np.sign(up[steep]) == -np.sign(down[steep])).mean() > 0.99
    assert plain[..., 2].mean() < other[..., 2].mean(), "an exponent of 3 is flatter than 5"


def test_a_picture_is_shaded_by_kept_normals_without_a_model(photo, maps, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("iclight.relighter.Relighter.load", None)
    light = ["--normals", maps, "--green", "directx", "--colour", "#ffd0a0"]
    for angle in (0, 180):
        assert run("shade", photo, "-o", tmp_path / f"{angle}.png", *light, "--angle", angle, "--json") == 0
        assert json.loads(capsys.readouterr().out)["outputs"] == [str(tmp_path / f"{angle}.png")]
    right, left = (np.array(Image.open(tmp_path / f"{angle}.png")) for angle in (0, 180))
    assert right.shape == np.array(Image.open(photo)).shape and not np.array_equal(right, left)
    assert run("shade", photo, "-o", tmp_path / "front.png", *light[:4], "--elevation", 90) == 0
    assert np.array_equal(np.array(Image.open(tmp_path / "front.png")), np.array(Image.open(photo)))


def test_without_a_map_the_normals_are_estimated_first(photo, tmp_path):
    mask = np.zeros(Image.open(photo).size[::-1], np.uint8)
    mask[:120] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "out.png"
    assert run("shade", photo, "-o", out, "--mask", tmp_path / "mask.png", "--angle", 90, *PLAIN) == 0
    apart = (np.array(Image.open(out)) != np.array(Image.open(photo))).any(2)
    assert apart[:110].any() and not apart[120:].any(), "what the mask leaves out stays"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["normals", "--exponent", "-1"], "exponent is -1"),
        (["shade", "--normals", "none.png"], "does not exist"),
        (["shade", "--normals", "."], "holds no normal.png"),
        (["shade", "--elevation", "100"], "from -90 to 90"),
        (["shade", "--colour", "blue"], "takes a colour"),
        (["shade", "--mask", "none.png"], "The mask"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_loaded(arguments, words, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("iclight.relighter.Relighter.load", None)
    monkeypatch.chdir(tmp_path)
    command, *rest = arguments
    assert run(command, photo, "-o", tmp_path / ("n" if command == "normals" else "out.png"), *rest) == 1
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_shading_is_what_the_library_makes(photo, maps, tmp_path):
    from iclight.editing.normal_maps import read_normals

    assert run("shade", photo, "-o", tmp_path / "out.png", "--normals", maps / DEEP, "--green", "directx") == 0
    expected = shade(np.array(Image.open(photo)), read_normals(maps / DEEP, "directx"))
    assert np.array_equal(np.array(Image.open(tmp_path / "out.png")), expected)
