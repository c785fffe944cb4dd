"""What is read and what is refused by its name: HEIC upright and in its colours, anything else by what it is."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image
from test_profiles import SCENE, distance, icc_of, stored

from iclight.errors import ImageError
from iclight.imaging import images

PHOTO = np.asarray(Image.fromarray(SCENE).resize((96, 72), Image.Resampling.BICUBIC))


def heic(pixels: np.ndarray, form: str = "HEIF", **options) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    image = pillow_heif.from_pillow(Image.fromarray(pixels))
    if "icc_profile" in options:
        image.info["icc_profile"] = options.pop("icc_profile")
    image.save(buffer, quality=95, chroma=444, **options)
    return buffer.getvalue()


def test_heic_is_read_whatever_its_name(tmp_path):
    path = tmp_path / "phone.jpg"
    path.write_bytes(heic(PHOTO))
    rgb, alpha = images.read_image(path)
    assert distance(rgb, PHOTO) < 3
    assert alpha is None


def test_heic_is_in_its_own_colours():
    wide = np.asarray(Image.fromarray(stored("Display P3")).resize((96, 72), Image.Resampling.BICUBIC))
    data = heic(wide, icc_profile=icc_of("Display P3"))
    picture = images.read_picture(data)
    assert distance(picture.rgb, PHOTO) < 3
    assert picture.native is not None
    plain = heic(wide)
    assert distance(images.read_image(plain)[0], PHOTO) > distance(picture.rgb, PHOTO) + 1


@pytest.mark.parametrize("turn", [6, 8, 3])
def test_heic_stands_upright(turn):
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.fromarray(PHOTO)
    exif = image.getexif()
    exif[274] = turn
    buffer = io.BytesIO()
    pillow_heif.register_heif_opener()
    image.save(buffer, "HEIF", quality=95, exif=exif.tobytes())
    upright = np.rot90(PHOTO, {6: -1, 8: 1, 3: 2}[turn])
    rgb, _ = images.read_image(buffer.getvalue())
    assert rgb.shape == upright.shape
    assert distance(rgb, upright) < 8, "colours are stored at half the size"


def test_heic_keeps_its_alpha():
    alpha = np.linspace(0, 255, 96 * 72).reshape(72, 96).astype(np.uint8)
    _, matte = images.read_image(heic(np.dstack([PHOTO, alpha])))
    assert np.abs(matte[..., 0] * 255 - alpha).mean() < 4


def test_a_damaged_heic_is_refused_or_the_same_each_time():
    data = heic(PHOTO)
    for trial in range(12):
        rng = np.random.default_rng(trial)
        other = bytearray(data if trial % 3 else data[: rng.integers(20, len(data))])
        for place in rng.integers(len(other), size=6):
            other[place] = rng.integers(256)
        seen = []
        for _ in range(2):
            try:
                seen.append(images.read_image(bytes(other))[0])
            except ImageError as error:
                seen.append(type(error).__name__)
        assert np.array_equal(seen[0], seen[1])


def test_a_large_heic_is_refused_before_it_is_decoded(monkeypatch):
    data = heic(PHOTO)
    at = data.rfind(b"ispe") + 8
    large = data[:at] + struct.pack(">II", 50_000, 50_000) + data[at + 8 :]
    with pytest.raises(ImageError, match="megapixels"):
        images.read_image(large)


def test_without_its_library_heic_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImageError, match="HEIC file, for which pi-heif is missing"):
        images.read_image(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100))


BOX = struct.pack(">I", 24) + b"ftyp"
NAMED = {
    "JPEG XL": b"\xff\x0a" + bytes(40),
    "JPEG XL in boxes": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40),
    "Photoshop": b"8BPS\0\x01" + bytes(40),
    "PAM": b"P7\nWIDTH 4\nHEIGHT 4\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n" + bytes(32),
    "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF": b"%PDF-1.7\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "DDS": b"DDS " + bytes(124),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(40),
    "Radiance": b"#?RADIANCE\n",
    "video": BOX + b"isom\0\0\0\0isommp42" + bytes(40),
    "ZIP": b"PK\x03\x04" + bytes(40),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_refused_by_its_name(name, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(NAMED[name])
    for source in (path, NAMED[name]):
        with pytest.raises(ImageError, match=name.split(" in ")[0]):
            images.read_image(source)


@pytest.mark.parametrize("tags", [{"t50706": 1}, {"t254": 1, "t330": 8}])
def test_a_raw_file_is_not_taken_for_the_small_picture_in_it(tags, monkeypatch):
    from test_damaged_pictures import RGB, strips_of, tiff

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImageError, match="raw file"):
        images.read_image(tiff(strips_of(RGB), **tags))
