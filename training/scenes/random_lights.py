"""Random lights around a subject: environments as 32x32 maps, what words would say of them, and how to split them.

Radiance is linear; radiance 1 all around lights a white matt surface to 1. Draws come from one generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from iclight.imaging.colour import LUMINANCE
from iclight.imaging.environment import SIDE, TOWARDS, directions, expose, key_luminance, solid_angles, to_map

from ..randomness import choose, uniform
from .surfaces import hsv

# What each side's light points to, x right, y up, z towards the camera.
SIDES = TOWARDS


@dataclass(frozen=True)
class Mood:
    """Ranges of hue, saturation, ambient share, contrast and softness; and the words for it."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    ambient: tuple[float, float] = (0.05, 0.5)
    level: tuple[float, float] = (0.35, 0.8)
    second_hue: tuple[float, float] | None = None


# Moods by name; `captions.py` has the words of each. Hues as fractions of the colour wheel.
MOODS: dict[str, Mood] = {
    "natural": Mood((0.0, 1.0), (0.0, 0.12), (0.2, 0.7)),
    "studio": Mood((0.0, 1.0), (0.0, 0.08), (0.3, 0.9), (0.5, 0.9)),
    "hard": Mood((0.05, 0.15), (0.0, 0.15), (0.02, 0.12)),
    "window": Mood((0.09, 0.14), (0.1, 0.35), (0.05, 0.25), (0.45, 0.85)),
    "warm": Mood((0.06, 0.11), (0.25, 0.6), (0.1, 0.5), (0.3, 0.6)),
    "golden": Mood((0.09, 0.12), (0.4, 0.7), (0.08, 0.35), (0.4, 0.8)),
    "sunset": Mood((0.01, 0.07), (0.45, 0.8), (0.08, 0.35), (0.3, 0.65), (0.6, 0.85)),
    "cool": Mood((0.53, 0.64), (0.2, 0.6), (0.1, 0.5), (0.25, 0.6)),
    "gothic": Mood((0.55, 0.75), (0.2, 0.6), (0.02, 0.1), (0.12, 0.3)),
    "neon": Mood((0.8, 1.0), (0.6, 0.95), (0.05, 0.2), (0.25, 0.6), (0.45, 0.65)),
    "rgb": Mood((0.45, 0.7), (0.6, 0.95), (0.05, 0.2), (0.3, 0.6), (0.8, 1.0)),
    "magic": Mood((0.7, 0.85), (0.4, 0.8), (0.05, 0.25), (0.3, 0.6), (0.4, 0.55)),
    "forest": Mood((0.22, 0.4), (0.25, 0.65), (0.15, 0.6), (0.25, 0.6)),
}

# What people photograph by.
CALM = ("natural", "studio", "hard", "window", "warm", "golden", "cool")


@dataclass(frozen=True)
class Light:
    """An environment and what is known of it: `radiance` 3x32x32, its `mood`, the side its strongest light is on."""

    radiance: Tensor
    mood: str
    side: str
    panorama: str = ""
    turn: int = 0


def random_light(random: torch.Generator, panoramas: dict[str, Tensor] | None = None, calm: bool = False) -> Light:
    """A lit environment: mostly lobes over an ambient fill, sometimes one of the 3xHxW `panoramas`, turned.

    A `calm` one is as photographs are lit that people want relit: no neon, no night.
    """
    if panoramas and uniform(0, 1, random) < 0.25:
        return _from_panorama(panoramas, random)
    name = choose(list(CALM if calm else MOODS), random)
    mood = MOODS[name]
    towards = key_direction(random)
    key = _colour(mood.hue, mood.saturation, random)
    ambient = 0.4 * uniform(*mood.ambient, random)
    fill = _colour(mood.second_hue or mood.hue, mood.saturation, random)
    radiance = ambient * (0.7 * fill + 0.3 * key)[:, None, None] * _sky(random)
    sharp = 2 ** uniform(2, 5.5, random)
    radiance = radiance + key[:, None, None] * lobe(towards, sharp)
    others = choose([0, 0, 1, 2], random) if mood.second_hue is None else choose([1, 1, 2], random)
    for _ in range(others):
        away = F.normalize(torch.randn(3, generator=random), dim=0)
        if mood.second_hue is not None:
            away = F.normalize(away - 1.2 * towards, dim=0)
        radiance = radiance + uniform(0.1, 0.6, random) * fill[:, None, None] * lobe(away, 2 ** uniform(1.5, 5, random))
    radiance = exposed(radiance, uniform(*mood.level, random))
    return Light(radiance, name, dominant_side(radiance))


def towards_side(side: str) -> Tensor:
    """The unit vector towards a plain light from a side, a little to the camera's side of it."""
    return F.normalize(torch.tensor(SIDES[side]) + torch.tensor([0.0, 0.0, 0.35]), dim=0)


def side_light(side: str, random: torch.Generator, ambient: float = 0.12) -> Light:
    """A plain white light from a side, as evaluation asks for it."""
    radiance = (lobe(towards_side(side), uniform(5, 12, random)) + ambient).expand(3, -1, -1)
    return Light(exposed(radiance, 0.55), "natural", side)


def key_light(random: torch.Generator) -> Light:
    """A light as people ask for one by a side's name: about white, strong, from near there, over little fill."""
    side = choose(["left", "right", "top", "bottom"], random)
    jitter = 0.12 * torch.randn(3, generator=random)
    towards = F.normalize(
        torch.tensor(SIDES[side]) + jitter + torch.tensor([0.0, 0.0, uniform(0.1, 0.6, random)]), dim=0
    )
    colour = _colour((0.0, 1.0), (0.0, 0.06), random)[:, None, None]
    radiance = colour * (lobe(towards, 2 ** uniform(2, 4.5, random)) + uniform(0.03, 0.25, random) * _sky(random))
    return Light(exposed(radiance, uniform(0.35, 0.7, random)), "natural", side)


def several_lights(random: torch.Generator) -> Light:
    """Three to eight large soft lights of unlike strengths all around, as indoors: forms show, no side wins by far."""
    radiance = torch.zeros(3, SIDE, SIDE) + uniform(0.02, 0.4, random)
    for _ in range(choose([3, 4, 5, 6, 8], random)):
        towards = F.normalize(torch.randn(3, generator=random), dim=0)
        colour = _colour((0.0, 1.0), (0.0, 0.25), random)[:, None, None]
        radiance = radiance + uniform(0, 1, random) ** 3 * colour * lobe(towards, 2 ** uniform(2, 4, random))
    return Light(exposed(radiance, uniform(0.35, 0.7, random)), "studio", dominant_side(radiance))


def key_direction(random: torch.Generator) -> Tensor:
    """Where the main light stands: half the time near one of the four sides, else anywhere not far behind."""
    if uniform(0, 1, random) < 0.55:
        side = torch.tensor(SIDES[choose(["left", "right", "top", "bottom"], random)])
        return F.normalize(side + 0.2 * torch.randn(3, generator=random) + torch.tensor([0, 0, 0.25]), dim=0)
    height = uniform(-0.35, 0.95, random)
    azimuth = uniform(0, 2 * math.pi, random)
    ring = math.sqrt(1 - height**2)
    return torch.tensor([ring * math.cos(azimuth), ring * math.sin(azimuth), height])


def lobe(towards: Tensor, sharpness: float) -> Tensor:
    """32x32 radiance of a soft light of unit irradiance towards it: a spherical Gaussian."""
    shape = torch.exp(sharpness * (_directions() @ towards.float() - 1))
    power = (shape * solid_angle_weights()).sum() / math.pi
    return shape / power


def exposed(radiance: Tensor, level: float) -> Tensor:
    """3x32x32 scaled as the engine exposes maps: the subject's visible sides receive a mean luminance of `level`."""
    return torch.from_numpy(expose(_as_map(radiance), level)).permute(2, 0, 1)


def received(radiance: Tensor) -> float:
    """Mean luminance that 3x32x32 radiance gives the subject's visible sides, as the engine measures it."""
    return key_luminance(_as_map(radiance))


def _as_map(radiance: Tensor) -> NDArray[np.float32]:
    return radiance.permute(1, 2, 0).contiguous().numpy()


def mean_direction(radiance: Tensor) -> Tensor:
    """...x3x32x32 -> ...x3: the mean direction of the light; of length 0 where it comes from all around, 1 from one."""
    luminance = torch.einsum("...chw,c->...hw", radiance, torch.tensor(LUMINANCE)) * solid_angle_weights()
    return torch.einsum("...hw,hwd->...d", luminance, _directions()) / luminance.sum((-1, -2))[..., None].clamp(
        min=1e-6
    )


def dominant_side(radiance: Tensor) -> str:
    """The side most of the light comes from, or "ambient" if it comes from all around."""
    mean = mean_direction(radiance)
    if float(mean.norm()) < 0.15:
        return "ambient"
    flat = mean * torch.tensor([1.0, 1.0, 0.8])
    axis = int(flat.abs().argmax())
    return (("right", "left"), ("top", "bottom"), ("front", "back"))[axis][0 if flat[axis] > 0 else 1]


def split(radiance: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """L = L1 + L2 by a random mask over the environment (paper, section on consistent light transport).

    The mask is a half space through a random direction with a soft edge, or smooth blotches; values in [0, 1].
    """
    if uniform(0, 1, random) < 0.6:
        towards = F.normalize(torch.randn(3, generator=random), dim=0)
        mask = ((_directions() @ towards + uniform(-0.4, 0.4, random)) * uniform(3, 20, random)).sigmoid()
    else:
        cells = torch.randn(1, 1, 4, 4, generator=random)
        mask = (F.interpolate(cells, (SIDE, SIDE), mode="bicubic")[0, 0] * uniform(2, 8, random)).sigmoid()
    first = radiance * mask
    return first, radiance - first


def _from_panorama(panoramas: dict[str, Tensor], random: torch.Generator) -> Light:
    name = choose(sorted(panoramas), random)
    panorama = panoramas[name]
    turn = int(torch.randint(panorama.shape[2], (1,), generator=random))
    turned = panorama.roll(turn, 2)
    radiance = torch.from_numpy(to_map(turned.permute(1, 2, 0).numpy())).permute(2, 0, 1)
    radiance = radiance.clamp(max=float(radiance.mean()) * 60)
    radiance = exposed(radiance, uniform(0.35, 0.7, random))
    return Light(radiance, "natural", dominant_side(radiance), name, turn)


def _colour(hue: tuple[float, float], saturation: tuple[float, float], random: torch.Generator) -> Tensor:
    colour = hsv(uniform(*hue, random) % 1, uniform(*saturation, random), 1.0)
    return colour / (colour @ torch.tensor(LUMINANCE)).clamp(min=0.25)


def _sky(random: torch.Generator) -> Tensor:
    """32x32: an ambient that may be brighter above, or evenly spread."""
    lift = uniform(-0.3, 0.6, random)
    return (1 + lift * _directions()[..., 1]).clamp(min=0.1)


def _directions() -> Tensor:
    return torch.from_numpy(directions(SIDE, SIDE).copy())


def solid_angle_weights() -> Tensor:
    """32x32 steradians of a map's pixels."""
    return torch.from_numpy(solid_angles(SIDE, SIDE).copy())
