"""What the nodes do, on ComfyUI's tensors; nothing of ComfyUI is imported. Every function gives a tuple of outputs.

Errors are iclight's: their text says what to do, and ComfyUI shows it at the node.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from iclight import Relighter, Settings
from iclight.editing.finish import apply_light
from iclight.editing.gain_map import measure_gain
from iclight.editing.mixing import LightMix, LightWeight, parse_colour
from iclight.editing.normal_maps import flip_green, unit
from iclight.editing.shading import shade
from iclight.errors import ImageError
from iclight.imaging import environment as maps
from iclight.imaging.images import read_mask
from iclight.normals import estimate_normals
from iclight.olat import OLATResult, relight_olat
from iclight.parameters import LIGHTS

from .arrays import as_image, as_mask, each_of, masks_of, pictures_of
from .progress import follow

# A light of "auto": the workflow's own, or the picture that was connected.
AUTO = "auto"


@functools.lru_cache(maxsize=2)
def _loaded(model: str, workflow: str, offset: str, device: str, dtype: str, speed: str, matting: str) -> Relighter:
    return Relighter.load(model, workflow, offset or None, matting, device, dtype, speed=speed)


def load(**asked: str) -> tuple[Relighter]:
    """A model for a workflow; the last two stay in memory."""
    return (_loaded(**asked),)


def settings(**values: Any) -> tuple[dict[str, Any]]:
    """Every parameter, to be given to nodes that light; a width or height of 0 follows the picture."""
    return ({name: None if name in ("width", "height") and not value else value for name, value in values.items()},)


def _asked(model: Relighter, light: str, given: bool, settings: dict[str, Any] | None, **values: Any) -> Settings:
    """What to make: the model's defaults, then the settings that were connected, then the node's own.

    `given`: whether a picture that lights was connected.
    """
    asked = {**model.defaults, **(settings or {}), **values}
    if light != AUTO:
        asked["light"] = light
    elif model.workflow == "fc" and given:
        asked["light"] = "upload"
    return Settings.for_workflow(model.workflow, **asked)


def relight(
    model: Relighter,
    image: torch.Tensor,
    prompt: str,
    light: str,
    seed: int,
    mask: torch.Tensor | None = None,
    background: torch.Tensor | None = None,
    environment: Any = None,
    settings: dict[str, Any] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Each picture of the batch lit: the pictures, the foregrounds that the model saw, the mattes.

    `background` is the light map in workflow fc. Raises SettingsError, ImageError, ModelError, OutOfMemory.
    """
    pictures = pictures_of(image)
    mattes, grounds = masks_of(mask, len(pictures)), each_of(background, len(pictures), "what lights them")
    asked = _asked(model, light, background is not None, settings, prompt=prompt, seed=seed)
    results = [
        model.relight(
            picture,
            asked,
            ground if model.workflow == "fbc" else None,
            matte,
            follow(number, len(pictures)),
            environment=environment,
            light_map=ground if model.workflow == "fc" else None,
        )
        for number, (picture, matte, ground) in enumerate(zip(pictures, mattes, grounds, strict=True))
    ]
    lit = [one for result in results for one in result.images]
    return as_image(lit), as_image([one.foreground for one in results]), as_mask([one.alpha for one in results])


def finish(
    photo: torch.Tensor, relit: torch.Tensor, strength: float, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor]:
    """The light of a relighting, whoever made it, on the photo's own pixels at the photo's own size.

    Several relightings of one photo are averaged.
    """
    (picture,) = _one(photo, "photo")
    alpha = _matte(mask, picture)
    light = measure_gain([one[..., :3] for one in pictures_of(relit)], picture, alpha)
    return (as_image([apply_light(picture, light, alpha, strength)]),)


def lights(
    model: Relighter,
    image: torch.Tensor,
    prompt: str,
    seed: int,
    mask: torch.Tensor | None = None,
    settings: dict[str, Any] | None = None,
) -> tuple[OLATResult, torch.Tensor]:
    """One relighting for each light of the desk: what `mix` takes, and the pictures in the desk's order."""
    (picture,) = _one(image, "picture", alpha=True)
    (matte,) = masks_of(mask, 1)
    light = next(one for one in LIGHTS[model.workflow] if not one.startswith("upload"))
    asked = _asked(model, light, False, settings, prompt=prompt, seed=seed)
    made = relight_olat(model, picture, asked, mask=matte, on_step=follow())
    return made, as_image(list(made.stack.pictures.values()))


def mix(lights: OLATResult, exposure: float, **channels: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A mixture of lights as the model drew it, and on the photo's own pixels.

    `channels`: a light's name -> its strength, and NAME_colour -> its colour; lights that the desk lacks are left out.
    """
    stack: LightMix = lights.stack
    asked = {
        name: LightWeight(channels[name], parse_colour(channels[f"{name}_colour"]))
        for name in stack.pictures
        if name in channels
    }
    return as_image([stack.mix(asked, exposure)]), as_image([_eight(lights.export(asked, exposure))])


def normals(
    model: Relighter,
    image: torch.Tensor,
    prompt: str,
    seed: int,
    exponent: float,
    green: str,
    mask: torch.Tensor | None = None,
    settings: dict[str, Any] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The surface's normals as a map (an IMAGE of floats, not of 8 bits), and the matte; the model is for fbc."""
    (picture,) = _one(image, "picture", alpha=True)
    (matte,) = masks_of(mask, 1)
    light = next(one for one in LIGHTS[model.workflow] if not one.startswith("upload"))
    asked = _asked(model, light, False, settings, prompt=prompt, seed=seed)
    made = estimate_normals(model, picture, asked, matte, follow(), exponent=exponent)
    shown = flip_green(made.normal, green) / 2 + 0.5
    return torch.from_numpy(shown[None].astype(np.float32)), as_mask([made.alpha])


def shade_picture(
    image: torch.Tensor, normals: torch.Tensor, green: str, mask: torch.Tensor | None = None, **light: Any
) -> tuple[torch.Tensor]:
    """Pictures under a light from any direction, by a normal map of iclight's or of another program; no model runs.

    `light`: the parameters of `SHADE_PARAMETERS`.
    """
    pictures = pictures_of(image)
    maps_of = normals.detach().cpu().float().numpy()[..., :3] * 2 - 1
    if len(maps_of) not in (1, len(pictures)):
        raise ImageError(f"There are {len(maps_of)} normal maps for {len(pictures)} pictures.")
    made = []
    for number, (picture, matte) in enumerate(zip(pictures, masks_of(mask, len(pictures)), strict=True)):
        normal = unit(flip_green(maps_of[min(number, len(maps_of) - 1)], green))
        pixels = np.ascontiguousarray(picture[..., :3])
        alpha = None if matte is None else _matte(torch.from_numpy(matte), pixels)
        made.append(shade(pixels, normal, alpha, **light))
    return (as_image(made),)


def environment(path: str, image: torch.Tensor | None = None) -> tuple[Any, torch.Tensor]:
    """A panorama's radiance, of a file (.hdr, .exr, a picture) or of an IMAGE, and a look at it as the model sees it.

    Raises ImageError for what cannot be used.
    """
    if image is None and not path.strip():
        raise ImageError("Give a panorama: a file's path, or connect a picture.")
    source = pictures_of(image)[0] if image is not None else path.strip()
    radiance = maps.read_environment(source)
    return radiance, as_image([maps.preview(maps.expose(maps.to_map(radiance)))])


def _one(image: torch.Tensor, what: str, alpha: bool = False) -> list[Any]:
    pictures = pictures_of(image)
    if len(pictures) != 1:
        raise ImageError(f"This node takes one {what}, and {len(pictures)} were connected.")
    return pictures if alpha else [np.ascontiguousarray(pictures[0][..., :3])]


def _matte(mask: torch.Tensor | None, picture: Any) -> Any:
    """HxWx1 of a picture's size; everything where there is no mask."""
    height, width = picture.shape[:2]
    if mask is None:
        return np.ones((height, width, 1), np.float32)
    (plane,) = masks_of(mask, 1)
    return read_mask(plane, width, height)


def _eight(picture: Any) -> Any:
    return picture if picture.dtype == np.uint8 else (picture / 257).round().astype(np.uint8)
