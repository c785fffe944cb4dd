"""A photo is decoded once for a request, whatever looks at it: checks, engine, recipe, history, slider."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

pytest.importorskip("gradio")

from iclight.errors import IclightError
from iclight.imaging import images
from iclight.recipes import read_recipe
from iclight.studio.service.actions import Actions
from iclight.studio.service.model_pool import ModelPool
from iclight.studio.service.outputs import as_jpeg, as_tiff
from iclight.studio.service.pictures import Pictures
from iclight.studio.service.storage import Storage
from iclight.studio.tabs.mix import MixTab
from iclight.studio.tabs.normals import NormalsTab

TOY = {"width": 64, "height": 64, "steps": 1, "highres_scale": 1.0, "seed": 1}


@pytest.fixture
def decoded(monkeypatch):
    """The content of the files that were decoded, in their order."""
    found, real = [], images._read_file

    def counted(file, *rest):
        found.append(file.read())
        file.seek(0)
        return real(file, *rest)

    monkeypatch.setattr(images, "_read_file", counted)
    return found


@pytest.fixture(scope="module")
def actions(env_model, tmp_path_factory):
    arguments = {"model": str(env_model), "device": "cpu", "dtype": "float32", "matting": "none"}
    return Actions(ModelPool("fbc", arguments), lambda function: function, Storage(tmp_path_factory.mktemp("files")))


@pytest.fixture
def values(tmp_path):
    for name, size in (("photo.jpg", (300, 200)), ("background.jpg", (120, 120)), ("mask.png", (300, 200))):
        pixels = np.random.default_rng(len(name)).integers(1, 255, (*size[::-1], 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    names = {"image": "photo.jpg", "background": "background.jpg", "mask": "mask.png"}
    return {**{name: str(tmp_path / file) for name, file in names.items()}, "light": "upload", "matting": "none", **TOY}


def contents(values) -> list[bytes]:
    return sorted(Path(values[name]).read_bytes() for name in ("image", "background", "mask"))


REQUEST = SimpleNamespace(session_hash="s", client=SimpleNamespace(host="here"), headers={})


@pytest.mark.parametrize("finish", ["model", "native"])
@pytest.mark.parametrize("action", ["relight", "vary"])
def test_relight_and_vary_decode_each_file_once(actions, values, decoded, action, finish):
    actions.check({**values, "finish": finish})  # as the page does before the queue
    getattr(actions, action)(REQUEST, **{**values, "finish": finish})
    actions.history.pick(REQUEST, 0)
    assert actions.history.pair(REQUEST)
    # A result of another size, clicked before, is read to be compared with: that is no input.
    assert sorted(one for one in decoded if one in contents(values)) == contents(values)


def test_the_desk_and_normals_decode_each_file_once(actions, values, decoded):
    MixTab(actions, lambda function: function).lights(REQUEST, **values)
    NormalsTab(actions, lambda function: function).normals(REQUEST, **values)
    assert sorted(decoded) == contents(values)


def test_a_download_that_was_interrupted_is_not_given_the_next_time(tmp_path, monkeypatch):
    path, whole = str(tmp_path / "made.png"), Image.Image.save
    Image.new("RGB", (64, 64), (200, 120, 40)).save(path)

    def broken(picture, target, *rest, **options):
        Path(target).write_bytes(b"\xff\xd8\xff half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises((OSError, IclightError)):
        as_jpeg(path)
    monkeypatch.setattr(Image.Image, "save", whole)
    with Image.open(as_jpeg(path)) as picture:
        assert picture.size == (64, 64) and picture.format == "JPEG"


@pytest.mark.parametrize("finish", ["model", "native"])
def test_a_deep_photo_is_taken_away_as_a_tiff_of_16_bits(actions, values, tmp_path, finish):
    """Its own depth where the finish is its own; else the PNG's values. The PNG has 8 bits either way."""
    deep = np.random.default_rng(4).integers(0, 65536, (200, 300, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    actions.relight(REQUEST, **{**values, "image": str(tmp_path / "deep.tif"), "finish": finish})
    png = actions.history.of_last(REQUEST).path
    tiff = as_tiff(png)
    taken, shown = tifffile.imread(tiff), np.asarray(Image.open(png))
    assert taken.dtype == np.uint16 and np.array_equal(np.rint(taken / 257), shown)
    assert (taken % 257 != 0).any() == (finish == "native")
    assert read_recipe(tiff) == read_recipe(png)


def test_pictures_are_told_by_their_content_and_kept_within_their_room(tmp_path, decoded):
    path = tmp_path / "a.png"
    Image.new("RGB", (10, 10), (9, 9, 9)).save(path)
    pictures = Pictures(room=1000)
    assert pictures.of(path) is pictures.of(path)
    Image.new("RGB", (11, 10), (9, 9, 9)).save(path)
    assert pictures.of(path).rgb.shape == (10, 11, 3)
    for number in range(5):
        Image.new("RGB", (10, 10)).save(tmp_path / f"{number}.png")
        pictures.of(tmp_path / f"{number}.png")
    assert sum(one.nbytes for one in pictures._known.values()) <= 1000
    large = tmp_path / "large.png"
    Image.new("RGB", (100, 100)).save(large)
    assert pictures.of(large) is not pictures.of(large)


def test_what_is_shown_beside_another_is_small_and_what_is_kept_is_whole(actions, tmp_path, values):
    Image.new("RGB", (2400, 1200), (90, 120, 40)).save(tmp_path / "large.jpg")
    asked = {**values, "image": str(tmp_path / "large.jpg"), "mask": None, "finish": "native"}
    shown, foreground, matte, *_ = actions.relight(REQUEST, **asked)
    before, after = actions.history.latest(REQUEST)
    assert Image.open(shown[0][0]).size == (2400, 1200)
    assert Image.open(before).size == Image.open(after).size == (1600, 800)
    assert Image.open(foreground).size == Image.open(matte).size == (64, 64), "as the model saw them"
