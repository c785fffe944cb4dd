"""Radiance .hdr: any header that the format allows, any way of its axes, RGB or XYZ, as linear sRGB.

The header is read here; OpenCV, which takes few kinds of it, is given one that it knows before the same pixels.
(Ward, "Real Pixels", Graphics Gems II; radsite.lbl.gov/radiance/refer/filefmts.pdf)
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .primaries import to_linear_srgb

MAGIC = b"#?"
_AXES = re.compile(rb"([-+])([XY])[ \t]+(\d{1,9})[ \t]+([-+])([XY])[ \t]+(\d{1,9})[ \t]*\r?\n")
_BLANK = re.compile(rb"\n[ \t]*\r?\n")
_FORMAT = re.compile(rb"^FORMAT[ \t]*=[ \t]*(\S+)", re.MULTILINE)
_PRIMARIES = re.compile(rb"^PRIMARIES[ \t]*=[ \t]*([-+.\d \t eE]+)", re.MULTILINE)
# XYZ's own corners, with a white of equal energy.
_XYZ = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3)


def read_hdr(data: bytes, what: str, check_size: Callable[[int, int, str], None]) -> NDArray[np.float32]:
    """HxWx3 float32 of a file's bytes, upright. `check_size`: raises for a width and height that are too large.

    Raises ImageError for what is damaged.
    """
    import cv2

    blank = _BLANK.search(data)
    axes = _AXES.match(data, blank.end()) if blank else None
    if blank is None or axes is None or axes[2] == axes[5]:
        raise _broken(what)
    header = data[: blank.start() + 1]
    lines, length = int(axes[3]), int(axes[6])
    check_size(*((length, lines) if axes[2] == b"Y" else (lines, length)), what)
    known = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (lines, length)
    try:
        decoded = cv2.imdecode(np.frombuffer(known + data[axes.end() :], np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _broken(what) from error
    if decoded is None or decoded.shape != (lines, length, 3):
        raise _broken(what)
    stored = decoded[..., ::-1]
    # Lines lie along the second axis that is named, from its beginning: up is +Y, right is +X.
    signs = {axes[2]: axes[1], axes[5]: axes[4]}
    upright = stored if axes[2] == b"Y" else stored.swapaxes(0, 1)
    upright = upright[:: -1 if signs[b"Y"] == b"+" else 1, :: -1 if signs[b"X"] == b"-" else 1]
    return _in_srgb(upright, header, what)


def _in_srgb(pixels: NDArray[np.float32], header: bytes, what: str) -> NDArray[np.float32]:
    kind, given = _FORMAT.search(header), _PRIMARIES.search(header)
    if kind is not None and kind[1] == b"32-bit_rle_xyze":
        corners: tuple[float, ...] = _XYZ
    elif given is not None:
        corners = tuple(float(value) for value in re.findall(rb"[-+.\deE]+", given[1])[:8])
    else:
        return pixels
    try:
        matrix = to_linear_srgb(corners).T.astype(np.float32)
    except ValueError as error:
        raise _broken(what) from error
    linear = np.empty_like(pixels)
    for row, source in zip(linear, pixels, strict=True):
        row[:] = source @ matrix
    return linear


def _broken(what: str) -> ImageError:
    return ImageError(
        "{what} is broken or cut short and cannot be decoded as {kind}. Export it again.",
        what=what,
        kind="Radiance .hdr",
    )
