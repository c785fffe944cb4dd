"""What is written is whole or not there: a full disk, a folder in the way, a file that may not be changed."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iclight.editing.exports import read_layer, save_layer
from iclight.editing.gain_map import GainMap
from iclight.editing.mixing import LightMix, save_stack
from iclight.editing.normal_maps import write_normals
from iclight.errors import ImageError, WeightsError
from iclight.imaging.images import read_image
from iclight.recipes import save_png
from iclight.weights.files import whole_file, write_whole
from iclight.weights.manifest import write_json

NOISE = np.random.default_rng(3).random((90, 120, 3), np.float32)
PIXELS = (NOISE * 255).astype(np.uint8)
LIGHT = GainMap(NOISE, NOISE[..., :1])
BEFORE = b"what was there"

WRITERS: dict[str, Callable[[Path], object]] = {
    "picture.png": lambda path: save_png(path, PIXELS),
    "layer.png": lambda path: save_layer(LIGHT, path),
    "layer.exr": lambda path: save_layer(LIGHT, path),
    "normals.png": lambda path: write_normals(path, NOISE),
    "stack.exr": lambda path: save_stack(LightMix({"left": PIXELS}), path),
    "stack.tiff": lambda path: save_stack(LightMix({"left": PIXELS}), path),
    "known.json": lambda path: write_json(path, ["x" * 9000]),
}


@pytest.fixture
def full_disk():
    """No file of this process grows beyond two kilobytes: the system refuses, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path, full_disk, name):
    path = tmp_path / name
    path.write_bytes(BEFORE)
    with pytest.raises((ImageError, WeightsError), match="cannot be written"):
        WRITERS[name](path)
    assert path.read_bytes() == BEFORE and os.listdir(tmp_path) == [name]
    path.unlink()
    with pytest.raises((ImageError, WeightsError), match="cannot be written"):
        WRITERS[name](path)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_has_a_file_s_usual_permissions(tmp_path, name):
    before = os.umask(0o027)
    try:
        WRITERS[name](tmp_path / "new" / name)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) == 0o640
    assert os.listdir(tmp_path / "new") == [name]


def test_a_file_that_is_replaced_hands_on_its_permissions_and_a_link_stays_one(tmp_path):
    save_png(tmp_path / "a.png", PIXELS)
    (tmp_path / "a.png").chmod(0o604)
    (tmp_path / "link.png").symlink_to("a.png")
    save_png(tmp_path / "link.png", PIXELS[::-1])
    assert (tmp_path / "link.png").is_symlink() and stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o604
    assert np.array_equal(read_image(tmp_path / "a.png")[0], PIXELS[::-1])


def test_an_error_of_the_writer_s_own_leaves_nothing(tmp_path):
    def write() -> None:
        with whole_file(tmp_path / "a") as draft:
            draft.write_bytes(BEFORE)
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert not os.listdir(tmp_path)


def test_a_place_that_takes_no_file_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(BEFORE)
    for path in (tmp_path / "folder", tmp_path / "file" / "a.png", Path("a\0b")):
        with pytest.raises(ImageError, match="cannot be written"):
            write_whole(path, b"data")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_layer_is_read_as_it_was_written(tmp_path):
    save_layer(LIGHT, tmp_path / "a.exr")
    assert np.allclose(read_layer(tmp_path / "a.exr").gain, LIGHT.gain, atol=1e-5)
