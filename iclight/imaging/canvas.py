"""A picture that a decoder fills part by part, so that nothing but the result is ever held whole a second time.

Here stored values become sRGB, whichever decoder they come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .depths import Stored, eight_bits, sixteen_bits
from .profiles import Profile
from .spaces import SRGB, Native

Box = tuple[int, int, int, int]

# Pixels of a part: large enough to cost no time, small enough that copies of it count for nothing.
PART = 1 << 20


class Canvas:
    """An upright picture, filled in the stored one's coordinates: `rgb` HxWx3 uint8, `alpha` HxW uint8 or None.

    `width` and `height` are the stored picture's; `orientation` is EXIF's, 1 to 8, of which 5 to 8 swap the sides.
    `profile`: what the pixels mean where they are no sRGB; they become it. `keep`: as they were, they stay in `native`,
    too, where a finish may stay in their space. `deep`: they have more than 8 bits, and `native` has 16.
    """

    def __init__(
        self,
        width: int,
        height: int,
        has_alpha: bool,
        orientation: int = 1,
        profile: Profile | None = None,
        keep: bool = False,
        deep: bool = False,
    ) -> None:
        sides = (width, height) if orientation >= 5 else (height, width)
        # Zeros: whatever a decoder leaves out, nothing of an earlier picture's memory shows there.
        self.rgb = np.zeros((*sides, 3), np.uint8)
        self.alpha = np.zeros(sides, np.uint8) if has_alpha else None
        self.native: Native | None = None
        self._profile = profile
        self._stored_rgb = _as_stored(self.rgb, orientation)
        space = SRGB if profile is None else profile.space
        if keep and space is not None and (deep or space is not SRGB):
            self.native = Native(np.zeros(self.rgb.shape, np.uint16 if deep else np.uint8), space)
            self._stored_native = _as_stored(self.native.pixels, orientation)
        self._stored_alpha = None if self.alpha is None else _as_stored(self.alpha, orientation)

    def put(self, left: int, top: int, pixels: NDArray[np.uint8], stored: Stored | None = None) -> None:
        """Fill from (left, top) on with hxw grey, hxwx3 RGB or, if there is an alpha, hxwx4 RGBA, as it is stored.

        `stored`: the same colours, hxwx1 or hxwx3, in the depth of `native`, where that is another.
        """
        height, width = pixels.shape[:2]
        place = slice(top, top + height), slice(left, left + width)
        colours = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
        if self.native is not None:
            self._stored_native[place] = colours if stored is None else stored
        self._stored_rgb[place] = self._srgb(colours)
        if self._stored_alpha is not None:
            self._stored_alpha[place] = pixels[..., 3]

    def _srgb(self, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._profile is None:
            return colours
        if self._profile.colours == "GRAY":
            return self._profile.to_srgb(colours[..., 0])
        return self._profile.to_srgb(colours if colours.shape[2] == 3 else colours.repeat(3, axis=2))


def grey_canvas(
    values: NDArray[Any],
    full: float,
    orientation: int = 1,
    profile: Profile | None = None,
    clear: int | None = None,
    keep: bool = False,
) -> Canvas:
    """Greyscale of more than 8 bits, HxW (`eight_bits`); transparent where a value is `clear`. `keep`: `Canvas`'s."""
    height, width = values.shape
    canvas = Canvas(width, height, clear is not None, orientation, profile, keep, deep=True)
    for left, top, right, bottom in parts(width, height):
        part = values[top:bottom, left:right]
        grey = eight_bits(part, full)
        if clear is not None:
            grey = np.stack([grey, grey, grey, np.where(part == clear, 0, 255).astype(np.uint8)], axis=2)
        canvas.put(left, top, grey, None if canvas.native is None else sixteen_bits(part, full)[..., None])
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
