"""Does the consistency term do what the paper says? The same runs with and without it, from one start.

    python -m iclight.training.ablation --start build/mini/trained --data build/latents --out build/ablation

For every seed two runs: same start, same batches (light-stage triplets, all three lights in the loss of both), same
steps; one adds 0.1 x consistency, the other 0. Then both are measured on held-out objects: additivity error of sampled
pictures, PSNR inside the matte by environment, angular error of normals from four environments. Written as a table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from .. import environment as environments
from ..normals import normals_from_lights
from . import metrics
from .bases import VAE, Trained, load
from .captions import QUALITY
from .config import Config, read_config
from .heldout import HeldOut, stage_objects
from .latents import encode
from .model import Words
from .sampling import decode, sample
from .train import train

ARMS = {"with": 0.1, "without": 0.0}


def measure(parts: Trained, vae: AutoencoderKL, objects: HeldOut, steps: int = 20) -> dict[str, float]:
    """Figures of one trained model on the objects; one noise for everything."""
    model, words = parts.model.eval(), Words(parts.tokenizer)
    foreground = encode(vae, (objects.foreground * 255).round().to(torch.uint8)).float()
    condition = torch.cat([foreground, torch.zeros_like(foreground)], 1)
    captions = [QUALITY] * len(condition)

    def relit(around: torch.Tensor) -> torch.Tensor:
        return decode(vae, sample(model, words, condition, captions, around, steps=steps, scale=1.0, seed=5))

    first, second, whole = (relit(around) for around in (*objects.halves, objects.environment))
    apart = metrics.additivity_error(first, second, whole, objects.matte)
    sides = {
        side: relit(torch.from_numpy(environments.preset(side)).permute(2, 0, 1).expand(len(condition), -1, -1, -1))
        for side in metrics.SIGNS
    }
    made = []
    for number, matte in enumerate(objects.matte):
        pictures = {side: picture[number].permute(1, 2, 0).numpy() for side, picture in sides.items()}
        normal, _ = normals_from_lights(pictures, matte.permute(1, 2, 0).numpy())
        made.append(torch.from_numpy(normal).permute(2, 0, 1))
    off = metrics.angular_error(torch.stack(made), objects.normal, objects.matte)
    right = torch.stack([metrics.towards(side, picture, objects.matte) > 0 for side, picture in sides.items()])
    return {
        "additivity error": float(apart.mean()),
        "PSNR in the matte, env": float(metrics.psnr_inside(whole, objects.truth, objects.matte).mean()),
        "normals, degrees off": float(off.mean()),
        "direction, env, %": 100 * float(right.float().mean()),
    }


def as_markdown(found: dict[str, list[dict[str, float]]]) -> str:
    """Mean and standard deviation over the seeds, and the difference seed by seed."""
    lines = ["| figure | with consistency | without | with - without, per seed |", "| --- | ---: | ---: | ---: |"]
    for figure in found["with"][0]:
        one, two = ([run[figure] for run in found[arm]] for arm in ARMS)
        gaps = ", ".join(f"{a - b:+.3g}" for a, b in zip(one, two, strict=True))
        cells = [f"{np.mean(x):.4g} ± {statistics.stdev(x) if len(x) > 1 else 0:.2g}" for x in (one, two)]
        lines.append(f"| {figure} | {cells[0]} | {cells[1]} | {gaps} |")
    return "\n".join(lines) + "\n"


def arm_config(base: Config, data: list[str], start: Path, steps: int, seed: int, consistency: float) -> Config:
    """One run's config: light-stage triplets mostly, both arms alike but for the term's weight."""
    shares = (0.0, 0.25, 0.75)
    return replace(
        base,
        data=tuple(data),
        start=str(start),
        steps=steps,
        seed=seed,
        consistency=consistency,
        shares=shares,
        shares_end=shares,
        stages=(),
        workflows=(0.0, 0.0, 1.0),
        rate=3e-4,
        average=0.99,
        save_every=100,
        sheet_every=10**9,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--start", type=Path, required=True, help="a run's trained/ folder that all runs begin from")
    parser.add_argument("--data", nargs="+", default=["build/latents"], help="folders of encoded shards")
    parser.add_argument("--vae", type=Path, default=VAE)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--objects", type=int, default=48)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("build/ablation"))
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    options.out.mkdir(parents=True, exist_ok=True)
    objects = stage_objects(options.objects, options.side)
    vae = AutoencoderKL.from_pretrained(options.vae).eval()
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in options.seeds:
        for arm, consistency in ARMS.items():
            folder = options.out / f"{arm}-{seed}"
            figures = folder / "figures.json"
            if not figures.is_file():
                base = read_config("mini")
                config = arm_config(base, options.data, options.start, options.steps, seed, consistency)
                train(config, folder)
                figures.write_text(json.dumps(measure(load(folder / "trained", None), vae, objects), indent=1))
            found[arm].append(json.loads(figures.read_text()))
            print(arm, seed, found[arm][-1], flush=True)
    (options.out / "table.md").write_text(as_markdown(found))
    print(as_markdown(found))


if __name__ == "__main__":
    main()
