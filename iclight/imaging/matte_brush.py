"""Correct a matte by hand: green strokes add to the subject, red ones take away."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

ADD, REMOVE = "#00d000", "#e00000"
LARGEST = 1024  # pixels: painting needs no more, and a browser works with less
# What is not subject, when a matte is shown: a fifth of its brightness, over dark blue.
VEIL = np.array([24, 32, 64], np.float32)


def canvas(picture: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What is painted on: the HxWx3 picture, at most `LARGEST` pixels a side, veiled where the matte (HxWx1) is 0."""
    scale = min(1.0, LARGEST / max(picture.shape[:2]))
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    matte = cv2.resize(alpha[..., 0], size, interpolation=cv2.INTER_AREA)[..., None]
    return np.rint(small * matte + (0.2 * small + VEIL) * (1 - matte)).clip(0, 255).astype(np.uint8)


def retouched(alpha: NDArray[np.float32], strokes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A matte (HxWx1, 0 to 1) after strokes (hxwx4 uint8 of any size, transparent where nothing was painted).

    Raises ImageError if nothing of the subject is left.
    """
    height, width = alpha.shape[:2]
    layer = strokes.astype(np.float32) / 255
    if layer.shape[:2] != (height, width):
        layer = cv2.resize(layer, (width, height), interpolation=cv2.INTER_LINEAR)
    covers = layer[..., 3:]
    wanted = (layer[..., 1:2] >= layer[..., :1]).astype(np.float32)
    made: NDArray[np.float32] = (alpha * (1 - covers) + wanted * covers).astype(np.float32)
    if not (made > 0.5).any():
        raise ImageError("Nothing of the subject is left: paint green where it is.")
    return made
