"""Light maps as training meets them: what a page's direction of light looks like, in latents.

In fc such a map is what sampling starts from (`loss.equivalent_noise`); in fbc it stands where the background stands.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from iclight.imaging.light_maps import light_map

from .latents import encode

# The sides that captions know -> the engine's light maps.
LIGHTS = {
    "left": "left",
    "right": "right",
    "top": "top",
    "bottom": "bottom",
    "front": "front",
    "back": "rim",
    "ambient": "ambient",
}
# Moods whose light is about as white as fbc's maps are.
WHITE = ("natural", "studio", "hard")

LightMaps = Mapping[str, Mapping[str, Tensor]]


def light_maps(vae: AutoencoderKL, height: int, width: int) -> dict[str, dict[str, Tensor]]:
    """Workflow (fc, fbc) -> side -> 4xhxw latents of the engine's light map of height x width pixels."""
    latents: dict[str, dict[str, Tensor]] = {}
    for workflow in ("fc", "fbc"):
        maps = [light_map(light, workflow, width, height) for light in LIGHTS.values()]
        pictures = torch.stack([torch.from_numpy(m.copy()).permute(2, 0, 1) for m in maps if m is not None])
        latents[workflow] = dict(zip(LIGHTS, encode(vae, pictures).float(), strict=True))
    return latents
