"""What is under the noise in sampling: not the picture that is to come out, but the network's own estimate so far.

A network that has seen true pictures there believes what it sees, its own errors too, and they grow with every step
(exposure bias; Ning et al., "Elucidating the exposure bias in diffusion models", 2024). So a share of the rows is
rolled out: the network answers an earlier timestep, without gradients, and its estimate lies under the noise of the
step that is learnt from (as in scheduled sampling, Bengio et al. 2015). That estimate is the mean of what it was told;
asked again with it, it has no reason to say anything else, and light that came from a light map stays.

Not quite: nearly half of the sampler's steps are below timestep 250, and a little light lost in each is most of it
lost. So below `keep_below_t` a row is to be kept, not mended: the target is the estimate from before it came there, or,
under other rows, the true picture (as in consistency models, Song et al. 2023, whose answers agree along a path).
Estimates from below it lie under the noise now and then, and are no targets: small errors of eight late steps, each
kept by the next, would add up.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import loss as losses
from .config import Config
from .data.batches import Batch
from .model import LATENTS, RelightingModel
from .randomness import on_device

LAST = 999
READABLE = 850  # up to this timestep a picture's own light can be read under the noise
MAP_TIMESTEPS = (800, 960)  # about that of lowres_denoise, where fc's sampling starts from a light map
MAP_FADE = 300  # timesteps after that, in which the map fades
MAX_TURNS = 2  # earlier timesteps answered


class Times(NamedTuple):
    """By row (B, on the CPU): the timestep learnt from, the one that sampling `starts` at, is the row `rolled` out."""

    timesteps: Tensor
    starts: Tensor
    rolled: Tensor


def draw_times(batch: Batch, config: Config, random: torch.Generator) -> Times:
    """Timesteps as sampling would meet them, by the config's `rollouts`, `high_t_share`, `low_t_share` and
    `keep_below_t`, below which none starts. A triplet's lights have the same.

    fc's rows start where their light can be read: from a light map, or from their own picture up to `READABLE`.
    """
    count, has_map = len(batch.clean), batch.has_light_map.cpu()
    timesteps = losses.random_timesteps(count, random, config.high_t_share)
    map_starts = torch.randint(*MAP_TIMESTEPS, (count,), generator=random)
    along, rolled = torch.rand(count, generator=random), torch.rand(count, generator=random) < config.rollouts
    soon = map_starts - (MAP_FADE * torch.rand(count, generator=random).square()).long()
    anywhere = (map_starts * along.square()).long()  # as the sampler's steps: dense where little noise is left
    timesteps = torch.where(has_map, torch.where(rolled, anywhere, soon), timesteps)
    if config.low_t_share:
        low = torch.rand(count, generator=random) < config.low_t_share
        timesteps = torch.where(low, torch.randint(config.keep_below_t, (count,), generator=random), timesteps)
        rolled |= low
    lit = batch.has_environment.cpu() | batch.condition[:, LATENTS:].flatten(1).any(1).cpu()
    highest = torch.where(lit, LAST, READABLE)
    # An estimate from below `keep_below_t` alone would be kept as it is, whatever the sources put there.
    lowest = timesteps.clamp(min=config.keep_below_t)
    starts = torch.where(has_map, map_starts, lowest + ((highest - lowest).clamp(min=0) * along).long())
    rolled &= starts > timesteps
    if batch.triplets:
        for times in (timesteps, starts, rolled):
            _share_in_triplets(times, batch.triplets)
    return Times(timesteps, starts, rolled)


def draw_noise(batch: Batch, timesteps: Tensor, alphas: Tensor, random: torch.Generator) -> Tensor:
    """Bx4xhxw on the batch's device (`loss.offset_noise`); one for the three lights of a triplet."""
    random = on_device(random, batch.clean.device)
    noise = torch.randn(batch.clean.shape, generator=random, device=random.device)
    noise = losses.offset_noise(noise, timesteps, alphas, random)
    if batch.triplets:
        _share_in_triplets(noise, batch.triplets)
    return noise


def _share_in_triplets(rows: Tensor, triplets: int) -> None:
    """Give the last 3 * triplets rows, ordered L1 + L2, L1, L2, the values of their L1 + L2, in place."""
    first = rows[len(rows) - 3 * triplets : len(rows) - 2 * triplets].clone()
    rows[len(rows) - 3 * triplets :] = first.repeat(3, *[1] * (rows.dim() - 1))


@torch.no_grad()
def roll_out(
    model: RelightingModel,
    batch: Batch,
    ids: Tensor,
    times: Times,
    alphas: Tensor,
    random: torch.Generator,
    keep_below_t: int = 0,
) -> tuple[Tensor, Tensor]:
    """Bx4xhxw latents that noise is laid over at `times.timesteps`, as sampling would have them there; and the same had
    the network answered nothing below `keep_below_t`.

    `model` answers the rows of `batch` that `times` says are rolled out.
    `ids`: Bx77 tokens of the captions.
    `alphas`: `loss.alphas_cumprod`, on the batch's device.
    `keep_below_t`: a timestep, 0 for none.
    Rows that are not rolled out have `batch.init_latents`, or their light map as far as it is left (`loss.remaining`).
    """
    device = batch.clean.device
    start = torch.where(batch.has_light_map[:, None, None, None], batch.light_map, batch.init_latents)
    estimate, early = batch.init_latents.clone(), batch.init_latents.clone()
    rows = times.rolled.nonzero()[:, 0].to(device)
    now, turns = times.starts, int(torch.randint(MAX_TURNS, (1,), generator=random)) + 1
    for turn in range(turns if len(rows) else 0):
        noise = draw_noise(batch, now, alphas, random)
        init = start if turn == 0 else _blended(estimate, start, now, times.starts, alphas)
        noisy = losses.add_noise(init, noise, now.to(device), alphas)[rows]
        latents = torch.cat([noisy, batch.condition[rows]], 1).contiguous(memory_format=torch.channels_last)
        at = now.to(device)[rows]
        predicted = model(latents, at, ids[rows], batch.environments[rows], batch.has_environment[rows]).float()
        estimate[rows] = losses.predict_x0(noisy, predicted, at, alphas, model.prediction_type)
        counts = (at >= keep_below_t)[:, None, None, None]
        early[rows] = torch.where(counts, estimate[rows], early[rows])
        between = torch.rand(len(now), generator=random)
        if batch.triplets:
            _share_in_triplets(between, batch.triplets)
        # Half of those that end below `keep_below_t` have their next answer from there, too.
        low = (times.timesteps < keep_below_t) & (now > keep_below_t) & (between < 0.5)
        now = torch.where(low, now.clamp(max=keep_below_t), now)
        now = times.timesteps + ((now - times.timesteps) * between).long()
    sampled = (batch.has_light_map | times.rolled.to(device))[:, None, None, None]
    blends = [_blended(x, start, times.timesteps, times.starts, alphas) for x in (estimate, early)]
    init, kept = (torch.where(sampled, latents, batch.init_latents) for latents in blends)
    return init, kept


def keep_low_t(batch: Batch, init: Tensor, early: Tensor, times: Times, keep_below_t: int) -> tuple[Tensor, Tensor]:
    """The rows' targets and what lies under their noise, both Bx4xhxw, from what `roll_out` gave (`init`, `early`).

    Below the timestep, rows that were rolled out come out as they were before they came there; others begin and end as
    the true picture, whatever the sources put.
    """
    device = batch.clean.device
    low = (times.timesteps < keep_below_t).to(device)[:, None, None, None]
    rolled = times.rolled.to(device)[:, None, None, None]
    init = torch.where(low & ~rolled, batch.clean, init)
    return torch.where(low & rolled, early, batch.clean), init


def _blended(estimate: Tensor, start: Tensor, now: Tensor, starts: Tensor, alphas: Tensor) -> Tensor:
    """`start`, replaced by the estimate as far as the solver would have replaced it between `starts` and `now`."""
    left = losses.remaining(now.to(estimate.device), starts.to(estimate.device), alphas)
    return torch.lerp(estimate, start, left[:, None, None, None])
