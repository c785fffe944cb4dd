"""Real photographs, degraded: the same content under another light, made without knowing either light.

The paper makes its in-the-wild pairs so: extract what does not depend on light in several ways, then shade it softly by
guessed normals, throw hard shadows on it, add specular spots. The model learns to bring the photograph back.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from iclight.imaging.colour import to_linear, to_srgb

from ..randomness import choose, uniform
from .backdrops import blurred
from .surfaces import hsv, noise


def degraded(picture: Tensor, matte: Tensor, normal: Tensor, random: torch.Generator) -> Tensor:
    """`picture` with what is inside the matte relit by chance.

    `picture`: 3xSxS sRGB in [0, 1]; `matte`: 1xSxS.
    `normal`: 3xSxS of a solid whose outline the matte is; one of three guesses at the subject's shape.
    """
    linear = to_linear(picture)
    flat = EXTRACTIONS[choose(sorted(EXTRACTIONS), random)](linear, random)
    side = picture.shape[-1]
    towards = F.normalize(torch.randn(3, generator=random) + torch.tensor([0.0, 0.0, 0.4]), dim=0)
    shade = torch.einsum("chw,c->hw", _normals(picture, matte, normal, random), towards).clamp(min=0)[None]
    colour = hsv(uniform(0, 1, random), uniform(0, 0.6, random), 1.0)[:, None, None]
    ambient = uniform(0.1, 0.8, random)
    light = ambient + (1 - ambient) * 1.8 * shade * colour
    if uniform(0, 1, random) < 0.35:
        light = light * _hard_shadow(side, random)
    lit = flat * light
    if uniform(0, 1, random) < 0.3:
        lit = lit + uniform(0.1, 0.6, random) * colour * shade ** uniform(8, 40, random)
    scale = uniform(0.12, 0.45, random) / (lit * matte).sum().clamp(min=1e-3) * (3 * matte.sum()).clamp(min=1)
    return picture * (1 - matte) + to_srgb(lit * scale) * matte


def _as_it_is(linear: Tensor, random: torch.Generator) -> Tensor:
    return linear


def _retinex(linear: Tensor, random: torch.Generator) -> Tensor:
    """Divide by a blurred luminance (single-scale retinex, Jobson et al. 1997)."""
    grey = linear.mean(0, keepdim=True).expand(3, -1, -1)
    smooth = blurred(grey, linear.shape[-1] * 2 ** uniform(-5, -2.5, random))
    return linear / (smooth + 0.05) * 0.3


def _chroma(linear: Tensor, random: torch.Generator) -> Tensor:
    """Colours at one luminance, a little of the true one kept."""
    grey = linear.mean(0, keepdim=True) + 0.02
    return linear / grey * 0.3 * (grey / 0.3) ** uniform(0.1, 0.5, random)


def _levelled(linear: Tensor, random: torch.Generator) -> Tensor:
    """Histogram-equalised luminance."""
    grey = linear.mean(0)
    ranks = grey.flatten().argsort().argsort().view(grey.shape).float() / grey.numel()
    return linear / (grey + 0.03) * (0.05 + 0.6 * ranks)


def _gamma(linear: Tensor, random: torch.Generator) -> Tensor:
    return linear.clamp(min=1e-4) ** (2 ** uniform(-1, 0.7, random))


def _tinted(linear: Tensor, random: torch.Generator) -> Tensor:
    """White balance undone."""
    return linear * torch.exp(0.35 * torch.randn(3, 1, 1, generator=random))


EXTRACTIONS = {
    "as it is": _as_it_is,
    "retinex": _retinex,
    "chroma": _chroma,
    "levelled": _levelled,
    "gamma": _gamma,
    "tinted": _tinted,
}


def placed(cut_out: Tensor, side: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """A cut-out 4xHxW somewhere in a square, mirrored or not: its pixels 3xSxS and its matte 1xSxS."""
    height, width = cut_out.shape[1:]
    scale = uniform(0.6, 1.05, random) * side / max(height, width)
    size = max(2, round(height * scale)), max(2, round(width * scale))
    # Weighed by alpha, so that what is hidden under a transparent edge does not bleed in.
    weighed = torch.cat([cut_out[:3] * cut_out[3:], cut_out[3:]])
    small = F.interpolate(weighed[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
    if uniform(0, 1, random) < 0.5:
        small = small.flip(-1)
    y, x = (round(uniform(0.3, 0.7, random) * (side - length)) for length in size)
    whole = F.pad(small, (x, side - size[1] - x, y, side - size[0] - y))[:, :side, :side]
    return (whole[:3] / whole[3:].clamp(min=1e-3)).clamp(0, 1), whole[3:]


def _normals(picture: Tensor, matte: Tensor, solid: Tensor, random: torch.Generator) -> Tensor:
    """3xSxS guesses: the outline's own solid, the matte blown up like a balloon, luminance as relief."""
    kind = choose(["solid", "balloon", "relief"], random)
    if kind == "solid":
        return solid
    side = picture.shape[-1]
    if kind == "balloon":
        height = blurred(matte.expand(3, -1, -1), side / 12)[0].sqrt() * side / 4
    else:
        height = blurred(picture.mean(0, keepdim=True).expand(3, -1, -1), uniform(1, 4, random))[0] * side / 10
    dx = F.pad(height[:, 2:] - height[:, :-2], (1, 1)) / 2
    dy = F.pad(height[2:] - height[:-2], (0, 0, 1, 1)) / 2
    return F.normalize(torch.stack([-dx, dy, torch.ones_like(dx)]), dim=0)


def _hard_shadow(side: int, random: torch.Generator) -> Tensor:
    """1xSxS: blinds, leaves or an edge between light and shadow."""
    kind = choose(["blinds", "leaves", "edge"], random)
    axis = torch.linspace(-1, 1, side)
    angle = uniform(0, math.pi, random)
    along = math.cos(angle) * axis[None, :] + math.sin(angle) * axis[:, None]
    if kind == "blinds":
        field = torch.sin(math.pi * uniform(2, 8, random) * along)
    elif kind == "leaves":
        field = noise(1, 1, side, choose([3, 5, 8], random), 4, random)[0, 0]
    else:
        field = along + uniform(-0.4, 0.4, random)
    share = (field * uniform(4, 40, random)).sigmoid()
    return (uniform(0.15, 0.6, random) * (1 - share) + share)[None]
