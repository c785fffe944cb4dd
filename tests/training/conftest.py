"""What several files of the training's tests share, built once: invented pictures, latents, and a run on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from training.scenes.render import Assets


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    """A shard of random latents whose targets can be told from their conditions."""
    import torch
    from training_helpers import SIDE

    from training.data.latents import BACKGROUNDS, SOURCES
    from training.scenes.random_lights import SIDES, lobe

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
        "backgrounds": light[:, list(BACKGROUNDS)].expand(-1, -1, -1, SIDE, SIDE),
        "foregrounds": images[:, list(SOURCES)],
        "matte": torch.ones(count, 1, SIDE, SIDE),
        "normal": torch.zeros(count, 3, SIDE, SIDE),
        "environments": light.exp()[:, :, :3] * beams[:, None],
    }
    half = {name: value.half().clone() for name, value in shard.items()}
    torch.save({**half, "facts": facts}, folder / "shard-0000.pt")
    return folder


@pytest.fixture(scope="session")
def trained(shards, tmp_path_factory) -> Path:
    """What a tiny run trained."""
    from training_helpers import tiny

    from training.train import train

    folder = tmp_path_factory.mktemp("run")
    train(tiny(shards, steps=4, learning_rate=0.02), folder)
    return folder / "trained"


@pytest.fixture(scope="session")
def assets() -> Assets:
    """Two smooth pictures and a panorama with a sun, in place of the photographs."""
    import torch
    import torch.nn.functional as F

    from training.scenes.render import Assets

    invented = Assets.__new__(Assets)
    random = torch.Generator().manual_seed(0)
    invented.pictures = [
        F.interpolate(torch.rand(1, 3, 9, 12, generator=random), (60, 80), mode="bicubic")[0].clamp(0, 1)
        for _ in range(2)
    ]
    disc = (torch.linspace(-1, 1, 40)[:, None] ** 2 + torch.linspace(-1, 1, 30)[None, :] ** 2 < 0.9).float()
    invented.cut_outs = [torch.cat([torch.rand(3, 40, 30, generator=random), disc[None]])]
    sky = torch.full((3, 32, 64), 0.3)
    sky[:, 6:9, 10:14] = 40.0
    invented.panoramas = {"noon": sky}
    return invented
