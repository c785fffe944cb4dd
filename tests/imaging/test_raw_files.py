"""Cameras' raw files: developed where rawpy is here, and where it is not refused with what to do."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
import tifffile

from iclight.errors import ImageError
from iclight.imaging import images
from iclight.imaging.colour import to_linear
from iclight.imaging.spaces import SRGB

# Linear sRGB from XYZ, as DNG's ColorMatrix1 has it for a camera whose own colours are those.
FROM_XYZ = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]
# What a white surface leaves in red, green and blue.
NEUTRAL = (0.5, 1.0, 0.8)
HEIGHT, WIDTH = 96, 128


def scene() -> np.ndarray:
    """Linear light: four patches, each of one colour, under a white edge."""
    light = np.empty((HEIGHT, WIDTH, 3))
    light[:48, :64], light[:48, 64:] = (0.6, 0.1, 0.1), (0.1, 0.5, 0.15)
    light[48:, :64], light[48:, 64:] = (0.1, 0.15, 0.6), (0.3, 0.3, 0.3)
    light[:8] = 1
    return light


def dng(light: np.ndarray, orientation: int = 1) -> bytes:
    """A DNG of one plane, uncompressed, through a Bayer pattern of red, green, green, blue."""
    values = light * NEUTRAL * 60000 + 1000
    mosaic = values[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = values[::2, ::2, 0], values[1::2, 1::2, 2]
    matrix = [part for value in FROM_XYZ for part in (round(value * 10000), 10000)]
    neutral = [part for value in NEUTRAL for part in Fraction(value).limit_denominator(100).as_integer_ratio()]
    tags = [
        (274, "H", 1, orientation, True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Test camera", True),
        (50714, "H", 1, 1000, True),
        (50717, "H", 1, 61000, True),
        (50721, "2i", 9, tuple(matrix), True),
        (50728, "2I", 3, tuple(neutral), True),
        (50778, "H", 1, 21, True),
    ]
    buffer = io.BytesIO()
    pixels = np.rint(mosaic).astype(np.uint16)
    tifffile.imwrite(buffer, pixels, photometric=32803, metadata=None, extratags=tags, software=False)
    return buffer.getvalue()


def test_a_raw_file_is_developed_in_its_colours_and_depth():
    pytest.importorskip("rawpy")
    picture = images.read_picture(dng(scene()))
    assert picture.rgb.shape == (HEIGHT, WIDTH, 3) and picture.alpha is None
    assert picture.native.pixels.dtype == np.uint16 and picture.native.space is SRGB
    light = to_linear(picture.native.pixels / 65535)
    for patch in (np.s_[20:40, 10:54], np.s_[20:40, 74:118], np.s_[56:88, 10:54], np.s_[56:88, 74:118]):
        seen, wanted = light[patch].mean((0, 1)), scene()[patch].mean((0, 1))
        assert np.abs(seen - wanted).max() < 0.02, "white balance and colours are the camera's"
    assert np.array_equal(picture.rgb, picture.native.pixels >> 8)
    assert np.array_equal(picture.rgb, images.read_image(dng(scene()))[0])


def test_a_raw_file_stands_upright():
    pytest.importorskip("rawpy")
    turned = images.read_image(dng(scene(), orientation=6))[0]
    assert turned.shape == (WIDTH, HEIGHT, 3)
    assert turned[:, -4:].mean() > 240, "what was above is on the right"


def test_a_damaged_raw_file_is_refused_or_the_same_each_time():
    pytest.importorskip("rawpy")
    data = dng(scene())
    for trial in range(6):
        rng = np.random.default_rng(trial)
        other = bytearray(data if trial % 2 else data[: rng.integers(600, len(data))])
        for place in rng.integers(min(600, len(other)), size=4):
            other[place] = rng.integers(256)
        seen = []
        for _ in range(2):
            try:
                seen.append(images.read_image(bytes(other))[0])
            except ImageError as error:
                seen.append(str(error))
        assert np.array_equal(seen[0], seen[1])


def test_a_raw_file_that_is_too_large_is_refused_as_such():
    pytest.importorskip("rawpy")
    with pytest.raises(ImageError, match="megapixels"):
        images.read_image(dng(scene()), most=5000)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("DNG", dng(scene())),
        ("Canon CR2", b"II*\0\x10\0\0\0CR\x02\0" + bytes(40)),
        ("Canon CR3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(40)),
        ("Panasonic RW2", b"IIU\0" + bytes(40)),
        ("Fujifilm RAF", b"FUJIFILMCCD-RAW 0201" + bytes(40)),
    ],
)
def test_without_rawpy_it_is_named_and_said_what_to_do(name, data, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=rf"raw file \(.*{name}.*pip install 'iclight\[raw\]'"):
        images.read_image(data)
