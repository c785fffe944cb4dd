"""What the engine's steps hand on: an opened request, a prepared picture, a rendering, a finished request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .editing.gain_map import GainMap
from .errors import Message
from .imaging.environment import Floats
from .imaging.images import Picture
from .settings import Settings


@dataclass(frozen=True)
class Request:
    """A request whose files are decoded and whose settings are complete; no model has run yet.

    `picture`: as decoded. `own_alpha`: HxWx1, the mask's if it `has_mask`, else the picture's own, else None.
    `backdrop`: HxWx3 uint8, the background or light map that lights it. `environment`: 32x32x3, exposed. `behind`:
    HxWx3 uint8 to put behind the subject. `started`: of the clock `time.perf_counter`.
    """

    picture: Picture
    own_alpha: NDArray[np.float32] | None
    settings: Settings
    backdrop: NDArray[np.uint8] | None
    environment: Floats | None
    behind: NDArray[np.uint8] | None
    has_mask: bool
    started: float


@dataclass(frozen=True)
class Prepared:
    """A picture ready to be lit: the foreground on grey 127 (HxWx3 uint8), its matte, and who made the matte.

    `matte_doubts`: what speaks against an automatic matte (`imaging.matte_doubts`).
    """

    image: NDArray[np.uint8]
    foreground: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    matting: str
    matte_doubts: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Rendering:
    """What two passes leave: decoded floats (Nx3xHxW about [-1, 1], CPU), latents, and what the model was shown.

    `lowres`: the first pass's pictures, hxwx3. `even`: the same under even light, where the light is to be strengthened
    by what it changed.
    """

    decoded: torch.Tensor
    latents: dict[str, torch.Tensor]
    background: NDArray[np.uint8] | None
    lowres: list[NDArray[np.uint8]] = field(default_factory=list)
    even: list[NDArray[np.uint8]] | None = None


@dataclass(frozen=True)
class Result:
    """A finished request.

    `images`: HxWx3 uint8 pictures (HxWx4 with finish_background "transparent"). `foreground`: the prepared picture, 127
    where the matte is 0. `alpha`: HxWx1 float32 in [0, 1]. `background`: the fbc background as cropped to the model's
    size, else None. `latents`: "lowres" and "highres" as the sampler left them (N x 4 x h x w). `settings`: complete
    and replayable. `matting`: who made the matte. `model`: names and hashes of what ran. `seconds`: how long it took.
    `environment`: the env workflow's map as the model saw it, 32x32x3 linear radiance, else None. `light`: with finish
    "native", what the relighting did to the picture, ready to be saved as a layer (`finish.save_layer`).
    `icc`: the profile that `images` are in, None for sRGB: a native finish stays in the photo's own colours. `deep`:
    `images` in 16 bits a value (uint16), where a native finish was of a photo of more than 8, else None.
    `matte_doubts`: why an automatic matte may be wrong, sentences to show; empty where nothing speaks against it.
    """

    images: list[NDArray[np.uint8]]
    foreground: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    background: NDArray[np.uint8] | None
    latents: dict[str, torch.Tensor]
    settings: Settings
    matting: str = "none"
    model: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    environment: Floats | None = None
    light: GainMap | None = None
    icc: bytes | None = None
    deep: list[NDArray[np.uint16]] | None = None
    matte_doubts: tuple[Message, ...] = ()
