"""Photos of more than 8 bits keep their depth for a finish, whatever file they come in, and results are files of it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_profiles import icc_of

from iclight.editing.finish import apply_light, finished
from iclight.editing.gain_map import GainMap
from iclight.imaging import images
from iclight.imaging.declared_colours import srgb_icc
from iclight.imaging.files import deep_png, deep_tiff
from iclight.imaging.png_chunks import chunk
from iclight.imaging.profiles import profile_of
from iclight.imaging.spaces import SRGB, Native
from iclight.recipes import save_picture

RNG = np.random.default_rng(5)
DEEP = RNG.integers(0, 65536, (36, 48, 3), dtype=np.uint16)
COVER = RNG.integers(1, 65536, (36, 48, 1), dtype=np.uint16)


def tiff(values: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric=options.pop("photometric", "rgb"), **options)
    return buffer.getvalue()


def heic(values: np.ndarray, bits: int) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    buffer = io.BytesIO()
    height, width = values.shape[:2]
    picture = pillow_heif.from_bytes(mode="RGB;16", size=(width, height), data=values.tobytes())
    picture.save(buffer, quality=-1, chroma=444, matrix_coefficients=0)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (tiff(DEEP), DEEP),
        (tiff(DEEP, compression="zlib", predictor=True, byteorder=">"), DEEP),
        (tiff(DEEP, iccprofile=icc_of("Display P3")), DEEP),
        (tiff((DEEP / 65535).astype(np.float64)), DEEP),
        (tiff(DEEP.astype(np.uint32) * 65537), DEEP),
        (tiff(np.dstack([DEEP, COVER]), extrasamples=["unassalpha"]), DEEP),
        (tiff(DEEP[..., 0], photometric="minisblack"), DEEP[..., :1].repeat(3, 2)),
        (tiff(65535 - DEEP[..., 0], photometric="miniswhite"), DEEP[..., :1].repeat(3, 2)),
        (deep_png(DEEP), DEEP),
        (deep_png(np.dstack([DEEP, COVER])), DEEP),
        (deep_png(DEEP, chunk(b"tRNS", DEEP[3, 4].astype(">u2").tobytes())), DEEP),
        (DEEP, DEEP),
    ],
    ids=["tiff", "packed", "p3", "floats", "32", "alpha", "grey", "inverted", "png", "png-alpha", "keyed", "array"],
)
def test_a_photo_keeps_its_values(data, wanted):
    picture = images.read_picture(data)
    assert np.array_equal(picture.native.pixels, wanted)
    assert picture.native.pixels.dtype == np.uint16
    plain = images.read_picture(data, keep_native=False)
    assert plain.native is None
    assert np.array_equal(picture.rgb, plain.rgb) and picture.sha256 == plain.sha256


def test_values_multiplied_by_their_alpha_are_divided_by_it():
    multiplied = (DEEP.astype(np.uint64) * COVER // 65535).astype(np.uint16)
    picture = images.read_picture(tiff(np.dstack([multiplied, COVER]), extrasamples=["assocalpha"]))
    dense = COVER[..., 0] > 20000
    assert np.abs(picture.native.pixels[dense].astype(int) - DEEP[dense]).max() <= 4


@pytest.mark.parametrize("bits", [10, 12])
def test_a_heic_keeps_the_bits_it_has(bits):
    """Without loss but for the rounding of the codec's own colours."""
    smooth = np.linspace(0, 65535, 48).round().astype(np.uint16)[None, :, None].repeat(36, 0).repeat(3, 2)
    picture = images.read_picture(heic(smooth, bits))
    native = picture.native.pixels
    assert np.abs(native.astype(int) - smooth).max() <= 2 * 65536 / 2**bits
    assert native.max() == 65535, "the largest value of any depth is white"
    assert len(np.unique(native)) > 40
    assert np.abs(images.read_image(heic(smooth, bits))[0] - smooth / 257).max() <= 2


def test_a_turned_photo_is_upright_in_16_bits():
    turned = images.read_picture(tiff(DEEP, extratags=[(274, "H", 1, 6, True)]))
    assert np.array_equal(turned.native.pixels, np.rot90(DEEP, -1))


def test_8_bits_in_srgb_are_not_kept_twice():
    assert images.read_picture(tiff((DEEP >> 8).astype(np.uint8))).native is None


def test_a_photo_too_large_to_be_held_twice_is_read_in_8_bits(monkeypatch):
    monkeypatch.setattr("iclight.imaging.budgets.fits", lambda *size: False)
    for data in (tiff(DEEP), deep_png(DEEP)):
        assert images.read_picture(data).native is None


@pytest.mark.parametrize("space", [SRGB, profile_of(icc_of("Display P3")).space], ids=["sRGB", "P3"])
def test_values_of_16_bits_come_back_from_light(space):
    every = np.arange(65536, dtype=np.uint16)[None, :, None].repeat(3, axis=2)
    back = space.pixels(space.light(every), np.uint16).astype(int)
    assert np.abs(back - every).max() <= 1
    assert (back == every).mean() > 0.99


def light(stops: float) -> GainMap:
    return GainMap(np.full((18, 24, 3), stops, np.float32), np.ones((18, 24, 1), np.float32))


def test_light_is_applied_to_all_16_bits():
    """A ramp of more levels than 8 bits have stays one, and is as bright as the same finish of 8 bits."""
    ramp = np.linspace(8000, 9000, 48).astype(np.uint16)[None, :, None].repeat(36, 0).repeat(3, 2)
    lit = apply_light(ramp, light(1.0))
    assert lit.dtype == np.uint16
    assert len(np.unique(lit[..., 0])) == 48
    plain = apply_light((ramp >> 8).astype(np.uint8), light(1.0))
    assert np.abs(lit / 257 - plain).max() < 2


@pytest.mark.parametrize("background", ["new", "original", "own", "transparent"])
def test_strength_0_is_the_photo_to_the_last_bit(background):
    relit = RNG.integers(0, 256, (18, 24, 3), dtype=np.uint8)
    alpha = np.zeros((36, 48, 1), np.float32)
    alpha[6:30, 8:40] = 1
    native = Native(DEEP, SRGB)
    rgb = (DEEP >> 8).astype(np.uint8)
    (picture,), _ = finished([relit], rgb, alpha, "native", 0, background, behind=relit, native=native)
    inside = slice(6, 30), slice(8, 40)
    assert picture.dtype == np.uint16
    assert np.array_equal(picture[inside][..., :3], DEEP[inside])
    if background in ("new", "original"):
        assert np.array_equal(picture, DEEP)
    if background == "transparent":
        assert picture[..., 3].tolist() == np.where(alpha[..., 0] > 0, 65535, 0).tolist()


@pytest.mark.parametrize("ending", ["png", "tif", "TIFF"])
@pytest.mark.parametrize("icc", [None, icc_of("Display P3")], ids=["sRGB", "P3"])
@pytest.mark.parametrize("pixels", [DEEP, np.dstack([DEEP, COVER])], ids=["RGB", "RGBA"])
def test_a_file_of_16_bits_has_the_values_and_the_profile(pixels, icc, ending, tmp_path):
    path = tmp_path / f"picture.{ending}"
    save_picture(path, pixels, icc=icc, sixteen_bit=True)
    read = images.read_picture(path)
    assert np.array_equal(read.native.pixels, DEEP)
    assert read.native.space.icc == icc
    assert (read.alpha is None) == (pixels.shape[2] == 3)
    if ending != "png":
        with tifffile.TiffFile(path) as file:
            assert np.array_equal(file.asarray(), pixels)
            assert file.pages[0].iccprofile == (icc or srgb_icc())
    with Image.open(path) as other:
        assert other.size == (48, 36)


def test_8_bits_widened_are_the_same_colours(tmp_path):
    eight = (DEEP >> 8).astype(np.uint8)
    for name, deep in (("plain.png", False), ("deep.png", True), ("deep.tif", False)):
        save_picture(tmp_path / name, eight, sixteen_bit=deep)
        read = images.read_picture(tmp_path / name)
        assert np.array_equal(read.rgb, eight)
        assert (read.native is None) == (name == "plain.png")


def test_a_tiffs_text_is_whole_in_ascii():
    text = json.dumps({"prompt": "a lamp, 灯 💡"})
    with tifffile.TiffFile(io.BytesIO(deep_tiff(DEEP, srgb_icc(), text))) as file:
        assert file.pages[0].description == text
