"""Train a relighting model: one visible loop.

    torchrun --nproc-per-node 2 -m training.train --config mini-64 --out build/mini-64
    accelerate launch -m training.train --base stable-diffusion-v1-5 --lora 64 --out build/sd15

Kill it whenever you like: the same command goes on from the newest checkpoint and ends at the same result. The folder
holds log.csv, checkpoints, contact sheets, and at the end `trained/` (weights) and `model/` (what the engine loads).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from . import loss as losses
from . import rollouts
from .base import Trained, build
from .checkpoints import EMA, Run, generator, precision, set_lr, warmup_stable_decay
from .config import PARTS, Config, add_options, read_config, with_options
from .data.batches import Batch, Sources
from .data.light_maps import light_maps
from .model import LATENTS, RelightingModel, Words, start_merge, start_tokens
from .sheets import training_sheet

# Bands of timesteps that the log tells apart: below the first number, below the second, ...
BANDS = {"detail": 400, "form": 800, "light": 1000}
OTHERS = ("consistency", "normals")


def train(config: Config, out: Path, until: int | None = None, tensorboard: bool = False) -> Trained | None:
    """Run the loop to the end, or to step `until`; the trained parts if it came to the end."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=precision(config.mixed_precision))
    torch.manual_seed(config.seed)
    parts = build(config, out)
    model, words = parts.model, Words(parts.tokenizer)
    sources = Sources([Path(folder) for folder in config.data], config.shards or None, config.hints, config.doubts)
    if config.new_tokens or not config.begin:
        start_tokens(model.tokens, sources.environments(), generator(config.seed, 0))
    if parts.new_merge and config.consistency and len(sources.objects):
        random = generator(config.seed, 1)
        before, after = start_merge(model.merge, *sources.added_light(random), random)
        accelerator.print(
            f"Merging MLP fitted to true latents: mean squared error {before:.4f} before, {after:.4f} after."
        )
    learning = [p for p in model.parameters() if p.requires_grad]
    average = EMA(learning, config.average)
    optimiser = torch.optim.AdamW(
        _groups(model, learning, config.tokens_rate),
        lr=config.rate,
        betas=(0.9, 0.99),
        weight_decay=config.weight_decay,
    )
    wrapped, optimiser = accelerator.prepare(model, optimiser)
    average.to(accelerator.device)
    accelerator.register_for_checkpointing(average)
    if config.hints and parts.vae is not None:
        factor = 2 ** (len(parts.vae.config.block_out_channels) - 1)
        height, width = (length * factor for length in sources.tensors["images"].shape[-2:])
        sources.maps = light_maps(parts.vae, height, width)
    alphas = losses.alphas_cumulative().to(accelerator.device)
    run = Run(out, accelerator, tensorboard=tensorboard)
    if accelerator.is_main_process:
        (out / "config.json").write_text(config.to_json())
    first, meter = run.resume()["step"], Meter()

    steps = range(first, min(config.steps, until or config.steps))
    batches = drawn_ahead(sources, config, steps, accelerator.process_index)
    for step in tqdm(steps, initial=first, total=config.steps, disable=not accelerator.is_main_process, mininterval=10):
        set_lr(optimiser, warmup_stable_decay(step, config.steps, config.rate, config.warmup, config.decay))
        batch, random = next(batches)
        batch = batch.to(accelerator.device)
        vanilla, consistency = objective(wrapped, model, batch, words, alphas, config, random, meter)
        accelerator.backward(vanilla + config.consistency * consistency)
        freeze(model, config.learns(step))
        accelerator.clip_grad_norm_(learning, config.clip)
        optimiser.step()
        optimiser.zero_grad()
        average.update()
        if (step + 1) % config.log_every == 0:
            run.log(step + 1, **meter.read(), rate=optimiser.param_groups[0]["lr"])
        if (step + 1) % config.save_every == 0:
            run.save(step + 1)
        if (step + 1) % config.sheet_every == 0 and accelerator.is_main_process:
            average.swap()
            training_sheet(model, words, sources, out / f"sheet-{step + 1:06d}.jpg", parts.vae)
            average.swap()
    accelerator.wait_for_everyone()
    if until is not None and until < config.steps:
        return None
    average.swap()
    if accelerator.is_main_process:
        parts.save(out / "trained")
    accelerator.wait_for_everyone()
    return parts


class _Drawn(Dataset[tuple[Batch, Tensor]]):
    """Step -> its batch, and the state of the step's generator after drawing it."""

    def __init__(self, sources: Sources, config: Config, process: int) -> None:
        self.sources, self.config, self.process = sources, config, process

    def __getitem__(self, step: int) -> tuple[Batch, Tensor]:
        config, random = self.config, generator(self.config.seed, step, self.process)
        shares = config.schedule.at(step)
        batch = self.sources.draw(config.batch, shares, random, config.workflows, config.close)
        return batch, random.get_state()


def drawn_ahead(
    sources: Sources, config: Config, steps: Sequence[int], process: int
) -> Iterator[tuple[Batch, torch.Generator]]:
    """Every step's batch and its generator, drawn ahead in `config.workers` processes, or here where there are none.

    A GPU waits for rows that are drawn in the loop; what is drawn is the same either way.
    """
    options: dict[str, Any] = {}
    if config.workers:
        # Forked, for all of them read the same gigabytes of latents.
        options = {"num_workers": config.workers, "prefetch_factor": 3, "multiprocessing_context": "fork"}
        options["pin_memory"] = torch.cuda.is_available()
    # A generator of its own: else it takes its seed from the one that checkpoints keep.
    drawn: DataLoader[tuple[Batch, Tensor]] = DataLoader(
        _Drawn(sources, config, process), batch_size=None, sampler=steps, generator=torch.Generator(), **options
    )
    for batch, state in drawn:
        random = torch.Generator()
        random.set_state(state)
        yield batch, random


def _groups(model: RelightingModel, learning: list[nn.Parameter], tokens_rate: float) -> list[dict[str, Any]]:
    """Parameters that learn, and how much faster: few samples of a batch reach the tokens' many weights."""
    ahead = {id(p) for p in model.tokens.parameters()} if tokens_rate != 1 else set()
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        ([p for p in learning if (id(p) in ahead) == fast], tokens_rate if fast else 1.0) for fast in (False, True)
    ]
    return [{"params": params, "scale": scale} for params, scale in groups if params]


def objective(
    wrapped: torch.nn.Module,
    model: RelightingModel,
    batch: Batch,
    words: Words,
    alphas: Tensor,
    config: Config,
    random: torch.Generator,
    meter: Meter,
) -> tuple[Tensor, Tensor]:
    """The two terms of the loss on one batch (`loss.py`). The three lights of a triplet share timestep and noise."""
    device = batch.clean.device
    times = rollouts.draw_times(batch, config.rollouts, config.late, random, config.early, config.settled)
    timesteps, ids = times.timesteps.to(device), words(batch.captions).to(device)
    under, before = rollouts.beneath(model, batch, ids, times, alphas, random, config.settled)
    noise = rollouts.draw_noise(batch, times.timesteps, alphas, random)
    clean, under = rollouts.settle(batch, under, before, times, config.settled)
    noise = losses.in_place_of(noise, clean, under, timesteps, alphas)
    noisy = losses.add_noise(clean, noise, timesteps, alphas)
    latents = torch.cat([noisy, batch.condition], 1).contiguous(memory_format=torch.channels_last)
    predicted = wrapped(latents, timesteps, ids, batch.environments, batch.has_environment).float()
    snr = alphas[timesteps] / (1 - alphas[timesteps])
    weight = losses.WEIGHTINGS[config.weighting](snr)
    # Weightings are of errors in the noise.
    if model.prediction_type == "v_prediction":
        weight = weight * alphas[timesteps]
    elif model.prediction_type == "sample":
        weight = weight * snr
    wanted = losses.target(clean, noise, timesteps, alphas, model.prediction_type)
    known = batch.condition[:, LATENTS:].flatten(1).any(1)
    each = losses.denoising_loss(predicted, wanted, batch.matte, weight, known, config.coarse)
    meter.note(each.detach(), timesteps)
    if model.seen_shape is not None:
        off = losses.normal_loss(model.seen_shape, batch.normal, batch.matte)
        meter.note_other("normals", off.detach())
        each = each + config.normals * off
    # Every parameter has a part in every step, if only of nothing: processes that share gradients rely on it.
    idle = sum((p.sum() for p in model.merge.parameters()), torch.zeros((), device=device)) * 0.0
    if not batch.triplets:
        return each.mean(), idle
    implied = losses.predict_x0(noisy, predicted, timesteps, alphas, model.prediction_type)[-3 * batch.triplets :]
    apart = losses.consistency(implied, model.merge, batch.matte[-3 * batch.triplets :][: batch.triplets])
    meter.note_other("consistency", apart.detach())
    return each.mean(), apart.sum() / len(each) + idle


def freeze(model: RelightingModel, learns: tuple[str, ...]) -> None:
    """Drop the gradients of parts that do not learn at this stage; AdamW leaves parameters without gradients alone."""
    for name in PARTS:
        if name not in learns:
            for parameter in getattr(model, name).parameters():
                parameter.grad = None


class Meter:
    """Means since the last reading."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.since = time.monotonic()
        self.rows = 0

    def note(self, each: Tensor, timesteps: Tensor) -> None:
        low = 0
        for name, high in BANDS.items():
            inside = each[(timesteps >= low) & (timesteps < high)]
            self._add(name, float(inside.sum()), len(inside))
            low = high
        self.rows += len(each)

    def note_other(self, name: str, each: Tensor) -> None:
        """One of `OTHERS`, row by row."""
        self._add(name, float(each.sum()), len(each))

    def _add(self, name: str, total: float, count: int) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + total
        self.counts[name] = self.counts.get(name, 0) + count

    def read(self) -> dict[str, float]:
        means = {name: self.sums.get(name, 0.0) / max(1, self.counts.get(name, 0)) for name in (*BANDS, *OTHERS)}
        rate = self.rows / max(1e-9, time.monotonic() - self.since)
        self.__init__()  # type: ignore[misc]
        return {**means, "rows_per_second": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="paper", help="a name in training/configs, or a .json file")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--tensorboard", action="store_true")
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    config = with_options(read_config(options.config), options)
    train(config, options.out, tensorboard=options.tensorboard)


if __name__ == "__main__":
    main()
