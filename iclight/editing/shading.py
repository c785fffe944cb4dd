"""Relight by normals: a picture under a light from any direction, at once and without a model.

The picture is taken to have been lit from the camera. Each place is multiplied, in linear light, by what a matt
surface of its normal would show under the new light over what it shows under that one, so a light from the front
leaves the picture as it is. Nothing casts a shadow and nothing shines: it is a preview, and it is live.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..imaging.colour import linear_colour
from ..imaging.crop import enlarged, stripes
from ..imaging.depths import Stored
from ..imaging.images import check_pixels
from ..imaging.spaces import SRGB, Space
from ..parameters import SHADE_PARAMETERS, check_parameters

Floats = NDArray[np.float32]

DEFAULTS: dict[str, Any] = {name: parameter.default for name, parameter in SHADE_PARAMETERS.items()}
# How many times brighter than the photo a place may become: the ratio grows without bound where a surface turns away
# from the camera, and estimated normals are at their worst there.
BRIGHTEST = 3.0


def towards(angle: float, elevation: float) -> Floats:
    """The unit vector to a light; x right, y up, z to the camera.

    `angle` in degrees, counter-clockwise from the right as the camera sees it; `elevation` in degrees from the
    picture's plane: 90 stands at the camera, 0 beside the subject, below 0 behind it.
    """
    turned, raised = math.radians(angle), math.radians(elevation)
    level = math.cos(raised)
    return np.array([level * math.cos(turned), level * math.sin(turned), math.sin(raised)], np.float32)


def shade(
    image: Stored,
    normal: Floats,
    alpha: Floats | None = None,
    angle: float = DEFAULTS["angle"],
    elevation: float = DEFAULTS["elevation"],
    colour: str = DEFAULTS["colour"],
    ambient: float = DEFAULTS["ambient"],
    strength: float = DEFAULTS["strength"],
    space: Space = SRGB,
) -> Any:
    """A picture (HxWx3, uint8 or uint16) under a light from `angle` and `elevation` (see `towards`), in the same type.

    `normal`: unit vectors, HxWx3, or hxwx3 of the engine's smaller crop, which is enlarged to where it was cropped
    from. `alpha` HxWx1 in [0, 1], or None for all of it: where it is 0 the picture stays to the byte. `colour`: the
    light's, sRGB "#rrggbb". `ambient` from 0 to 1: the share of light that comes from everywhere, white. `strength`
    from 0 (the picture as it is) to 1.5. `space`: the colours of the picture, in which the result is, too.

    Gain = (ambient + (1 - ambient) max(0, n . l) colour) / (ambient + (1 - ambient) max(0, n_z)), at most `BRIGHTEST`,
    to the power of `strength` (Lambert's law, in linear light). Raises SettingsError or ImageError.
    """
    height, width = check_pixels(image, (np.uint8, np.uint16))
    if normal.ndim != 3 or normal.shape[2] != 3 or not normal.size:
        raise ImageError("The normals have shape {shape}; give HxWx3.", shape=normal.shape)
    if alpha is not None and alpha.shape != (height, width, 1):
        raise ImageError(
            "The matte has shape {shape}; give {wanted}, the picture's size.",
            shape=alpha.shape,
            wanted=f"{height}x{width}x1",
        )
    light = {"angle": angle, "elevation": elevation, "colour": colour, "ambient": ambient, "strength": strength}
    check_parameters(SHADE_PARAMETERS, light)
    tint = np.array(linear_colour(colour), np.float32)
    toward = towards(angle, elevation)
    made = image.copy()
    if strength == 0:
        return made
    fits = normal.shape[:2] == (height, width)
    for rows in stripes(height):
        cover = None if alpha is None else alpha[rows]
        if cover is not None and not cover.any():
            continue
        facing = normal[rows] if fits else enlarged(normal, rows, width, height)
        gain = _gain(facing, toward, tint, ambient, strength)
        if cover is not None:
            gain = 1 + cover * (gain - 1)
        pixels = space.pixels(space.brightened(space.light(image[rows]), gain, 0), image.dtype)
        # A gain of 1 must not even round.
        made[rows] = np.where(gain == 1, image[rows], pixels)
    return made


def _gain(normal: Floats, light: Floats, tint: Floats, ambient: float, strength: float) -> Floats:
    """hxwx3, or hxwx1 for white light."""
    fill, key = np.float32(ambient), np.float32(1 - ambient)
    lit = cv2.transform(normal, np.stack([light, np.array([0, 0, 1], np.float32)])).clip(0, None)
    before = (fill + key * lit[..., 1:]).clip(1e-3, None)
    after = lit[..., :1] if tint.min() == tint.max() == 1 else lit[..., :1] * tint
    gain = np.minimum((fill + key * after) / before, np.float32(BRIGHTEST))
    return gain if strength == 1 else np.power(gain.clip(1e-4, None), np.float32(strength))
