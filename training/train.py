"""Train a relighting model: one visible loop.

    torchrun --nproc-per-node 2 -m training.train --config mini-64 --out build/mini-64
    accelerate launch -m training.train --base stable-diffusion-v1-5 --lora 64 --out build/sd15

Kill it whenever you like: the same command goes on from the newest checkpoint and ends at the same result. The folder
holds log.csv, checkpoints, contact sheets, and at the end `trained/` (weights).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from . import loss as losses
from . import rollouts
from .base import Trained, build
from .checkpoints import EMA, Run, precision, set_lr, warmup_stable_decay
from .config import PARTS, Config, add_options, read_config, with_options
from .data.batches import Batch, Sources
from .data.light_maps import light_maps
from .model import LATENTS, RelightingModel, fit_merge, init_tokens
from .randomness import generator
from .sheets import training_sheet
from .tokenizer import Words

WEIGHT_DECAY = 1e-3
# Bands of timesteps that the log tells apart: below the first number, below the second, ...
BANDS = {"detail": 400, "form": 800, "light": 1000}
OTHERS = ("consistency", "normals")


def train(config: Config, out: Path, until: int | None = None, tensorboard: bool = False) -> Trained | None:
    """Run the loop to the end, or to step `until`; the trained parts if it came to the end.

    `out`: the run's folder; a run that is there already is gone on with.
    `tensorboard`: log there, too.
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=precision(config.mixed_precision))
    torch.manual_seed(config.seed)
    parts = build(config, out)
    model, words = parts.model, Words(parts.tokenizer)
    sources = Sources([Path(folder) for folder in config.data], config.light_map_init, config.mismatched_latents)
    if not config.init_from:
        init_tokens(model.tokens, sources.environments(), generator(config.seed, 0))
    if parts.new_merge and config.consistency and len(sources.objects):
        random = generator(config.seed, 1)
        before, after = fit_merge(model.merge, *sources.added_light(random), random)
        accelerator.print(
            f"Merging MLP fitted to true latents: mean squared error {before:.4f} before, {after:.4f} after."
        )
    for name in set(PARTS) - set(config.learns):
        getattr(model, name).requires_grad_(False)
    learning = [p for p in model.parameters() if p.requires_grad]
    ema = EMA(learning, config.ema_decay)
    groups = _groups(model, config.tokens_lr_scale)
    optimiser = torch.optim.AdamW(groups, config.learning_rate, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)
    wrapped, optimiser = accelerator.prepare(model, optimiser)
    ema.to(accelerator.device)
    accelerator.register_for_checkpointing(ema)
    if config.light_map_init and parts.vae is not None:
        factor = 2 ** (len(parts.vae.config.block_out_channels) - 1)
        height, width = (length * factor for length in sources.tensors["images"].shape[-2:])
        sources.maps = light_maps(parts.vae, height, width)
    alphas = losses.alphas_cumprod().to(accelerator.device)
    run = Run(out, accelerator, tensorboard=tensorboard)
    if accelerator.is_main_process:
        (out / "config.json").write_text(config.to_json())
    first, meter = run.resume(), Meter()

    steps = range(first, min(config.steps, until or config.steps))
    batches = draw_ahead(sources, config, steps, accelerator.process_index)
    for step in tqdm(steps, initial=first, total=config.steps, disable=not accelerator.is_main_process, mininterval=10):
        set_lr(optimiser, warmup_stable_decay(step, config.steps, config.learning_rate, config.warmup, config.decay))
        batch, random = next(batches)
        batch = batch.to(accelerator.device)
        denoising, consistency = objective(wrapped, model, batch, words, alphas, config, random, meter)
        accelerator.backward(denoising + config.consistency * consistency)
        accelerator.clip_grad_norm_(learning, config.max_grad_norm)
        optimiser.step()
        optimiser.zero_grad()
        ema.update()
        if (step + 1) % config.log_every == 0:
            run.log(step + 1, **meter.read(), learning_rate=optimiser.param_groups[0]["lr"])
        if (step + 1) % config.save_every == 0:
            run.save(step + 1)
        if (step + 1) % config.sheet_every == 0 and accelerator.is_main_process:
            ema.swap()
            training_sheet(model, words, sources, out / f"sheet-{step + 1:06d}.jpg", parts.vae)
            ema.swap()
    accelerator.wait_for_everyone()
    if until is not None and until < config.steps:
        return None
    ema.swap()
    if accelerator.is_main_process:
        parts.save(out / "trained")
    accelerator.wait_for_everyone()
    return parts


class _Steps(Dataset[tuple[Batch, Tensor]]):
    """Step -> its batch, and the state of the step's generator after drawing it."""

    def __init__(self, sources: Sources, config: Config, process: int) -> None:
        self.sources, self.config, self.process = sources, config, process

    def __getitem__(self, step: int) -> tuple[Batch, Tensor]:
        config, random = self.config, generator(self.config.seed, step, self.process)
        shares = config.schedule.at(step)
        batch = self.sources.draw(config.batch, shares, random, config.workflows, config.zoom_crop)
        return batch, random.get_state()


def draw_ahead(
    sources: Sources, config: Config, steps: Sequence[int], process: int
) -> Iterator[tuple[Batch, torch.Generator]]:
    """Every step's batch and its generator, drawn ahead in `config.workers` processes, or here where there are none.

    `sources`: what is drawn from; `steps`: of which; `process`: this one's number among those that train.
    A GPU waits for rows that are drawn in the loop; what is drawn is the same either way.
    """
    options: dict[str, Any] = {}
    if config.workers:
        # Forked, for all of them read the same gigabytes of latents.
        options = {"num_workers": config.workers, "prefetch_factor": 3, "multiprocessing_context": "fork"}
        options["pin_memory"] = torch.cuda.is_available()
    # A generator of its own: else it takes its seed from the one that checkpoints keep.
    loader: DataLoader[tuple[Batch, Tensor]] = DataLoader(
        _Steps(sources, config, process), batch_size=None, sampler=steps, generator=torch.Generator(), **options
    )
    for batch, state in loader:
        random = torch.Generator()
        random.set_state(state)
        yield batch, random


def _groups(model: RelightingModel, tokens_lr_scale: float) -> list[dict[str, Any]]:
    """Parameters that learn, and how much faster: few samples of a batch reach the tokens' many weights."""
    ahead = {id(p) for p in model.tokens.parameters()} if tokens_lr_scale != 1 else set()
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        ([p for p in learning if (id(p) in ahead) == fast], tokens_lr_scale if fast else 1.0) for fast in (False, True)
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
    """The two terms of the loss on one batch (`loss.py`). The three lights of a triplet share timestep and noise.

    `wrapped`: the model as accelerate prepared it, for the pass that is learnt from; `model`: itself, for rollouts.
    `words`: captions -> token ids.
    `alphas`: `loss.alphas_cumprod`, on the batch's device.
    `random`: the step's generator, after it has drawn the batch.
    `meter`: notes the losses for the log.
    """
    device = batch.clean.device
    times = rollouts.draw_times(batch, config, random)
    timesteps, ids = times.timesteps.to(device), words(batch.captions).to(device)
    init, early = rollouts.roll_out(model, batch, ids, times, alphas, random, config.keep_below_t)
    noise = rollouts.draw_noise(batch, times.timesteps, alphas, random)
    clean, init = rollouts.keep_low_t(batch, init, early, times, config.keep_below_t)
    noise = losses.equivalent_noise(noise, clean, init, timesteps, alphas)
    noisy = losses.add_noise(clean, noise, timesteps, alphas)
    latents = torch.cat([noisy, batch.condition], 1).contiguous(memory_format=torch.channels_last)
    predicted = wrapped(latents, timesteps, ids, batch.environments, batch.has_environment).float()
    wanted = losses.target(clean, noise, timesteps, alphas, model.prediction_type)
    known = batch.condition[:, LATENTS:].flatten(1).any(1)
    each = losses.denoising_loss(predicted, wanted, batch.matte, known, config.lowfreq_loss)
    meter.note_bands(each.detach(), timesteps)
    if model.predicted_normals is not None:
        off = losses.normal_loss(model.predicted_normals, batch.normal, batch.matte)
        meter.note("normals", off.detach())
        each = each + config.normals * off
    # Every parameter has a part in every step, if only of nothing: processes that share gradients rely on it.
    idle = sum((p.sum() for p in model.merge.parameters()), torch.zeros((), device=device)) * 0.0
    if not batch.triplets:
        return each.mean(), idle
    implied = losses.predict_x0(noisy, predicted, timesteps, alphas, model.prediction_type)[-3 * batch.triplets :]
    apart = losses.consistency(implied, model.merge, batch.matte[-3 * batch.triplets :][: batch.triplets])
    meter.note("consistency", apart.detach())
    return each.mean(), apart.sum() / len(each) + idle


class Meter:
    """Means since the last reading."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.since = time.monotonic()
        self.rows = 0

    def note_bands(self, each: Tensor, timesteps: Tensor) -> None:
        """The rows' losses, by the band of their timestep."""
        low = 0
        for name, high in BANDS.items():
            self.note(name, each[(timesteps >= low) & (timesteps < high)])
            low = high
        self.rows += len(each)

    def note(self, name: str, each: Tensor) -> None:
        """One of `BANDS` or `OTHERS`, row by row."""
        self.sums[name] = self.sums.get(name, 0.0) + float(each.sum())
        self.counts[name] = self.counts.get(name, 0) + len(each)

    def read(self) -> dict[str, float]:
        means = {name: self.sums.get(name, 0.0) / max(1, self.counts.get(name, 0)) for name in (*BANDS, *OTHERS)}
        speed = self.rows / max(1e-9, time.monotonic() - self.since)
        self.__init__()  # type: ignore[misc]
        return {**means, "rows_per_second": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="paper", help="a name in training/configs, or a .json file")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--tensorboard", action="store_true")
    add_options(parser)
    options = parser.parse_args()
    train(with_options(read_config(options.config), options), options.out, tensorboard=options.tensorboard)


if __name__ == "__main__":
    main()
