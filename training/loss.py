"""The loss: prediction of noise, velocity or clean latents, and consistent light transport.

denoising    |y - y^|^2 in what the network predicts: e, x_0, or v = sqrt(a) e - sqrt(1 - a) x_0
consistency  M |merge(x1, x2) - x12|^2, where x1, x2, x12 are the clean latents implied by the predictions under the
             environments L1, L2 and L1 + L2, and M is the matte (paper, "Imposing consistent light transport")

The paper states the consistency on predictions. With one noise for all three, noise predictions agree trivially; what
they imply for the clean latents is where light adds, so that is what is compared.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iclight.diffusion.solver import alphas_cumprod as alphas_cumprod

SUBJECT_WEIGHT = 2.5
UNKNOWN_WEIGHT = 0.3  # of a background that no condition tells
LOWFREQ_CELL = 4  # latents
HIGH_T = 820  # from this timestep on the conditions alone decide the light
OFFSET_FROM = 920  # above this timestep offset noise drowns the picture's mean
OFFSET_STRENGTH = 0.1
BLOTCH_STRENGTH = 2.0


def add_noise(clean: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor) -> Tensor:
    """x_t = sqrt(a) x_0 + sqrt(1 - a) e. Arguments as of `target`."""
    a = alphas[timesteps][:, None, None, None]
    return a.sqrt() * clean + (1 - a).sqrt() * noise


def target(clean: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor, prediction_type: str) -> Tensor:
    """What the network is to predict: e, x_0, or v = sqrt(a) e - sqrt(1 - a) x_0 (Salimans and Ho 2022).

    `clean`, `noise`: Bx4xhxw.
    `timesteps`: B, into `alphas` (`alphas_cumprod`).
    `prediction_type`: "epsilon", "sample" or "v_prediction".
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return clean
    a = alphas[timesteps][:, None, None, None]
    return a.sqrt() * noise - (1 - a).sqrt() * clean


def predict_x0(
    noisy: Tensor, predicted: Tensor, timesteps: Tensor, alphas: Tensor, prediction_type: str = "epsilon"
) -> Tensor:
    """The clean latents that a prediction implies: x_0 itself, (x_t - sqrt(1 - a) e) / sqrt(a), or
    sqrt(a) x_t - sqrt(1 - a) v. Arguments as of `target`; `noisy` is x_t.
    """
    if prediction_type == "sample":
        return predicted
    a = alphas[timesteps][:, None, None, None]
    if prediction_type == "epsilon":
        return (noisy - (1 - a).sqrt() * predicted) / a.sqrt()
    return a.sqrt() * noisy - (1 - a).sqrt() * predicted


def denoising_loss(
    predicted: Tensor, wanted: Tensor, matte: Tensor, known: Tensor, lowfreq_weight: float = 0.0
) -> Tensor:
    """B squared errors, the subject's counted SUBJECT_WEIGHT times.

    `predicted`, `wanted`: Bx4xhxw, of any prediction type.
    `matte`: Bx1xhxw in [0, 1].
    `known`: B booleans: is the background a condition? One that nothing tells is anyone's guess: most of its error
        cannot be learnt away, so it counts UNKNOWN_WEIGHT times only.
    `lowfreq_weight`: what the error's means over LOWFREQ_CELL x LOWFREQ_CELL places of the subject count once more:
        light is in them, and they drown among the errors of every pixel.
    """
    ground = torch.where(known, 1.0, UNKNOWN_WEIGHT)[:, None, None, None]
    error = predicted.float() - wanted
    each = (error.square() * (ground + (SUBJECT_WEIGHT - ground) * matte)).mean((1, 2, 3))
    if lowfreq_weight:
        inside = F.avg_pool2d(matte, LOWFREQ_CELL, ceil_mode=True)
        mean = F.avg_pool2d(error * matte, LOWFREQ_CELL, ceil_mode=True) / inside.clamp(min=0.1)
        each = each + lowfreq_weight * (mean.square() * inside).mean((1, 2, 3))
    return each


def consistency(clean: Tensor, merge: nn.Module, matte: Tensor) -> Tensor:
    """B losses from 3B clean latents ordered L1 + L2, L1, L2 (each B), and Bx1xhxw mattes."""
    whole, first, second = clean.chunk(3)
    error = (merge(first, second) - whole).square() * matte
    return error.sum((1, 2, 3)) / (matte.sum((1, 2, 3)) * clean.shape[1]).clamp(min=1)


def normal_loss(predicted: Tensor, normal: Tensor, matte: Tensor) -> Tensor:
    """B losses from Bx3xhxw predicted normals, at any size, and the true ones: 1 - cosine, over the matte (Bx1xhxw); 0
    for rows whose `normal` is 0, for nobody knows it."""
    size = predicted.shape[-2:]
    true, inside = (F.interpolate(x, size, mode="area") if x.shape[-2:] != size else x for x in (normal, matte))
    inside = inside * (true.norm(dim=1, keepdim=True) > 0.5)
    off = (1 - F.cosine_similarity(predicted.float(), true, dim=1)[:, None]) * inside
    return off.sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)


def offset_noise(noise: Tensor, timesteps: Tensor, alphas: Tensor, random: torch.Generator) -> Tensor:
    """Bx4xhxw noise that leaves the light, and the form, to the conditions: two kinds of offset noise.

    `noise`: Bx4xhxw, white.
    `timesteps`: B, into `alphas` (`alphas_cumprod`).
    `random`: on the noise's device.

    Above `OFFSET_FROM` its means and slopes drown those of the picture.

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
    strength = OFFSET_STRENGTH * ((timesteps - OFFSET_FROM) / 40).clamp(0, 1)
    flat = torch.randn(*noise.shape[:2], 1, 1, generator=random, device=device)
    patches = torch.randn(*noise.shape[:2], 4, 4, generator=random, device=device)
    coarse = flat + F.interpolate(patches, noise.shape[2:], mode="bicubic", align_corners=True)
    size = float(torch.rand(1, generator=random, device=device))
    cells = round(8 * 2 ** (size * math.log2(max(1, noise.shape[-1] / 16))))
    grid = torch.randn(*noise.shape[:2], cells, cells, generator=random, device=device)
    blotches = F.interpolate(grid, noise.shape[2:], mode="bicubic", align_corners=True)
    spread = BLOTCH_STRENGTH * alphas.to(device)[timesteps].sqrt() * ((timesteps - 60) / 150).clamp(0, 1)
    return noise + strength.view(-1, 1, 1, 1) * coarse + spread.view(-1, 1, 1, 1) * blotches


def random_timesteps(count: int, random: torch.Generator, high_t_share: float = 0.0, steps: int = 1000) -> Tensor:
    """`count` of `steps` timesteps, all alike; but a share of them, `high_t_share`, from `HIGH_T` on, where the
    conditions alone decide the light.

    With one timestep in ten up there, a network would hardly see what it has to learn most.
    """
    anywhere = torch.randint(steps, (count,), generator=random)
    high = torch.randint(HIGH_T, steps, (count,), generator=random)
    return torch.where(torch.rand(count, generator=random) < high_t_share, high, anywhere)


def remaining(timesteps: Tensor, starts: Tensor, alphas: Tensor) -> Tensor:
    """What share of the picture that sampling started from is left under the noise: SNR(start) / SNR(t), at most 1.

    So the engine's solver (SDE-DPM-Solver++, Lu et al. 2022, whose steps multiply x_t by e^-h sigma_s / sigma_t)
    replaces it by the network's own estimates.
    """
    snr = alphas / (1 - alphas)
    return (snr[starts] / snr[timesteps]).clamp(max=1)


def equivalent_noise(noise: Tensor, clean: Tensor, init: Tensor, timesteps: Tensor, alphas: Tensor) -> Tensor:
    """The noise e' for which x_t of `clean` and e' is x_t of `init` and `noise` (all Bx4xhxw).

    So fc's sampling starts, from a noised light map, at a timestep where a network reads light off what is under the
    noise. One that has only seen pictures there takes the ramp for the picture's own brightness and lays it over the
    subject; this one learns that a ramp says where the light stands, and that it falls on a shape.
    """
    a = alphas[timesteps][:, None, None, None]
    return noise + (a / (1 - a)).sqrt() * (init - clean)
