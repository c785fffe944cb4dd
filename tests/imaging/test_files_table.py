"""docs/files.md says what is read and kept: each row is tried."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features
from test_damaged_pictures import tiff as strips
from test_depths import png, tiff
from test_profiles import SCENE, distance, icc_of, stored
from test_sixteen_bits import heic as deep_heic

from iclight.errors import ImageError
from iclight.imaging import images

TEXT = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
# A row's name -> Pillow's name of the format, what keeps all that can be kept, and how far colours may be off.
WRITTEN = {
    "PNG": ("PNG", {}, 0.5),
    "JPEG": ("JPEG", {"quality": 98, "subsampling": 0}, 2),
    "WebP": ("WEBP", {"lossless": True}, 0.5),
    "AVIF": ("AVIF", {"quality": 98, "subsampling": "4:4:4"}, 2),
    "HEIC": ("HEIF", {"quality": 95, "chroma": 444}, 3),
    "TIFF": ("TIFF", {}, 0.5),
    "JPEG 2000": ("JPEG2000", {}, 0.5),
    "GIF": ("GIF", {}, 8),
    "BMP": ("BMP", {}, 0.5),
    "ICO": ("ICO", {"sizes": [(48, 36)]}, 0.5),
    "TGA": ("TGA", {}, 0.5),
    "PPM": ("PPM", {}, 0.5),
}


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    body = TEXT.split(f"## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


PICTURES = {re.split(r"[,(]", row[0])[0].strip(): row for row in rows("Pictures")}


def written(name: str, pixels: np.ndarray, **more) -> bytes:
    form, options, _ = WRITTEN[name]
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options, **more)
    data = buffer.getvalue()
    return with_colr(data, more["icc_profile"]) if form == "JPEG2000" and "icc_profile" in more else data


def with_colr(data: bytes, icc: bytes) -> bytes:
    """A JPEG 2000 with a profile in the place of its enumerated colours, which is all that Pillow writes."""
    head = data.index(b"jp2h") - 4
    at = data.index(b"colr") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    box = (11 + len(icc)).to_bytes(4, "big") + b"colr\x02\0\0" + icc
    whole = (int.from_bytes(data[head : head + 4], "big") + len(box) - size).to_bytes(4, "big")
    return data[:head] + whole + data[head + 4 : at] + box + data[at + size :]


def test_every_row_is_tried():
    assert set(PICTURES) == set(WRITTEN)


@pytest.mark.parametrize("name", PICTURES)
def test_a_formats_colours_alpha_and_direction_are_kept_as_its_row_says(name):
    _, _, profile, alpha, turned, _ = PICTURES[name]
    near = WRITTEN[name][2]
    assert distance(images.read_image(written(name, SCENE))[0]) < near
    if profile == "yes":
        wide = written(name, stored("Display P3"), icc_profile=icc_of("Display P3"))
        assert distance(images.read_image(wide)[0]) < near + 0.5
    cover = np.full(SCENE.shape[:2], 255, np.uint8)
    cover[:18] = 0
    if alpha == "yes":
        _, matte = images.read_image(written(name, np.dstack([SCENE, cover])))
        assert matte is not None
        assert np.abs(matte[..., 0] * 255 - cover).mean() < 4
    exif = Image.Exif()
    exif[274] = 6
    if turned == "yes":
        assert images.read_image(written(name, SCENE, exif=exif.tobytes()))[0].shape == (48, 36, 3)


# --- bits a value -----------------------------------------------------------------------------------------------------

# The depths that a format has and that can be written here, of those between the ends that a row names.
DEPTHS = {"PNG": (1, 2, 4, 8, 16), "AVIF": (8, 10, 12), "HEIC": (8, 10, 12), "JPEG 2000": (8, 16), "BMP": (1, 4, 8)}


def depths(name: str) -> list[tuple[str, int]]:
    """A row's cell, "1 to 16, 32; floats of 16, 32", as kinds and depths."""
    known = DEPTHS.get(name, range(1, 65))
    found = []
    for part in PICTURES[name][1].split("; "):
        kind = "float" if part.startswith("floats of ") else "int"
        for piece in part.removeprefix("floats of ").split(", "):
            first, _, last = piece.partition(" to ")
            assert int(first) in known and int(last or first) in known, piece
            found += [(kind, bits) for bits in known if int(first) <= bits <= int(last or first)]
    return found


def coded(name: str, kind: str, bits: int) -> tuple[bytes, np.ndarray]:
    """A grey ramp of a depth as a file, and its values from 0 to 1, 36 x 48."""
    ramp = np.linspace(0, 1, 48)[None].repeat(36, 0)
    if kind == "float":
        return tiff(ramp.astype(f"f{bits // 8}")), ramp
    white = (1 << bits) - 1
    values = np.rint(ramp * white).clip(0, np.nextafter(2.0**bits, 0)).astype(np.uint64)
    if name == "TIFF" and bits in (16, 32, 64):
        return tiff(values.astype(f"u{bits // 8}")), values / white
    digits = (values[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint64)) & np.uint64(1)
    rows = np.packbits(digits.reshape(36, -1).astype(np.uint8), axis=1)  # whole bytes: 48 values a row
    deep = values.astype(np.uint16 if bits > 8 else np.uint8)
    if name == "TIFF":
        data = strips([rows.tobytes()], t256=48, t257=36, t258=bits, t262=1, t277=1, t278=36)
    elif name == "PNG":
        data = png(48, 36, 0, b"".join(b"\0" + row.tobytes() for row in rows), depth=bits)
    elif name == "PPM":
        lines = rows.tobytes() if bits == 1 else deep.astype(">u2" if bits > 8 else "u1").tobytes()
        # In a PBM, which has no largest value, 1 is black.
        head, lines = (b"P4 48 36\n", (~rows).tobytes()) if bits == 1 else (f"P5 48 36 {white}\n".encode(), lines)
        data = head + lines
    elif name == "BMP":
        colours = b"".join(bytes([round(level * 255 / white)] * 3) + b"\0" for level in range(white + 1))
        lines = b"".join(row.tobytes().ljust(-(-len(row) // 4) * 4, b"\0") for row in rows[::-1])
        start = 54 + len(colours)
        head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", start + len(lines), 0, 0, start, 40, 48, 36, 1, bits, *[0] * 6)
        data = head + colours + lines
    elif name == "AVIF" and bits > 8:
        options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
        data = cv2.imencode(".avif", deep[..., None].repeat(3, 2), options)[1].tobytes()
    elif name == "HEIC" and bits > 8:
        data = deep_heic((deep[..., None].repeat(3, 2).astype(np.uint32) * 65535 // white).astype(np.uint16), bits)
    elif name == "JPEG 2000" and bits > 8:
        buffer = io.BytesIO()
        Image.fromarray(deep).save(buffer, "JPEG2000")
        data = buffer.getvalue()
    else:
        data = written(name, deep[..., None].repeat(3, 2))
    return data, values / white


@pytest.mark.parametrize(("name", "kind", "bits"), [(name, *depth) for name in PICTURES for depth in depths(name)])
def test_every_depth_that_a_row_names_shows_its_values(name, kind, bits):
    if name == "AVIF" and (not features.check("avif") or not hasattr(cv2, "IMWRITE_AVIF_DEPTH")):
        pytest.skip("no AVIF here")
    data, values = coded(name, kind, bits)
    apart = np.abs(images.read_image(data)[0] - values[..., None] * 255)
    assert apart.max() <= (3 if name in ("JPEG", "HEIC", "AVIF", "GIF") else 1)


@pytest.mark.parametrize("name", [name for name, row in PICTURES.items() if row[-1].startswith("16")])
def test_a_format_whose_results_may_have_16_bits_keeps_them_for_a_finish(name):
    kind, bits = next((kind, bits) for kind, bits in reversed(depths(name)) if bits > 8)
    data, values = coded(name, kind, bits)
    native = images.read_picture(data).native
    assert native is not None and native.pixels.dtype == np.uint16
    assert np.abs(native.pixels / 65535 - values[..., None]).max() < 2 / 1023


@pytest.mark.parametrize("name", [row[0] for row in rows("Panoramas")])
def test_panoramas_have_tests_of_their_own(name):
    """`test_panoramas` tries them; as pictures they are refused by their names."""
    assert name in ("Radiance .hdr", "OpenEXR")
    data = {"Radiance .hdr": b"#?RADIANCE\n", "OpenEXR": b"\x76\x2f\x31\x01" + bytes(60)}[name]
    with pytest.raises(ImageError, match=re.escape(name)):
        images.read_image(data)
