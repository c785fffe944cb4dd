"""A picture that a decoder fills part by part, so that nothing but the result is ever held whole a second time.

Here stored values become sRGB, whichever decoder they come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .profiles import Profile
from .spaces import Native

Box = tuple[int, int, int, int]

# Pixels of a part: large enough to cost no time, small enough that copies of it count for nothing.
PART = 1 << 20


class Canvas:
    """An upright picture, filled in the stored one's coordinates: `rgb` HxWx3 uint8, `alpha` HxW uint8 or None.

    `width` and `height` are the stored picture's; `orientation` is EXIF's, 1 to 8, of which 5 to 8 swap the sides.
    `profile`: what the pixels mean where they are no sRGB; they become it. `keep`: as they were, they stay in `native`,
    too, where a finish may stay in their space.
    """

    def __init__(
        self,
        width: int,
        height: int,
        has_alpha: bool,
        orientation: int = 1,
        profile: Profile | None = None,
        keep: bool = False,
    ) -> None:
        sides = (width, height) if orientation >= 5 else (height, width)
        # Zeros: whatever a decoder leaves out, nothing of an earlier picture's memory shows there.
        self.rgb = np.zeros((*sides, 3), np.uint8)
        self.alpha = np.zeros(sides, np.uint8) if has_alpha else None
        self.native: Native | None = None
        self._profile = profile
        self._stored_rgb = _as_stored(self.rgb, orientation)
        if keep and profile is not None and profile.space is not None:
            self.native = Native(np.zeros_like(self.rgb), profile.space)
            self._stored_native = _as_stored(self.native.pixels, orientation)
        self._stored_alpha = None if self.alpha is None else _as_stored(self.alpha, orientation)

    def put(self, left: int, top: int, pixels: NDArray[np.uint8]) -> None:
        """Fill from (left, top) on with hxw grey, hxwx3 RGB or, if there is an alpha, hxwx4 RGBA, as it is stored."""
        height, width = pixels.shape[:2]
        place = slice(top, top + height), slice(left, left + width)
        colours = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
        if self.native is not None:
            self._stored_native[place] = colours
        self._stored_rgb[place] = self._srgb(colours)
        if self._stored_alpha is not None:
            self._stored_alpha[place] = pixels[..., 3]

    def _srgb(self, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._profile is None:
            return colours
        if self._profile.colours == "GRAY":
            return self._profile.to_srgb(colours[..., 0])
        return self._profile.to_srgb(colours if colours.shape[2] == 3 else colours.repeat(3, axis=2))


def eight_bits(values: NDArray[Any], full: float) -> NDArray[np.uint8]:
    """Stored values of any depth -> 8 bits, rounded; `full` is white, whatever values there are. NaN is black.

    `full` is a depth's largest value, and 1 for floats: what is brighter is white.
    """
    if values.dtype == np.uint8 and full == 255:
        return values
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        most = int(full)
        return ((values.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)
    scaled = np.nan_to_num(values.astype(np.float64), posinf=full, neginf=0) * (255 / full)
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def grey_canvas(
    values: NDArray[Any],
    full: float,
    orientation: int = 1,
    profile: Profile | None = None,
    clear: int | None = None,
) -> Canvas:
    """Greyscale of more than 8 bits, HxW (`eight_bits`); transparent where a value is `clear`."""
    height, width = values.shape
    canvas = Canvas(width, height, clear is not None, orientation, profile)
    for left, top, right, bottom in parts(width, height):
        part = values[top:bottom, left:right]
        grey = eight_bits(part, full)
        if clear is not None:
            grey = np.stack([grey, grey, grey, np.where(part == clear, 0, 255).astype(np.uint8)], axis=2)
        canvas.put(left, top, grey)
    return canvas


def parts(width: int, height: int) -> Iterator[Box]:
    """(left, top, right, bottom) of parts of at most `PART` pixels that cover a picture; whole rows, if they fit."""
    columns = min(width, PART)
    rows = max(1, PART // columns)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


def _as_stored(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of an upright array, in which the picture lies as its file has it."""
    if orientation >= 5:
        upright = upright.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 6, 7) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 7, 8) else 1)
    return upright[rows, columns]
