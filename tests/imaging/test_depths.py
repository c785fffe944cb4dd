"""Values of any depth and kind mean what their format says: no scale is taken from the brightest of them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_damaged_pictures import HEIGHT, WIDTH
from test_damaged_pictures import tiff as strips

from iclight.imaging import images
from iclight.imaging.png_chunks import MAGIC, chunk

RNG = np.random.default_rng(2)
UNIT = RNG.random((37, 50, 3))
WANTED = np.rint(UNIT * 255)


def tiff(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    colours = array.ndim == 3 and options.get("planarconfig", "contig") == "contig"
    photometric = options.pop("photometric", "rgb" if colours or array.ndim == 3 else "minisblack")
    tifffile.imwrite(buffer, array, photometric=photometric, **options)
    return buffer.getvalue()


def png(width: int, height: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes], depth: int = 16) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    listed = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return MAGIC + b"".join(chunk(name, body) for name, body in listed)


KINDS = {
    "uint8": (np.uint8, 255),
    "uint16": (np.uint16, 65535),
    "uint32": (np.uint32, 2**32 - 1),
    "int16": (np.int16, 2**15 - 1),
    "int32": (np.int32, 2**31 - 1),
    "float16": (np.float16, 1),
    "float32": (np.float32, 1),
    "float64": (np.float64, 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (16, 32)},
        {"rowsperstrip": 5, "compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"compression": "zlib", "predictor": True, "byteorder": ">"},
        {"photometric": "miniswhite"},
    ],
    ids=str,
)
def test_a_tiff_of_any_depth_shows_its_values(kind, grey, options):
    dtype, full = KINDS[kind]
    values = UNIT[..., 0] if grey else UNIT
    if "photometric" in options and not grey:
        pytest.skip("colours are never white at zero")
    if options.get("predictor") and dtype(0).dtype.kind == "f":
        pytest.skip("tried below")
    stored = values * full if dtype(0).dtype.kind == "f" else np.rint(values * full)
    rgb, _ = images.read_image(tiff(stored.astype(dtype), **options))
    wanted = np.rint(values * 255)
    wanted = 255 - wanted if options.get("photometric") == "miniswhite" else wanted
    assert np.abs(rgb - (wanted[..., None] if grey else wanted)).max() <= 1


@pytest.mark.parametrize("size", [2, 4, 8])
def test_floats_predicted_by_weight_are_undone(size):
    """Predictor 3, as Adobe's technical note 3 has it."""
    values = np.resize(UNIT, (HEIGHT, WIDTH, 3))
    rows = values.astype(f">f{size}").reshape(HEIGHT, -1).view(np.uint8).reshape(HEIGHT, -1, size)
    planes = np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(HEIGHT, -1, 3)
    coded = np.diff(planes, axis=1, prepend=np.uint8(0)).astype(np.uint8)
    data = strips([zlib.compress(coded.tobytes())], t258=(8 * size,) * 3, t259=8, t317=3, t339=3)
    assert np.abs(images.read_image(data)[0] - np.rint(values * 255)).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_depths_between_bytes_are_unpacked(bits):
    from test_damaged_pictures import HEIGHT, WIDTH
    from test_damaged_pictures import tiff as strips

    values = np.arange(WIDTH * HEIGHT * 3).reshape(HEIGHT, WIDTH, 3) * 7 % (1 << bits)
    digits = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(digits.reshape(HEIGHT, -1).astype(np.uint8), axis=1).tobytes()
    read, _ = images.read_image(strips([rows], t258=(bits,) * 3))
    assert np.abs(read - np.rint(values * 255 / ((1 << bits) - 1))).max() <= 1


def test_planes_and_alpha_of_floats():
    planar = tiff(np.moveaxis(UNIT, 2, 0).astype(np.float32), planarconfig="separate")
    assert np.abs(images.read_image(planar)[0] - WANTED).max() <= 1
    cover = RNG.random((37, 50, 1)) * 0.9 + 0.1
    straight = np.concatenate([UNIT, cover], axis=2).astype(np.float32)
    multiplied = np.concatenate([UNIT * cover, cover], axis=2).astype(np.float32)
    for values, extra in ((straight, "unassalpha"), (multiplied, "assocalpha")):
        rgb, alpha = images.read_image(tiff(values, extrasamples=[extra]))
        assert np.abs(rgb - WANTED).max() <= 1
        assert np.abs(alpha - cover).max() <= 1 / 255


def test_what_is_brighter_than_white_is_white_and_the_rest_stays():
    values = np.full((4, 4), 0.5, np.float32)
    values[0, :3] = (1.02, np.inf, np.nan)
    for data in (tiff(values), Image.fromarray(values)):
        grey = images.read_image(data)[0][..., 0]
        assert (grey[1:] == 128).all()
        assert grey[0].tolist() == [255, 255, 0, 128]


def test_dark_16_bits_stay_dark():
    dark = np.full((4, 4), 200, np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(dark).save(buffer, "PNG")
    for source in (buffer.getvalue(), tiff(dark), dark, Image.fromarray(dark)):
        assert (images.read_image(source)[0] == 1).all()
    assert (images.read_image(tiff(np.full((4, 4), 100_000, np.int32)))[0] == 0).all()


def test_a_colour_of_a_png_that_is_transparent_is_the_matte():
    eight = np.array([[[10, 20, 30], [10, 20, 31], [200, 5, 6]]], np.uint8)
    data = png(3, 1, 2, b"\0" + eight.tobytes(), (b"tRNS", struct.pack(">3H", 10, 20, 30)), depth=8)
    rgb, alpha = images.read_image(data)
    assert np.array_equal(rgb, eight)
    assert alpha[0, :, 0].tolist() == [0, 1, 1]
    deep = np.array([[[1000, 2000, 3000], [1001, 2000, 3000], [60000, 5, 6]]], ">u2")
    rgb, alpha = images.read_image(
        png(3, 1, 2, b"\0" + deep.tobytes(), (b"tRNS", struct.pack(">3H", 1000, 2000, 3000)))
    )
    assert alpha[0, :, 0].tolist() == [0, 1, 1]
    assert np.array_equal(rgb, deep >> 8)
    grey = np.array([[1000, 1001, 65535]], ">u2")
    rgb, alpha = images.read_image(png(3, 1, 0, b"\0" + grey.tobytes(), (b"tRNS", struct.pack(">H", 1000))))
    assert alpha[0, :, 0].tolist() == [0, 1, 1]
    assert rgb[0, :, 0].tolist() == [4, 4, 255]
