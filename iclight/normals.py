"""Surface normals from four relightings: what brightens under a light faces it. `normal_maps` does the arithmetic.

Method of the reference (its fbc page's "Compute Normal"); the four differ only in the light, never in the seed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .diffusion import vae
from .diffusion.progress import OnStep
from .editing.normal_maps import (
    EXPONENT,
    FACING,
    Floats,
    encode,
    normals_from_lights,
    unit,
)
from .errors import Message, SettingsError
from .imaging import crop, images
from .imaging.images import ImageLike
from .parameters import NORMAL_LIGHTS as LIGHTS
from .parameters import NORMAL_PARAMETERS, check_parameters
from .passes import LightRun
from .relighter import Relighter, check_pictures
from .settings import Settings

BRIGHTENING = 16.0


@dataclass(frozen=True)
class Normals:
    """`normal`: hxwx3 float32 unit vectors (x right, y up, z to the viewer), (0, 0, 1) off the subject.

    `images`: nine hxwx3 uint8 pictures: the normal map, the four relative brightenings (left, right, bottom, top) and
    the four relightings. `picture` (HxWx3 uint8) and `alpha` (HxWx1) are the source, whole, `relit` (hxwx3 in [0, 1]
    by light) and `matte` (hxwx1) what the normals were made of. `settings` is complete and replayable; the other fields
    are as in `Result`.
    """

    normal: Floats
    images: list[NDArray[np.uint8]]
    settings: Settings
    picture: NDArray[np.uint8]
    foreground: NDArray[np.uint8]
    alpha: Floats
    matting: str
    model: dict[str, Any]
    seconds: float
    exponent: float
    relit: dict[str, Floats]
    matte: Floats
    matte_doubts: tuple[Message, ...] = ()

    def with_exponent(self, exponent: float) -> Normals:
        """The same relightings read as a flatter (below 5) or steeper (above) relief; no model runs."""
        check_parameters(NORMAL_PARAMETERS, {"exponent": exponent})
        normal, brightening = normals_from_lights(self.relit, self.matte, exponent)
        shown = [encode(one) for one in (normal, *brightening.values())]
        pictures = shown + [images.unit_to_pixels(self.relit[light]) for light in LIGHTS]
        # The map is blended by the matte as the reference's is; as vectors, a silhouette's are unit length, too.
        return replace(self, normal=unit(normal), images=pictures, exponent=exponent)


def estimate_normals(
    relighter: Relighter,
    image: ImageLike,
    settings: Settings | None = None,
    mask: ImageLike | None = None,
    on_step: OnStep | None = None,
    *,
    exponent: float = EXPONENT,
    matting: str | None = None,
) -> Normals:
    """Normals of a picture's subject from four fbc relightings of one seed, one image each.

    `relighter` must be loaded for fbc; `settings.light`, `light_strength` and `num_images` are not looked at.
    `exponent`, 0 to 20: how steep the relief is (`normals_from_lights`); 5 is the reference's. The other arguments and
    the errors are those of `Relighter.relight`.
    """
    started = time.perf_counter()
    if relighter.workflow != "fbc":
        raise SettingsError("Normals need the fbc workflow: load the relighter with workflow='fbc'.")
    check_parameters(NORMAL_PARAMETERS, {"exponent": exponent})
    source, own, settings = relighter.open_request(image, settings, mask, matting)
    picture = source.rgb
    settings = settings.replace(num_images=1, light_strength=1.0)
    with relighter.exclusive():
        prepared = relighter.prepare(picture, own, matting, sigma=BRIGHTENING)
        runs: list[LightRun] = [(light, None, None) for light in LIGHTS]
        decoded = relighter.passes.render_each(prepared.foreground, settings, runs, on_step)
    relit = {light: vae.to_unit(one)[0] for light, one in zip(LIGHTS, decoded, strict=True)}
    check_pictures([images.unit_to_pixels(one) for one in relit.values()])
    matte = _crop_matte(prepared.alpha, *relit["left"].shape[1::-1])
    found = Normals(
        normal=np.broadcast_to(FACING, relit["left"].shape),
        images=[],
        settings=settings,
        picture=picture,
        foreground=prepared.foreground,
        alpha=prepared.alpha,
        matting="mask" if mask is not None else prepared.matting,
        model=relighter.identity(prepared.matting),
        seconds=time.perf_counter() - started,
        exponent=exponent,
        relit=relit,
        matte=matte,
        matte_doubts=prepared.matte_doubts,
    )
    return found.with_exponent(exponent)


def _crop_matte(alpha: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    grey = (alpha[..., 0] * 255.0).clip(0, 255).astype(np.uint8)
    return crop.resize_and_center_crop(grey, width, height)[..., None].astype(np.float32) / np.float32(255)
