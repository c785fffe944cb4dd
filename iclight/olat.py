"""Relight a picture once per light, to mix the lights afterwards (`mixing`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .diffusion import vae
from .diffusion.progress import OnStep
from .editing import gain_map
from .editing.mixing import AMBIENT, LightMix, LightWeight
from .errors import Message, SettingsError
from .imaging.images import ImageLike
from .imaging.spaces import Native
from .parameters import DIRECTIONS, LIGHTS
from .passes import LightRun
from .relighter import Relighter, check_pictures
from .request import read_backdrop, read_map
from .settings import Settings

# What a mixing desk starts with, where the workflow has them. ("none", fc's run without a direction, is no light.)
DESK = (*DIRECTIONS, AMBIENT)


@dataclass(frozen=True)
class OLATResult:
    """The desk's material: `stack`, a picture per light; the source `picture` and its `alpha` (HxWx1), whole.

    `native`: the source in its own colours and depth, None where these are sRGB of 8 bits.
    `settings` is complete and replayable, but for the light, which takes each of the stack's names in turn.
    """

    stack: LightMix
    picture: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    settings: Settings
    matting: str
    model: dict[str, Any]
    seconds: float
    matte_doubts: tuple[Message, ...] = ()
    native: Native | None = None

    @property
    def icc(self) -> bytes | None:
        """The profile that `export` is in, None for sRGB."""
        return None if self.native is None else self.native.space.icc

    @property
    def residual(self) -> float | None:
        """`LightMix.residual` inside the subject's matte."""
        return self.stack.residual(gain_map.fit_matte(self.alpha, self.picture.shape, *self.stack.size))

    def export(self, channels: Mapping[str, LightWeight], exposure: float = 0.0) -> Any:
        """The mixture at the source's own resolution, in its colours (`icc`) and depth, its background as it was."""
        return self.stack.export(channels, self.picture, self.alpha, exposure, self.native)


def desk_lights(workflow: str) -> list[str]:
    """The lights that a stack of this workflow has if nothing else is asked for."""
    return [light for light in DESK if light in LIGHTS[workflow]]


def relight_olat(
    relighter: Relighter,
    image: ImageLike,
    settings: Settings | None = None,
    lights: Sequence[str] | None = None,
    mask: ImageLike | None = None,
    on_step: OnStep | None = None,
    *,
    own: Mapping[str, ImageLike] | None = None,
    matting: str | None = None,
) -> OLATResult:
    """One relighting for each light, all of one seed, one picture each.

    `lights`: names of the workflow's lights, by default `desk_lights`. `own`: the caller's lights, name ->
    light map (fc), background (fbc) or environment map (env). The rest, and the errors, are those of
    `Relighter.relight`.
    """
    started = time.perf_counter()
    source, matte, settings = relighter.open_request(image, settings, mask, matting)
    picture = source.rgb
    # Lights add up as the model draws them; how strong each is, the faders say.
    settings = settings.replace(num_images=1, light_strength=1.0)
    runs = _runs(settings, desk_lights(settings.workflow) if lights is None else lights, own or {})
    with relighter.exclusive():
        prepared = relighter.prepare(picture, matte, matting)
        decoded = relighter.passes.render_each(prepared.foreground, settings, list(runs.values()), on_step)
    made = {name: vae.to_pixels(one)[0] for name, one in zip(runs, decoded, strict=True)}
    check_pictures(list(made.values()))
    return OLATResult(
        LightMix(made),
        picture,
        prepared.alpha,
        settings,
        "mask" if mask is not None else prepared.matting,
        relighter.identity(prepared.matting),
        time.perf_counter() - started,
        prepared.matte_doubts,
        source.native,
    )


def _runs(settings: Settings, lights: Sequence[str], own: Mapping[str, ImageLike]) -> dict[str, LightRun]:
    """Name -> light, background and map of each run; everything is read and checked before the first."""
    if twice := sorted(set(lights) & set(own)):
        raise SettingsError(
            "{names} is a light of its own name already; call yours something else.", names=", ".join(twice)
        )
    if not lights and not own:
        raise SettingsError("Name a light to mix: {lights}.", lights=", ".join(desk_lights(settings.workflow)))
    runs: dict[str, LightRun] = {}
    for name in (*lights, *own):
        if name.startswith("upload"):
            raise SettingsError("Give an uploaded light a name of its own, NAME=FILE.")
        lit = settings.replace(light="upload" if name in own else name)
        given = own.get(name)
        runs[name] = (lit.light, read_backdrop(lit, given), read_map(lit, given))
    return runs
