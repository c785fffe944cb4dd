"""Where the engine's crop lies in the picture it was cut from: small planes and pictures brought to the file's size."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from . import images

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

STRIPE = 256


def crop_of(small_width: int, small_height: int, width: int, height: int) -> tuple[float, float, float]:
    """How the engine cropped: full-size pixels per small pixel, and the crop's left and top in full-size pixels."""
    scale = min(width / small_width, height / small_height)
    return scale, (width - small_width * scale) / 2, (height - small_height * scale) / 2


def enlarged(plane: Floats, rows: slice, width: int, height: int) -> Floats:
    """The rows of a small plane (hxwxC) enlarged to where it was cropped from; beyond the crop its border goes on."""
    scale, left, top = crop_of(plane.shape[1], plane.shape[0], width, height)
    # Pixel centres: small = (full + 0.5 - offset) / scale - 0.5.
    to_small = np.array(
        [[1 / scale, 0, (0.5 - left) / scale - 0.5], [0, 1 / scale, (rows.start + 0.5 - top) / scale - 0.5]]
    )
    size = (width, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    made = cv2.warpAffine(plane, to_small, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return made if made.ndim == 3 else made[..., None]


def placed(picture: Pixels, width: int, height: int, background: Pixels) -> Pixels:
    """A small picture enlarged to where it was cropped from, in width x height filled up by `background`."""
    scale, left, top = crop_of(picture.shape[1], picture.shape[0], width, height)
    inner = images.resize(picture, max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    made = background.copy()
    y, x = max(0, round(top)), max(0, round(left))
    part = inner[: height - y, : width - x]
    made[y : y + part.shape[0], x : x + part.shape[1]] = part
    return made


def stripes(height: int) -> Iterator[slice]:
    """Rows of a picture, a stripe at a time."""
    for start in range(0, height, STRIPE):
        yield slice(start, min(height, start + STRIPE))
