"""Objects that no training sees, with the truth about them: light-stage scenes of other seeds, path-traced ones.

The light stage's held-out scenes come from seeds of their own and are lit by panoramas kept for evaluation.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iclight.errors import SettingsError
from iclight.imaging.colour import to_srgb
from iclight.imaging.crop import resize_and_center_crop

from ..metrics import SIGNS
from ..randomness import generator, uniform
from ..scenes import backdrops, photographs
from ..scenes.light_stage import mixer, sphere
from ..scenes.photographs import GREY
from ..scenes.random_lights import random_light, side_light, split
from ..scenes.render import BATCH, Assets, render_batch
from ..scenes.traced.pathtraced import TracedScene, load, weighing
from ..scenes.traced.shards import loose_weights, mixed

SEED = 900_001


@dataclass
class HeldOut:
    """B objects. Pictures are sRGB in [0, 1]: `source` and `truth` whole pictures, `background` the truth's,
    `foreground` the source's subject on grey; Bx3xSxS. `matte` Bx1xSxS, `normal` Bx3xSxS, `environment` and its two
    `halves` Bx3x32x32, `sides`: side -> Bx3xSxS, the object under a plain light from there.
    """

    source: Tensor
    foreground: Tensor
    truth: Tensor
    background: Tensor
    matte: Tensor
    normal: Tensor
    environment: Tensor
    halves: tuple[Tensor, Tensor]
    sides: dict[str, Tensor]

    def first(self, count: int) -> HeldOut:
        tensors = {name: value[:count] for name, value in vars(self).items() if isinstance(value, Tensor)}
        halves = (self.halves[0][:count], self.halves[1][:count])
        sides = {side: pictures[:count] for side, pictures in self.sides.items()}
        return replace(self, **tensors, halves=halves, sides=sides)


def stage_objects(count: int, side: int, seed: int = SEED, share: tuple[int, int] = (0, 1)) -> HeldOut:
    """Light-stage objects, each with a source light, a target light and its backdrop.

    `count`: a multiple of 4; `side`: pixels; `seed`: of the objects.
    `share` (k, n): only every n-th four of them, from the k-th on. Raises SettingsError if that leaves none.
    """
    assets = Assets(held_out=True)
    numbers = range((count + BATCH - 1) // BATCH)[share[0] :: share[1]]
    if not numbers:
        raise SettingsError(f"{count} objects, {BATCH} at a time, leave none for part {share[0]}/{share[1]}.")
    return _joined([_stage_batch(side, assets, generator(seed, number)) for number in numbers])


def _stage_batch(side: int, assets: Assets, random: torch.Generator) -> HeldOut:
    scene = render_batch(side, assets, random)
    lights = [[random_light(random, assets.panoramas, calm) for calm in (True, False)] for _ in range(BATCH)]
    halves = [split(pair[1].radiance, random) for pair in lights]
    sides = [side_light(name, random).radiance for name in SIGNS]
    environments = torch.stack([torch.stack([*(light.radiance for light in pair), *sides]) for pair in lights])
    walls = [backdrops.backdrop(scene.lamps, side, assets.pictures, random) for _ in range(BATCH)]
    behind = torch.stack([w.lit(scene.weights(e)) for w, e in zip(walls, environments, strict=True)])
    matte = scene.matte
    whole = to_srgb(scene.lit(environments) + behind * (1 - matte[:, None]))
    return HeldOut(
        source=whole[:, 0],
        foreground=on_grey(whole[:, 0], matte),
        truth=whole[:, 1],
        background=to_srgb(behind[:, 1]),
        matte=matte,
        normal=scene.normal,
        environment=environments[:, 1],
        halves=(torch.stack([h[0] for h in halves]), torch.stack([h[1] for h in halves])),
        sides={name: whole[:, 2 + k] for k, name in enumerate(SIGNS)},
    )


def traced_objects(folder: Path, side: int, seed: int = SEED, share: tuple[int, int] = (0, 1)) -> HeldOut | None:
    """Path-traced objects from their shards, lit by random mixtures of their lights; None where there are none.

    `folder`: of `pathtraced`'s shards; `side`: pixels; `seed`: of the mixtures.
    `share` (k, n): only every n-th of them, from the k-th on.
    """
    assets = Assets(held_out=True)
    numbered = itertools.islice(enumerate(load(folder)), share[0], None, share[1])
    batches = [_traced(scene, assets, generator(seed, 10_000 + number)) for number, scene in numbered]
    return _resized(_joined(batches), side) if batches else None


def _traced(scene: TracedScene, assets: Assets, random: torch.Generator) -> HeldOut:
    matte = torch.from_numpy(scene.matte.astype(np.float32))
    count = len(scene.environments)
    mixtures = []
    for _ in range(2):
        mixtures.append(mixed(scene, loose_weights(count, random), uniform(0.35, 0.65, random)))
    sides = {
        name: to_srgb(mixed(scene, torch.from_numpy(weighing(**{name: 1.0, "ambient": 0.12})), 0.55)[0])
        for name in SIGNS
    }
    lamps = sphere(32, random)
    wall = backdrops.backdrop(lamps, matte.shape[-1], assets.pictures, random)
    around = torch.stack([environment for _, environment in mixtures])
    behind = wall.lit((around.flatten(-2) @ mixer(lamps).T).transpose(-1, -2))
    whole = [to_srgb(lit + back * (1 - matte))[None] for (lit, _), back in zip(mixtures, behind, strict=True)]
    first, second = split(around[1], random)
    return HeldOut(
        source=whole[0],
        foreground=on_grey(whole[0], matte[None]),
        truth=whole[1],
        background=to_srgb(behind[1])[None],
        matte=matte[None],
        normal=torch.from_numpy(scene.normal.astype(np.float32))[None],
        environment=around[1][None],
        halves=(first[None], second[None]),
        sides={name: picture[None] for name, picture in sides.items()},
    )


# The three photographs' outlines, drawn by hand.
OUTLINES = Path(__file__).parent / "outlines.json"


class Photographs(NamedTuple):
    """The held-out photographs, squares of S x S pixels: Bx3xSxS in [0, 1], on grey, and Bx1xSxS mattes."""

    source: Tensor
    foreground: Tensor
    matte: Tensor


def photographed(side: int) -> Photographs:
    """The photographs that no training sees, cropped at the centre, cut out by outlines drawn by hand."""
    pictures: list[Tensor] = []
    mattes: list[Tensor] = []
    for pixels, inside in real_mattes().values():
        for among, picture in ((pictures, pixels), (mattes, inside.astype(np.uint8) * 255)):
            square = np.array(resize_and_center_crop(picture, side, side)).reshape(side, side, -1)
            among.append(photographs.as_tensor(square))
    source, matte = torch.stack(pictures), torch.stack(mattes)
    return Photographs(source, on_grey(source, matte), matte)


def on_grey(pictures: Tensor, matte: Tensor) -> Tensor:
    """The subject on the grey that the engine puts behind it."""
    return GREY + (pictures - GREY) * matte


def _joined(batches: list[HeldOut]) -> HeldOut:
    tensors: dict[str, Any] = {
        name: torch.cat([getattr(batch, name) for batch in batches])
        for name, value in vars(batches[0]).items()
        if isinstance(value, Tensor)
    }
    first, second = (torch.cat([batch.halves[k] for batch in batches]) for k in (0, 1))
    sides = {name: torch.cat([batch.sides[name] for batch in batches]) for name in SIGNS}
    return HeldOut(**tensors, halves=(first, second), sides=sides)


def _resized(objects: HeldOut, side: int) -> HeldOut:
    def fit(x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x, (side, side), mode="area")

    objects.sides = {name: fit(x) for name, x in objects.sides.items()}
    for name in ("source", "foreground", "truth", "background", "matte", "normal"):
        setattr(objects, name, fit(getattr(objects, name)))
    objects.normal = torch.nn.functional.normalize(objects.normal, dim=1)
    return objects


def real_mattes() -> dict[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """The held-out photographs with outlines drawn by hand: name -> HxWx3 uint8, HxW booleans."""
    outlines: dict[str, list[dict[str, Any]]] = json.loads(OUTLINES.read_text())
    cut_out = {}
    for name, pixels in photographs.held_out().items():
        matte = np.zeros(pixels.shape[:2], np.uint8)
        for shape in outlines[name]:
            if "polygon" in shape:
                cv2.fillPoly(matte, [np.array(shape["polygon"])], 255)
            else:
                x, y, across, down = shape["ellipse"]
                cv2.ellipse(matte, (x, y), (across, down), 0, 0, 360, 255, -1)
        cut_out[name] = (pixels, matte > 127)
    return cut_out
