"""A TIFF shows its own pixels or is refused: never memory that another picture left. And all kinds come right."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iclight.errors import ImageError
from iclight.imaging import decoded_apart, images

WIDTH, HEIGHT = 50, 34
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
ALPHA = np.linspace(20, 250, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1).astype(np.uint8)


def tiff(strips: Sequence[bytes], order: str = "<", big: bool = False, **tags: Any) -> bytes:
    """A TIFF of strips that are encoded already; tags by number (t258=(8, 8, 8)) replace or, if None, leave out."""
    lists: dict[int, tuple[int, ...]] = {256: (WIDTH,), 257: (HEIGHT,), 258: (8, 8, 8), 259: (1,), 262: (2,), 277: (3,)}
    at = 16 if big else 8
    lists[278] = (-(-HEIGHT // len(strips)),)
    lists[273] = tuple(at + sum(map(len, strips[:number])) for number in range(len(strips)))
    lists[279] = tuple(map(len, strips))
    for name, value in tags.items():
        lists[int(name[1:])] = value if isinstance(value, tuple) else (value,)
    lists = {tag: values for tag, values in sorted(lists.items()) if values != (None,)}
    body = b"".join(strips)
    entries = b""
    place, inline, head = ("Q", 8, "HHQ8s") if big else ("I", 4, "HHI4s")
    for tag, values in lists.items():
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > inline:
            place_of, body = at + len(body), body + packed
            packed = struct.pack(order + place, place_of)
        entries += struct.pack(order + head, tag, 4, len(values), packed.ljust(inline, b"\0"))
    count = struct.pack(order + ("Q" if big else "H"), len(lists))
    sign, directory = (b"II" if order == "<" else b"MM"), at + len(body)
    start = struct.pack(order + "HHHQ", 43, 8, 0, directory) if big else struct.pack(order + "HI", 42, directory)
    return sign + start + body + count + entries + bytes(8 if big else 4)


def strips_of(array: np.ndarray, count: int = 3) -> list[bytes]:
    rows = -(-len(array) // count)
    return [array[top : top + rows].tobytes() for top in range(0, len(array), rows)]


def encoded(array: np.ndarray, mode: str | None = None, **options: Any) -> bytes:
    picture = Image.fromarray(array)
    buffer = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(buffer, "TIFF", **options)
    return buffer.getvalue()


# --- valid ones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_colours_are_those_that_pillow_sees(mode, compression):
    array = np.dstack([RGB, ALPHA]) if mode in ("RGBA", "LA") else RGB
    data = encoded(array, mode, compression=compression)
    rgb, alpha = images.read_image(data)
    seen = np.array(Image.open(io.BytesIO(data)).convert("RGBA" if alpha is not None else "RGB"))
    assert np.array_equal(rgb, seen[..., :3])
    assert (alpha is not None) == (mode in ("RGBA", "LA"))
    assert alpha is None or np.array_equal(np.rint(alpha[..., 0] * 255), seen[..., 3])


@pytest.mark.parametrize("compression", ["jpeg", "group4", "zstd"])
def test_what_libtiff_decodes_apart_is_what_pillow_sees(compression):
    data = encoded(RGB, "1" if compression == "group4" else None, compression=compression)
    assert np.array_equal(images.read_image(data)[0], np.array(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_16_bit_colours_are_read_in_either_order(order, big):
    data = tiff(strips_of(DEEP.astype(order + "u2")), order, big, t258=(16, 16, 16))
    assert np.array_equal(images.read_image(data)[0], np.rint(DEEP / 257))


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_planes_predictors_and_tiles_of_16_bits_are_undone(compression):
    planes = np.moveaxis(DEEP, 2, 0).astype("<u2")
    if compression != 1:
        planes = np.diff(planes, axis=2, prepend=np.uint16(0))
    raw = [planes[channel, rows].tobytes() for channel in range(3) for rows in (slice(0, 20), slice(20, None))]
    coded = [zlib.compress(one) if compression == 8 else _lzw(one) if compression == 5 else one for one in raw]
    data = tiff(coded, t258=(16, 16, 16), t259=compression, t284=2, t317=1 if compression == 1 else 2, t278=20)
    assert np.array_equal(images.read_image(data)[0], np.rint(DEEP / 257))
    tiles = [np.zeros((32, 32, 3), "<u2") for _ in range(4)]
    for number, tile in enumerate(tiles):
        top, left = number // 2 * 32, number % 2 * 32
        part = DEEP[top : top + 32, left : left + 32]
        tile[: part.shape[0], : part.shape[1]] = part
    coded = [tile.tobytes() for tile in tiles]
    coded = [zlib.compress(one) if compression == 8 else _lzw(one) if compression == 5 else one for one in coded]
    data = tiff(coded, t258=(16, 16, 16), t259=compression, t278=None, t322=32, t323=32)
    assert np.array_equal(images.read_image(data)[0], np.rint(DEEP / 257))


def _lzw(data: bytes) -> bytes:
    """TIFF's LZW of only literals: a clear code before each 200 bytes, nine bits a code."""
    codes = [code for at in range(0, len(data), 200) for code in (256, *data[at : at + 200])] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("white", [0, 1])
def test_greys_of_any_depth_span_black_to_white(bits, white):
    values = np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) * 7 % (1 << bits)
    if bits == 16:
        rows = values.astype("<u2").tobytes()
    else:
        digits = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        rows = np.packbits(digits.reshape(HEIGHT, -1).astype(np.uint8), axis=1).tobytes()
    read, _ = images.read_image(tiff([rows], t258=bits, t262=white, t277=1))
    expected = np.rint(values * 255 / ((1 << bits) - 1))
    assert np.abs(read[..., 0] - (expected if white else 255 - expected)).max() <= 1


def test_colours_multiplied_by_their_alpha_become_straight():
    cover = ALPHA.astype(np.uint16) * 257
    stored = (DEEP.astype(np.uint64) * cover // 65535).astype(np.uint16)
    data = tiff(strips_of(np.concatenate([stored, cover], axis=2)), t258=(16,) * 4, t277=4, t338=1)
    rgb, alpha = images.read_image(data)
    assert np.abs(rgb - DEEP / 257.0).max() <= 2
    assert alpha is not None
    assert np.abs(alpha * 255 - ALPHA).max() < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_applied(orientation):
    from PIL import ImageOps

    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(RGB).save(buffer, "PNG", exif=exif)
    upright = np.array(ImageOps.exif_transpose(Image.open(buffer)))
    assert np.array_equal(images.read_image(tiff(strips_of(RGB), t274=orientation))[0], upright)
    assert np.array_equal(images.read_image(buffer.getvalue())[0], upright)


def test_an_open_pillow_tiff_goes_the_same_way():
    data = tiff(strips_of(DEEP.astype("<u2")), t258=(16, 16, 16))
    assert np.array_equal(images.read_image(Image.open(io.BytesIO(data)))[0], np.rint(DEEP / 257))


# --- damaged ones -----------------------------------------------------------------------------------------------------

JPEG_OF_8_ROWS = io.BytesIO()
Image.fromarray(RGB[:8]).save(JPEG_OF_8_ROWS, "JPEG")
FLAT = np.zeros((HEIGHT, WIDTH, 3), np.uint8)

DAMAGED = {
    "a strip is missing": tiff(strips_of(RGB, 4)[:3], t278=9),
    "a strip has no place": tiff(strips_of(RGB, 2), t273=(8, 0)),
    "a strip lies beyond the end": tiff(strips_of(RGB, 2), t273=(8, 10**6)),
    "more rows than data": tiff(strips_of(RGB, 1), t257=HEIGHT * 3),
    "deflate cut short": tiff([zlib.compress(RGB.tobytes())[:-900]], t259=8),
    "deflate of too little": tiff([zlib.compress(RGB[:9].tobytes())], t259=8),
    "deflate of garbage": tiff([b"\x78\x9c" + bytes(range(200))], t259=8),
    "LZW cut short": tiff([_lzw(RGB.tobytes())[:-900]], t259=5),
    "LZW of garbage": tiff([bytes(range(256)) * 4], t259=5),
    "PackBits of too little": tiff([b"\x81\x00" * 20], t259=32773),
    "a JPEG of fewer rows": tiff([JPEG_OF_8_ROWS.getvalue()], t259=7, t262=6),
    "a JPEG cut short": tiff([JPEG_OF_8_ROWS.getvalue()[:-60]], t259=7, t262=6, t257=8),
    "a JPEG that is none": tiff([bytes(500)], t259=7, t262=6),
    "fax of garbage": tiff([bytes(range(1, 256))], t259=4, t258=1, t262=0, t277=1),
    "a directory cut short": tiff(strips_of(RGB))[:-60],
    "a palette cut short": tiff(strips_of(RGB[..., :1]), t258=8, t262=3, t277=1, t320=(1, 2, 3)),
    "no width": tiff(strips_of(RGB), t256=0),
    "a million samples": tiff(strips_of(RGB), t277=10**6),
    "no bits": tiff(strips_of(RGB), t258=0),
    "tiles of no size": tiff(strips_of(RGB), t322=0, t323=0),
    "tiles of a terapixel": tiff([zlib.compress(bytes(9))], t259=8, t278=None, t322=2**31, t323=2**31),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_tiff_is_refused_whatever_memory_held_before(kind):
    for photo in range(3):
        shown = np.full((HEIGHT, WIDTH, 3), 60 * photo + 40, np.uint8)
        images.read_image(encoded(shown, compression="tiff_lzw" if photo == 0 else None))
        with pytest.raises(ImageError, match="broken|megapixels|not an image"):
            images.read_image(DAMAGED[kind])


def test_the_process_apart_tells_rows_that_were_not_decoded():
    """What the JPEG's own check would have said, were it not there."""
    with pytest.raises(ImageError, match="not decoded|broken"):
        decoded_apart.decode_apart(DAMAGED["a JPEG of fewer rows"], "The picture", 10**6)


def test_a_process_that_hangs_or_dies_is_a_refusal(monkeypatch, tmp_path):
    data = encoded(RGB, compression="jpeg")
    for code in ("import time; time.sleep(60)", "import os; os.abort()", "print('RGB 50 34 0')", ""):
        (tmp_path / "decoder.py").write_text(code)
        monkeypatch.setattr(decoded_apart, "_DECODER", str(tmp_path / "decoder.py"))
        monkeypatch.setattr(decoded_apart, "SECONDS", 1)
        with pytest.raises(ImageError, match="broken or cut short"):
            images.read_image(data)


def test_nothing_that_libtiff_says_reaches_the_terminal(capfd):
    for data in DAMAGED.values():
        with pytest.raises(ImageError):
            images.read_image(data)
    assert capfd.readouterr() == ("", "")
