"""Surface normals from four relightings: what brightens under a light faces it.

Method of the reference (its fbc page's "Compute Normal"); the four differ only in the light, never in the seed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images
from .errors import SettingsError
from .images import ImageLike
from .progress import OnStep, share_of
from .relighter import Relighter, check_pictures
from .settings import NORMAL_LIGHTS as LIGHTS
from .settings import Settings

BRIGHTENING = 16.0
EXPONENT = 5.0
EPSILON = 1e-5


@dataclass(frozen=True)
class Normals:
    """`normal`: HxWx3 float32 unit vectors (x right, y up, z to the viewer), blended towards (0, 0, 1) off the subject.

    `images`: nine HxWx3 uint8 pictures: the normal map, the four relative brightenings (left, right, bottom, top) and
    the four relightings. `settings` is complete and replayable; the other fields are as in `Result`.
    """

    normal: NDArray[np.float32]
    images: list[NDArray[np.uint8]]
    settings: Settings
    foreground: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    matting: str
    model: dict[str, Any]
    seconds: float


def estimate_normals(
    relighter: Relighter,
    image: ImageLike,
    settings: Settings | None = None,
    mask: ImageLike | None = None,
    on_step: OnStep | None = None,
    *,
    matting: str | None = None,
) -> Normals:
    """Normals of a picture's subject from four fbc relightings of one seed, one image each.

    `relighter` must be loaded for fbc; `settings.light` and `num_images` are not looked at. The other arguments and
    the errors are those of `Relighter.relight`.
    """
    started = time.perf_counter()
    if relighter.workflow != "fbc":
        raise SettingsError("Normals need the fbc workflow: load the relighter with workflow='fbc'.")
    settings = settings or Settings.for_workflow("fbc")
    relighter.check_settings(settings)
    relighter.check_matting(matting)
    picture, alpha = images.read_image(image)
    own = alpha if mask is None else images.read_mask(mask, picture.shape[1], picture.shape[0])
    settings = relighter.complete(settings, picture).replace(num_images=1)
    with relighter.exclusive():
        prepared = relighter.prepare(picture, own, matting, sigma=BRIGHTENING)
        relit = {}
        for run, light in enumerate(LIGHTS):
            follow = share_of(on_step, run, len(LIGHTS))
            rendering = relighter.render(prepared.foreground, settings.replace(light=light), None, follow)
            relit[light] = images.to_unit(rendering.decoded)[0]
    check_pictures([images.unit_to_pixels(one) for one in relit.values()])
    matte = _crop_matte(prepared.alpha, *relit["left"].shape[1::-1])
    normal, brightening = normals_from_lights(relit, matte)
    shown = [normal, *brightening.values()]
    return Normals(
        normal=normal,
        images=[encode(one) for one in shown] + [images.unit_to_pixels(one) for one in relit.values()],
        settings=settings,
        foreground=prepared.foreground,
        alpha=prepared.alpha,
        matting="mask" if mask is not None else prepared.matting,
        model=relighter.identity(prepared.matting),
        seconds=time.perf_counter() - started,
    )


def normals_from_lights(
    relit: dict[str, NDArray[np.float32]], matte: NDArray[np.float32]
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """(HxWx3 normal, brightening per light) from relightings HxWx3 in [0, 1] by light name and an HxWx1 matte.

    A = mean of the four, d_X = (X + e) / (A + e) - 1, u = (d_right - d_left) / 2, v = (d_top - d_bottom) / 2, averaged
    over RGB; height = max(0, 1 - u^2 - v^2) ^ 5; the normal is (u, v, height) normalised.
    """
    ambient = (relit["left"] + relit["right"] + relit["bottom"] + relit["top"]) / 4
    brightening = {light: ((relit[light] + EPSILON) / (ambient + EPSILON) - 1).astype(np.float32) for light in LIGHTS}
    u = ((brightening["right"] - brightening["left"]) / 2).mean(axis=2)
    v = ((brightening["top"] - brightening["bottom"]) / 2).mean(axis=2)
    height = np.clip(1 - u**2 - v**2, 0, None) ** EXPONENT
    normal = np.stack([u, v, height], axis=2)
    # Where all three vanish there is no direction to normalise; such pixels face the viewer.
    length = np.linalg.norm(normal, axis=2, keepdims=True)
    facing = np.array([0, 0, 1], np.float32)
    normal = np.where(length > 0, normal / np.maximum(length, 1e-12), facing)
    return (normal * matte + facing * (1 - matte)).astype(np.float32), brightening


def encode(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[-1, 1] -> uint8 as normal maps are stored: 127.5 * v + 127.5, clipped, truncated."""
    return (values * 127.5 + 127.5).clip(0, 255).astype(np.uint8)


def _crop_matte(alpha: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    grey = (alpha[..., 0] * 255.0).clip(0, 255).astype(np.uint8)
    return images.resize_and_center_crop(grey, width, height)[..., None].astype(np.float32) / np.float32(255)
