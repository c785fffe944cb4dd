"""TIFFs, decoded where no error passes unseen.

libtiff, which Pillow and OpenCV use, leaves the rows that it cannot decode as memory happened to be: with what another
picture left there. Here every strip and tile must be there and unfold to its size, or the file is refused, and where
libtiff is needed it runs in a process of its own (`decoded_apart`): only to decompress (LZW, PackBits), or to decode
the whole page (JPEG, fax, kinds of samples that are not read here).

bytes -> directory -> segments -> samples -> `Canvas` or, for 16-bit data, an array.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, first_line
from . import budgets, exif
from .canvas import PART, Canvas
from .decoded_apart import decode_apart, unfold_apart
from .depths import Stored, eight_bits, sixteen_bits
from .profiles import Profile, profile_of, rgb_of_inks
from .raw_reader import read_raw
from .tiff_directory import MAGIC, UNCOMPRESSED, Damaged, Page, Unsupported, read_page
from .tiff_samples import (
    FLOAT,
    INFLATED,
    JPEG,
    LZMA,
    LZW,
    PACKBITS,
    SIGNED,
    UNDEFINED,
    UNSIGNED,
    ZSTD,
    predicts,
    unpacked,
    white_of,
)

__all__ = ["MAGIC", "read_deep_rgb", "read_tiff"]

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
# Colours of a pixel by photometric interpretation.
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}
_APART = (LZW, PACKBITS, LZMA, ZSTD)
# Bytes per pixel of a page that libtiff decodes: a strip, Pillow's picture and its upright copy there, a canvas here.
_WHOLE = 16
# ExtraSamples: associated and unassociated alpha, and what Corel Draw 10 writes for the latter.
_ASSOCIATED, _ALPHAS = 1, (1, 2, 999)


def read_tiff(data: bytes, what: str, most: int = budgets.MAX_PIXELS, keep_native: bool = False) -> Canvas:
    """The first page of a TIFF, painted: integers span their depth, floats 0 to 1, in sRGB or the file's own profile.

    `keep_native`: pixels in a space of their own are kept beside those in sRGB. Raises ImageError, opening with `what`,
    for what is damaged, of a kind that cannot be read, or too large.
    """
    profile = None
    try:
        page = read_page(data)
        if page.is_raw:
            return read_raw(data, "DNG, NEF, ARW or another TIFF of one", what, most, keep_native)
        profile = _profile(page)
        budgets.check_decode(page.width, page.height, 8, what, most)
        if _is_plain(page):
            return _paint(page, data, what, keep_native)
        budgets.check_decode(page.width, page.height, _WHOLE, what, most)
        if page.compression == JPEG:
            _check_jpegs(page, data)
    except Unsupported:
        pass
    except Damaged as error:
        raise _broken(what, error) from error
    return decode_apart(data, what, min(most, budgets.DECODE_BYTES // _WHOLE), profile=profile)


def read_deep_rgb(data: bytes, what: str, beside: float) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """HxWx3 of a TIFF that stores RGB in 8 or 16 bits, its values as they are; None for any other TIFF.

    `beside`: bytes per pixel that the caller will hold beside these. Raises ImageError like `read_tiff`.
    """
    try:
        page = read_page(data)
        unsigned = page.formats[0] in (UNSIGNED, UNDEFINED)
        if not _is_plain(page) or page.photometric != RGB or page.bits[0] not in (8, 16) or not unsigned:
            return None
        budgets.check_decode(page.width, page.height, 3 * page.bits[0] // 8 + max(_held(page), beside), what)
        out = np.zeros((page.height, page.width, 3), np.uint8 if page.bits[0] == 8 else np.uint16)
        for left, top, samples in _samples(page, data, what):
            out[top : top + samples.shape[0], left : left + samples.shape[1]] = samples[..., :3]
        return out
    except Unsupported:
        return None
    except Damaged as error:
        raise _broken(what, error) from error


def _broken(what: str, error: Exception) -> ImageError:
    return ImageError(
        "{what} is broken or cut short and cannot be decoded ({reason}). Export it again.",
        what=what,
        reason=first_line(error),
    )


def _is_plain(page: Page) -> bool:
    """Whether this module reads it; the rest is for the process apart."""
    colours = _COLOURS.get(page.photometric)
    alpha = page.extra[:1] and page.extra[0] in _ALPHAS
    depths: tuple[int, ...] = (*range(1, 17), 32, 64)
    if page.photometric == PALETTE:
        depths = (1, 2, 4, 8)
    elif page.formats[0] not in (UNSIGNED, UNDEFINED):
        depths = (8, 16, 32, 64) if page.formats[0] == SIGNED else (16, 32, 64)
    predictors = {1: True, 2: page.bits[0] in (8, 16, 32, 64), 3: page.formats[0] == FLOAT}
    return (
        colours is not None
        and page.samples >= colours
        and (page.samples == colours or page.photometric == RGB or len(page.extra) == page.samples - colours)
        and not (page.photometric == CMYK and alpha)
        and page.compression in (UNCOMPRESSED, *INFLATED, *_APART)
        and page.segment_width <= PART  # a row is unpacked at once
        and page.bits[0] in depths
        and set(page.bits) == {page.bits[0]}
        and page.formats[0] in (UNSIGNED, SIGNED, FLOAT, UNDEFINED)
        and set(page.formats) == {page.formats[0]}
        and page.fill_order == 1
        and page.planar in (1, 2)
        and (predictors.get(page.predictor, False) or not predicts(page))
    )


def _held(page: Page) -> float:
    """Bytes per pixel of the picture that unfolding takes, here and in the process apart."""
    segment = page.segment_height * page.row_bytes * _planes(page)
    if page.compression in _APART:
        # All of them: here, in Pillow's picture there, and perhaps as one strip there.
        return 3 * segment * page.across * page.down / (page.width * page.height)
    return 2 * segment / (page.width * page.height)  # zlib joins what it has unfolded


# --- segments to samples ----------------------------------------------------------------------------------------------


def _samples(page: Page, data: bytes, what: str) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """(left, top, hxwxsamples) parts of the picture, in the type that they are stored in, predictors undone."""
    unfolded = _unfolding(page, data, what)
    for number in range(page.across * page.down):
        row, column = divmod(number, page.across)
        left, top = column * page.segment_width, row * page.segment_height
        raw = [unfolded(column, row, plane) for plane in range(_planes(page))]
        height = min(page.segment_height, page.height - top)
        rows = max(1, PART // page.segment_width)
        for first in range(0, height, rows):
            count = min(rows, height - first)
            planes = [unpacked(page, plane, first, count) for plane in raw]
            samples = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
            yield left, top + first, samples[:, : page.width - left]


def _planes(page: Page) -> int:
    """How many planes of the file are read: those of the colours and of the alpha, not what comes behind them."""
    return max(_COLOURS[page.photometric], _alpha(page) + 1) if page.planar == 2 else 1


def _unfolding(page: Page, data: bytes, what: str) -> Callable[[int, int, int], bytes | memoryview]:
    """A function of a segment's column, row and plane: its rows, decompressed, as many as are shown."""
    if page.compression in _APART:
        planes = [_plane_apart(page, data, plane, what) for plane in range(_planes(page))]
        size = page.segment_height * page.row_bytes

        def from_plane(column: int, row: int, plane: int) -> bytes | memoryview:
            at = (row * page.across + column) * size
            return planes[plane][at : at + size]

        return from_plane
    return lambda column, row, plane: _unfolded(page, data, column, row, plane)


def _plane_apart(page: Page, data: bytes, plane: int, what: str) -> memoryview:
    """All segments of a plane, decompressed by libtiff, one after the other."""
    places = [page.segment(column, row, plane) for row in range(page.down) for column in range(page.across)]
    segments = [memoryview(data)[start : start + size] for start, size, _ in places]
    height = page.down * page.across * page.segment_height if page.tiled else page.height
    return unfold_apart(segments, page.compression, page.row_bytes, page.segment_height, height, what)


def _unfolded(page: Page, data: bytes, column: int, row: int, plane: int) -> bytes | memoryview:
    start, size, rows = page.segment(column, row, plane)
    wanted = rows * page.row_bytes
    coded = memoryview(data)[start : start + size]
    try:
        unfolded = coded if page.compression == UNCOMPRESSED else zlib.decompressobj().decompress(coded, wanted)
    except zlib.error as error:
        raise Damaged(str(error)) from error
    if len(unfolded) < wanted:
        raise Damaged(f"a strip or tile has {len(unfolded)} of {wanted} bytes")
    return unfolded


def _check_jpegs(page: Page, data: bytes) -> None:
    """Raise Damaged unless each segment's JPEG has its size, and an end: libtiff does not tell."""
    for plane in range(page.samples if page.planar == 2 else 1):
        for number in range(page.across * page.down):
            row, column = divmod(number, page.across)
            start, size, rows = page.segment(column, row, plane)
            coded = data[start : start + size]
            frames = (body for marker, body in exif.segments(io.BytesIO(coded)) if 0xC0 <= marker <= 0xC2)
            frame = next(frames, b"")
            if len(frame) < 6:
                raise Damaged("a strip or tile is no JPEG")
            height, width = struct.unpack(">HH", frame[1:5])
            if height < rows or width < min(page.segment_width, page.width) or b"\xff\xd9" not in coded[-64:]:
                raise Damaged(f"a strip or tile is a JPEG of {width}x{height} pixels, or cut short")


# --- samples to pixels ------------------------------------------------------------------------------------------------


def _profile(page: Page) -> Profile | None:
    profile = profile_of(page.icc) if page.icc else None
    grey, cmyk = page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO), page.photometric == CMYK
    return profile if profile is not None and profile.fits(grey, cmyk) else None


def _paint(page: Page, data: bytes, what: str, keep_native: bool) -> Canvas:
    alpha = _alpha(page)
    held = max(8, 3 + _held(page) + (alpha > 0))
    budgets.check_decode(page.width, page.height, held, what)
    orientation = page.orientation if 1 <= page.orientation <= 8 else 1
    deep = page.bits[0] > 8 and page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
    keep = keep_native and budgets.fits(page.width, page.height, held + (6 if deep else 3))
    profile = _profile(page)
    space = None if page.photometric == CMYK else profile
    canvas = Canvas(page.width, page.height, alpha > 0, orientation, space, keep, deep)
    for left, top, samples in _samples(page, data, what):
        pixels = _pixels(page, samples, profile, alpha)
        if alpha:
            cover = eight_bits(samples[..., alpha], white_of(page))
            pixels = np.concatenate([pixels, cover[..., None]], axis=2)
        stored = _tones(page, samples, alpha, np.uint16) if deep and canvas.native is not None else None
        canvas.put(left, top, pixels, stored)
    return canvas


def _alpha(page: Page) -> int:
    """Which sample is the alpha; 0 for none. A fourth sample of RGB that says nothing of itself is one."""
    colours = _COLOURS[page.photometric]
    if page.photometric == RGB and page.samples == 4 and not page.extra:
        return 3
    return colours if page.samples > colours and page.extra[:1] and page.extra[0] in _ALPHAS else 0


def _pixels(page: Page, samples: NDArray[Any], profile: Profile | None, alpha: int) -> NDArray[np.uint8]:
    """hxwx3 RGB of hxwxsamples; `profile`: that of inks makes it sRGB."""
    if page.photometric == PALETTE:
        return _palette(page)[samples[..., 0]]
    if page.photometric == CMYK:
        return rgb_of_inks(eight_bits(samples[..., :4], white_of(page)), profile)
    colours = _tones(page, samples, alpha, np.uint8)
    return colours if colours.shape[2] == 3 else np.repeat(colours, 3, axis=2)


def _tones(page: Page, samples: NDArray[Any], alpha: int, depth: type[np.uint8] | type[np.uint16]) -> Any:
    """Grey (hxwx1) or RGB (hxwx3) of hxwxsamples in 8 or 16 bits, not multiplied by their alpha."""
    if alpha and page.extra[:1] == (_ASSOCIATED,):
        return _straight(samples, alpha, depth)
    convert = eight_bits if depth is np.uint8 else sixteen_bits
    colours: Stored = convert(samples[..., : _COLOURS[page.photometric]], white_of(page))
    return ~colours if page.photometric == WHITE_IS_ZERO else colours


def _straight(samples: NDArray[Any], alpha: int, depth: type[np.uint8] | type[np.uint16]) -> Stored:
    """Colours that are stored multiplied by their alpha, without it; rounded down, as Pillow has it."""
    colours, cover = samples[..., :alpha], samples[..., alpha : alpha + 1]
    if samples.dtype.kind == "u" and samples.dtype.itemsize <= 2:
        most = np.iinfo(depth).max
        straight = (colours.astype(np.uint32) * most // np.maximum(cover, 1)).clip(0, most) * (cover > 0)
    else:
        convert = eight_bits if depth is np.uint8 else sixteen_bits
        with np.errstate(all="ignore"):
            straight = convert(colours / cover.astype(np.float64), 1) * (cover > 0)
    return straight.astype(depth)


def _palette(page: Page) -> NDArray[np.uint8]:
    size = 1 << page.bits[0]
    if len(page.colours) < 3 * size:
        raise Damaged("its palette is cut short")
    return (page.colours[: 3 * size].reshape(3, size).T >> 8).astype(np.uint8)
