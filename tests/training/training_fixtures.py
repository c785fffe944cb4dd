"""A shelf of made-up pictures; a shard of made-up latents, a tiny run on it, and what it trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from training.base import Trained
from training.config import Config
from training.data.batches import SOURCES
from training.scenes.random_lights import SIDES, lobe
from training.scenes.render import Assets
from training.train import train

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
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """A shard of random latents whose targets can be told from their conditions."""
    folder = tmp_path_factory.mktemp("latents")
    random = torch.Generator().manual_seed(0)
    count = 16
    content = torch.randn(count, 1, 4, SIDE, SIDE, generator=random)
    light = torch.randn(count, 5, 4, 1, 1, generator=random)
    images = content + light
    facts = [[("woman", "warm", "left")] * 3 + [("woman", "neon", "right"), ("woman", "cool", "top")]] * 12
    facts += [[("photograph", "natural", "left")] * 5] * 4
    beams = torch.stack([lobe(torch.tensor(SIDES[side]), 8.0) for side in ("left", "left", "left", "right", "top")])
    shard = {
        "images": images,
        "backgrounds": light[:, [0, 3, 4]].expand(-1, -1, -1, SIDE, SIDE),
        "foregrounds": images[:, list(SOURCES)],
        "matte": torch.ones(count, 1, SIDE, SIDE),
        "environments": light.exp()[:, :, :3] * beams[:, None],
    }
    half = {name: value.half().clone() for name, value in shard.items()}
    torch.save({**half, "facts": facts}, folder / "shard-0000.pt")
    return folder


def tiny(shards: Path, **changes) -> Config:
    return Config(**{**TINY, "data": (str(shards),), "steps": 8, **changes})


def weights(parts: Trained) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in parts.model.parameters()])


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(tiny(shards, steps=4, rate=0.02), folder)
    return folder / "trained"


@pytest.fixture(scope="module")
def shelf() -> Assets:
    """Two smooth pictures and a panorama with a sun, in place of the photographs."""
    made = Assets.__new__(Assets)
    random = torch.Generator().manual_seed(0)
    made.pictures = [
        F.interpolate(torch.rand(1, 3, 9, 12, generator=random), (60, 80), mode="bicubic")[0].clamp(0, 1)
        for _ in range(2)
    ]
    disc = (torch.linspace(-1, 1, 40)[:, None] ** 2 + torch.linspace(-1, 1, 30)[None, :] ** 2 < 0.9).float()
    made.cut_outs = [torch.cat([torch.rand(3, 40, 30, generator=random), disc[None]])]
    sky = torch.full((3, 32, 64), 0.3)
    sky[:, 6:9, 10:14] = 40.0
    made.panoramas = {"noon": sky}
    return made
