"""RGB spaces that a photo may be stored in, 8 bits a value: from its numbers to light and back, without leaving it.

Light is linear and in the space's own primaries; `brightened` multiplies it in those of sRGB, in which gains are
measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .colour import LINEAR, LUMINANCE, quick_srgb
from .icc import MatrixProfile
from .primaries import FROM_XYZ

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# Steps of the way back from light, even in its square root: no 8-bit value of any common curve is skipped.
ENTRIES = 16384


class Space:
    """sRGB, and what any other has. `icc`: the profile that a picture in it carries; None for sRGB."""

    icc: bytes | None = None
    luminance: tuple[float, float, float] = LUMINANCE

    def light(self, pixels: Pixels) -> Floats:
        """Stored values (any shape x 3) -> linear light."""
        return LINEAR[pixels]

    def pixels(self, light: NDArray[np.floating]) -> Pixels:
        """Linear light -> stored values, clipped; `light` may be overwritten."""
        return quick_srgb(light)

    def brightened(self, light: Floats, gain: Floats, floor: float) -> Floats:
        """(light + floor) * gain - floor, channel by channel of linear sRGB; gain: factors, 1 is no change."""
        return (light + np.float32(floor)) * gain - np.float32(floor)

    def of_srgb(self, pixels: Pixels) -> Pixels:
        """An sRGB picture (HxWx3) as it is stored in this space; what does not fit is clipped."""
        return pixels


SRGB = Space()


@dataclass(frozen=True)
class Native:
    """A photo as its file has it: HxWx3 uint8 in a space of its own, upright."""

    pixels: Pixels
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
        self._linear = np.ascontiguousarray(profile.curves[::256])
        # By the root of light: linear steps would skip values next to black.
        light = (np.arange(ENTRIES) / (ENTRIES - 1)) ** 2
        values = np.linspace(0, 255, len(profile.curves))
        stored = [np.rint(np.interp(light, curve, values)).astype(np.uint8) for curve in profile.curves.T]
        self._stored = np.stack(stored, axis=1)
        # For row vectors.
        self._to_srgb = to_srgb.T.astype(np.float32)
        self._from_srgb = np.linalg.inv(to_srgb).T.astype(np.float32)
        red, green, blue = np.asarray(LUMINANCE) @ to_srgb
        self.luminance = float(red), float(green), float(blue)
        every = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
        back = self.pixels(self.light(every)).astype(int) - every
        if np.abs(back).max() > 2:  # next to black, tables of 16 bits end
            raise ValueError("values that show the same light")

    def light(self, pixels: Pixels) -> Floats:
        return np.stack([self._linear[pixels[..., c], c] for c in range(3)], axis=-1)

    def pixels(self, light: NDArray[np.floating]) -> Pixels:
        steps = (np.sqrt(light.clip(0, 1)) * (ENTRIES - 1) + np.float32(0.5)).astype(np.uint16)
        return np.stack([self._stored[steps[..., c], c] for c in range(3)], axis=-1)

    def brightened(self, light: Floats, gain: Floats, floor: float) -> Floats:
        return super().brightened(light @ self._to_srgb, gain, floor) @ self._from_srgb

    def of_srgb(self, pixels: Pixels) -> Pixels:
        made = np.empty_like(pixels)
        for rows in range(0, len(pixels), 256):  # copies in floats are as small as that
            made[rows : rows + 256] = self.pixels(LINEAR[pixels[rows : rows + 256]] @ self._from_srgb)
        return made
