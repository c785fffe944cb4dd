"""HEIC, what phones take pictures in: decoded in a process that holds nothing but the file (`decoded_apart`)."""

from __future__ import annotations

import importlib.util
import struct

from ..errors import ImageError
from . import budgets
from .canvas import Canvas
from .decoded_apart import decode_apart

# Bytes per pixel: planes, RGB and its upright copy there, a canvas here.
_WHOLE = 16


def read_heic(data: bytes, what: str, most: int = budgets.MAX_PIXELS, keep_native: bool = False) -> Canvas:
    """The picture of a HEIC file, upright. Raises ImageError for what is damaged or too large."""
    if importlib.util.find_spec("pi_heif") is None:
        raise ImageError(
            "{what} is a HEIC file, for which {package} is missing: install it ({command}), or save the picture as "
            "JPEG.",
            what=what,
            package="pi-heif",
            command="pip install pi-heif",
        )
    for width, height in _sizes(data):
        budgets.check_decode(width, height, _WHOLE, what, most)
    keep = keep_native and all(budgets.fits(width, height, _WHOLE + 6) for width, height in _sizes(data))
    return decode_apart(data, what, min(most, budgets.DECODE_BYTES // _WHOLE), "HEIF", keep_native=keep)


def _sizes(data: bytes) -> list[tuple[int, int]]:
    """(width, height) of all that the file holds, by its "ispe" boxes: the picture's tiles, and the picture."""
    found: list[tuple[int, int]] = []
    at = data.find(b"ispe")
    while at >= 0 and len(found) < 1000 and len(data) >= at + 16:
        width, height = struct.unpack_from(">II", data, at + 8)
        found.append((width, height))
        at = data.find(b"ispe", at + 4)
    return [(width, height) for width, height in found if width and height]
