"""Does sampling keep the light? A model's estimate of the picture, step by step, beside the truth.

    python -m training.evaluation.diagnostics models/mini --objects 16

Held-out objects lit from the left and from the top, asked for by name, first pass only. A model that believes its own
errors is nearest the truth early and drifts away from it afterwards (`rollouts.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import metrics
from ..scenes.random_lights import towards_side
from .bench import Bench
from .heldout import HeldOut, stage_objects

ASKED = ("left", "top")
SEED = 800_001  # of objects that neither training nor `evaluate` sees
FIGURES = ("brighter side, %", "geometry", "PSNR in the matte", "detail correlation")


def evenly_spaced(count: int, lines: int = 8) -> list[int]:
    """At most `lines` of `count` steps, evenly chosen, the first and the last among them."""
    return sorted({round(k * (count - 1) / max(1, lines - 1)) for k in range(lines)})


def measure(pictures: Tensor, side: str, objects: HeldOut) -> tuple[float, ...]:
    """FIGURES of Bx3xHxW pictures that were asked for light from `side`."""
    light = towards_side(side)
    geometry = metrics.geometry_correlation(pictures, objects.source, objects.matte, objects.normal, light)
    return (
        100 * float((metrics.towards(side, pictures, objects.matte) > 0).float().mean()),
        float(geometry.nanmean()),
        float(metrics.psnr_inside(pictures, objects.sides[side], objects.matte).mean()),
        float(metrics.detail_correlation(pictures, objects.source, objects.matte).nanmean()),
    )


def drift(bench: Bench, workflow: str, objects: HeldOut, sides: Sequence[str] = ASKED) -> dict[str, tuple[float, ...]]:
    """ "step k" or "truth" -> FIGURES, means over the sides.

    `bench`, `workflow`: the model, and which of its UNets.
    `objects`: what to relight; `sides`: the lights to ask for.
    """
    figures: dict[str, list[tuple[float, ...]]] = {}
    for side in sides:
        estimates: dict[int, list[Tensor]] = {}

        def note(step: int, steps: int, clean: Tensor, estimates: dict[int, list[Tensor]] = estimates) -> None:
            if step - 1 in evenly_spaced(steps):
                estimates.setdefault(step, []).append(clean.clone())

        bench.relight(workflow, objects.foreground, light=side, on_step=note)
        vae = bench.relighter(workflow).vae
        for step, latents in estimates.items():
            with torch.inference_mode():
                pictures = (vae.decode(torch.cat(latents)).float().cpu() / 2 + 0.5).clamp(0, 1)
            figures.setdefault(f"step {step}", []).append(measure(pictures, side, objects))
        figures.setdefault("truth", []).append(measure(objects.sides[side], side, objects))
    return {name: tuple(torch.tensor(values).mean(0).tolist()) for name, values in figures.items()}


def as_markdown(figures: dict[str, tuple[float, ...]], workflow: str) -> str:
    lines = [f"| {workflow} | {' | '.join(FIGURES)} |", f"| --- | {' | '.join('---:' for _ in FIGURES)} |"]
    for name, values in figures.items():
        right, geometry, psnr, detail = values
        lines.append(f"| {name} | {right:.0f} | {geometry:.2f} | {psnr:.1f} | {detail:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a name or a model's folder")
    parser.add_argument("--objects", type=int, default=16)
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--workflows", nargs="+", default=["fc", "fbc", "env"], choices=["fc", "fbc", "env"])
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    objects = stage_objects(options.objects, options.side, seed=options.seed).first(options.objects)
    bench = Bench(options.model, options.device)
    for workflow in options.workflows:
        print(as_markdown(drift(bench, workflow, objects), workflow), flush=True)


if __name__ == "__main__":
    main()
