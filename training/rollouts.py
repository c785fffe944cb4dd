"""What is under the noise in sampling: not the picture that is to come out, but what the network has made so far.

A network that has seen true pictures there believes what it sees, its own errors too, and they grow with every step
(exposure bias; Ning et al., "Elucidating the exposure bias in diffusion models", 2024). So a share of the rows is
rolled out: the network answers an earlier timestep, without gradients, and what it said lies under the noise of the
step that is learnt from (as in scheduled sampling, Bengio et al. 2015). Its answer is the mean of what it was told;
asked again with that answer, it has no reason to say anything else, and light that came from a light map stays.

Not quite: nearly half of the sampler's steps are below timestep 250, and a little light lost in each is most of it
lost. So below `Config.settled` a row is to be kept, not mended: the target is what the network said before it came
there, or, under other rows, the true picture (as in consistency models, Song et al. 2023, whose answers agree along a
path). Answers given below `settled` lie under the noise now and then, and are no targets: small errors of eight late
steps, each kept by the next, would add up.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import loss as losses
from .checkpoints import on_device
from .data.batches import Batch
from .model import LATENTS, RelightingModel

LAST = 999
OPEN = 850  # up to this timestep a picture's own light can be read under the noise
TURNS = 2  # earlier timesteps answered, at most


class Times(NamedTuple):
    """By row (B, on the CPU): the timestep learnt from, the one that sampling `starts` at, is the row `rolled` out."""

    timesteps: Tensor
    starts: Tensor
    rolled: Tensor


def draw_times(
    batch: Batch, share: float, late: float, random: torch.Generator, early: float = 0.0, settled: int = 0
) -> Times:
    """Timesteps as sampling would meet them; `share` of the rows is rolled out, and a share `early` of them, all rolled
    out, is below `settled`; none starts below that. A triplet's lights have the same.

    fc's rows start where their light can be read: from a light map, or from their own picture up to `OPEN`.
    """
    count, hinted = len(batch.clean), batch.hinted.cpu()
    timesteps = losses.random_timesteps(count, random, late)
    maps = torch.randint(*losses.HINTED, (count,), generator=random)
    along, rolled = torch.rand(count, generator=random), torch.rand(count, generator=random) < share
    soon = maps - (losses.FADING * torch.rand(count, generator=random).square()).long()
    anywhere = (maps * along.square()).long()  # as the sampler's steps: dense where little noise is left
    timesteps = torch.where(hinted, torch.where(rolled, anywhere, soon), timesteps)
    if early:
        below = torch.rand(count, generator=random) < early
        timesteps = torch.where(below, torch.randint(settled, (count,), generator=random), timesteps)
        rolled |= below
    told = batch.has_environment.cpu() | batch.condition[:, LATENTS:].flatten(1).any(1).cpu()
    highest = torch.where(told, LAST, OPEN)
    # What was made below `settled` alone would be kept as it is, whatever the sources put there.
    lowest = timesteps.clamp(min=settled)
    starts = torch.where(hinted, maps, lowest + ((highest - lowest).clamp(min=0) * along).long())
    rolled &= starts > timesteps
    if batch.triplets:
        for times in (timesteps, starts, rolled):
            _alike(times, batch.triplets)
    return Times(timesteps, starts, rolled)


def draw_noise(batch: Batch, timesteps: Tensor, alphas: Tensor, random: torch.Generator) -> Tensor:
    """Bx4xhxw on the batch's device (`loss.offset_noise`); one for the three lights of a triplet."""
    random = on_device(random, batch.clean.device)
    noise = torch.randn(batch.clean.shape, generator=random, device=random.device)
    noise = losses.offset_noise(noise, timesteps, alphas, random)
    if batch.triplets:
        _alike(noise, batch.triplets)
    return noise


def _alike(rows: Tensor, triplets: int) -> None:
    """Give the last 3 * triplets rows, ordered L1 + L2, L1, L2, the values of their L1 + L2, in place."""
    first = rows[len(rows) - 3 * triplets : len(rows) - 2 * triplets].clone()
    rows[len(rows) - 3 * triplets :] = first.repeat(3, *[1] * (rows.dim() - 1))


@torch.no_grad()
def beneath(
    model: RelightingModel,
    batch: Batch,
    ids: Tensor,
    times: Times,
    alphas: Tensor,
    random: torch.Generator,
    settled: int = 0,
) -> tuple[Tensor, Tensor]:
    """Bx4xhxw latents that noise is laid over at `times.timesteps`, as sampling would have them there; and the same had
    the network said nothing more below `settled`.

    `ids` are the captions' Bx77 tokens. Rows that are not rolled out have `batch.beneath`, or their light map as far as
    it is left (`loss.remaining`).
    """
    device = batch.clean.device
    first = torch.where(batch.hinted[:, None, None, None], batch.hints, batch.beneath)
    made, before = batch.beneath.clone(), batch.beneath.clone()
    rows = times.rolled.nonzero()[:, 0].to(device)
    now, turns = times.starts, int(torch.randint(TURNS, (1,), generator=random)) + 1
    for turn in range(turns if len(rows) else 0):
        noise = draw_noise(batch, now, alphas, random)
        under = first if turn == 0 else _mixed(made, first, now, times.starts, alphas)
        noisy = losses.add_noise(under, noise, now.to(device), alphas)[rows]
        latents = torch.cat([noisy, batch.condition[rows]], 1).contiguous(memory_format=torch.channels_last)
        at = now.to(device)[rows]
        said = model(latents, at, ids[rows], batch.environments[rows], batch.has_environment[rows]).float()
        made[rows] = losses.predict_x0(noisy, said, at, alphas, model.prediction_type)
        counts = (at >= settled)[:, None, None, None]
        before[rows] = torch.where(counts, made[rows], before[rows])
        between = torch.rand(len(now), generator=random)
        if batch.triplets:
            _alike(between, batch.triplets)
        # Half of those that end below `settled` have their next answer from there, too.
        low = (times.timesteps < settled) & (now > settled) & (between < 0.5)
        now = torch.where(low, now.clamp(max=settled), now)
        now = times.timesteps + ((now - times.timesteps) * between).long()
    begun = (batch.hinted | times.rolled.to(device))[:, None, None, None]
    mixed = [_mixed(said, first, times.timesteps, times.starts, alphas) for said in (made, before)]
    under, kept = (torch.where(begun, latents, batch.beneath) for latents in mixed)
    return under, kept


def settle(batch: Batch, under: Tensor, before: Tensor, times: Times, below: int) -> tuple[Tensor, Tensor]:
    """What rows are to come out as, and what lies under their noise, both Bx4xhxw, from what `beneath` gave.

    Below a timestep, rows that were rolled out come out as they were `before` they came there; others begin and end as
    the wanted picture, whatever the sources put.
    """
    device = batch.clean.device
    kept = (times.timesteps < below).to(device)[:, None, None, None]
    rolled = times.rolled.to(device)[:, None, None, None]
    under = torch.where(kept & ~rolled, batch.clean, under)
    return torch.where(kept & rolled, before, batch.clean), under


def _mixed(made: Tensor, first: Tensor, now: Tensor, starts: Tensor, alphas: Tensor) -> Tensor:
    """`first`, replaced by `made` as far as the solver would have replaced it between `starts` and `now`."""
    left = losses.remaining(now.to(made.device), starts.to(made.device), alphas)
    return torch.lerp(made, first, left[:, None, None, None])
