"""Does a model heed its conditions? Its error with each picture's own light, and with another picture's.

    python -m training.evaluation.conditioning models/mini --data build/latents64

The error is that of the clean latents implied by one prediction, inside the matte, on training objects; env by the
environment, fbc by the background. A condition that is ignored shows at once: both errors are the same.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from .. import loss as losses
from ..base import Trained, load
from ..data.batches import Batch, Sources
from ..model import LATENTS
from ..randomness import generator
from ..tokenizer import Words

TIMESTEPS = (999, 900, 700)
SHARES = {"fbc": (0.0, 1.0, 0.0), "env": (0.0, 0.0, 1.0)}


@torch.no_grad()
def errors(parts: Trained, batch: Batch, timestep: int, seed: int = 0) -> tuple[float, float]:
    """Mean squared error in the matte: with the rows' own conditions, and with those of the row before.

    `parts`: the model; `batch`: its rows.
    `timestep`: 0 to 999; `seed`: of the noise.
    """
    others = batch.condition.clone()
    others[:, LATENTS:] = batch.condition[:, LATENTS:].roll(1, 0)
    swapped = replace(batch, condition=others, environments=batch.environments.roll(1, 0))
    alphas, words = losses.alphas_cumprod(), Words(parts.tokenizer)(batch.captions)
    steps = torch.full((len(batch.clean),), timestep)
    white = torch.randn(batch.clean.shape, generator=generator(seed, timestep))
    noise = losses.offset_noise(white, steps, alphas, generator(seed, timestep, 1))
    noisy = losses.add_noise(batch.clean, noise, steps, alphas)
    means = []
    for rows in (batch, swapped):
        latents = torch.cat([noisy, rows.condition], 1)
        predicted = parts.model(latents, steps, words, rows.environments, rows.has_environment)
        clean = losses.predict_x0(noisy, predicted, steps, alphas, parts.model.prediction_type)
        squares = (clean - batch.clean).square() * batch.matte
        means.append(float(squares.sum() / (LATENTS * batch.matte.sum())))
    return means[0], means[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a run's trained/ folder, or a model like models/mini")
    parser.add_argument("--data", type=Path, default=Path("build/latents64"))
    parser.add_argument("--rows", type=int, default=64)
    options = parser.parse_args()
    sources = Sources([options.data])
    print("| timestep | told by | own light | another's |\n| ---: | --- | ---: | ---: |")
    for workflow, shares in SHARES.items():
        parts = load(options.model, None, workflow)
        parts.model.eval()
        batch = sources.draw(options.rows, (0.0, 1.0, 0.0), generator(99, 0), shares)
        for timestep in TIMESTEPS:
            own, other = errors(parts, batch, timestep)
            print(f"| {timestep} | {workflow} | {own:.3f} | {other:.3f} |")


if __name__ == "__main__":
    main()
