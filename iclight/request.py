"""What a request takes beside its picture: the background or environment map that lights it, what stands behind it.

Ramps are not here: they depend on the passes' sizes (`light_maps.light_map`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError, Message, Words, quoted
from .imaging import environment as maps
from .imaging import images
from .imaging.environment import Floats
from .imaging.images import ImageLike, Picture
from .parameters import LIGHTS
from .settings import INPUTS, Settings

NOUNS = {"light_map": "a light map", "background": "a background", "environment": "an environment map"}


def decode_inputs(
    inputs: Mapping[str, ImageLike | None], decode: Callable[[ImageLike, str], Picture] | None = None
) -> dict[str, ImageLike | None]:
    """A request's inputs (names of `INPUTS` -> files), each decoded once and checked before a model is loaded.

    What comes back stands wherever the files did: for the engine, for fingerprints, for recipes. Panoramas of radiance
    are checked and stay files. `decode`: how a file becomes a `Picture`; it may know it already.

    Raises ImageError for what cannot be used, and for a mask that is empty or not of the picture's size.
    """
    decode = decode or decode_file
    decoded: dict[str, ImageLike | None] = {}
    for name, source in inputs.items():
        what = Message("The {input}", input=INPUTS[name])
        if source is None:
            decoded[name] = None
        elif name == "environment":
            radiance = maps.is_radiance(source)
            decoded[name] = source if radiance else decode(source, what)
            maps.read_environment(decoded[name], what)
        else:
            decoded[name] = decode(source, what)
    picture, mask = decoded.get("image"), decoded.get("mask")
    if isinstance(mask, Picture) and isinstance(picture, Picture):
        height, width = picture.rgb.shape[:2]
        images.check_mask(mask.rgb if mask.alpha is None else mask.alpha, width, height)
    return decoded


def decode_file(source: ImageLike, what: str) -> Picture:
    """A file's `Picture`; what is one already stays it."""
    return images.read_picture(source, what)


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


def own_lights(workflow: str) -> Words:
    """The lights that need no input."""
    return Words(light for light in LIGHTS[workflow] if not light.startswith("upload"))


def check_light_given(settings: Settings, given: Collection[str]) -> None:
    """Raise ImageError if the light comes from an input that is not among the `given`, names of `INPUTS`."""
    name = settings.light_input
    if name is not None and name not in given:
        raise ImageError(
            "Light {light} takes its light from {name}, and none was given: give {name}, or choose {lights: or }.",
            light=quoted(settings.light),
            name=NOUNS[name],
            lights=own_lights(settings.workflow),
        )


def _given(settings: Settings, source: ImageLike | None) -> Any:
    """The input that the light comes from. Raises ImageError if it is missing."""
    check_light_given(settings, () if source is None else (settings.light_input or "",))
    return source
