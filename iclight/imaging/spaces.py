"""RGB spaces that a photo may be stored in, 8 or 16 bits a value: from its numbers to light and back, in the space.

Light is linear and in the space's own primaries; `brightened` multiplies it in those of sRGB, in which gains are
measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .colour import LINEAR, LUMINANCE, quick_srgb, to_linear, to_srgb
from .depths import Stored
from .icc import MatrixProfile
from .primaries import FROM_XYZ

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# Steps of the way back from light, even in its square root: no 8-bit value of any common curve is skipped. Values of 16
# bits are read between two of them.
ENTRIES = 16384
_DEEPEST = 65535


class Space:
    """sRGB, and what any other has. `icc`: the profile that a picture in it carries; None for sRGB."""

    icc: bytes | None = None
    luminance: tuple[float, float, float] = LUMINANCE

    def light(self, pixels: Stored) -> Floats:
        """Stored values (any shape x 3) -> linear light."""
        return LINEAR[pixels] if pixels.dtype == np.uint8 else _by_channel(self._deep_light, pixels)

    def pixels(self, light: NDArray[np.floating], depth: DTypeLike = np.uint8) -> Stored:
        """Linear light -> stored values in `depth` (uint8 or uint16), clipped; `light` may be overwritten."""
        return quick_srgb(light) if np.dtype(depth) == np.uint8 else _deep_pixels(self._deep_values, light)

    @cached_property
    def _deep_light(self) -> Floats:
        """The light of each value of 16 bits, 65536 x 1 or x 3."""
        return to_linear(np.arange(_DEEPEST + 1) / _DEEPEST).astype(np.float32)[:, None]

    @cached_property
    def _deep_values(self) -> Floats:
        """Values from 0 to 65535 by the root of light, `ENTRIES` x 1 or x 3."""
        return (to_srgb(_steps()) * _DEEPEST).astype(np.float32)[:, None]

    def brightened(self, light: Floats, gain: Floats, floor: float) -> Floats:
        """(light + floor) * gain - floor, channel by channel of linear sRGB; gain: factors, 1 is no change."""
        return (light + np.float32(floor)) * gain - np.float32(floor) if floor else light * gain

    def of_srgb(self, pixels: Pixels) -> Pixels:
        """An sRGB picture (HxWx3 uint8) as it is stored in this space; what does not fit is clipped."""
        return pixels


SRGB = Space()


@dataclass(frozen=True)
class Native:
    """A photo as its file has it: HxWx3 in its own space, upright; uint16 where it has more than 8 bits a value."""

    pixels: Stored
    space: Space


class MatrixSpace(Space):
    """Three primaries and a curve each, as an RGB profile (`icc`, read as `profile`) has them.

    Raises ValueError where there is no way back from its light.
    """

    def __init__(self, icc: bytes, profile: MatrixProfile) -> None:
        if profile.to_xyz is None:
            raise ValueError("grey")
        to_srgb = FROM_XYZ @ profile.to_xyz
        if abs(np.linalg.det(to_srgb)) < 1e-3:
            raise ValueError("primaries in one plane")
        self.icc = icc
        self._curves = profile.curves
        self._linear = np.ascontiguousarray(profile.curves[::256])
        self._stored = np.rint(self._values(255)).astype(np.uint8)
        # For row vectors.
        self._to_srgb = to_srgb.T.astype(np.float32)
        self._from_srgb = np.linalg.inv(to_srgb).T.astype(np.float32)
        red, green, blue = np.asarray(LUMINANCE) @ to_srgb
        self.luminance = float(red), float(green), float(blue)
        every = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
        back = self.pixels(self.light(every)).astype(int) - every
        if np.abs(back).max() > 2:  # next to black, tables of 16 bits end
            raise ValueError("values that show the same light")

    def _values(self, most: int) -> NDArray[np.float64]:
        """What is stored, from 0 to `most`, by the root of light: linear steps would skip values next to black."""
        values = np.linspace(0, most, len(self._curves))
        return np.stack([np.interp(_steps(), curve, values) for curve in self._curves.T], axis=1)

    @cached_property
    def _deep_light(self) -> Floats:
        at, known = np.linspace(0, 1, _DEEPEST + 1), np.linspace(0, 1, len(self._curves))
        return np.stack([np.interp(at, known, curve) for curve in self._curves.T], axis=1).astype(np.float32)

    @cached_property
    def _deep_values(self) -> Floats:
        return self._values(_DEEPEST).astype(np.float32)

    def light(self, pixels: Stored) -> Floats:
        return _by_channel(self._linear if pixels.dtype == np.uint8 else self._deep_light, pixels)

    def pixels(self, light: NDArray[np.floating], depth: DTypeLike = np.uint8) -> Stored:
        if np.dtype(depth) != np.uint8:
            return _deep_pixels(self._deep_values, light)
        steps = (np.sqrt(light.clip(0, 1)) * (ENTRIES - 1) + np.float32(0.5)).astype(np.uint16)
        return np.stack([self._stored[steps[..., c], c] for c in range(3)], axis=-1)

    def brightened(self, light: Floats, gain: Floats, floor: float) -> Floats:
        return super().brightened(light @ self._to_srgb, gain, floor) @ self._from_srgb

    def of_srgb(self, pixels: Pixels) -> Pixels:
        made = np.empty_like(pixels)
        for rows in range(0, len(pixels), 256):  # copies in floats are as small as that
            made[rows : rows + 256] = self.pixels(LINEAR[pixels[rows : rows + 256]] @ self._from_srgb)
        return made


def _steps() -> NDArray[np.float64]:
    """The light of the entries of a table by its root."""
    return (np.arange(ENTRIES) / (ENTRIES - 1)) ** 2


def _by_channel(table: Floats, indices: NDArray[np.integer]) -> Floats:
    """A table's entries (N x 1 or x 3) for indices (any shape x 3)."""
    last = table.shape[1] - 1
    return np.stack([table[indices[..., c], min(c, last)] for c in range(3)], axis=-1)


def _deep_pixels(table: Floats, light: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Linear light (any shape x 3) -> values of 16 bits, straight between a table's entries by the root of light."""
    at = np.sqrt(light.clip(0, 1)) * np.float32(ENTRIES - 1)
    low = at.astype(np.uint16).clip(0, ENTRIES - 2)
    below = _by_channel(table, low)
    return (below + (at - low) * (_by_channel(table, low + 1) - below) + np.float32(0.5)).astype(np.uint16)
