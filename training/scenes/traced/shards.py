"""Training shards out of path-traced things, each under many mixtures of its twelve lights.

    python -m training.scenes.traced.pathtraced build/traced-train --objects 640 --size 128 --spp 20 --seed 5000
    python -m training.scenes.traced.shards build/traced-train build/traced128 --rounds 4

A shard is what `render.py` makes, an object of it one thing in one round. Half of the lights are loose mixtures, half
come as near as the twelve can to those of the light stage; pictures and environments are exact for what they became.
Give seeds that the evaluation's things (`docs/training.md`) do not have.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from iclight.errors import IclightError
from iclight.imaging.colour import to_srgb

from ...randomness import generator, uniform
from ...shards import Shard, join, save, share
from .. import backdrops
from ..light_stage import mixer, sphere
from ..random_lights import dominant_side, received, solid_angle_weights
from ..render import Assets, packed, three_lights
from .objects import KINDS
from .pathtraced import TracedScene, mix, mix_environments, read

# What captions call the kinds that have a word of their own (`captions.SUBJECT_WORDS`).
SUBJECTS = {"vase": "vase", "goblet": "vase", "mug": "cup", "heap": "still life"}
LOOSE = 0.5
FITTING = 80  # turns of the multiplicative updates; they end within a few percent of the best


def mixed(scene: TracedScene, weights: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """3xSxS linear light and the 3x32x32 environment for Kx3 weights, exposed to `level`."""
    lit = torch.from_numpy(mix(scene, weights.numpy()))
    around = torch.from_numpy(mix_environments(weights.numpy(), scene.environments))
    scale = level / received(around)
    return lit * scale, around * scale


def loose_weights(count: int, random: torch.Generator) -> Tensor:
    """Kx3 weights of `count` lights: a few strong ones, tinted a little."""
    return torch.rand(count, 1, generator=random) ** 4 * (0.6 + 0.4 * torch.rand(count, 3, generator=random))


def fitted_weights(radiance: Tensor, maps: Tensor) -> Tensor:
    """Kx3 weights, none negative, whose mixture of `maps` Kx3x32x32 is about the nearest to `radiance` 3x32x32.

    Least squares by solid angle, by multiplicative updates (Lee and Seung, "Algorithms for non-negative matrix
    factorization", 2000).
    """
    angles = solid_angle_weights()
    basis = maps.mean(1).flatten(1)  # the lights are white
    weighed = basis * angles.flatten()
    wanted, among = radiance.flatten(1) @ weighed.T, basis @ weighed.T
    weights = torch.ones_like(wanted)
    for _ in range(FITTING):
        weights = weights * wanted / (weights @ among).clamp(min=1e-9)
    return weights.T


def mix_lights(scene: TracedScene, assets: Assets, random: torch.Generator) -> tuple[list[Tensor], list[str]]:
    """Three lights of `render.PICTURES`' kinds, exposed, as Kx3 weights; and their moods, "" for a loose mixture."""
    maps = torch.from_numpy(scene.environments)
    weights, moods = [], []
    for light in three_lights(assets, random):
        if uniform(0, 1, random) < LOOSE:
            # Tinted at random: no word for a mood would be true of them.
            mixture, level, mood = loose_weights(len(maps), random), uniform(0.35, 0.65, random), ""
        else:
            mixture, level, mood = fitted_weights(light.radiance, maps), received(light.radiance), light.mood
        around = torch.from_numpy(mix_environments(mixture.numpy(), scene.environments))
        weights.append(mixture * (level / received(around)))
        moods.append(mood)
    return weights, moods


def light_thing(scene: TracedScene, side: int, assets: Assets, random: torch.Generator) -> Shard:
    """One path-traced thing under three mixtures of its lights, mirrored or not; as `render.light_objects` gives B."""
    weights, moods = mix_lights(scene, assets, random)
    share = (uniform(1, 6, random) * torch.randn(len(weights[0]), 1, generator=random)).sigmoid()
    five = [weights[0], weights[0] * share, weights[0] * (1 - share), *weights[1:]]
    lit = torch.stack([torch.from_numpy(mix(scene, one.numpy())) for one in five])
    around = torch.stack([torch.from_numpy(mix_environments(one.numpy(), scene.environments)) for one in five])
    matte = torch.from_numpy(scene.matte.astype(np.float32))
    normal = torch.from_numpy(scene.normal.astype(np.float32))
    if uniform(0, 1, random) < 0.5:
        lit, around, matte, normal = (x.flip(-1) for x in (lit, around, matte, normal))
        normal = normal * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    lit, matte, normal = (_fit(x, side) for x in (lit, matte, normal))
    lamps = sphere(32, random)
    wall = backdrops.backdrop(lamps, side, assets.pictures, random)
    behind = wall.lit((around.flatten(-2) @ mixer(lamps).T).transpose(-1, -2))
    images = to_srgb(lit + behind * (1 - matte))
    sides = [dominant_side(around[place]) for place in (0, 3, 4)]
    kind = list(KINDS)[scene.seed % len(KINDS)]
    facts = [(SUBJECTS.get(kind, "object"), moods[k], sides[k]) for k in (0, 0, 0, 1, 2)]
    return packed(images[None], to_srgb(behind)[None], matte[None], random) | {
        "normal": (F.normalize(normal, dim=0) * 127).round().to(torch.int8)[None],
        "environments": around.half()[None],
        "facts": [facts],
    }


def _fit(pictures: Tensor, side: int) -> Tensor:
    return F.interpolate(pictures.view(1, -1, *pictures.shape[-2:]), (side, side), mode="area").view(
        *pictures.shape[:-2], side, side
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.scenes.traced.shards", description=__doc__.splitlines()[0]
    )
    parser.add_argument("traced", type=Path, help="folder that pathtraced wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=4, help="how often each thing is lit")
    parser.add_argument("--objects", type=int, default=128, help="objects of a shard, at most")
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", default="0/1", help="this process's share of the shards: number/count")
    options = parser.parse_args(arguments)
    paths = sorted(options.traced.glob("*.safetensors"))
    if not paths:
        raise IclightError(
            f"{options.traced} holds no path-traced things; make some with training.scenes.traced.pathtraced."
        )
    options.out.mkdir(parents=True, exist_ok=True)
    assets = Assets()
    items = [(path, turn) for turn in range(options.rounds) for path in paths]
    starts = range(0, len(items), options.objects)
    for number in tqdm(share(range(len(starts)), options.part)):
        target = options.out / f"shard-{number:04d}.pt"
        if target.is_file():
            continue
        things = []
        for path, turn in items[starts[number] :][: options.objects]:
            scene = read(path)
            things.append(light_thing(scene, options.side, assets, generator(options.seed, scene.seed, turn)))
        save(join(things), target)


if __name__ == "__main__":
    main()
