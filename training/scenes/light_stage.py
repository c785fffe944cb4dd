"""The light stage: solids lit by one light at a time, so that any lighting is a sum.

    scene = render(solid, materials, 128, random)                   geometry, material and the light each lamp gives
    scene.lit(environment)                                          BxMx3x32x32 radiance -> BxMx3xSxS linear light

Light adds: `scene.lit(a) + scene.lit(b) == scene.lit(a + b)` to rounding, because an environment becomes the lamps'
weights by a matrix, and the weights become pixels by another. Lamps are soft discs; shadows are marched through the
whole solid; small-scale ambient occlusion darkens creases; gloss is GGX (Walter et al. 2007) with Schlick's Fresnel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from iclight.imaging.environment import SIDE, directions, solid_angles

from .shapes import Solid
from .surfaces import Surface

LAMPS = 32
GRID = 48  # cells of the distance field's side, for tracing and shadows
FIELD = 1.1  # the distance field covers [-FIELD, FIELD]^3
SHADOW_SIDE = 40  # shadows are marched from this many pixels a side: disc lamps throw soft ones
SHADOW_STEPS = 10
F0 = 0.04  # reflectance of dielectrics seen head-on


@dataclass
class Scene:
    """Rendered objects. `matte` Bx1xSxS, `normal` Bx3xSxS (camera space, bumps included), `depth` Bx1xSxS (z, larger is
    nearer), `surface`; `lamps` Kx3 directions, `mixer` Kx1024 (environment -> lamps), `diffuse` and `gloss` BxKxSxS:
    what each lamp alone gives, before the albedo and for it.
    """

    family: str
    matte: Tensor
    normal: Tensor
    depth: Tensor
    surface: Surface
    lamps: Tensor
    mixer: Tensor
    diffuse: Tensor
    gloss: Tensor

    def weights(self, environments: Tensor) -> Tensor:
        """...x3x32x32 linear radiance -> ...xKx3, the strength of every lamp."""
        return (environments.flatten(-2) @ self.mixer.T).transpose(-1, -2)

    def lit(self, environments: Tensor) -> Tensor:
        """BxMx3x32x32 linear radiance -> BxMx3xSxS linear light; black off the matte."""
        weights = self.weights(environments)
        diffuse = torch.einsum("bmkc,bkhw->bmchw", weights, self.diffuse)
        gloss = torch.einsum("bmkc,bkhw->bmchw", weights, self.gloss)
        return (self.surface.albedo[:, None] * diffuse + gloss) * self.matte[:, None]

    def to(self, device: torch.device | str) -> Scene:
        return replace(self, **{name: value.to(device) for name, value in vars(self).items() if name != "family"})


@torch.no_grad()
def render(
    solid: Solid,
    materials: Callable[[Tensor], Surface],
    side: int,
    random: torch.Generator,
    softness: float = 0.2,
    reach: float = math.inf,
    device: torch.device | str = "cpu",
) -> Scene:
    """Trace a batch of objects and measure what each of LAMPS lamps, spread evenly over the sphere, does to them.

    `materials`: shares of the parts, BxPxSxS on the CPU -> their surface.
    `side`: S, in pixels.
    `random`: turns the lamps. It draws on the CPU, so that a GPU renders the same objects to rounding.
    `softness`: the lamps' radius in radians; smaller is harder.
    `reach`: how far away the lamps stand, in units of half the picture; near ones light what is near them more.
    `device`: where solids are traced, and what comes out lies.
    """
    solid = solid.to(device)
    field = distance_grid(solid)
    points, hit = trace(solid, field, side)
    matte = hit[:, None].float()
    if side >= 96:  # smooth the outline by the distance it passes at
        matte = F.avg_pool2d(F.pad(matte, (1, 1, 1, 1), mode="replicate"), 3, 1)
    flat = points.flatten(2)
    smooth = solid.normal(flat).unflatten(2, (side, side))
    shares = solid.membership(flat).unflatten(2, (side, side))
    surface = materials(shares.cpu()).to(device)
    facing = torch.cat([smooth[:, :2] - surface.bump, smooth[:, 2:]], 1)
    normal = F.normalize(facing, dim=1)
    lamps = sphere(LAMPS, random).to(device)
    seen = visibility(field, points, smooth, hit, lamps, softness)
    crease = occlusion(solid, flat, smooth.flatten(2)).unflatten(1, (side, side))
    cosine = torch.einsum("kc,bchw->bkhw", lamps, normal)
    rounded = torch.einsum("kc,bchw->bkhw", lamps, smooth)
    # Bumps must not catch light from below the true surface.
    lit = cosine.clamp(min=0) * (rounded * 8 + 0.5).clamp(0, 1) * seen * crease[:, None]
    if math.isfinite(reach):
        lit = lit * falloff(lamps, points, reach)
    gloss = surface.gloss * ggx(lamps, normal, cosine, surface.roughness) * lit
    return Scene(solid.family, matte, normal, points[:, 2:], surface, lamps, mixer(lamps), lit, gloss)


@lru_cache(maxsize=2)
def _grid(side: int) -> Tensor:
    axis = torch.linspace(-FIELD, FIELD, side)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z]).flatten(1)


def distance_grid(solid: Solid) -> Tensor:
    """Bx1xGRIDxGRIDxGRID signed distances, indexed z, y, x."""
    batch = solid.sharpness.shape[0]
    grid = _grid(GRID).to(solid.sharpness.device)
    return solid.distance(grid.expand(batch, -1, -1)).view(batch, 1, GRID, GRID, GRID)


def look_up(field: Tensor, points: Tensor) -> Tensor:
    """Trilinear distances at BxHxWx3 points -> BxHxW."""
    return F.grid_sample(field, points[:, None] / FIELD, align_corners=True, padding_mode="border")[:, 0, 0]


def trace(solid: Solid, field: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """First hits of parallel rays along -z: Bx3xSxS points (on the surface where hit) and BxSxS booleans."""
    batch = field.shape[0]
    coarse = min(side, 96)
    points = _rays(coarse).to(field.device).permute(1, 2, 0).expand(batch, -1, -1, -1).clone()
    for _ in range(36):
        points[..., 2] -= look_up(field, points) * 0.75
        points[..., 2].clamp_(min=-FIELD)
    depth = F.interpolate(points[..., 2][:, None], (side, side), mode="nearest")[:, 0]
    points = _rays(side).to(field.device).expand(batch, -1, -1, -1).clone()
    points[:, 2] = depth + 0.05
    gap = depth
    for _ in range(6):  # the grid is coarse: end on the exact field
        gap = solid.distance(points.flatten(2)).unflatten(1, (side, side))
        points[:, 2] -= gap * 0.85
    return points, (points[:, 2] > -FIELD + 0.1) & (gap < 0.03)


def _rays(side: int) -> Tensor:
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, FIELD)])


def visibility(field: Tensor, points: Tensor, normal: Tensor, hit: Tensor, lamps: Tensor, softness: float) -> Tensor:
    """BxKxSxS shares of each lamp's disc that a point sees, by marching towards the lamp through the field.

    `field`: `distance_grid`'s; `points`, `normal`: Bx3xSxS; `hit`: BxSxS booleans.
    `lamps`: Kx3 directions; `softness`: their radius in radians.

    Soft shadows as by Quilez: the narrowest pass, distance over way, measured against the lamp's radius.
    """
    batch, side = points.shape[0], points.shape[-1]
    small = min(SHADOW_SIDE, side)
    starts = points + 0.03 * normal
    inside = F.interpolate(hit[:, None].float(), (small, small), mode="area").clamp(min=1e-6)
    starts = F.interpolate(starts * hit[:, None], (small, small), mode="area") / inside
    starts = starts.permute(0, 2, 3, 1).reshape(batch, 1, small * small, 3)
    seen = points.new_ones(batch, len(lamps), small * small)
    for way in torch.logspace(math.log10(0.05), math.log10(1.6), SHADOW_STEPS).tolist():
        ahead = starts + way * lamps[None, :, None]
        gap = F.grid_sample(field, ahead[:, None] / FIELD, align_corners=True, padding_mode="border")[:, 0, 0]
        outside = (ahead.abs() > FIELD).any(-1)
        seen = torch.where(outside, seen, torch.minimum(seen, 0.5 + 0.5 * gap / (softness * way)))
    seen = seen.clamp(0, 1)
    seen = (seen * seen * (3 - 2 * seen)).unflatten(2, (small, small))
    # Points off the object stand for nothing; let the object's own shade reach over its edge before enlarging.
    valid = (inside > 0.3).float()
    spread = F.avg_pool2d(seen * valid, 3, 1, 1) / F.avg_pool2d(valid, 3, 1, 1).clamp(min=1e-6)
    seen = torch.where(valid > 0, seen, spread)
    return F.interpolate(seen, (side, side), mode="bilinear")


def occlusion(solid: Solid, points: Tensor, normal: Tensor) -> Tensor:
    """Points, normals Bx3xN -> BxN shares of light that creases leave: how far the field falls short of the way out."""
    short = points.new_zeros(points.shape[0], points.shape[2])
    for way, weight in ((0.03, 8.0), (0.08, 3.0), (0.18, 1.2)):
        short += weight * (way - solid.distance(points + way * normal)).clamp(min=0)
    return torch.exp(-short)


def falloff(lamps: Tensor, points: Tensor, reach: float) -> Tensor:
    """BxKxSxS: inverse square of the distance to lamps `reach` away, 1 at the middle of the world, at most 6."""
    along = torch.einsum("kc,bchw->bkhw", lamps, points)
    squared = reach**2 - 2 * reach * along + points.square().sum(1, keepdim=True)
    return (reach**2 / squared.clamp(min=1e-3)).clamp(max=6)


def ggx(lamps: Tensor, normal: Tensor, cosine: Tensor, roughness: Tensor) -> Tensor:
    """BxKxSxS specular reflectance towards the camera times pi (the diffuse term's convention).

    `lamps`: Kx3 directions; `normal`: Bx3xSxS; `cosine`: BxKxSxS, of lamps and normals; `roughness`: Bx1xSxS.
    """
    half = F.normalize(lamps + lamps.new_tensor([0.0, 0.0, 1.0]), dim=1)
    alpha = (roughness**2).clamp(min=0.02)
    raised = torch.einsum("kc,bchw->bkhw", half, normal).clamp(0, 1) ** 2
    spread = alpha**2 / (raised * (alpha**2 - 1) + 1) ** 2
    view = normal[:, 2:].clamp(0.05, 1)
    k = alpha / 2
    shadowing = 1 / ((view * (1 - k) + k) * (cosine.clamp(min=0.02) * (1 - k) + k))
    fresnel = F0 + (1 - F0) * (1 - half[None, :, 2, None, None].clamp(0, 1)) ** 5
    return (fresnel * spread * shadowing / 4).clamp(max=40)


def sphere(count: int, random: torch.Generator) -> Tensor:
    """Kx3 directions spread evenly (a Fibonacci lattice), turned at random."""
    number = torch.arange(count) + 0.5
    polar = 1 - 2 * number / count
    turn = math.pi * (1 + 5**0.5) * number
    ring = (1 - polar**2).sqrt()
    even = torch.stack([ring * turn.cos(), polar, ring * turn.sin()], 1)
    orthogonal, _ = torch.linalg.qr(torch.randn(3, 3, generator=random))
    return even @ orthogonal


def mixer(lamps: Tensor) -> Tensor:
    """Kx1024: the radiance of a 32x32 environment -> the lamps' strengths, in units of pi steradians.

    Every pixel's light is shared among the nearest lamps by a smooth kernel whose shares sum to 1: none is lost.
    """
    towards = torch.from_numpy(directions(SIDE, SIDE)).reshape(-1, 3).to(lamps.device)
    width = 4 * math.pi / len(lamps)
    shares = ((lamps @ towards.T - 1) * 4 / width).softmax(0)
    angles = torch.from_numpy(solid_angles(SIDE, SIDE).copy()).reshape(-1).to(lamps.device)
    return shares * angles / math.pi
