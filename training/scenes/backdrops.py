"""What is behind a subject, lit by the same light: walls, photographs on walls, ramps, panoramas seen directly.

Like the subject, a backdrop is linear in the environment, so that whole pictures add up when lights do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from iclight.imaging.colour import to_linear
from iclight.imaging.environment import SIDE

from ..metrics import gaussian_blur
from ..randomness import choose, uniform
from .random_lights import Light
from .surfaces import hsv, noise, photo_crop

WALL = -0.6  # z of the wall behind the subject
SMALL = 32  # lamps' patterns on a wall are smooth: this many pixels a side are enough


@dataclass(frozen=True)
class Backdrop:
    """`paint` 3xSxS reflectance, `patterns` Kx32x32: what each lamp throws on the wall."""

    paint: Tensor
    patterns: Tensor

    def lit(self, weights: Tensor) -> Tensor:
        """...xKx3 lamp strengths -> ...x3xSxS linear light."""
        light = torch.einsum("...kc,khw->...chw", weights, self.patterns)
        shape = light.shape[:-3]
        side = self.paint.shape[-1]
        light = F.interpolate(light.reshape(-1, 3, SMALL, SMALL), (side, side), mode="bilinear")
        return light.view(*shape, 3, side, side) * self.paint


def backdrop(lamps: Tensor, side: int, pictures: list[Tensor], random: torch.Generator) -> Backdrop:
    """A wall: plain, stained, or with a photograph on it; or a plain ramp, as a light direction is asked for.

    `lamps`: Kx3 directions; `side`: pixels; `pictures`: 3xHxW photographs in [0, 1], which may be none.
    """
    kind = uniform(0, 1, random)
    if kind < 0.2:
        grey = (
            1.0
            if uniform(0, 1, random) < 0.5
            else hsv(uniform(0, 1, random), uniform(0, 0.4, random), 1.0)[:, None, None]
        )
        return Backdrop(
            torch.ones(3, side, side) * grey * uniform(0.7, 1.2, random), ramps(lamps, uniform(0.0, 0.25, random))
        )
    if kind < 0.45:
        colour = hsv(uniform(0, 1, random), uniform(0, 0.5, random), uniform(0.15, 0.7, random))
        paint = colour[:, None, None].expand(3, side, side)
    elif kind < 0.65 or not pictures:
        stains = noise(1, 3, side, choose([2, 4, 8], random), 5, random)[0]
        grey = uniform(0, 1, random)
        stains = grey * stains.mean(0, keepdim=True) + (1 - grey) * stains
        paint = uniform(0.15, 0.55, random) + uniform(0.04, 0.2, random) * stains
    else:
        paint = to_linear(photo_crop(pictures, side, random, (-0.3, 2)))
        paint = paint / paint.mean().clamp(min=0.08) * uniform(0.2, 0.55, random)
        paint = blurred(paint, choose([0, 0, 2, 4, 8], random) * side / 128)
    return Backdrop(paint.clamp(0.02, 1.5), spill(lamps, uniform(0.9, 1.8, random)))


def spill(lamps: Tensor, reach: float) -> Tensor:
    """Kx32x32: the wall under a lamp at distance `reach` from the subject; nearer parts are brighter (inverse square).

    Lamps behind the wall shine through it, as a lamp or a window in the picture does.
    """
    y, x = _plane()
    places = lamps * lamps.new_tensor([reach, reach, 1.0])
    gap = (places[:, 2].clamp(WALL + 0.35, 0.4) - WALL)[:, None, None]
    squared = (places[:, 0, None, None] - x) ** 2 + (places[:, 1, None, None] - y) ** 2 + gap**2
    pattern = gap / squared**1.5
    # A wall close behind or far behind: all lamps reach it about alike.
    return (pattern / pattern.mean((1, 2), keepdim=True)).clamp(max=4) * 0.6


def ramps(lamps: Tensor, floor: float) -> Tensor:
    """Kx32x32 ramps, bright on the lamp's side, like those that stand for a light direction."""
    y, x = _plane()
    along = lamps[:, 0, None, None] * x + lamps[:, 1, None, None] * y
    return (floor + (0.5 + 0.5 * along).clamp(0, 1) ** 2.2) * 0.9


def panorama_view(light: Light, panoramas: dict[str, Tensor], side: int, random: torch.Generator) -> Tensor:
    """3xSxS linear radiance of what the camera sees behind the subject: a view into the light's own panorama.

    `light`: one from a panorama; `panoramas`: name -> 3xHxW linear radiance; `side`: S, in pixels.
    """
    panorama = panoramas[light.panorama]
    turned = panorama.roll(light.turn, 2)
    # The map was cut off at the sun and exposed; the same factor, from a part of the sky that was not cut off.
    mean = F.interpolate(turned[None], (SIDE, SIDE), mode="area")[0]
    scale = float(light.radiance.median() / mean.median().clamp(min=1e-4))
    half = math.tan(math.radians(uniform(25, 45, random)))
    axis = torch.linspace(-1, 1, side) * half
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    ray = F.normalize(torch.stack([x, y, -torch.ones_like(x)], -1), dim=-1)
    across = torch.atan2(ray[..., 0], -ray[..., 2]) / math.pi
    down = -torch.asin(ray[..., 1].clamp(-1, 1)) / (math.pi / 2)
    grid = torch.stack([across, down], -1)[None]
    view = F.grid_sample(turned[None], grid, align_corners=False, padding_mode="border")[0] * scale
    return blurred(view, choose([0, 1, 2, 4], random) * side / 128)


def seen_mask(mask: Tensor, side: int) -> Tensor:
    """32x32 mask over the environment -> SxS over a view of its middle."""
    middle = mask[SIDE // 4 : -SIDE // 4, SIDE // 3 : -SIDE // 3]
    return F.interpolate(middle[None, None], (side, side), mode="bilinear")[0, 0]


def blurred(picture: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of 3xSxS with edges held; sigma in pixels."""
    return picture if sigma < 0.3 else gaussian_blur(picture[None], sigma)[0]


def _plane() -> tuple[Tensor, Tensor]:
    axis = (torch.arange(SMALL) + 0.5) / SMALL * 2 - 1
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    return y, x
