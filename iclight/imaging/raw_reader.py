"""Cameras' raw files, developed in a process that holds nothing but the file (`decoded_apart`), where rawpy is here."""

from __future__ import annotations

import importlib.util

from . import budgets, formats
from .canvas import Canvas
from .decoded_apart import decode_apart

# Bytes per pixel there (measured): the sensor's values, four planes of 16 bits, and RGB of 16 bits.
_WHOLE = 19


def read_raw(data: bytes, name: str, what: str, most: int = budgets.MAX_PIXELS, keep_native: bool = False) -> Canvas:
    """A raw file of format `name`, developed and upright.

    Raises ImageError for what is damaged or too large, and without rawpy, which is LibRaw, for any.
    """
    if importlib.util.find_spec("rawpy") is None:
        raise formats.refuse_raw(name, what)
    return decode_apart(data, what, min(most, budgets.DECODE_BYTES // _WHOLE), "RAW", keep_native=keep_native)
