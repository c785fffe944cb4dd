"""The loss: prediction of noise, velocity or clean latents, weighted over timesteps; consistent light transport.

vanilla      |e - e^|^2, weighted; a network that predicts v = sqrt(a) e - sqrt(1 - a) x_0 errs in e by sqrt(a) times
             its error in v, one that predicts x_0 by sqrt(SNR) times its error in x_0
consistency  M |merge(x1, x2) - x12|^2, where x1, x2, x12 are the clean latents implied by the predictions under the
             environments L1, L2 and L1 + L2, and M is the matte (paper, "Imposing consistent light transport")

The paper states the consistency on predictions. With one noise for all three, noise predictions agree trivially; what
they imply for the clean latents is where light adds, so that is what is compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SUBJECT = 2.5
GUESSED = 0.3
COARSE = 4
TOLD = 920  # above this timestep nothing but the conditions tells the light
LATE = 820
HINTED = (800, 960)  # timesteps about that of lowres_denoise, where fc's sampling starts from a light map
FADING = 300  # timesteps after that, in which the map fades
HIDING = 0.1
BLOTCHES = 2.0


def alphas_cumulative(steps: int = 1000) -> Tensor:
    """Products of 1 - beta on the linear schedule that the engine samples with (`sampler.make_scheduler`)."""
    return torch.cumprod(1 - torch.linspace(0.00085, 0.012, steps), 0)


def add_noise(clean: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor) -> Tensor:
    """x_t = sqrt(a) x_0 + sqrt(1 - a) e."""
    a = alphas[timesteps][:, None, None, None]
    return a.sqrt() * clean + (1 - a).sqrt() * noise


def target(clean: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor, prediction_type: str) -> Tensor:
    """What the network is to say: e, x_0, or the velocity v = sqrt(a) e - sqrt(1 - a) x_0 (Salimans and Ho 2022)."""
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return clean
    a = alphas[timesteps][:, None, None, None]
    return a.sqrt() * noise - (1 - a).sqrt() * clean


def predict_x0(
    noisy: Tensor, predicted: Tensor, timesteps: Tensor, alphas: Tensor, prediction_type: str = "epsilon"
) -> Tensor:
    """x_0 itself, (x_t - sqrt(1 - a) e) / sqrt(a), or sqrt(a) x_t - sqrt(1 - a) v."""
    if prediction_type == "sample":
        return predicted
    a = alphas[timesteps][:, None, None, None]
    if prediction_type == "epsilon":
        return (noisy - (1 - a).sqrt() * predicted) / a.sqrt()
    return a.sqrt() * noisy - (1 - a).sqrt() * predicted


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


def velocity(snr: Tensor) -> Tensor:
    """1 + 1 / SNR on the noise, which weighs the velocity alike at all timesteps (Salimans and Ho 2022)."""
    return 1 + 1 / snr


def even(snr: Tensor) -> Tensor:
    """1 / SNR on the noise, which weighs the clean latents alike at all timesteps (Salimans and Ho 2022)."""
    return 1 / snr


WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": plain,
    "min-snr": min_snr,
    "truncated-snr": truncated_snr,
    "balanced": balanced,
    "velocity": velocity,
    "clean": even,
}


def denoising_loss(
    predicted: Tensor, wanted: Tensor, matte: Tensor, weight: Tensor, known: Tensor, coarse: float = 0.0
) -> Tensor:
    """B losses over the timesteps' `weight` (B). `matte` Bx1xhxw; `known` B booleans: is the background a condition?

    The subject counts SUBJECT times. A background that nothing tells is anyone's guess and counts GUESSED times only:
    most of its error cannot be learnt away. `coarse` weighs the error's means over COARSE x COARSE places of the
    subject, which count once more: light is in them, and they drown among the errors of every pixel.
    """
    ground = torch.where(known, 1.0, GUESSED)[:, None, None, None]
    error = predicted.float() - wanted
    each = (error.square() * (ground + (SUBJECT - ground) * matte)).mean((1, 2, 3))
    if coarse:
        inside = F.avg_pool2d(matte, COARSE, ceil_mode=True)
        mean = F.avg_pool2d(error * matte, COARSE, ceil_mode=True) / inside.clamp(min=0.1)
        each = each + coarse * (mean.square() * inside).mean((1, 2, 3))
    return each * weight


def consistency(clean: Tensor, merge: nn.Module, matte: Tensor) -> Tensor:
    """B losses from 3B clean latents ordered L1 + L2, L1, L2 (each B), and Bx1xhxw mattes."""
    whole, first, second = clean.chunk(3)
    error = (merge(first, second) - whole).square() * matte
    return error.sum((1, 2, 3)) / (matte.sum((1, 2, 3)) * clean.shape[1]).clamp(min=1)


def normal_loss(seen: Tensor, normal: Tensor, matte: Tensor) -> Tensor:
    """B losses from Bx3xhxw normals as seen, at any size, and as they are: 1 - cosine, over the matte (Bx1xhxw); 0 for
    rows whose `normal` is 0, for nobody knows it."""
    size = seen.shape[-2:]
    true, inside = (F.interpolate(x, size, mode="area") if x.shape[-2:] != size else x for x in (normal, matte))
    inside = inside * (true.norm(dim=1, keepdim=True) > 0.5)
    off = (1 - F.cosine_similarity(seen.float(), true, dim=1)[:, None]) * inside
    return off.sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)


def offset_noise(noise: Tensor, timesteps: Tensor, alphas: Tensor, random: torch.Generator) -> Tensor:
    """Noise that leaves the light, and the form, to the conditions: two kinds of offset noise.

    Above `TOLD` its means and slopes drown those of the picture.

    At timestep 999 a pixel is noise, but the mean of 100 x 100 pixels is not: its signal is 4 % of itself, its noise
    1 %. A network learns to read the light off it, and finds none in the pure noise that sampling starts from: such
    pictures are grey and flat (Lin et al., "Common diffusion noise schedules and sample steps are flawed", 2023).
    Offset noise (as of IC-Light's fcon weights), here in a few patches and at these timesteps alone, leaves the
    light to the conditions. Below them, where fc starts from a light map, the map's slope is believed.

    Blotches, as strong as the picture's own forms, lie over most timesteps: a network that is weak at telling forms
    from noise takes noise for form, and its samples are blotchy; this one has to look for them in the foreground.
    """
    device = noise.device
    timesteps = timesteps.to(device)
    strength = HIDING * ((timesteps - TOLD) / 40).clamp(0, 1)
    flat = torch.randn(*noise.shape[:2], 1, 1, generator=random, device=device)
    patches = torch.randn(*noise.shape[:2], 4, 4, generator=random, device=device)
    coarse = flat + F.interpolate(patches, noise.shape[2:], mode="bicubic", align_corners=True)
    size = float(torch.rand(1, generator=random, device=device))
    cells = round(8 * 2 ** (size * math.log2(max(1, noise.shape[-1] / 16))))
    grid = torch.randn(*noise.shape[:2], cells, cells, generator=random, device=device)
    blotches = F.interpolate(grid, noise.shape[2:], mode="bicubic", align_corners=True)
    spread = BLOTCHES * alphas.to(device)[timesteps].sqrt() * ((timesteps - 60) / 150).clamp(0, 1)
    return noise + strength.view(-1, 1, 1, 1) * coarse + spread.view(-1, 1, 1, 1) * blotches


def random_timesteps(count: int, random: torch.Generator, late: float = 0.0, steps: int = 1000) -> Tensor:
    """Any timestep, all alike; but a share `late` of them from `LATE` on, where the conditions alone decide the light.

    With one timestep in ten up there, a network would hardly see what it has to learn most.
    """
    chosen = torch.randint(steps, (count,), generator=random)
    high = torch.randint(LATE, steps, (count,), generator=random)
    return torch.where(torch.rand(count, generator=random) < late, high, chosen)


def remaining(timesteps: Tensor, starts: Tensor, alphas: Tensor) -> Tensor:
    """What share of the picture that sampling started from is left under the noise: SNR(start) / SNR(t), at most 1.

    So the engine's solver (SDE-DPM-Solver++, Lu et al. 2022, whose steps multiply x_t by e^-h sigma_s / sigma_t)
    replaces it by the network's own estimates.
    """
    snr = alphas / (1 - alphas)
    return (snr[starts] / snr[timesteps]).clamp(max=1)


def in_place_of(noise: Tensor, clean: Tensor, shown: Tensor, timesteps: Tensor, alphas: Tensor) -> Tensor:
    """Noise that turns `clean` into `shown` (Bx4xhxw): noised with it, a picture looks as if it were another.

    So fc's sampling starts, from a noised light map, at a timestep where a network reads light off what is under the
    noise. One that has only seen pictures there takes the ramp for the picture's own brightness and lays it over the
    subject; this one learns that a ramp says where the light stands, and that it falls on a shape.
    """
    a = alphas[timesteps][:, None, None, None]
    return noise + (a / (1 - a)).sqrt() * (shown - clean)
