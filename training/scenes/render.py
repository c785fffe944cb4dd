"""Render training data to shards: light-stage objects and photographs, each under several lights.

    python -m training.scenes.render build/stage --shards 40 --side 128

A shard is a .pt file of 128 objects; those that exist are left alone, so several processes (--part 0/2, --part 1/2)
share the work, and a killed one goes on. Every number depends on the seed and the shard's number alone.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from iclight.imaging.colour import to_srgb

from ..randomness import choose, generator, uniform
from ..shards import Shard, join, save, share
from . import backdrops, photographs, shapes, surfaces
from .in_the_wild import degraded, placed
from .light_stage import Scene, distance_grid, render, trace
from .random_lights import Light, key_light, random_light, several_lights, split

# The pictures of one object: three unrelated lights, the second a calm one; and the first one split in two.
PICTURES = ("first", "first-a", "first-b", "second", "third")
BATCH = 4


class Assets:
    """What the renderer takes from disk: photographs and panoramas, as tensors."""

    def __init__(self, folder: Path = photographs.FOLDER, held_out: bool = False) -> None:
        self.pictures = [photographs.as_tensor(pixels) for pixels in photographs.photographs(folder).values()]
        self.cut_outs = [photographs.as_tensor(pixels) for pixels in photographs.cut_outs(folder).values()]
        panoramas = photographs.panoramas(folder, held_out)
        self.panoramas = {name: torch.from_numpy(p.copy()).permute(2, 0, 1) for name, p in panoramas.items()}


def render_batch(side: int, assets: Assets, random: torch.Generator, device: str = "cpu") -> Scene:
    """BATCH objects of one family on the light stage, SxS pixels, on `device`; lamps of any softness and distance."""
    solid = shapes.draw(BATCH, random)
    softness, reach = 2 ** uniform(-4, -1.5, random), 2 ** uniform(0.4, 2.4, random)

    def materials(shares: Tensor) -> surfaces.Surface:
        return surfaces.assign_materials(solid, shares, assets.pictures, random)

    return render(solid, materials, side, random, softness, reach, device)


def light_objects(side: int, assets: Assets, random: torch.Generator, device: str = "cpu") -> Shard:
    """BATCH objects of one family under the lights of `PICTURES`, traced on `device`.

    "images", "backgrounds": Bx5x3xSxS uint8 sRGB; "foregrounds": Bx5x3xSxS, the subject on grey; "matte": Bx1xSxS
    uint8; "normal": Bx3xSxS int8; "environments": Bx5x3x32x32 float16; "facts": per object and picture (subject, mood,
    side).
    """
    scene = _tinted(render_batch(side, assets, random, device).to("cpu"), random)
    lights = [three_lights(assets, random) for _ in range(BATCH)]
    environments, behind = [], []
    for three in lights:
        halves = split(three[0].radiance, random)
        radiances = torch.stack([three[0].radiance, *halves, three[1].radiance, three[2].radiance])
        environments.append(radiances)
        behind.append(_behind(scene, three, radiances, side, assets, random))
    environment, background = torch.stack(environments), torch.stack(behind)
    subject = scene.lit(environment) * _exposure(scene, random)
    images = to_srgb(subject + background * (1 - scene.matte[:, None]))
    facts = [[(scene.family, three[k].mood, three[k].side) for k in (0, 0, 0, 1, 2)] for three in lights]
    return packed(images, to_srgb(background), scene.matte, random) | {
        "normal": (scene.normal * 127).round().to(torch.int8),
        "environments": environment.half(),
        "facts": facts,
    }


def _behind(
    scene: Scene, three: list[Light], radiances: Tensor, side: int, assets: Assets, random: torch.Generator
) -> Tensor:
    """5x3xSxS linear light behind one object: one wall for all its lights, or the panorama itself."""
    wall = backdrops.backdrop(scene.lamps, side, assets.pictures, random)
    lit = wall.lit(scene.weights(radiances))
    for light, places in zip(three, ((0, 1, 2), (3,), (4,)), strict=True):
        if light.panorama and uniform(0, 1, random) < 0.75:
            view = backdrops.panorama_view(light, assets.panoramas, side, random)
            for place in places:
                share = radiances[place].sum(0) / radiances[places[0]].sum(0).clamp(min=1e-6)
                lit[place] = view * backdrops.seen_mask(share, side)
    return lit


def three_lights(assets: Assets, random: torch.Generator) -> list[Light]:
    """Anything, something calm, and mostly a plain light from a side, which is what is asked for most."""
    lights = []
    for calm, plain in ((False, 0.25), (True, 0.0), (False, 0.6)):
        chance = uniform(0, 1, random)
        if chance < plain:
            lights.append(key_light(random))
        elif chance > 0.75:
            lights.append(several_lights(random))
        else:
            lights.append(random_light(random, assets.panoramas, calm))
    return lights


def _tinted(scene: Scene, random: torch.Generator) -> Scene:
    """Half of the objects, darker or a little brighter in all their parts: coal and chalk are subjects, too.

    A network that only sees middling ones exposes every subject for the middle, and black cups come out grey.
    """
    factors = [2 ** uniform(-2, 0.6, random) if uniform(0, 1, random) < 0.5 else 1.0 for _ in range(len(scene.matte))]
    albedo = (scene.surface.albedo * torch.tensor(factors)[:, None, None, None]).clamp(0.02, 0.95)
    return replace(scene, surface=replace(scene.surface, albedo=albedo))


def _exposure(scene: Scene, random: torch.Generator) -> Tensor:
    """Bx1x1x1x1 factors: some cameras expose very dark and very bright subjects a little towards the middle."""
    albedo = (scene.surface.albedo * scene.matte).sum((1, 2, 3)) / (3 * scene.matte.sum((1, 2, 3))).clamp(min=1)
    willing = torch.tensor([max(0.0, uniform(-0.5, 0.5, random)) for _ in albedo])
    return ((0.4 / albedo.clamp(0.04, 1)) ** willing).clamp(0.7, 2)[:, None, None, None, None]


def photographs_lit(side: int, assets: Assets, random: torch.Generator) -> Shard:
    """BATCH photographs: the picture itself first, then the same four times degraded (`in_the_wild.degraded`).

    Half of them are crops in which a solid's outline stands in for the subject's, half real subjects with their own.
    """
    images, backgrounds, mattes, environments, facts = [], [], [], [], []
    solid = shapes.draw(BATCH, random)
    field_points, hit = _silhouettes(solid, side)
    for number in range(BATCH):
        picture = surfaces.photo_crop(assets.pictures, side, random, (-0.5, 1.7))
        if assets.cut_outs and uniform(0, 1, random) < 0.5:
            subject, matte = placed(choose(assets.cut_outs, random), side, random)
            # A background of the subject's own colours: whatever lit the one would have lit the other.
            mean = (subject * matte).sum((1, 2)) / matte.sum().clamp(min=1)
            picture = (picture * (mean / picture.mean((1, 2)).clamp(min=0.05))[:, None, None]).clamp(0, 1)
            picture = subject * matte + picture * (1 - matte)
        else:
            matte = hit[number].float()[None]
            matte = F.avg_pool2d(F.pad(matte[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
        versions = [picture, *(degraded(picture, matte, field_points[number], random) for _ in range(4))]
        images.append(torch.stack(versions))
        there = backdrops.blurred((1 - matte).expand(3, -1, -1), side / 10).clamp(min=1e-3)
        behind = backdrops.blurred(picture * (1 - matte), side / 10) / there
        backgrounds.append((picture * (1 - matte) + behind * matte).expand(5, -1, -1, -1))
        mattes.append(matte)
        seen = F.interpolate(picture[None], (16, 16), mode="area")[0].clamp(0.02, 1) ** 2.2
        around = F.pad(seen[None], (8, 8, 8, 8), mode="replicate")[0] * 1.5
        environments.append(around.expand(5, -1, -1, -1))
        facts.append([("photograph", "natural", _brighter_side(picture, matte))] * 5)
    shard = packed(torch.stack(images), torch.stack(backgrounds), torch.stack(mattes), random)
    return shard | {
        "normal": torch.zeros(BATCH, 3, side, side, dtype=torch.int8),
        "environments": torch.stack(environments).half(),
        "facts": facts,
    }


def _silhouettes(solid: shapes.Solid, side: int) -> tuple[Tensor, Tensor]:
    """Normals Bx3xSxS and hits BxSxS of solids whose outlines stand in for a photograph's subject."""
    points, hit = trace(solid, distance_grid(solid), side)
    return solid.normal(points.flatten(2)).unflatten(2, (side, side)), hit


def _brighter_side(picture: Tensor, matte: Tensor) -> str:
    grey = picture.mean(0) * matte[0]
    axis = torch.linspace(-1, 1, picture.shape[-1])
    total = grey.sum().clamp(min=1e-6)
    centre = torch.stack([matte[0].sum(0) @ axis, matte[0].sum(1) @ axis]) / matte.sum().clamp(min=1)
    x, y = (grey.sum(0) @ axis) / total - centre[0], (grey.sum(1) @ axis) / total - centre[1]
    if max(abs(x), abs(y)) < 0.03:
        return "ambient"
    if abs(x) > abs(y):
        return "right" if x > 0 else "left"
    return "bottom" if y > 0 else "top"


def packed(images: Tensor, backgrounds: Tensor, matte: Tensor, random: torch.Generator) -> dict[str, Tensor]:
    """Bytes; and the foregrounds as a matting network would cut them, not quite along the true edge.

    `images`, `backgrounds`: BxMx3xSxS sRGB in [0, 1]; `matte`: Bx1xSxS.
    """
    cut = matte
    side = matte.shape[-1]
    if uniform(0, 1, random) < 0.5:
        wide = choose([3, 5], random) if side >= 96 else 3
        soft = F.avg_pool2d(F.pad(matte, (wide // 2,) * 4, mode="replicate"), wide, 1)
        cut = ((soft - uniform(0.5, 0.75, random)) * uniform(2, 4, random) + 0.5).clamp(0, 1)
    foregrounds = photographs.GREY + (images - photographs.GREY) * cut[:, None]
    bytes_of = {"images": images, "backgrounds": backgrounds, "foregrounds": foregrounds, "matte": matte}
    return {name: (value.clamp(0, 1) * 255).round().to(torch.uint8) for name, value in bytes_of.items()}


def make_shard(
    number: int, objects: int, side: int, wild: float, seed: int, assets: Assets, device: str = "cpu"
) -> Shard:
    """One shard.

    `number`: the shard's, which with `seed` says all that is in it.
    `objects`: how many, a multiple of BATCH; `wild`: the share of them that are photographs.
    `side`: pixels; `device`: where solids are traced.
    """
    batches = []
    for batch in range(objects // BATCH):
        random = generator(seed, number, batch)
        if uniform(0, 1, random) < wild:
            batches.append(photographs_lit(side, assets, random))
        else:
            batches.append(light_objects(side, assets, random, device))
    return join(batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--objects", type=int, default=128, help="objects of a shard")
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--wild", type=float, default=0.12, help="share of photographs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", default="0/1", help="this process's share of the shards: number/count")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where solids are traced")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    assets = Assets()
    for number in tqdm(share(range(options.shards), options.part), mininterval=10):
        path = options.out / f"shard-{number:04d}.pt"
        if path.is_file():
            continue
        wild, seed = options.wild, options.seed
        save(make_shard(number, options.objects, options.side, wild, seed, assets, options.device), path)


if __name__ == "__main__":
    main()
