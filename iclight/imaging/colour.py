"""Between stored pixels and light: the sRGB transfer curve, luminance. Light adds up in linear values only.

Every function takes NumPy arrays or torch tensors and gives back the same kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..parameters import channels_of, hex_colour

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", "np.ndarray", "torch.Tensor")

# Rec. 709 weights of linear red, green and blue in luminance; sRGB has the same primaries.
LUMINANCE = (0.2126, 0.7152, 0.0722)
# Steps of `quick_srgb`'s table: enough that even next to black, where the curve is steepest, no level is skipped.
ENTRIES = 16384


def to_linear(srgb: Array) -> Array:
    """sRGB values in [0, 1] -> linear light in [0, 1] (IEC 61966-2-1)."""
    low = srgb / 12.92
    high = ((srgb.clip(0.04045, None) + 0.055) / 1.055) ** 2.4
    return _choose(srgb <= 0.04045, low, high)


def to_srgb(linear: Array) -> Array:
    """Linear light -> sRGB values, both clipped to [0, 1]."""
    light = linear.clip(0, 1)
    low = light * 12.92
    high = 1.055 * light.clip(0.0031308, None) ** (1 / 2.4) - 0.055
    return _choose(light <= 0.0031308, low, high)


def _choose(where: Array, one: Array, other: Array) -> Array:
    if isinstance(one, np.ndarray):
        return np.where(where, one, other).astype(one.dtype)
    return one.where(where, other)


# Full-size pixels, through a table: 8-bit sRGB to linear light.
LINEAR = to_linear(np.arange(256, dtype=np.float32) / np.float32(255))
_PIXELS = (to_srgb(np.arange(ENTRIES, dtype=np.float32) / (ENTRIES - 1)) * 255 + 0.5).astype(np.uint8)


def quick_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light (float32, any shape) -> uint8 sRGB, clipped, through a table; `light` is overwritten.

    A power for every pixel of every frame would be too slow to drag a slider.
    """
    np.multiply(light, np.float32(ENTRIES - 1), out=light)
    np.add(light, np.float32(0.5), out=light)
    np.clip(light, 0, ENTRIES - 1, out=light)
    return _PIXELS[light.astype(np.uint16)]


def linear_colour(colour: str) -> tuple[float, float, float]:
    """ "#rrggbb" (sRGB), or any other way `hex_colour` reads -> linear red, green, blue from 0 to 1.

    Raises SettingsError for what is no colour.
    """
    red, green, blue = (float(LINEAR[part]) for part in channels_of(hex_colour(colour)))
    return red, green, blue
