"""Files damaged at random, hundreds for each reader: each is read, the same each time, or refused in words.

Memory that the C library hands out is filled with one byte before the first reading and with another before the second:
a decoder that shows memory it has not written to gives two different pictures.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from iclight.editing.exports import read_layer, save_layer
from iclight.editing.gain_map import GainMap
from iclight.editing.normal_maps import read_normals, write_normals
from iclight.errors import IclightError
from iclight.imaging import images
from iclight.imaging.environment import read_environment

RNG = np.random.default_rng(5)
WIDTH, HEIGHT = 40, 26
RGB = cv2.GaussianBlur(RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), (0, 0), 2)
GREY = RGB[..., 0]
DEEP = GREY.astype(np.uint16) * 257
RADIANCE = RGB.astype(np.float32) / 50
M_PERTURB = -6  # of glibc's mallopt


def pillow(array: np.ndarray, form: str, mode: str | None = None, **options: Any) -> bytes:
    picture = Image.fromarray(array)
    buffer = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(buffer, form, **options)
    return buffer.getvalue()


def opencv(array: np.ndarray, ending: str) -> bytes:
    return bytes(cv2.imencode(ending, array)[1])


def opencv_plain(array: np.ndarray) -> bytes:
    """A TIFF that is not compressed."""
    return bytes(cv2.imencode(".tiff", array, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1])


def exr(folder: Path, **header: Any) -> bytes:
    path = folder / "seed.exr"
    channels = {"RGB": RADIANCE}
    with OpenEXR.File({"type": OpenEXR.scanlineimage, **header}, channels) as file:
        file.write(str(path))
    return path.read_bytes()


def layer(folder: Path, ending: str) -> bytes:
    path = folder / f"layer{ending}"
    save_layer(GainMap(RADIANCE - 2, RADIANCE[..., :1].clip(0, 1)), path)
    return path.read_bytes()


def normal_map(folder: Path) -> bytes:
    write_normals(folder / "n.png", np.dstack([RADIANCE[..., :2] / 9, np.ones((HEIGHT, WIDTH), np.float32)]))
    return (folder / "n.png").read_bytes()


PICTURES: dict[str, Callable[[], bytes]] = {
    "png": lambda: pillow(RGB, "PNG"),
    "png alpha": lambda: pillow(RGB, "PNG", "RGBA"),
    "png palette": lambda: pillow(RGB, "PNG", "P", transparency=3),
    "png 16": lambda: pillow(DEEP, "PNG"),
    "jpeg": lambda: pillow(RGB, "JPEG"),
    "jpeg cmyk": lambda: pillow(RGB, "JPEG", "CMYK", progressive=True),
    "webp": lambda: pillow(RGB, "WEBP"),
    "webp lossless": lambda: pillow(RGB, "WEBP", "RGBA", lossless=True),
    "gif": lambda: pillow(RGB, "GIF"),
    "bmp": lambda: pillow(RGB, "BMP"),
    "ico": lambda: pillow(RGB, "ICO"),
    "ppm": lambda: pillow(RGB, "PPM"),
    "tga": lambda: pillow(RGB, "TGA", compression="tga_rle"),
    "jpeg 2000": lambda: pillow(RGB, "JPEG2000"),
    "tiff": lambda: pillow(RGB, "TIFF"),
    "tiff lzw": lambda: pillow(RGB, "TIFF", compression="tiff_lzw"),
    "tiff deflate": lambda: pillow(RGB, "TIFF", "RGBA", compression="tiff_adobe_deflate"),
    "tiff packbits": lambda: pillow(GREY, "TIFF", compression="packbits"),
    "tiff jpeg": lambda: pillow(RGB, "TIFF", compression="jpeg"),
    "tiff 16": lambda: pillow(DEEP, "TIFF", compression="tiff_lzw"),
    "tiff 16 colours": lambda: opencv(np.dstack([DEEP] * 3), ".tiff"),
    "tiff bilevel": lambda: pillow(GREY, "TIFF", "1"),
    "avif": lambda: pillow(RGB, "AVIF"),
}


def whole_png(data: bytes) -> bytes:
    """The same chunks with right checksums: what is damaged gets past them."""
    made, at = data[:8], 8
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        made += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        at += 12 + length
    return made


def damaged(data: bytes, trials: int, seed: int) -> Iterator[bytes]:
    """The data cut short, bytes replaced, numbers made large, pieces left out or put in twice."""
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        other = bytearray(data)
        kind = trial % 5
        place = int(rng.integers(len(other)))
        if kind == 0:
            del other[max(8, place) :]
        elif kind == 1:
            for at in rng.integers(len(other), size=3):
                other[at] = rng.integers(256)
        elif kind == 2:
            place = int(rng.integers(min(len(other), 400)))  # where headers are
            other[place : place + 4] = struct.pack("<I", int(rng.choice([0, 1, 255, 65535, 2**31 - 1, 2**32 - 1])))
        elif kind == 3:
            del other[place : place + int(rng.integers(1, 40))]
        else:
            other[place:place] = other[place : place + int(rng.integers(1, 40))]
        yield whole_png(bytes(other)) if data.startswith(b"\x89PNG") and trial % 2 else bytes(other)


def fill_memory(byte: int) -> None:
    """Fresh memory shows this byte's complement from now on, 0: whatever it is. Only glibc can do that."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_PERTURB, byte)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a reader that lets a decoder's warning out prints on people's terminals
        yield
    fill_memory(0)


def outcome(read: Callable[[], Any], byte: int) -> Any:
    """Arrays, or the error's name."""
    fill_memory(byte)
    try:
        made = read()
    except IclightError as error:
        return [type(error).__name__]
    parts = made if isinstance(made, tuple) else [made.gain, made.matte] if isinstance(made, GainMap) else [made]
    return [part for part in parts if part is not None]


def check(read: Callable[[], Any], what: str) -> None:
    first, second = outcome(read, 0x55), outcome(read, 0xAA)
    assert len(first) == len(second), what
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other), what


@pytest.mark.parametrize("name", PICTURES)
def test_a_damaged_picture_is_read_the_same_each_time_or_refused(name):
    try:
        data = PICTURES[name]()
    except (KeyError, OSError):
        pytest.skip(f"Pillow cannot write {name} here")
    images.read_image(data)
    apart = name in ("tiff lzw", "tiff packbits", "tiff jpeg", "tiff 16", "tiff 16 colours")  # a process for each trial
    for number, other in enumerate(damaged(data, 10 if apart else 60, 1)):
        check(lambda other=other: images.read_image(other), f"{name} {number}")


@pytest.mark.parametrize("kind", ["hdr", "exr zip", "exr piz", "exr tiles", "exr dwaa", "png"])
def test_a_damaged_panorama_is_read_the_same_each_time_or_refused(kind, tmp_path):
    seeds: dict[str, Callable[[], bytes]] = {
        "hdr": lambda: opencv(RADIANCE, ".hdr"),
        "exr zip": lambda: exr(tmp_path, compression=OpenEXR.ZIP_COMPRESSION),
        "exr piz": lambda: exr(tmp_path, compression=OpenEXR.PIZ_COMPRESSION),
        "exr dwaa": lambda: exr(tmp_path, compression=OpenEXR.DWAA_COMPRESSION),
        "exr tiles": lambda: exr(
            tmp_path, type=OpenEXR.tiledimage, tiles=OpenEXR.TileDescription(), compression=OpenEXR.ZIPS_COMPRESSION
        ),
        "png": lambda: pillow(RGB, "PNG"),
    }
    data = seeds[kind]()
    read_environment(data)
    for number, other in enumerate(damaged(data, 100, 2)):
        check(lambda other=other: read_environment(other), f"{kind} {number}")


@pytest.mark.parametrize("ending", [".png", ".exr"])
def test_a_damaged_light_layer_is_read_the_same_each_time_or_refused(ending, tmp_path):
    path = tmp_path / f"damaged{ending}"
    for number, other in enumerate(damaged(layer(tmp_path, ending), 100, 3)):
        path.write_bytes(other)
        check(lambda: read_layer(path), f"layer{ending} {number}")


@pytest.mark.parametrize("kind", ["png 16", "png", "jpeg", "tiff", "tiff 16", "pam"])
def test_a_damaged_normal_map_is_read_the_same_each_time_or_refused(kind, tmp_path):
    seeds: dict[str, Callable[[], bytes]] = {
        "png 16": lambda: normal_map(tmp_path),
        "png": lambda: pillow(RGB, "PNG", "P"),
        "jpeg": lambda: pillow(RGB, "JPEG"),
        "tiff": lambda: pillow(RGB, "TIFF", compression="tiff_adobe_deflate"),
        "tiff 16": lambda: opencv_plain(np.dstack([DEEP] * 3)),
        "pam": lambda: b"P7\nWIDTH 4\nHEIGHT 4\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n" + bytes(32),
    }
    path = tmp_path / "damaged.png"
    for number, other in enumerate(damaged(seeds[kind](), 60, 4)):
        path.write_bytes(other)
        check(lambda: read_normals(path), f"{kind} {number}")


@pytest.mark.parametrize("name", ["png", "webp", "gif", "tiff deflate"])
def test_a_damaged_mask_is_read_the_same_each_time_or_refused(name):
    for number, other in enumerate(damaged(PICTURES[name](), 60, 6)):
        check(lambda other=other: images.read_mask(other, WIDTH, HEIGHT), f"{name} {number}")
