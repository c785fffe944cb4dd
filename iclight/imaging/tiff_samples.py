"""A TIFF's rows, decompressed, as arrays: values of any depth, integers or floats, with predictors undone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tiff_directory import Page

LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD = 5, 7, 8, 32946, 32773, 34925, 50000
INFLATED = (DEFLATE, OLD_DEFLATE)
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4  # formats of samples


def predicts(page: Page) -> bool:
    """Whether its compression knows predictors."""
    return page.compression in (LZW, LZMA, ZSTD, *INFLATED)


def white_of(page: Page) -> float:
    """The value that is white."""
    if page.formats[0] == FLOAT:
        return 1.0
    return 2.0 ** (page.bits[0] - (page.formats[0] == SIGNED)) - 1


def unpacked(page: Page, raw: bytes | memoryview, first: int, count: int) -> NDArray[Any]:
    """Some rows of a segment as count x width x samples; what has no type of its own, in 8 or 16 bits."""
    row = page.row_bytes
    bits, samples = page.bits[0], 1 if page.planar == 2 else page.samples
    rows = np.frombuffer(raw, np.uint8, count * row, first * row).reshape(count, row)
    if bits not in (8, 16, 32, 64):
        return _digits(rows, bits, page.segment_width * samples).reshape(count, page.segment_width, samples)
    size, sign = bits // 8, {SIGNED: "i", FLOAT: "f"}.get(page.formats[0], "u")
    if page.predictor == 3 and predicts(page):
        # Bytes of a row by their weight, the heaviest first, each the difference to the one before (Adobe, 2005).
        steps = np.cumsum(rows.reshape(count, -1, samples), axis=1, dtype=np.uint8)
        joined = np.ascontiguousarray(steps.reshape(count, size, -1).swapaxes(1, 2)).reshape(count, row)
        return joined.view(f">f{size}").astype(f"f{size}").reshape(count, page.segment_width, samples)
    whole = rows.view(f"{page.order}u{size}").astype(f"u{size}", copy=False)
    values = whole.reshape(count, page.segment_width, samples)
    if page.predictor == 2 and predicts(page):
        values = np.cumsum(values, axis=1, dtype=values.dtype)  # wraps around, as it should
    return values if sign == "u" else values.view(f"{sign}{size}")


def _digits(rows: NDArray[np.uint8], bits: int, count: int) -> NDArray[Any]:
    """The first `count` values of each row of packed ones, the highest bit first."""
    digits = np.unpackbits(rows, axis=1, count=count * bits).reshape(len(rows), count, bits)
    values = np.zeros((len(rows), count), np.uint8 if bits < 8 else np.uint16)
    for place in range(bits):
        values <<= 1
        values |= digits[..., place]
    return values
