"""A run at toy size and its weights; solids on the light stage."""

from __future__ import annotations

from pathlib import Path

import torch

from training.base import Trained
from training.config import Config
from training.randomness import generator
from training.scenes import shapes, surfaces
from training.scenes.light_stage import Scene, render

SIDE = 8
TINY = {
    "channels": (32, 32, 32),
    "width": 32,
    "batch": 8,
    "shares": (0.2, 0.2, 0.6),
    "shares_end": (0.2, 0.2, 0.6),
    "log_every": 2,
    "save_every": 2,
    "sheet_every": 10_000,
    "mixed_precision": "no",
    "warmup": 2,
    "consistency": 0.0,
}


def tiny(shards: Path, **changes) -> Config:
    return Config(**{**TINY, "data": (str(shards),), "steps": 8, **changes})


def weights(parts: Trained) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in parts.model.parameters()])


def solids(family, seed: int = 3, matt_white: bool = False, side: int = 48, **options) -> Scene:
    """Two solids of a family on the light stage."""
    random = generator(seed, 0)
    solid = family(shapes.Maker(2, random))

    def materials(shares: torch.Tensor) -> surfaces.Surface:
        surface = surfaces.assign_materials(solid, shares, [], random)
        if not matt_white:
            return surface
        flat = torch.zeros_like(surface.roughness)
        return surfaces.Surface(torch.ones_like(surface.albedo), flat + 1, flat, torch.zeros_like(surface.bump))

    return render(solid, materials, side, random, **options)
