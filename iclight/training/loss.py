"""The loss: noise prediction, weighted over the timesteps, plus consistent light transport.

vanilla      |e - e^|^2, weighted
consistency  M |merge(x1, x2) - x12|^2, where x1, x2, x12 are the clean latents implied by the predictions under the
             environments L1, L2 and L1 + L2, and M is the matte (paper, "Imposing consistent light transport")

The paper states the consistency on predictions. With one noise for all three, noise predictions agree trivially; what
they imply for the clean latents is where light adds, so that is what is compared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

SUBJECT = 2.5
GUESSED = 0.3


def alphas_cumulative(steps: int = 1000) -> Tensor:
    """Products of 1 - beta on the linear schedule that the engine samples with (`sampler.make_scheduler`)."""
    return torch.cumprod(1 - torch.linspace(0.00085, 0.012, steps), 0)


def noised(clean: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor) -> Tensor:
    """x_t = sqrt(a) x_0 + sqrt(1 - a) e."""
    a = alphas[timesteps][:, None, None, None]
    return a.sqrt() * clean + (1 - a).sqrt() * noise


def implied_clean(noisy: Tensor, predicted: Tensor, timesteps: Tensor, alphas: Tensor) -> Tensor:
    """x_0 = (x_t - sqrt(1 - a) e) / sqrt(a)."""
    a = alphas[timesteps][:, None, None, None]
    return (noisy - (1 - a).sqrt() * predicted) / a.sqrt()


def plain(snr: Tensor) -> Tensor:
    """All timesteps alike (Ho et al. 2020)."""
    return torch.ones_like(snr)


def min_snr(snr: Tensor, gamma: float = 5.0) -> Tensor:
    """min(SNR, 5) / SNR (Hang et al. 2023)."""
    return snr.clamp(max=gamma) / snr


def truncated_snr(snr: Tensor) -> Tensor:
    """max(SNR, 1) on the clean latents (Salimans and Ho 2022), which is max(1, 1 / SNR) on the noise.

    Light is decided where noise is nearly all there is; a weight that does not grow there learns no light.
    """
    return (1 / snr).clamp(min=1)


def balanced(snr: Tensor, floor: float = 4.0) -> Tensor:
    """max(4, 1 / SNR) on the noise: as truncated SNR, but detail, decided where there is little noise, counts more."""
    return (1 / snr).clamp(min=floor)


WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": plain,
    "min-snr": min_snr,
    "truncated-snr": truncated_snr,
    "balanced": balanced,
}


def vanilla(predicted: Tensor, noise: Tensor, matte: Tensor, weight: Tensor, known: Tensor) -> Tensor:
    """B losses over the timesteps' `weight` (B). `matte` Bx1xhxw; `known` B booleans: is the background a condition?

    The subject counts SUBJECT times. A background that nothing tells is anyone's guess and counts GUESSED times only:
    most of its error cannot be learnt away.
    """
    ground = torch.where(known, 1.0, GUESSED)[:, None, None, None]
    error = (predicted.float() - noise).square() * (ground + (SUBJECT - ground) * matte)
    return error.mean((1, 2, 3)) * weight


def consistency(clean: Tensor, merge: nn.Module, matte: Tensor) -> Tensor:
    """B losses from 3B clean latents ordered L1 + L2, L1, L2 (each B), and Bx1xhxw mattes."""
    whole, first, second = clean.chunk(3)
    error = (merge(first, second) - whole).square() * matte
    return error.sum((1, 2, 3)) / (matte.sum((1, 2, 3)) * clean.shape[1]).clamp(min=1)


def random_timesteps(count: int, random: torch.Generator, steps: int = 1000) -> Tensor:
    """Half of them anywhere, half in the noisier half, where light is decided."""
    anywhere = torch.rand(count, generator=random)
    noisy = torch.rand(count, generator=random) < 0.5
    return (torch.where(noisy, 0.5 + 0.5 * anywhere, anywhere) * steps).long().clamp(max=steps - 1)
