"""Light sources as pictures: the ramps that tell the model where the light comes from.

In the fc workflow such a picture is the first pass's initial latent, a hint that a low `lowres_denoise` makes stronger;
in the fbc workflow it is the background, a condition the model was trained on. The env workflow has maps instead
(`environment`).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ..parameters import ANGLES, channels_of
from ..settings import LightShape

# (bright end, dark end) of a ramp, and the grey of fbc's ambient light, as the reference has them.
RAMP_ENDS = {"fc": (255, 0), "fbc": (224, 32)}
AMBIENT_GREY = 64

Floats = NDArray[np.float64]


PLAIN = LightShape()


def light_map(
    light: str, workflow: str, width: int, height: int, shape: LightShape = PLAIN
) -> NDArray[np.uint8] | None:
    """The picture that stands for a light: height x width x 3 uint8, or None where there is none to make.

    `light` is one of `parameters.LIGHTS[workflow]`. "none", "upload" and "upload-flipped" have no picture of their own,
    nor has any light of a workflow without ramps. A ramp is bright on the side the light comes from and linear in
    grey values, truncated to uint8; "front" is bright in the middle, "rim" all around, "spot" a Gaussian disc.
    """
    if workflow not in RAMP_ENDS:
        return None
    bright, dark = RAMP_ENDS[workflow]
    if light == "ambient":
        return _coloured(np.full((height, width), AMBIENT_GREY / 255), 255, 0, shape)
    if light in ANGLES and shape.falloff == 1:
        # Made of the reference's very numbers: a ramp of shares would truncate some of them differently.
        across = ANGLES[light] % 180 == 0
        ends = (dark, bright) if light in ("right", "bottom") else (bright, dark)
        ramp = np.linspace(*ends, width if across else height)
        share = np.broadcast_to(ramp[None, :] if across else ramp[:, None], (height, width))
        if (shape.colour, shape.shadow) == (PLAIN.colour, PLAIN.shadow):
            return share[..., None].repeat(3, axis=2).astype(np.uint8)
        return _coloured((share - dark) / (bright - dark), bright, dark, shape)
    shaped = brightness(light, width, height, shape)
    return None if shaped is None else _coloured(shaped, bright, dark, shape)


def brightness(light: str, width: int, height: int, shape: LightShape = PLAIN) -> Floats | None:
    """How bright a light's picture is, HxW from 0 to 1; None for a light that has no shape."""
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(1, -1, height))
    if light in ANGLES or light == "angle":
        angle = math.radians(ANGLES.get(light, shape.angle))
        towards_x, towards_y = math.cos(angle), math.sin(angle)
        # From corner to corner: 0 and 1 are reached whatever the angle.
        share = (1 + (x * towards_x + y * towards_y) / (abs(towards_x) + abs(towards_y))) / 2
    elif light in ("front", "rim"):
        near = 1 - np.hypot(x, y) / math.sqrt(2)
        share = near if light == "front" else 1 - near
    elif light == "spot":
        middle_x, middle_y, radius = shape.spot
        shorter = min(width, height)
        away = np.hypot((x + 1) / 2 * width - middle_x * width, (1 - y) / 2 * height - middle_y * height)
        share = np.exp(-0.5 * (away / (radius * shorter)) ** 2)
    else:
        return None
    return share.clip(0, 1) ** shape.falloff


def blur_hidden(backdrop: NDArray[np.uint8], matte: NDArray[np.float32], blur: float) -> NDArray[np.uint8]:
    """A background (HxWx3 uint8) blurred where a subject hides it (`matte`, HxWx1 in [0, 1]): light without detail.

    What a subject covers tells a model how bright it is there, and tempts it to draw a horizon through a face. `blur`:
    the Gaussian's sigma as a share of the shorter side; 0 changes nothing.
    """
    if blur == 0:
        return backdrop
    soft = cv2.GaussianBlur(backdrop, (0, 0), blur * min(backdrop.shape[:2]), borderType=cv2.BORDER_REFLECT)
    return (backdrop + matte * (soft.astype(np.float32) - backdrop) + 0.5).astype(np.uint8)


def _coloured(share: Floats, bright: float, dark: float, shape: LightShape) -> NDArray[np.uint8]:
    """From the shadow's colour at 0 to the light's at 1, within the workflow's bright and dark ends."""
    light, shadow = (np.array(channels_of(colour)) / 255 for colour in (shape.colour, shape.shadow))
    ends = bright * light, np.maximum(dark * light, bright * shadow)
    return (ends[1] + (ends[0] - ends[1]) * share[..., None]).astype(np.uint8)
