"""What solids are made of: base colour, pattern, roughness, gloss, and small bumps. Colours are linear reflectances."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from iclight.imaging.colour import to_linear

from ..randomness import choose, uniform
from .shapes import Solid

SKIN = ((0.80, 0.58, 0.47), (0.72, 0.50, 0.38), (0.55, 0.36, 0.26), (0.36, 0.22, 0.15), (0.86, 0.68, 0.58))
HAIR = ((0.05, 0.04, 0.03), (0.14, 0.09, 0.05), (0.35, 0.22, 0.10), (0.55, 0.42, 0.24), (0.4, 0.4, 0.4))


@dataclass(frozen=True)
class Surface:
    """`albedo` Bx3xSxS in [0.02, 0.95], `roughness` Bx1xSxS in [0.1, 1], `gloss` in [0, 1], `bump` slopes Bx2xSxS."""

    albedo: Tensor
    roughness: Tensor
    gloss: Tensor
    bump: Tensor

    def to(self, device: torch.device | str) -> Surface:
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})


def assign_materials(solid: Solid, shares: Tensor, pictures: list[Tensor], random: torch.Generator) -> Surface:
    """Give every part of the batch's objects a material.

    `shares`: BxPxSxS, how much of each part a pixel shows. `pictures`: 3xHxW photographs in [0, 1] that some parts
    wear as a pattern.
    """
    batch, parts, side, _ = shares.shape
    albedo = torch.zeros(batch, 3, side, side)
    roughness, gloss = torch.zeros(batch, 1, side, side), torch.zeros(batch, 1, side, side)
    slopes = torch.zeros(batch, 2, side, side)
    living = solid.family in ("woman", "man", "cat", "dog")
    for part in range(parts):
        pattern = torch.stack([_pattern(side, pictures, living and part == 0, random) for _ in range(batch)])
        base = torch.stack([_colour(solid.family, part, random) for _ in range(batch)])[:, :, None, None]
        share = shares[:, part : part + 1]
        albedo = albedo + share * (base * pattern)
        rough = torch.rand(batch, 1, 1, 1, generator=random) * 0.75 + 0.2
        shine = torch.rand(batch, 1, 1, 1, generator=random) ** 2
        if solid.family in ("woman", "man") and part == 3:
            rough, shine = 0.15 * torch.ones_like(rough), torch.ones_like(shine)
        roughness, gloss = roughness + share * rough, gloss + share * shine
        relief = noise(batch, 1, side, choose([6, 12, 24], random), 4, random)
        depth = torch.rand(batch, 1, 1, 1, generator=random) ** 3 * (0.5 if living else 1.2) * 64 / side
        slopes = slopes + share * depth * torch.cat([_across(relief), -_down(relief)], 1)
    return Surface(albedo.clamp(0.02, 0.95), roughness.clamp(0.1, 1), gloss.clamp(0, 1), slopes)


def _colour(family: str, part: int, random: torch.Generator) -> Tensor:
    if family in ("woman", "man"):
        if part == 0:
            return torch.tensor(choose(SKIN, random)) * uniform(0.85, 1.1, random)
        if part == 1:
            return torch.tensor(choose(HAIR, random)) * uniform(0.7, 1.4, random)
        if part == 3:
            return torch.tensor([0.25, 0.22, 0.2]) * uniform(0.3, 1.6, random)
        if part == 4:
            return torch.tensor([0.6, 0.22, 0.2]) * uniform(0.6, 1.2, random)
    if family in ("cat", "dog") and part < 2:
        hue, saturation, value = uniform(0.04, 0.12, random), uniform(0, 0.6, random), uniform(0.12, 0.85, random)
    elif family in ("cat", "dog", "toy"):
        hue, saturation, value = uniform(0, 1, random), uniform(0, 0.6, random), uniform(0.03, 0.4, random)
    else:
        hue, saturation, value = uniform(0, 1, random), uniform(0, 1, random) ** 1.5, uniform(0.15, 0.9, random)
    return hsv(hue, saturation, value)


def hsv(hue: float, saturation: float, value: float) -> Tensor:
    """A colour as three numbers in [0, 1], read as linear light."""
    offsets = (torch.tensor([5.0, 3.0, 1.0]) + 6 * hue) % 6
    return value * (1 - saturation * torch.minimum(offsets, 4 - offsets).clamp(0, 1))


def _pattern(side: int, pictures: list[Tensor], quiet: bool, random: torch.Generator) -> Tensor:
    """3 x side x side factors about 1."""
    kind = uniform(0, 1, random)
    if quiet or kind < 0.3:
        mottle = noise(1, 3, side, 4, 6, random)[0]
        return 1 + uniform(0.02, 0.1 if quiet else 0.3, random) * (0.7 * mottle.mean(0, keepdim=True) + 0.3 * mottle)
    if kind < 0.45:
        return torch.ones(3, side, side)
    if kind < 0.6:
        return _stripes(side, random)
    if not pictures:
        return torch.ones(3, side, side)
    crop = to_linear(photo_crop(pictures, side, random))
    return (crop / crop.mean().clamp(min=0.05)).clamp(0.1, 2.5) ** uniform(0.5, 1, random)


def _stripes(side: int, random: torch.Generator) -> Tensor:
    axis = torch.linspace(-1, 1, side)
    angle, count = uniform(0, math.pi, random), uniform(2, 12, random)
    wave = torch.sin(math.pi * count * (math.cos(angle) * axis[None, :] + math.sin(angle) * axis[:, None]))
    if uniform(0, 1, random) < 0.5:
        other = torch.sin(math.pi * count * (-math.sin(angle) * axis[None, :] + math.cos(angle) * axis[:, None]))
        wave = wave * other
    share = (wave * 6).sigmoid()
    other = hsv(uniform(0, 1, random), uniform(0, 0.7, random), uniform(0.2, 1.6, random))
    return (1 - share) + share * other[:, None, None]


def photo_crop(
    pictures: list[Tensor], side: int, random: torch.Generator, zoom: tuple[float, float] = (-1, 1.3)
) -> Tensor:
    """A 3 x side x side crop of one of the 3xHxW `pictures`, scaled by 2 ** (a number in `zoom`), mirrored or
    recoloured at random."""
    picture = choose(pictures, random)
    height, width = picture.shape[1:]
    size = max(32, min(height, width, int(side * 2 ** uniform(*zoom, random))))
    y = int(torch.randint(height - size + 1, (1,), generator=random))
    x = int(torch.randint(width - size + 1, (1,), generator=random))
    crop = picture[:, y : y + size, x : x + size]
    crop = F.interpolate(crop[None], (side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)
    if uniform(0, 1, random) < 0.5:
        crop = crop.flip(-1)
    if uniform(0, 1, random) < 0.25:
        crop = crop[torch.randperm(3, generator=random)]
    return crop


def noise(batch: int, channels: int, side: int, coarsest: int, octaves: int, random: torch.Generator) -> Tensor:
    """batch x channels x side x side smooth noise of unit size or so: `octaves`, each half as strong as the one before,
    the first of `coarsest` cells a side."""
    total, strength = torch.zeros(batch, channels, side, side), 1.0
    for octave in range(octaves):
        cells = min(side, coarsest * 2**octave)
        grid = torch.randn(batch, channels, cells, cells, generator=random)
        total += strength * F.interpolate(grid, (side, side), mode="bicubic")
        strength *= 0.5
        if cells == side:
            break
    return total


def _across(field: Tensor) -> Tensor:
    return F.pad(field[..., 2:] - field[..., :-2], (1, 1, 0, 0), mode="replicate") / 2 * field.shape[-1] / 64


def _down(field: Tensor) -> Tensor:
    return F.pad(field[..., 2:, :] - field[..., :-2, :], (0, 0, 1, 1), mode="replicate") / 2 * field.shape[-2] / 64
