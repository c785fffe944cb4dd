"""How many bits a stored value has: integers that span 8 or 16 of them, to which values of other depths are brought."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Stored values, HxWxC: uint8, or uint16 where the file has more than 8 bits a value.
Stored = NDArray[np.uint8] | NDArray[np.uint16]

_ROWS = 256


def eight_bits(values: NDArray[Any], full: float) -> NDArray[np.uint8]:
    """Stored values of any depth -> 8 bits, rounded; `full` is white, whatever values there are. NaN is black.

    `full` is a depth's largest value, and 1 for floats: what is brighter is white.
    """
    return _spanning(values, full, 255).astype(np.uint8, copy=False)


def sixteen_bits(values: NDArray[Any], full: float) -> NDArray[np.uint16]:
    """The same -> 16 bits."""
    return _spanning(values, full, 65535).astype(np.uint16, copy=False)


def _spanning(values: NDArray[Any], full: float, most: int) -> NDArray[Any]:
    if full == most and values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return values
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        white = int(full)
        return (values.astype(np.uint32) * most + white // 2) // white
    scaled = np.nan_to_num(values.astype(np.float64), posinf=full, neginf=0) * (most / full)
    return np.rint(scaled.clip(0, most))


def to_depth(pixels: Stored, depth: DTypeLike) -> Any:
    """Stored values in 8 or 16 bits as `depth` (uint8 or uint16), rounded; whole pictures, a few rows at a time."""
    if pixels.dtype == depth:
        return pixels
    converted = np.empty(pixels.shape, depth)
    convert, full = (eight_bits, 65535) if converted.dtype == np.uint8 else (sixteen_bits, 255)
    for start in range(0, len(pixels), _ROWS):
        converted[start : start + _ROWS] = convert(pixels[start : start + _ROWS], full)
    return converted
