"""Light as it is seen: whole requests to the engine, lit from the left and from the right, in stops.

What a user gets is measured, not the first pass alone: both passes, at the settings' own light strength. Light-stage
and path-traced objects come with their true mattes; photographs are the page's examples, cut out by the matting that
ships. Every figure is taken with the workflow's own settings and once more with those of the model's card.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iclight.diffusion.vae import to_pixels
from iclight.editing.gain_map import fit_matte
from iclight.imaging.crop import resize_and_center_crop
from iclight.imaging.images import read_image
from iclight.matting import estimate_saliency, load_matting_network
from iclight.relighter import Relighter
from iclight.settings import Settings
from iclight.studio.tabs.examples import asset
from iclight.weights.resolve import resolve_matting

from .. import metrics
from ..scenes.photographs import as_tensor
from .bench import PROMPT, Bench
from .heldout import HeldOut
from .report import Groups, Table

Pixels = NDArray[np.uint8]

PHOTOS = {"astronaut": "astronaut.png", "coffee cup": "coffee.jpg", "cat": "cat.jpg"}
BUSY = ("neon.jpg", "night.jpg", "window.jpg")
SEEDS = (12345, *range(1, 8))  # the first is what a request takes unless it says another
QUARTILES = {"lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}


def settings_of(relighter: Relighter) -> dict[str, Settings]:
    """What is measured, before a finish: the workflow's own defaults, and those of the model's card if it has some."""
    chosen = {"strength 1": Settings.for_workflow(relighter.workflow, prompt=PROMPT)}
    if relighter.defaults:
        chosen["model card"] = Settings.for_workflow(
            relighter.workflow, prompt=PROMPT, **{**relighter.defaults, "finish": "model"}
        )
    return chosen


@cache
def example(name: str) -> Pixels:
    """One of PHOTOS, HxWx4: its pixels, and the matte of the network that ships."""
    pixels, _ = read_image(asset(PHOTOS[name]))
    ships = resolve_matting("u2netp").path
    assert ships is not None
    alpha = estimate_saliency(load_matting_network(ships), pixels)
    return np.dstack([pixels, (alpha * 255).round().astype(np.uint8)])


def relight(relighter: Relighter, picture: Pixels, settings: Settings, **inputs: Any) -> tuple[Tensor, Tensor]:
    """1x3xhxw relit picture in [0, 1], and 1x1xhxw the matte of `picture` (HxWx4) fitted to it."""
    relit = relighter.relight(picture, settings, **inputs).images[0]
    matte = fit_matte(_alpha(picture), picture.shape, relit.shape[1], relit.shape[0])
    return as_tensor(relit)[None], torch.from_numpy(matte).movedim(-1, 0)[None]


def from_both_sides(relighter: Relighter, picture: Pixels, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """The picture (HxWx4) relit from the left and from the right, 1x3xhxw each, and its matte there."""
    (left, matte), (right, _) = (
        relight(relighter, picture, settings.replace(light=side)) for side in ("left", "right")
    )
    return left, right, matte


def of_photograph(relighter: Relighter, picture: Pixels, settings: Settings) -> Table:
    """Stops over SEEDS, their spread, and what is burnt or black; shine-through where backgrounds light."""
    stops: list[float] = []
    burnt: list[float] = []
    black: list[float] = []
    for seed in SEEDS:
        left, right, matte = from_both_sides(relighter, picture, settings.replace(seed=seed))
        stops.append(float(metrics.light_stops(left, right, matte)))
        burnt += [100 * float(metrics.burnt(relit, matte)) for relit in (left, right)]
        black += [100 * float(metrics.black(relit, matte)) for relit in (left, right)]
    mean = float(np.mean(stops))
    table: Table = {
        "stops, mean": mean,
        "stops, seed 12345": stops[0],
        "stops, least": min(stops),
        "stops, most": max(stops),
        "stops, standard deviation, % of the mean": 100 * float(np.std(stops)) / mean,
        "burnt, %": float(np.mean(burnt)),
        "black, %": float(np.mean(black)),
    }
    if relighter.workflow == "fbc":
        for blur in sorted({0.0, settings.backdrop_blur}):
            table[f"shine-through, backdrop blur {blur:g}"] = shine_through(
                relighter, picture, settings.replace(light="upload", backdrop_blur=blur)
            )
    return table


def shine_through(relighter: Relighter, picture: Pixels, settings: Settings) -> float:
    """The mean over BUSY backgrounds."""
    values = []
    for name in BUSY:
        background, _ = read_image(asset(name))
        relit, matte = relight(relighter, picture, settings, background=background)
        size = relit.shape[3], relit.shape[2]
        source, behind = (as_tensor(resize_and_center_crop(p, *size))[None] for p in (picture[..., :3], background))
        values.append(float(metrics.shine_through(relit, source, behind, matte)))
    return float(np.mean(values))


def of_objects(relighter: Relighter, objects: HeldOut, settings: Settings) -> Table:
    """Stops beside the truth's, what is burnt or black, and, where the true light can be told, PSNR against it."""
    side = objects.matte.shape[-1]
    settings = settings.replace(width=side, height=side)
    lefts, rights, relit = [], [], []
    for number in range(len(objects.matte)):
        picture = _with_matte(objects.source[number], objects.matte[number])
        left, right, _ = from_both_sides(relighter, picture, settings)
        lefts.append(left)
        rights.append(right)
        if relighter.workflow != "fc":
            relit.append(_as_in_truth(relighter, picture, settings, objects, number))
    left, right, *under = (_shrunk(torch.cat(pictures), side) for pictures in (lefts, rights, relit) if pictures)
    table: Table = {}
    for whose, pair in (("", (left, right)), ("truth's ", (objects.sides["left"], objects.sides["right"]))):
        stops = metrics.light_stops(*pair, objects.matte)
        table |= {f"{whose}stops, {name}": float(stops.quantile(share)) for name, share in QUARTILES.items()}
    both, mattes = torch.cat([left, right]), objects.matte.repeat(2, 1, 1, 1)
    table["burnt, %"] = 100 * float(metrics.burnt(both, mattes).mean())
    table["black, %"] = 100 * float(metrics.black(both, mattes).mean())
    if under:
        for name, shown in (("PSNR", under[0]), ("PSNR, source unchanged", objects.source)):
            table[name] = float(metrics.psnr_inside(shown, objects.truth, objects.matte).mean())
    return table


def _as_in_truth(relighter: Relighter, picture: Pixels, settings: Settings, objects: HeldOut, number: int) -> Tensor:
    """1x3xhxw: an object under its truth's own light, a background's or an environment's."""
    settings = relighter.complete(settings.replace(light="upload"), picture[..., :3])
    if relighter.workflow == "fbc":
        return relight(relighter, picture, settings, background=_pixels(objects.background[number]))[0]
    # Held-out light is a map as the model sees it, and no panorama that a request could bring.
    around = objects.environment[number].movedim(0, -1).contiguous().numpy()
    prepared = relighter.prepare(picture[..., :3], _alpha(picture))
    rendering = relighter.passes.render(prepared.foreground, settings, environment=around, alpha=prepared.alpha)
    return as_tensor(to_pixels(rendering.decoded)[0])[None]


def _alpha(picture: Pixels) -> NDArray[np.float32]:
    return picture[..., 3:] / np.float32(255)


def _with_matte(source: Tensor, matte: Tensor) -> Pixels:
    return np.ascontiguousarray(np.dstack([_pixels(source), _pixels(matte)]))


def _pixels(picture: Tensor) -> Pixels:
    return np.ascontiguousarray((picture * 255).round().to(torch.uint8).movedim(0, -1).numpy())


def _shrunk(pictures: Tensor, side: int) -> Tensor:
    return torch.nn.functional.interpolate(pictures, (side, side), mode="area")


def measure(bench: Bench, workflow: str, objects: Mapping[str, HeldOut]) -> dict[str, Groups]:
    """One workflow's figures: by set of objects and by photograph, then by the settings they were made with."""
    relighter = bench.relighter(workflow)
    sets: dict[str, Groups] = {}
    for chosen, settings in settings_of(relighter).items():
        group = f"{workflow}, {chosen}"
        for name, held in objects.items():
            sets.setdefault(name, {})[group] = of_objects(relighter, held, settings)
        for name in PHOTOS:
            sets.setdefault(name, {})[group] = of_photograph(relighter, example(name), settings)
    return sets
