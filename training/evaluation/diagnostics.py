"""Does sampling keep what it found? A model's estimate of the picture, step by step, beside the truth.

    python -m training.evaluation.diagnostics models/mini --objects 16

Held-out objects lit from the left and from the top, asked for by name, first pass only. A model that believes its own
errors is nearest the truth early and drifts away from it afterwards (`rollouts.py`).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import metrics
from ..scenes.random_lights import SIDES
from .evaluate import Bench
from .heldout import HeldOut, stage_objects

ASKED = ("left", "top")
SEED = 800_001  # of objects that neither training nor `evaluate` sees
FIGURES = ("brighter side, %", "geometry", "PSNR in the matte", "detail correlation")


def shown(count: int, lines: int = 8) -> list[int]:
    """At most `lines` of `count` steps, evenly chosen, the first and the last among them."""
    return sorted({round(k * (count - 1) / max(1, lines - 1)) for k in range(lines)})


def judged(made: Tensor, side: str, objects: HeldOut) -> tuple[float, ...]:
    """FIGURES of Bx3xHxW pictures that were asked for light from `side`."""
    light = torch.nn.functional.normalize(torch.tensor(SIDES[side]) + torch.tensor([0, 0, 0.35]), dim=0)
    geometry = metrics.geometry_correlation(made, objects.source, objects.matte, objects.normal, light)
    return (
        100 * float((metrics.towards(side, made, objects.matte) > 0).float().mean()),
        float(geometry.nanmean()),
        float(metrics.psnr_inside(made, objects.sides[side], objects.matte).mean()),
        float(metrics.detail_correlation(made, objects.source, objects.matte).nanmean()),
    )


def drift(bench: Bench, workflow: str, objects: HeldOut, sides: Sequence[str] = ASKED) -> dict[str, tuple[float, ...]]:
    """ "step k" or "truth" -> FIGURES, means over the sides."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for side in sides:
        estimates: dict[int, list[Tensor]] = {}

        def note(step: int, steps: int, clean: Tensor, kept: dict[int, list[Tensor]] = estimates) -> None:
            if step - 1 in shown(steps):
                kept.setdefault(step, []).append(clean.clone())

        bench.relight(workflow, objects.foreground, light=side, on_step=note)
        vae = bench.relighter(workflow).vae
        for step, latents in estimates.items():
            with torch.inference_mode():
                made = (vae.decode(torch.cat(latents)).float().cpu() / 2 + 0.5).clamp(0, 1)
            found.setdefault(f"step {step}", []).append(judged(made, side, objects))
        found.setdefault("truth", []).append(judged(objects.sides[side], side, objects))
    return {name: tuple(torch.tensor(values).mean(0).tolist()) for name, values in found.items()}


def as_markdown(found: dict[str, tuple[float, ...]], workflow: str) -> str:
    lines = [f"| {workflow} | {' | '.join(FIGURES)} |", f"| --- | {' | '.join('---:' for _ in FIGURES)} |"]
    for name, values in found.items():
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
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    objects = stage_objects(options.objects, options.side, seed=options.seed).first(options.objects)
    bench = Bench(options.model, options.device)
    for workflow in options.workflows:
        print(as_markdown(drift(bench, workflow, objects), workflow), flush=True)


if __name__ == "__main__":
    main()
