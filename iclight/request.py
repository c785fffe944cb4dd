"""What a request takes beside its picture: the background or environment map that lights it, what stands behind it.

Ramps are not here: they depend on the passes' sizes (`lights.light_map`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .imaging import environment as maps
from .imaging import images
from .imaging.environment import Floats
from .imaging.images import ImageLike
from .parameters import LIGHTS
from .settings import INPUTS, Settings

NOUNS = {"light_map": "a light map", "background": "a background", "environment": "an environment map"}


def check_inputs(inputs: Mapping[str, str | None]) -> None:
    """Refuse what cannot be used before a model is loaded; `inputs` maps names of `INPUTS` to paths.

    A mask must have the picture's size and some white in it.
    """
    mask = inputs.get("mask")
    for name, source in inputs.items():
        if source is None or name == "mask":
            continue
        read = maps.read_environment if name == "environment" else images.read_image
        made = read(source, f"The {INPUTS[name]}")
        if name == "image" and mask is not None:
            height, width = made[0].shape[:2]
            images.read_mask(mask, width, height)


def read_backdrop(settings: Settings, picture: ImageLike | None) -> NDArray[np.uint8] | None:
    """The HxWx3 picture that lights an fc (a light map) or fbc request (a background); None where the light is its own.

    Flipped if the light says so.
    """
    if settings.light_input not in ("background", "light_map"):
        return None
    name = "The background" if settings.light_input == "background" else "The light map"
    pixels, _ = images.read_image(_given(settings, picture), name)
    return np.ascontiguousarray(np.fliplr(pixels)) if settings.light == "upload-flipped" else pixels


def read_map(settings: Settings, environment: ImageLike | None) -> Floats | None:
    """The env workflow's 32x32x3 map at `KEY_LEVEL`: the given panorama's, or the light's own; None elsewhere."""
    if settings.workflow != "env":
        return None
    if settings.light_input is None:
        return maps.preset(settings.light, settings.angle, settings.light_colour)
    return maps.expose(maps.to_map(maps.read_environment(_given(settings, environment))))


def read_behind(settings: Settings, behind: ImageLike | None) -> NDArray[np.uint8] | None:
    """The HxWx3 picture that finish_background "own" puts behind the subject; None where another is asked for."""
    if settings.finish_background != "own":
        return None
    if behind is None:
        raise ImageError(
            "finish_background is 'own', and no picture to put behind the subject was given: give one, or choose "
            "new, original or transparent."
        )
    return images.read_image(behind, "The picture behind")[0]


def own_lights(workflow: str) -> str:
    """The lights that need no input, in words: "left, right, top, bottom or ambient"."""
    *others, last = [light for light in LIGHTS[workflow] if not light.startswith("upload")]
    return f"{', '.join(others)} or {last}"


def _given(settings: Settings, source: ImageLike | None) -> Any:
    """The input that the light comes from. Raises ImageError if it is missing."""
    if source is None:
        name = NOUNS[settings.light_input or ""]
        raise ImageError(
            f"Light {settings.light!r} takes its light from {name}, and none was given: "
            f"give {name}, or choose {own_lights(settings.workflow)}."
        )
    return source
