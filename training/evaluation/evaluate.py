"""Measure a model on what training never saw. Prints and writes one table and one contact sheet.

    python -m training.evaluation.evaluate --model models/mini --out build/evaluation

Light-stage objects of held-out seeds, path-traced objects where there are some (`--traced`), three photographs with
outlines drawn by hand; first pass only (`--side` pixels). What each line means is in docs/training.md. Several
processes share the work (--part 0/2, --part 1/2, one --out): each measures its objects, and the last to end writes the
table of all. How strong the light is after both passes (`light.py`) part 0 measures at its end, and `--part light`
alone, with `--workflows` a share of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iclight.editing import finish, gain_map
from iclight.editing.normal_maps import normals_from_lights
from iclight.imaging import light_maps as lights
from iclight.parameters import WORKFLOWS

from .. import metrics
from ..autoencoder import evaluate as autoencoder_figures
from ..scenes.random_lights import towards_side
from ..sheets import save_sheet
from . import light
from .bench import Bench
from .heldout import HeldOut, Photographs, photographed, stage_objects, traced_objects
from .report import Groups, Part, Table, as_markdown, write

Relit = tuple[Table, dict[str, Tensor]]  # figures, and the pictures of each side's light
Rows = list[list[Tensor]]  # of a contact sheet
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


def from_four_sides(bench: Bench, workflow: str, source: Tensor, foreground: Tensor, matte: Tensor) -> Relit:
    """Pictures of a plain light from each side, and what can be said of them without the truth.

    `source`, `foreground`: Bx3xHxW in [0, 1], whole and on grey; `matte`: Bx1xHxW.
    "direction": is the asked side the brighter one? "than of the other side": brighter than in the picture of the light
    from across? A face that is dark on its left stays so under most lights; that it is lighter than before is asked.
    """
    table: Table = {}
    pictures = {side: bench.relight(workflow, foreground, light=side) for side in metrics.SIGNS}
    right, more = [], []
    for side, relit in pictures.items():
        leaning = metrics.towards(side, relit, matte)
        right.append((leaning > 0).float())
        more.append((leaning > metrics.towards(side, pictures[OPPOSITE[side]], matte)).float())
        table[f"direction, {side}"] = 100 * float(right[-1].mean())
    table["direction, all"] = 100 * float(torch.cat(right).mean())
    table["brighter there than of the other side, all"] = 100 * float(torch.cat(more).mean())
    outputs, times = torch.cat(list(pictures.values())), len(pictures)
    for name, correlation in (("detail", metrics.detail_correlation), ("chroma", metrics.chroma_correlation)):
        values = correlation(outputs, source.repeat(times, 1, 1, 1), matte.repeat(times, 1, 1, 1))
        table[f"{name} correlation"] = float(values.nanmean())
    return table, pictures


def direction(bench: Bench, workflow: str, objects: HeldOut) -> Relit:
    """Is the asked side the brighter one, as it is in the truth, and does the light follow the shape?"""
    table, pictures = from_four_sides(bench, workflow, objects.source, objects.foreground, objects.matte)
    right: list[Tensor] = []
    geometry: dict[str, list[Tensor]] = {"geometry": [], "geometry of a pasted ramp": [], "geometry of the truth": []}
    for side, relit in pictures.items():
        truth = objects.sides[side]
        right.append((metrics.towards(side, truth, objects.matte) > 0).float())
        ramp = lights.light_map(side, "fbc", *objects.source.shape[3:1:-1])
        assert ramp is not None
        pasted = (objects.source * torch.from_numpy(ramp).permute(2, 0, 1) / 128).clamp(0, 1)
        for values, picture in zip(geometry.values(), (relit, pasted, truth), strict=True):
            light = towards_side(side)
            values.append(metrics.geometry_correlation(picture, objects.source, objects.matte, objects.normal, light))
    # Dark hair stays dark under a lamp above it: not even the truth is always brighter on the lit side.
    table["direction of the truth, all"] = 100 * float(torch.cat(right).mean())
    return table | {name: float(torch.cat(values).nanmean()) for name, values in geometry.items()}, pictures


def against_truth(bench: Bench, workflow: str, objects: HeldOut) -> tuple[Table, Tensor]:
    """PSNR and SSIM inside the matte, and those of pictures that no model drew."""
    if workflow == "fbc":
        relit = bench.relight("fbc", objects.foreground, background=objects.background)
    else:
        relit = bench.relight("env", objects.foreground, around=objects.environment)
    source, truth, matte = objects.source, objects.truth, objects.matte
    everywhere = torch.ones_like(matte)
    rivals = {
        "model": relit,
        "model, native finish": native_finish(relit, source, matte),
        "source unchanged": source,
        "source, mean matched to the background": metrics.mean_matched(source, objects.background, matte, everywhere),
        "source, mean matched to the truth (oracle)": metrics.mean_matched(source, truth, matte),
        "truth through the autoencoder (ceiling)": bench.reconstruct(truth),
    }
    table: Table = {}
    for name, pictures in rivals.items():
        table[f"PSNR, {name}"] = float(metrics.psnr_inside(pictures, truth, matte).mean())
        table[f"SSIM, {name}"] = float(metrics.ssim_inside(pictures, truth, matte).nanmean())
    for name, correlation in (("detail", metrics.detail_correlation), ("chroma", metrics.chroma_correlation)):
        table[f"{name} correlation"] = float(correlation(relit, source, matte).nanmean())
        table[f"{name} correlation of the truth"] = float(correlation(truth, source, matte).nanmean())
    return table, relit


def native_finish(relit: Tensor, source: Tensor, matte: Tensor) -> Tensor:
    """The relightings' light on the source's own pixels (`finish`), behind them the source."""
    pictures = []
    for one, photo, cover in zip(relit, source, matte, strict=True):
        pixels = [(x.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy() for x in (one, photo)]
        alpha = np.ascontiguousarray(cover.permute(1, 2, 0).numpy())
        lit = finish.apply_light(pixels[1], gain_map.measure_gain([pixels[0]], pixels[1], alpha), alpha)
        pictures.append(torch.from_numpy(lit).permute(2, 0, 1) / 255)
    return torch.stack(pictures)


def additivity(bench: Bench, objects: HeldOut) -> Table:
    """|I(L1) + I(L2) - I(L1 + L2)| over the mean of I(L1 + L2), linear, for the env workflow; one noise for all."""
    first, second, whole = (
        bench.relight("env", objects.foreground, around=e) for e in (*objects.halves, objects.environment)
    )
    return {"additivity error": float(metrics.additivity_error(first, second, whole, objects.matte).mean())}


def normals(pictures: dict[str, Tensor], objects: HeldOut) -> Table:
    """Angle between normals from four relightings (the engine's own formula) and the true ones."""
    estimates = []
    for number, matte in enumerate(objects.matte):
        relit = {side: pictures[side][number].permute(1, 2, 0).numpy() for side in metrics.SIGNS}
        normal, _ = normals_from_lights(relit, matte.permute(1, 2, 0).numpy())
        estimates.append(torch.from_numpy(normal).permute(2, 0, 1))
    flat = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand_as(objects.normal)
    return {
        name: float(metrics.angular_error(normal, objects.normal, objects.matte).mean())
        for name, normal in (
            ("normals, degrees off", torch.stack(estimates)),
            ("normals all facing the camera", flat),
        )
    }


def evaluate(bench: Bench, objects: HeldOut) -> tuple[Groups, Rows]:
    """Every figure, by group; and the sheet's rows: source, truth, fbc, env, then fc and fbc from four sides."""
    groups: Groups = {}
    groups["fc"], by_words = direction(bench, "fc", objects)
    groups["fbc against truth"], by_background = against_truth(bench, "fbc", objects)
    groups["fbc"], by_ramp = direction(bench, "fbc", objects)
    groups["normals"] = normals(by_ramp, objects)
    groups["env against truth"], by_environment = against_truth(bench, "env", objects)
    groups["env"], _ = direction(bench, "env", objects)
    groups["env"] |= additivity(bench, objects)
    columns = [objects.source, objects.truth, by_background, by_environment, *by_words.values(), *by_ramp.values()]
    return groups, [list(row) for row in zip(*(column[:10] for column in columns), strict=True)]


def evaluate_photographs(bench: Bench, photos: Photographs) -> tuple[Groups, Rows]:
    """Photographs have no truth: direction, detail and chroma alone; and the sheet's rows."""
    groups: Groups = {}
    columns = [photos.source]
    for workflow in ("fc", "fbc", "env"):
        groups[workflow], pictures = from_four_sides(bench, workflow, *photos)
        columns += pictures.values()
    return groups, [list(row) for row in zip(*columns, strict=True)]


def evaluate_light(bench: Bench, workflows: list[str], objects: dict[str, HeldOut], out: Path) -> str:
    """The table of how strong the light is, with what was measured of other workflows into the folder `out` before."""
    for workflow in workflows:
        (out / f"light-{workflow}.json").write_text(json.dumps(light.measure(bench, workflow, objects), indent=1))
    sets: dict[str, Groups] = {}
    for path in filter(Path.is_file, (out / f"light-{workflow}.json" for workflow in WORKFLOWS)):
        for name, groups in json.loads(path.read_text()).items():
            sets.setdefault(name, {}).update(groups)
    (out / "light.md").write_text(as_markdown(sets))
    return as_markdown(sets)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="mini", help="a name or a model's folder")
    parser.add_argument("--objects", type=int, default=64)
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--photo-side", type=int, default=192, help="pixels of the photographs")
    parser.add_argument("--traced", type=Path, default=Path("build/traced"), help="path-traced shards, if any")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--part", default="0/1", help='this process\'s share of the objects, number/count; or "light"')
    parser.add_argument("--workflows", nargs="+", default=WORKFLOWS, choices=WORKFLOWS, help="of the light alone")
    parser.add_argument("--light-objects", type=int, default=16, help="of each set, for the light")
    parser.add_argument("--out", type=Path, default=Path("build/evaluation"))
    options = parser.parse_args()
    bench = Bench(options.model, options.device, options.dtype)
    options.out.mkdir(parents=True, exist_ok=True)
    few = {"light stage": stage_objects(options.light_objects, options.side)}
    if (traced := traced_objects(options.traced, options.side)) is not None:
        few["path traced"] = traced.first(options.light_objects)
    if options.part == "light":
        print(evaluate_light(bench, options.workflows, few, options.out))
        return
    number, parts = (int(text) for text in options.part.split("/"))
    sets: dict[str, HeldOut | Photographs] = {
        "light stage": stage_objects(options.objects, options.side, share=(number, parts))
    }
    if (traced := traced_objects(options.traced, options.side, share=(number, parts))) is not None:
        sets["path traced"] = traced
    if number == 0:
        sets["photographs"] = photographed(options.photo_side)
    measured: Part = {"objects": {name: len(o.matte) for name, o in sets.items()}, "figures": {}, "whole": False}
    for name, objects in sets.items():
        if isinstance(objects, Photographs):
            measured["figures"][name], rows = evaluate_photographs(bench, objects)
        else:
            measured["figures"][name], rows = evaluate(bench, objects)
        if name == "light stage" and number == 0:
            vae = bench.relighter("fbc").vae.model.float()
            figures = {f"PSNR, {photo}": value for photo, value in autoencoder_figures(vae).items()}
            measured["figures"][name]["autoencoder, 512 px"] = figures
        label = "" if parts == 1 or isinstance(objects, Photographs) else f"-{number}"
        save_sheet(rows, options.out / f"sheet-{name.replace(' ', '-')}{label}.jpg")
        measured["whole"] = len(measured["figures"]) == len(sets)
        table = write(options.out, number, parts, measured)
    print(table or f"Part {options.part} is done; the table comes with the last.")
    if number == 0:
        print(evaluate_light(bench, options.workflows, few, options.out))


if __name__ == "__main__":
    main()
