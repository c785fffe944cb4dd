"""Batches of training samples, drawn as the paper mixes its sources.

A sample, whatever its source: target latents, degraded source on grey, environment, matte, sometimes a background,
caption. The sources: photographs (in the wild), 3D objects (any two lights of one object), and the light stage (one
object under L1 + L2, L1 and L2). Their shares move linearly from 0.5 / 0.5 / 0 to 0.35 / 0.35 / 0.3.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from iclight.errors import WeightsError

from ..randomness import choose, uniform
from ..scenes.random_lights import mean_direction
from ..shards import join
from .captions import caption
from .latents import BACKGROUNDS, SOURCES
from .light_maps import WHITE, LightMaps

# Pictures of one object that show the same light, at least in part: none of them is the other's source.
RELATED = {0: (0, 1, 2), 1: (0, 1, 2), 2: (0, 1, 2), 3: (3,), 4: (4,)}
TARGETS = (0, 3, 4)
CALM = 3
# Length of the mean direction of light (`mean_direction`) along an axis from which a light map tells it: about that of
# a large softbox over little fill. With weaker lights among them, a map's answer is their timid mean.
SIDED = 0.6
ZOOMS = (0.5, 0.75)  # of a picture's side that `zoom_crop` keeps
SPOTS = 6  # what is left of a picture without forms, across: enough to tell the side of the light
WORKFLOWS = ("fc", "fbc", "env")
MAPPED = {"fc": 1.0, "fbc": 0.5}  # of `Sources.light_map_init`; fbc has the map as its background


@dataclass(frozen=True)
class Schedule:
    """Shares of (wild, 3D, light stage): `start`, moving linearly to `end` at step `until`, and `end` after it."""

    start: tuple[float, float, float] = (0.5, 0.5, 0.0)
    end: tuple[float, float, float] = (0.35, 0.35, 0.3)
    until: int = 100_000

    def at(self, step: int) -> tuple[float, float, float]:
        along = min(1.0, step / self.until) if self.until else 1.0
        wild, objects, stage = (a + (b - a) * along for a, b in zip(self.start, self.end, strict=True))
        return wild, objects, stage


@dataclass
class Batch:
    """`clean` Bx4xhxw targets, `condition` Bx8xhxw (foreground, background), `matte`, `environments` Bx3x32x32,
    `has_environment` B, `captions`. `init_latents` Bx4xhxw is what noise is laid over: `clean`, or what
    `Sources.mismatched` puts there. Rows that `has_light_map` (B) names start from `light_map` (Bx4xhxw) instead.
    `normal` Bx3xhxw, zero where nobody knows it. The last 3 * `triplets` rows are light-stage samples: all L1 + L2, all
    L1, all L2.
    """

    clean: Tensor
    condition: Tensor
    matte: Tensor
    normal: Tensor
    environments: Tensor
    has_environment: Tensor
    light_map: Tensor
    has_light_map: Tensor
    init_latents: Tensor
    captions: list[str]
    triplets: int

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """As DataLoader asks for it: copies that a GPU fetches by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {name: change(v) for name, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **changed)


class Row(NamedTuple):
    """One sample, its tensors as in `Batch`."""

    clean: Tensor
    condition: Tensor
    matte: Tensor
    normal: Tensor
    environments: Tensor
    has_environment: bool
    light_map: Tensor
    has_light_map: bool
    init_latents: Tensor
    captions: str


class Sources:
    """Encoded shards in memory."""

    def __init__(self, folders: Sequence[Path], light_map_init: float = 0.0, mismatched: float = 0.0) -> None:
        """`light_map_init`: the share of fc rows that start from a light map; half as many of fbc's have one as
            background, once `maps` (`light_maps.light_maps`) are there.
        `mismatched`: the share of rows that have something else than themselves under the noise. Where a condition
            tells the light, that is another picture: what sampling makes of its first steps is never quite right, and a
            network that believes it makes it worse. In fc it is the row's own picture, its forms faded more or less:
            light is read there, forms are better read elsewhere.

        Raises WeightsError if the folders hold no shards.
        """
        self.light_map_init, self.mismatched = light_map_init, mismatched
        self.maps: LightMaps = {}
        paths = [path for folder in folders for path in sorted(folder.glob("shard-*.pt"))]
        if not paths:
            raise WeightsError(
                f"There are no shards in {', '.join(map(str, folders))}. Make them with "
                "python -m training.scenes.render and python -m training.data.latents."
            )
        self.tensors = join([torch.load(path, weights_only=False) for path in paths])
        self.facts: list[Any] = self.tensors.pop("facts")
        wild = torch.tensor([facts[0][0] == "photograph" for facts in self.facts])
        self.wild, self.objects = wild.nonzero()[:, 0], (~wild).nonzero()[:, 0]
        self.sided = mean_direction(self.tensors["environments"].float()).abs().amax(-1) > SIDED

    def environments(self, most: int = 1000) -> Tensor:
        """Nx3x32x32 environments of the shards, evenly chosen."""
        maps = self.tensors["environments"].flatten(0, 1)
        return maps[:: max(1, len(maps) // most)].float()

    def added_light(self, random: torch.Generator, most: int = 256) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of places inside the mattes of `most` objects, each Nx4: under L1 + L2, L1 and L2."""
        chosen = self.objects[torch.randperm(len(self.objects), generator=random)[:most]]
        inside = self.tensors["matte"][chosen, 0] > 0.5
        pictures = self.tensors["images"][chosen].float()
        whole, first, second = (pictures[:, place].movedim(1, -1)[inside] for place in range(3))
        return whole, first, second

    def draw(
        self,
        count: int,
        shares: tuple[float, float, float],
        random: torch.Generator,
        workflows: Sequence[float] = (0.4, 0.35, 0.25),
        zoom: float = 0.0,
    ) -> Batch:
        """About `count` rows: photographs and 3D pairs, then a whole number of light-stage triplets.

        `shares`: of (wild, 3D, light stage), as `Schedule.at` gives them.
        `workflows`: shares of fc, fbc and env among the single rows; triplets are env's.
        `zoom`: share of the batches that are cropped about their subjects (`zoom_crop`).
        """
        wanted = count * shares[2] / 3
        triplets = int(wanted) + int(uniform(0, 1, random) < wanted % 1)
        rows: list[Row] = []
        split = shares[0] / max(1e-9, shares[0] + shares[1]) if len(self.wild) else 0.0
        for _ in range(count - 3 * triplets):
            rows.append(self._single(uniform(0, 1, random) < split, workflows, random))
        threes = [self._triplet(random) for _ in range(triplets)]
        for place in range(3):
            rows += [three[place] for three in threes]
        *columns, captions = zip(*rows, strict=True)
        fields: dict[str, Any] = {
            name: torch.stack(column).float() if isinstance(column[0], Tensor) else torch.tensor(column)
            for name, column in zip(Row._fields, columns, strict=False)
        }
        batch = Batch(**fields, captions=list(captions), triplets=triplets)
        return zoom_crop(batch, random) if zoom and uniform(0, 1, random) < zoom else batch

    def _single(self, wild: bool, workflows: Sequence[float], random: torch.Generator) -> Row:
        pool = self.wild if wild else self.objects
        item = int(pool[torch.randint(len(pool), (1,), generator=random)])
        target = 0 if wild else choose(TARGETS, random)
        chance = uniform(0, 1, random)
        workflow = "fc" if chance < workflows[0] else "fbc" if chance < workflows[0] + workflows[1] else "env"
        mapped = bool(self.maps) and uniform(0, 1, random) < self.light_map_init * MAPPED.get(workflow, 0)
        if mapped and not wild and (clear := self.clear[workflow]) and (item, target) not in clear:
            item, target = clear[int(torch.randint(len(clear), (1,), generator=random))]
        allowed = [source for source in SOURCES if wild or source not in RELATED[target]]
        if CALM in allowed and uniform(0, 1, random) < 0.6:
            allowed = [CALM]  # most photographs are calmly lit
        mapped &= self._tells(item, target, workflow)
        return self._row(item, target, choose(allowed, random), workflow, random, mapped)

    def _triplet(self, random: torch.Generator) -> list[Row]:
        item = int(self.objects[torch.randint(len(self.objects), (1,), generator=random)])
        source = choose([3, 4], random)
        rows = [self._row(item, target, source, "env", random) for target in (0, 1, 2)]
        # Same words for all three, and the same under the noise if it is not their own: only the light differs.
        first = rows[0]
        own = first.init_latents is first.clean
        return [
            row._replace(captions=first.captions, init_latents=row.clean if own else first.init_latents) for row in rows
        ]

    @functools.cached_property
    def clear(self) -> dict[str, list[tuple[int, int]]]:
        """By workflow with light maps, the (object, target)s that one may stand for."""
        return {
            workflow: [
                (int(item), target)
                for item in self.objects
                for target in TARGETS
                if self._tells(int(item), target, workflow)
            ]
            for workflow in MAPPED
        }

    def _tells(self, item: int, target: int, workflow: str) -> bool:
        """May a light map stand for this light? It promises light from its side: where that hardly comes from there,
        it is not what a map should mean. And fbc's maps are white."""
        _, mood, side = self.facts[item][target]
        clear = side == "ambient" or bool(self.sided[item, target])
        return clear and (workflow != "fbc" or mood in WHITE)

    def _row(
        self, item: int, target: int, source: int, workflow: str, random: torch.Generator, mapped: bool = False
    ) -> Row:
        tensors = self.tensors
        clean, matte = tensors["images"][item, target], tensors["matte"][item]
        foreground = tensors["foregrounds"][item, SOURCES.index(source)]
        background = start = torch.zeros_like(foreground)
        if workflow == "fbc":
            background = tensors["backgrounds"][item, BACKGROUNDS.index(target)]
        subject, mood, side = self.facts[item][target]
        has_map = mapped and workflow == "fc"
        if has_map:
            start = self.maps["fc"][side]
        elif mapped:
            background = self.maps["fbc"][side].to(background.dtype)
            clean = clean * matte + background * (1 - matte)
        init = clean
        if uniform(0, 1, random) < self.mismatched:
            if workflow == "fc":
                init = torch.lerp(clean.float(), without_forms(clean), uniform(0, 1, random))
            else:
                init = self._other(item, random)
        environment = tensors["environments"][item, target]
        condition = torch.cat([foreground, background])
        words = caption(subject, mood, side, workflow, random)
        normal = tensors["normal"][item]
        return Row(clean, condition, matte, normal, environment, workflow == "env", start, has_map, init, words)

    def _other(self, item: int, random: torch.Generator) -> Tensor:
        """Any object's picture in any light; one time in four the same object's, as sampling shows it."""
        pictures = self.tensors["images"]
        if uniform(0, 1, random) >= 0.25:
            item = int(torch.randint(len(pictures), (1,), generator=random))
        return pictures[item, int(torch.randint(pictures.shape[1], (1,), generator=random))]


def zoom_crop(batch: Batch, random: torch.Generator) -> Batch:
    """The batch cut to a half or three quarters of its side about each subject's middle, shifted a little together.

    Subjects of the light stage and stamps leave a margin around them; faces and cats fill a photograph, and a network
    that has never seen a subject from edge to edge makes it darker with every step. Light maps are shrunk, not cut:
    they are as large as the picture, whatever it shows.
    """
    height, width = batch.matte.shape[-2:]
    side = max(16, int(min(height, width) * choose(ZOOMS, random)) // 16 * 16)
    if side >= min(height, width):
        return batch
    weight = batch.matte[:, 0] + 1e-6
    shift = (torch.rand(2, generator=random) - 0.5) * side / 4
    corners = []
    for length, sums, along in ((height, weight.sum(2), shift[0]), (width, weight.sum(1), shift[1])):
        middle = (sums @ torch.arange(length).float()) / sums.sum(1)
        corners.append((middle + along - side / 2).round().long().clamp(0, length - side).tolist())

    def cut(pictures: Tensor) -> Tensor:
        rows = zip(pictures, *corners, strict=True)
        return torch.stack([picture[:, top : top + side, left : left + side] for picture, top, left in rows])

    crops: dict[str, Any] = {
        name: cut(getattr(batch, name)) for name in ("clean", "condition", "matte", "normal", "init_latents")
    }
    return replace(batch, **crops, light_map=F.interpolate(batch.light_map, (side, side), mode="area"))


def without_forms(latents: Tensor) -> Tensor:
    """4xhxw -> the same, blurred until a few spots of light are left (`SPOTS` across)."""
    few = F.interpolate(latents.float()[None], (SPOTS, SPOTS), mode="area")
    return F.interpolate(few, latents.shape[-2:], mode="bicubic")[0]
