"""Measure a model on what training never saw. Prints and writes one table and one contact sheet.

    python -m training.evaluation.evaluate --model models/mini --out build/evaluation

Light-stage objects of held-out seeds, path-traced objects where there are some (`--traced`), three photographs with
outlines drawn by hand; the engine's own parts and sampler, first pass only (`--side` pixels). What each line means is
in docs/training.md. Several processes share the work (--part 0/2, --part 1/2, one --out): each measures its objects,
and the last to end writes the table of all.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from iclight.diffusion import sampler
from iclight.editing import finish, gain_map
from iclight.editing.normal_maps import normals_from_lights
from iclight.imaging import environment as environments
from iclight.imaging import light_maps as lights
from iclight.prompts import encode_prompt_pair
from iclight.relighter import Relighter
from iclight.settings import Settings

from .. import metrics
from ..autoencoder import evaluate as autoencoder_figures
from ..scenes.random_lights import SIDES
from ..sheets import save_sheet
from .heldout import HeldOut, Photographs, photographed, stage_objects, traced_objects

BATCH = 16
PROMPT = "best quality"


class Bench:
    """One model's three workflows, run over many objects at once."""

    def __init__(self, model: str, device: str = "auto", dtype: str = "auto") -> None:
        self.model, self.device, self.dtype = model, device, dtype
        self._loaded: dict[str, Relighter] = {}

    def relighter(self, workflow: str) -> Relighter:
        if workflow not in self._loaded:
            self._loaded.clear()  # one UNet at a time is enough
            self._loaded[workflow] = Relighter.load(
                self.model, workflow, matting="none", device=self.device, dtype=self.dtype
            )
        return self._loaded[workflow]

    @torch.inference_mode()
    def relight(
        self,
        workflow: str,
        foreground: Tensor,
        background: Tensor | None = None,
        light: str | None = None,
        around: Tensor | None = None,
        seed: int = 1,
        steps: int | None = None,
        prompt: str = PROMPT,
        on_step: sampler.StepCallback | None = None,
    ) -> Tensor:
        """Bx3xHxW foregrounds on grey -> Bx3xHxW relit, by a background Bx3xHxW, a named light, or maps Bx3x32x32."""
        relighter = self.relighter(workflow)
        settings = Settings.for_workflow(workflow, prompt=prompt)
        count, _, height, width = foreground.shape
        start = None
        if light is not None:
            if workflow == "env":
                preset = environments.preset(light).transpose(2, 0, 1).copy()
                around = torch.from_numpy(preset).expand(count, -1, -1, -1)
            else:
                ramp = lights.light_map(light, workflow, width, height)
                assert ramp is not None
                shown = torch.from_numpy(ramp).permute(2, 0, 1).float()[None] / 255
                if workflow == "fbc":
                    background = shown.expand(count, -1, -1, -1)
                else:
                    start = relighter.vae.encode([ramp])
        made = []
        for first in range(0, count, BATCH):
            part = slice(first, first + BATCH)
            condition = self._encode(relighter, foreground[part])
            if background is not None:
                condition = torch.cat([condition, self._encode(relighter, background[part])], 1)
            cond, uncond = encode_prompt_pair(
                relighter.tokenizer, relighter.text_encoder, settings.positive_prompt, settings.negative_prompt
            )
            if around is not None:
                rows = len(condition)
                tokens = relighter.environment_encoder(around[part].to(relighter.placement.device))  # type: ignore[misc]
                cond, uncond = (
                    torch.cat([text.expand(rows, -1, -1), tokens.to(text.dtype)], 1) for text in (cond, uncond)
                )
            guidance = sampler.Guidance(cond, uncond, settings.cfg)
            predict = sampler.NoisePredictor(relighter.unet, guidance, condition, relighter.prediction_type)
            shape = (len(condition), 4, *condition.shape[2:])
            strength = None if start is None else settings.lowres_denoise
            random = torch.Generator(relighter.placement.noise_device).manual_seed(seed + first)
            latents = sampler.denoise(predict, steps or settings.steps, strength, start, shape, random, on_step)
            made.append((relighter.vae.decode(latents).float().cpu() / 2 + 0.5).clamp(0, 1))
        return torch.cat(made)

    @staticmethod
    def _encode(relighter: Relighter, pictures: Tensor) -> Tensor:
        pixels = (pictures.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        return relighter.vae.encode(list(np.ascontiguousarray(pixels)))

    def there_and_back(self, pictures: Tensor) -> Tensor:
        vae = self.relighter("fbc").vae
        with torch.inference_mode():
            return (vae.decode(self._encode(self.relighter("fbc"), pictures)).float().cpu() / 2 + 0.5).clamp(0, 1)


Table = dict[str, float]
Relit = tuple[Table, dict[str, Tensor]]  # figures, and the pictures of each side's light
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


class Part(TypedDict):
    """What one process measured: how many objects of each set, the sets' figures by group, and is that all of it?"""

    objects: dict[str, int]
    figures: dict[str, dict[str, Table]]
    whole: bool


def from_four_sides(bench: Bench, workflow: str, source: Tensor, foreground: Tensor, matte: Tensor) -> Relit:
    """Bx3xHxW pictures of a plain light from each side, and what can be said of them without the truth.

    "direction": is the asked side the brighter one? "than of the other side": brighter than in the picture of the light
    from across? A face that is dark on its left stays so under most lights; that it is lighter than before is asked.
    """
    found: Table = {}
    pictures = {side: bench.relight(workflow, foreground, light=side) for side in metrics.SIGNS}
    right, more = [], []
    for side, relit in pictures.items():
        leaning = metrics.towards(side, relit, matte)
        right.append((leaning > 0).float())
        more.append((leaning > metrics.towards(side, pictures[OPPOSITE[side]], matte)).float())
        found[f"direction, {side}"] = 100 * float(right[-1].mean())
    found["direction, all"] = 100 * float(torch.cat(right).mean())
    found["brighter there than of the other side, all"] = 100 * float(torch.cat(more).mean())
    outputs, times = torch.cat(list(pictures.values())), len(pictures)
    for name, correlation in (("detail", metrics.detail_correlation), ("chroma", metrics.chroma_correlation)):
        found[f"{name} correlation"] = float(
            correlation(outputs, source.repeat(times, 1, 1, 1), matte.repeat(times, 1, 1, 1)).nanmean()
        )
    return found, pictures


def direction(bench: Bench, workflow: str, objects: HeldOut) -> Relit:
    """Is the asked side the brighter one, as it is in the truth, and does the light follow the shape?"""
    found, pictures = from_four_sides(bench, workflow, objects.source, objects.foreground, objects.matte)
    truly: list[Tensor] = []
    shape: list[Tensor] = []
    control: list[Tensor] = []
    truth: list[Tensor] = []
    for side, relit in pictures.items():
        truly.append((metrics.towards(side, objects.sides[side], objects.matte) > 0).float())
        light = torch.nn.functional.normalize(torch.tensor(SIDES[side]) + torch.tensor([0, 0, 0.35]), dim=0)
        ramp = lights.light_map(side, "fbc", *objects.source.shape[3:1:-1])
        assert ramp is not None
        pasted = objects.source * torch.from_numpy(ramp).permute(2, 0, 1) / 128
        for among, picture in ((shape, relit), (control, pasted.clamp(0, 1)), (truth, objects.sides[side])):
            among.append(metrics.geometry_correlation(picture, objects.source, objects.matte, objects.normal, light))
    # Dark hair stays dark under a lamp above it: not even the truth is always brighter on the lit side.
    found["direction of the truth, all"] = 100 * float(torch.cat(truly).mean())
    found["geometry"] = float(torch.cat(shape).nanmean())
    found["geometry of a pasted ramp"] = float(torch.cat(control).nanmean())
    found["geometry of the truth"] = float(torch.cat(truth).nanmean())
    return found, pictures


def against_truth(bench: Bench, workflow: str, objects: HeldOut) -> tuple[Table, Tensor]:
    """PSNR and SSIM inside the matte, and those of pictures that no model made."""
    if workflow == "fbc":
        relit = bench.relight("fbc", objects.foreground, background=objects.background)
    else:
        relit = bench.relight("env", objects.foreground, around=objects.environment)
    source, truth, matte = objects.source, objects.truth, objects.matte
    everywhere = torch.ones_like(matte)
    rivals = {
        "model": relit,
        "model, native finish": natively(relit, source, matte),
        "source unchanged": source,
        "source, mean matched to the background": metrics.mean_matched(source, objects.background, matte, everywhere),
        "source, mean matched to the truth (oracle)": metrics.mean_matched(source, truth, matte),
        "truth through the autoencoder (ceiling)": bench.there_and_back(truth),
    }
    found: Table = {}
    for name, pictures in rivals.items():
        found[f"PSNR, {name}"] = float(metrics.psnr_inside(pictures, truth, matte).mean())
        found[f"SSIM, {name}"] = float(metrics.ssim_inside(pictures, truth, matte).nanmean())
    found["detail correlation"] = float(metrics.detail_correlation(relit, source, matte).nanmean())
    found["detail correlation of the truth"] = float(metrics.detail_correlation(truth, source, matte).nanmean())
    found["chroma correlation"] = float(metrics.chroma_correlation(relit, source, matte).nanmean())
    found["chroma correlation of the truth"] = float(metrics.chroma_correlation(truth, source, matte).nanmean())
    return found, relit


def natively(relit: Tensor, source: Tensor, matte: Tensor) -> Tensor:
    """The relightings' light on the source's own pixels (`finish`), behind them the source."""
    made = []
    for one, photo, cover in zip(relit, source, matte, strict=True):
        pixels = [(x.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy() for x in (one, photo)]
        alpha = np.ascontiguousarray(cover.permute(1, 2, 0).numpy())
        lit = finish.apply_light(pixels[1], gain_map.measure_gain([pixels[0]], pixels[1], alpha), alpha)
        made.append(torch.from_numpy(lit).permute(2, 0, 1) / 255)
    return torch.stack(made)


def additivity(bench: Bench, objects: HeldOut) -> Table:
    """|I(L1) + I(L2) - I(L1 + L2)| over the mean of I(L1 + L2), linear, for the env workflow; one noise for all."""
    first, second, whole = (
        bench.relight("env", objects.foreground, around=e) for e in (*objects.halves, objects.environment)
    )
    return {"additivity error": float(metrics.additivity_error(first, second, whole, objects.matte).mean())}


def normals(bench: Bench, pictures: dict[str, Tensor], objects: HeldOut) -> Table:
    """Angle between normals from four relightings (the engine's own formula) and the true ones."""
    made = []
    for number in range(len(objects.matte)):
        relit = {side: pictures[side][number].permute(1, 2, 0).numpy() for side in metrics.SIGNS}
        normal, _ = normals_from_lights(relit, objects.matte[number].permute(1, 2, 0).numpy())
        made.append(torch.from_numpy(normal).permute(2, 0, 1))
    flat = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand_as(objects.normal)
    return {
        "normals, degrees off": float(metrics.angular_error(torch.stack(made), objects.normal, objects.matte).mean()),
        "normals all facing the camera": float(metrics.angular_error(flat, objects.normal, objects.matte).mean()),
    }


def evaluate(bench: Bench, objects: HeldOut) -> tuple[dict[str, Table], list[list[Tensor]]]:
    """Every figure, by group; and the sheet's rows: source, truth, fbc, env, then fc and fbc from four sides."""
    found: dict[str, Table] = {}
    found["fc"], by_words = direction(bench, "fc", objects)
    found["fbc against truth"], by_background = against_truth(bench, "fbc", objects)
    found["fbc"], by_ramp = direction(bench, "fbc", objects)
    found["normals"] = normals(bench, by_ramp, objects)
    found["env against truth"], by_environment = against_truth(bench, "env", objects)
    found["env"], _ = direction(bench, "env", objects)
    found["env"] |= additivity(bench, objects)
    rows = [
        [objects.source[k], objects.truth[k], by_background[k], by_environment[k]]
        + [by_words[side][k] for side in metrics.SIGNS]
        + [by_ramp[side][k] for side in metrics.SIGNS]
        for k in range(min(10, len(objects.matte)))
    ]
    return found, rows


def evaluate_photographs(bench: Bench, photos: Photographs) -> tuple[dict[str, Table], list[list[Tensor]]]:
    """Photographs have no truth: direction, detail and chroma alone; and the sheet's rows, as far as there are any."""
    found: dict[str, Table] = {}
    pictures = {}
    for workflow in ("fc", "fbc", "env"):
        found[workflow], pictures[workflow] = from_four_sides(bench, workflow, *photos)
    rows = [
        [photos.source[k], *(pictures[workflow][side][k] for workflow in pictures for side in metrics.SIGNS)]
        for k in range(len(photos.matte))
    ]
    return found, rows


def as_markdown(groups: dict[str, dict[str, Table]]) -> str:
    """One table: a line per figure of the first set, a column per set of objects."""
    names = list(groups)
    lines = [f"| figure | {' | '.join(names)} |", f"| --- | {' | '.join('---:' for _ in names)} |"]
    for group in groups[names[0]]:
        for figure in groups[names[0]][group]:
            cells = [groups[name].get(group, {}).get(figure) for name in names]
            shown = ["" if value is None else f"{value:.1f}" if abs(value) >= 5 else f"{value:.3f}" for value in cells]
            lines.append(f"| {group}: {figure} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def joined(parts: Sequence[Part]) -> dict[str, dict[str, Table]]:
    """The figures of all objects from those of the parts: means, each part weighed by its objects.

    Figures that only some parts have (the autoencoder's) are those parts' means.
    """
    groups: dict[str, dict[str, Table]] = {}
    for place in (tuple(keys) for part in parts for keys in _places(part["figures"])):
        name, group, figure = place
        found = [
            (part["objects"][name], part["figures"][name][group][figure])
            for part in parts
            if figure in part["figures"].get(name, {}).get(group, {})
        ]
        mean = sum(count * value for count, value in found) / sum(count for count, _ in found)
        groups.setdefault(name, {}).setdefault(group, {})[figure] = mean
    return groups


def _places(groups: dict[str, dict[str, Table]]) -> Iterator[tuple[str, str, str]]:
    for name, tables in groups.items():
        for group, table in tables.items():
            yield from ((name, group, figure) for figure in table)


def write(out: Path, number: int, parts: int, found: Part) -> str | None:
    """Keep one part's figures; once all parts are there and whole, the table, which is written beside them."""
    path = out / f"part-{number}-of-{parts}.json"
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(found, indent=1))
    partial.replace(path)
    paths = [out / f"part-{k}-of-{parts}.json" for k in range(parts)]
    every: list[Part] = [json.loads(one.read_text()) for one in paths if one.is_file()]
    groups = joined(every)
    # Written as it grows: a set takes many minutes, and what is known is not lost with the next.
    (out / "figures.json").write_text(json.dumps(groups, indent=1))
    (out / "table.md").write_text(as_markdown(groups))
    return as_markdown(groups) if len(every) == parts and all(part["whole"] for part in every) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="mini", help="a name or a model's folder")
    parser.add_argument("--objects", type=int, default=64)
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--photo-side", type=int, default=192, help="pixels of the photographs")
    parser.add_argument("--traced", type=Path, default=Path("build/traced"), help="path-traced shards, if any")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--part", default="0/1", help="this process's share of the objects: number/count")
    parser.add_argument("--out", type=Path, default=Path("build/evaluation"))
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    bench = Bench(options.model, options.device, options.dtype)
    options.out.mkdir(parents=True, exist_ok=True)
    number, parts = (int(text) for text in options.part.split("/"))
    sets: dict[str, HeldOut | Photographs] = {
        "light stage": stage_objects(options.objects, options.side, share=(number, parts))
    }
    if any(options.traced.glob("*")):
        traced = traced_objects(options.traced, options.side, share=(number, parts))
        if traced is not None:
            sets["path traced"] = traced
    if number == 0:
        sets["photographs"] = photographed(options.photo_side)
    found: Part = {
        "objects": {name: len(objects.matte) for name, objects in sets.items()},
        "figures": {},
        "whole": False,
    }
    for name, objects in sets.items():
        if isinstance(objects, Photographs):
            found["figures"][name], rows = evaluate_photographs(bench, objects)
        else:
            found["figures"][name], rows = evaluate(bench, objects)
        if name == "light stage" and number == 0:
            vae = bench.relighter("fbc").vae.model.float()
            figures = {f"PSNR, {photo}": value for photo, value in autoencoder_figures(vae).items()}
            found["figures"][name]["autoencoder, 512 px"] = figures
        label = "" if parts == 1 or isinstance(objects, Photographs) else f"-{number}"
        save_sheet(rows, options.out / f"sheet-{name.replace(' ', '-')}{label}.jpg")
        found["whole"] = len(found["figures"]) == len(sets)
        table = write(options.out, number, parts, found)
    print(table or f"Part {options.part} is done; the table comes with the last.")


if __name__ == "__main__":
    main()
