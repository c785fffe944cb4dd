"""What people hand over: every odd picture works upright, every broken one is refused with a reason."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from iclight.diffusion import vae
from iclight.errors import ImageError
from iclight.imaging import crop, images

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"few rows"))


@pytest.mark.parametrize("kind", ["array", "pil", "path", "bytes"])
def test_a_picture_may_come_as_array_pillow_path_or_bytes(kind, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    sources = {"array": RGB, "pil": Image.fromarray(RGB), "path": path, "bytes": path.read_bytes()}
    rgb, alpha = images.read_image(sources[kind])
    assert np.array_equal(rgb, RGB)
    assert alpha is None


def test_16_bit_greyscale_keeps_its_tones():
    deep = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    rgb, _ = images.read_image(encoded(Image.fromarray(deep)))
    assert np.abs(rgb[..., 0].astype(int) - np.rint(deep / 257)).max() == 0
    array, _ = images.read_image(np.stack([deep] * 3, axis=2))
    assert np.array_equal(array, rgb)


def test_greyscale_palette_and_bilevel_become_rgb():
    for mode in ("L", "P", "1"):
        picture = Image.fromarray(RGB).convert(mode)
        rgb, alpha = images.read_image(encoded(picture))
        assert np.array_equal(rgb, np.array(picture.convert("RGB")))
        assert alpha is None


def test_cmyk_jpeg_becomes_rgb():
    flat = Image.new("RGB", (64, 64), (200, 40, 90))
    rgb, _ = images.read_image(encoded(flat.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(rgb.astype(int) - (200, 40, 90)).mean() < 6


def test_alpha_is_kept_and_an_opaque_one_counts_as_none():
    half = np.dstack([RGB, np.full((40, 60), 128, np.uint8)])
    _, alpha = images.read_image(encoded(Image.fromarray(half)))
    assert alpha is not None
    assert np.allclose(alpha, 128 / 255)
    _, alpha = images.read_image(np.dstack([RGB, np.full((40, 60), 255, np.uint8)]))
    assert alpha is None


def test_a_palettes_transparency_is_its_alpha():
    palette = Image.fromarray(RGB).convert("P")
    _, alpha = images.read_image(encoded(palette, transparency=palette.getpixel((0, 0))))
    assert alpha is not None
    assert set(np.unique(alpha)) == {0.0, 1.0}


def test_a_rotated_photo_stands_upright():
    exif = Image.Exif()
    exif[274] = 6  # the camera was held on its side
    rgb, _ = images.read_image(encoded(Image.fromarray(RGB), "PNG", exif=exif))
    assert np.array_equal(rgb, np.rot90(RGB, -1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello, I am text", "not an image"),
        (b"", "not an image"),
        (encoded(Image.fromarray(RGB))[:200], "broken or cut short"),
        (png_header(20_000, 20_000), "megapixels"),
        (png_header(12_000, 9_000), "megapixels"),
    ],
    ids=["text", "empty", "truncated", "bomb", "large"],
)
def test_a_broken_file_is_refused_with_a_reason(data, words, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(ImageError, match=words) as caught:
            images.read_image(source, "The background")
        assert str(caught.value).startswith("The background")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0, 3), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
    ids=["0xN", "Nx0", "two channels", "flat", "float", "batch"],
)
def test_an_array_that_is_no_picture_is_refused(array):
    with pytest.raises(ImageError):
        images.read_image(array)


@pytest.mark.parametrize("source", [None, 5, object(), "/no/such/file.png", "."])
def test_what_is_no_picture_at_all_is_refused(source):
    with pytest.raises(ImageError):
        images.read_image(source)


def test_a_fully_transparent_picture_is_refused():
    with pytest.raises(ImageError, match="fully transparent"):
        images.read_image(np.dstack([RGB, np.zeros((40, 60), np.uint8)]))


def test_a_mask_may_be_bool_uint8_float_or_a_picture():
    mask = np.zeros((40, 60), bool)
    mask[10:30] = True
    for form in (mask, mask.astype(np.uint8) * 255, mask.astype(np.float32), Image.fromarray(mask)):
        matte = images.read_mask(form, 60, 40)
        assert matte.shape == (40, 60, 1)
        assert np.array_equal(matte[..., 0], mask)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((4, 6), np.uint8), "same size"),
        (np.zeros((40, 60), np.uint8), "empty"),
        (np.full((40, 60), 2.0, np.float32), "outside 0 to 1"),
        (np.full((40, 60), np.nan, np.float32), "outside 0 to 1"),
        (np.ones((40, 60, 3), np.float32), "shape"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused(mask, words):
    with pytest.raises(ImageError, match=words):
        images.read_mask(mask, 60, 40)


@pytest.mark.parametrize(
    ("size", "native", "expected"),
    [
        ((512, 640), (512, 640), (512, 640)),
        ((3000, 4000), (512, 640), (512, 640)),
        ((4000, 3000), (512, 640), (640, 512)),
        ((1000, 1000), (256, 320), (256, 256)),
        ((100, 4000), (256, 320), (64, 1792)),
        ((8000, 100), (512, 640), (2048, 64)),
        ((1, 1), (256, 320), (256, 256)),
    ],
)
def test_a_size_left_out_follows_the_picture_at_the_models_area(size, native, expected):
    assert crop.size_for(size, native) == expected


def test_one_side_given_decides_the_other():
    assert crop.size_for((3000, 4000), (512, 640), width=384) == (384, 512)
    assert crop.size_for((3000, 4000), (512, 640), height=1024) == (768, 1024)
    assert crop.size_for((3000, 4000), (512, 640), 256, 256) == (256, 256)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (40, 1), (7, 9)])
def test_any_shape_can_be_cropped_to_any_size(shape):
    picture = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert crop.resize_and_center_crop(picture, 128, 64).shape == (64, 128, 3)


def test_pixels_and_tensors_convert_as_the_reference_does():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    tensor = vae.to_tensor([levels])
    assert tensor[0, 0, 0, 127] == 0
    assert float(tensor[0, 0, 0, 255]) == pytest.approx(1.00787, abs=1e-5)
    back = vae.to_pixels(tensor)[0]
    assert np.array_equal(back, (levels / 127 * 127.5).clip(0, 255).astype(np.uint8))
    assert np.abs(images.unit_to_pixels(vae.to_unit(tensor)[0]).astype(int) - back).max() <= 1


def test_a_fingerprint_is_of_the_pixels_not_of_the_file(tmp_path):
    path = tmp_path / "a.bmp"
    Image.fromarray(RGB).save(path)
    assert images.fingerprint(path) == images.fingerprint(RGB)
    other = RGB.copy()
    other[0, 0, 0] ^= 1
    assert images.fingerprint(other) != images.fingerprint(RGB)


def test_a_hair_thin_picture_is_not_blown_up_to_gigabytes():
    import resource

    strip = RNG.integers(0, 256, (8000, 1, 3), dtype=np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert crop.resize_and_center_crop(strip, 512, 640).shape == (640, 512, 3)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 300e6, "scaled as a whole it would take 6 GB"


def test_formats_that_run_other_programs_are_not_opened():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageError, match="PostScript, a format that is not read"):
        images.read_image(eps)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
def test_no_damage_to_a_file_escapes_as_anything_but_an_image_error(form):
    data = bytearray(encoded(Image.fromarray(RGB), form))
    for trial in range(60):
        rng = np.random.default_rng(trial)
        damaged = bytearray(data[: rng.integers(1, len(data) + 1)])
        for place in rng.integers(0, len(damaged), 4):
            damaged[place] = rng.integers(256)
        with contextlib.suppress(ImageError):
            images.read_image(bytes(damaged))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_a_mask_of_zeros_and_ones_is_all_or_nothing(dtype):
    mask = np.zeros((40, 60), dtype)
    mask[5:20] = 1
    assert set(np.unique(images.read_mask(mask, 60, 40))) == {0.0, 1.0}
