"""docs/files.md says what is read and kept: each row is tried."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from test_profiles import SCENE, distance, icc_of, stored

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
    _, _, profile, alpha, turned = PICTURES[name]
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


@pytest.mark.parametrize("name", [row[0] for row in rows("Panoramas")])
def test_panoramas_have_tests_of_their_own(name):
    """`test_panoramas` tries them; as pictures they are refused by their names."""
    assert name in ("Radiance .hdr", "OpenEXR")
    data = {"Radiance .hdr": b"#?RADIANCE\n", "OpenEXR": b"\x76\x2f\x31\x01" + bytes(60)}[name]
    with pytest.raises(ImageError, match=re.escape(name)):
        images.read_image(data)
