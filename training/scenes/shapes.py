"""Procedural solids as signed distance fields: smooth unions of primitives, lathed and extruded shapes, figures, piles.

A batch shares its composition (which primitives, in which slots); every number in it differs from object to object.
Distances are negative inside. The world is the cube [-1, 1]^3, x right, y up, z towards the camera. Formulas of the
primitives: Inigo Quilez, "Distance functions"; the union is his exponential smooth minimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PROFILE = 48  # samples of a lathed or extruded shape's outline


@dataclass
class Slot:
    """One primitive of every object in the batch. `centre` Bx3, `rotation` Bx3x3 (local to world), `size` Bx3.

    `outline`: BxPROFILE radii, over height for "lathe", over angle for "extrude". `part` says which material it
    wears. `carve` subtracts it instead of adding it.
    """

    kind: str
    centre: Tensor
    size: Tensor
    rotation: Tensor
    part: int = 0
    outline: Tensor | None = None
    carve: bool = False

    def to(self, device: torch.device | str) -> Slot:
        moved: dict[str, Any] = {name: v.to(device) for name, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)


@dataclass
class Solid:
    """A batch of objects: slots, and the blending sharpness per object (B; larger is crisper)."""

    family: str
    slots: list[Slot] = field(default_factory=list)
    sharpness: Tensor = field(default_factory=lambda: torch.tensor([20.0]))

    @property
    def parts(self) -> int:
        return 1 + max(slot.part for slot in self.slots)

    def to(self, device: torch.device | str) -> Solid:
        return replace(self, slots=[slot.to(device) for slot in self.slots], sharpness=self.sharpness.to(device))

    def distance(self, points: Tensor) -> Tensor:
        """Bx3xN points -> BxN signed distances."""
        added = torch.stack([_distance(slot, points) for slot in self.slots if not slot.carve], 1)
        sharpness = self.sharpness[:, None]
        union = -torch.logsumexp(-sharpness[:, None] * added, 1) / sharpness
        for slot in self.slots:
            if slot.carve:
                union = torch.maximum(union, -_distance(slot, points))
        return union

    def membership(self, points: Tensor) -> Tensor:
        """Bx3xN points -> BxPxN shares (summing to 1) of the parts that a surface point belongs to."""
        shares = points.new_zeros(points.shape[0], self.parts, points.shape[2])
        slots = [slot for slot in self.slots if not slot.carve]
        distances = torch.stack([_distance(slot, points) for slot in slots], 1)
        weights = (-self.sharpness[:, None, None] * 2.5 * distances).softmax(1)
        for number, slot in enumerate(slots):
            shares[:, slot.part] += weights[:, number]
        return shares

    def normal(self, points: Tensor, step: float = 0.004) -> Tensor:
        """Bx3xN -> unit normals Bx3xN, by differences over a tetrahedron."""
        corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
        total = torch.zeros_like(points)
        for corner in corners:
            total += corner[:, None] * self.distance(points + step * corner[:, None])[:, None]
        return F.normalize(total, dim=1)


def _distance(slot: Slot, points: Tensor) -> Tensor:
    local = torch.bmm(slot.rotation.transpose(1, 2), points - slot.centre[:, :, None])
    return PRIMITIVES[slot.kind](slot, local)


def _length(*parts: Tensor) -> Tensor:
    """Euclidean length; written out, because a norm over a short dimension is several times slower."""
    total = parts[0] * parts[0]
    for part in parts[1:]:
        total = total + part * part
    return total.sqrt()


def _rim(side: Tensor, cap: Tensor) -> Tensor:
    """Distance to a flat-ended solid from the distances to its side and its ends."""
    return _length(side.clamp(min=0), cap.clamp(min=0)) + torch.maximum(side, cap).clamp(max=0)


def _ellipsoid(slot: Slot, p: Tensor) -> Tensor:
    scaled = p / slot.size[:, :, None]
    inner = _length(*scaled.unbind(1))
    outer = _length(*(scaled / slot.size[:, :, None]).unbind(1))
    return inner * (inner - 1) / outer.clamp(min=1e-6)


def _box(slot: Slot, p: Tensor) -> Tensor:
    rounding = 0.15 * slot.size.amin(1)[:, None]
    x, y, z = (p.abs() - slot.size[:, :, None] + rounding[:, None]).unbind(1)
    inside = torch.maximum(torch.maximum(x, y), z).clamp(max=0)
    return _length(x.clamp(min=0), y.clamp(min=0), z.clamp(min=0)) + inside - rounding


def _capsule(slot: Slot, p: Tensor) -> Tensor:
    half, radius = slot.size[:, 1, None], slot.size[:, 0, None]
    along = p[:, 1] - p[:, 1].maximum(-half).minimum(half)
    return _length(p[:, 0], along, p[:, 2]) - radius


def _torus(slot: Slot, p: Tensor) -> Tensor:
    return _length(_length(p[:, 0], p[:, 1]) - slot.size[:, 0, None], p[:, 2]) - slot.size[:, 2, None]


def _lathe(slot: Slot, p: Tensor) -> Tensor:
    half = slot.size[:, 1, None]
    radius, slope = _look_up(slot.outline, p[:, 1] / half * 0.5 + 0.5, closed=False)
    scale = slot.size[:, 0, None]
    side = (_length(p[:, 0], p[:, 2]) - radius * scale) / (1 + (slope * scale / (2 * half)) ** 2).sqrt()
    # Steep profiles bend the field; a shorter step never passes through a wall.
    return 0.75 * (_rim(side, p[:, 1].abs() - half) - 0.012)


def _extrude(slot: Slot, p: Tensor) -> Tensor:
    angle = torch.atan2(p[:, 1], p[:, 0]) / (2 * math.pi) + 0.5
    radius, _ = _look_up(slot.outline, angle, closed=True)
    flat = (_length(p[:, 0], p[:, 1]) - radius * slot.size[:, 0, None]) * 0.7
    return _rim(flat, p[:, 2].abs() - slot.size[:, 2, None]) - 0.025


PRIMITIVES: dict[str, Callable[[Slot, Tensor], Tensor]] = {
    "ellipsoid": _ellipsoid,
    "box": _box,
    "capsule": _capsule,
    "torus": _torus,
    "lathe": _lathe,
    "extrude": _extrude,
}


def _look_up(outline: Tensor | None, at: Tensor, closed: bool) -> tuple[Tensor, Tensor]:
    """Linear interpolation of BxPROFILE values at BxN places in [0, 1]; with the slope."""
    assert outline is not None
    last = PROFILE if closed else PROFILE - 1
    place = at.clamp(0, 1) * last
    low = place.floor().clamp(max=last - 1)
    share = place - low
    index = low.long()
    one = outline.gather(1, index)
    two = outline.gather(1, (index + 1) % PROFILE)
    return one + (two - one) * share, (two - one) * last


# --- what there is in the world ---------------------------------------------------------------------------------------


class Maker:
    """Draws batches of objects; every number comes from one generator."""

    def __init__(self, batch: int, random: torch.Generator) -> None:
        self.batch = batch
        self.random = random

    def number(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(self.batch, *shape, generator=self.random)

    def normal(self, deviation: float, *shape: int) -> Tensor:
        return deviation * torch.randn(self.batch, *shape, generator=self.random)

    def integer(self, low: int, high: int) -> int:
        """One whole number for the whole batch, `high` included."""
        return int(torch.randint(low, high + 1, (1,), generator=self.random))

    def turned(self, spread: float = math.inf) -> Tensor:
        """Rotations: any at all, or by angles of about `spread` radians."""
        if math.isinf(spread):
            quaternion = F.normalize(self.normal(1, 4), dim=1)
        else:
            quaternion = F.normalize(torch.cat([torch.ones(self.batch, 1), self.normal(spread / 2, 3)], 1), dim=1)
        w, x, y, z = quaternion.unbind(1)
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        return torch.stack([torch.stack(row, 1) for row in rows], 1)

    def slot(
        self,
        kind: str,
        centre: tuple[float, float, float],
        size: tuple[float, float, float],
        part: int = 0,
        jitter: float = 0.08,
        spread: float = 0.15,
        outline: Tensor | None = None,
        carve: bool = False,
    ) -> Slot:
        """A primitive about there and about as large; `jitter` relative to its size, `spread` in radians."""
        extent = torch.tensor(size)
        where = torch.tensor(centre) + self.normal(jitter, 3) * extent
        how = extent * torch.exp(self.normal(jitter, 3))
        return Slot(kind, where, how, self.turned(spread), part, outline, carve)

    def wavy(self, terms: int, amplitude: float) -> Tensor:
        """BxPROFILE smooth periodic radii about 1."""
        angle = torch.arange(PROFILE) / PROFILE * 2 * math.pi
        total = torch.ones(self.batch, PROFILE)
        for term in range(1, terms + 1):
            phase = self.number(0, 2 * math.pi, 1)
            total = total + self.normal(amplitude / term, 1) * torch.cos(term * angle + phase)
        return total.clamp(0.25, 1.6)

    def starry(self) -> Tensor:
        """BxPROFILE radii of stars and gears."""
        angle = torch.arange(PROFILE) / PROFILE * 2 * math.pi
        points = torch.tensor([3.0, 4, 5, 6, 8])[torch.randint(5, (self.batch, 1), generator=self.random)]
        wave = torch.cos(points * angle)
        square = torch.tanh(self.number(0.5, 6, 1) * wave)
        return 1 - self.number(0.08, 0.35, 1) * (1 - square) / 2


def blob(make: Maker) -> Solid:
    """One large thing with a few others grown into it."""
    kinds = ("ellipsoid", "ellipsoid", "box", "capsule", "torus", "extrude", "lathe")
    slots = []
    for number in range(make.integer(1, 5)):
        kind = kinds[make.integer(0, len(kinds) - 1)]
        size = make.number(0.35, 0.7, 3) if number == 0 else torch.exp(make.number(math.log(0.12), math.log(0.42), 3))
        centre = make.normal(0.05, 3) if number == 0 else make.normal(0.32, 3).clamp(-0.55, 0.55)
        if kind == "torus":
            size[:, 2] = size[:, 0] * make.number(0.2, 0.45)
        if kind == "extrude":
            size[:, 2] *= 0.5
        outline = make.starry() if kind == "extrude" else make.wavy(3, 0.13)
        slots.append(Slot(kind, centre, size, make.turned(), min(number, 3), outline))
    return Solid("object", slots, make.number(8, 50))


def vessel(make: Maker) -> Solid:
    """Cups, bowls, vases, bottles; some with a handle, some on a saucer, some hollow."""
    height = torch.linspace(0, 1, PROFILE)
    base, belly, neck = make.number(0.4, 0.9, 1), make.number(0.5, 1.1, 1), make.number(0.25, 1.0, 1)
    middle, lip = make.number(0.2, 0.7, 1), make.number(-0.1, 0.3, 1)
    swell = torch.exp(-(((height - middle) / make.number(0.18, 0.4, 1)) ** 2))
    radii = base * (1 - height) + neck * height + (belly - (base + neck) / 2) * swell + lip * height**8
    radii = radii.clamp(0.15, 1.2)
    half, wide = make.number(0.35, 0.75), make.number(0.35, 0.6)
    tilt = make.turned(0.25)
    centre = make.normal(0.06, 3)
    size = torch.stack([wide, half, wide], 1)
    slots = [Slot("lathe", centre, size, tilt, 0, radii)]
    if make.integer(0, 1):
        ring = torch.stack([half * 0.45, half * 0.45, half * make.number(0.09, 0.16)], 1)
        side = torch.stack([wide * radii[:, PROFILE // 2] * 1.05, torch.zeros(make.batch), torch.zeros(make.batch)], 1)
        side = side * make.number(0, 1, 1).sub(0.3).sign()
        slots.append(Slot("torus", centre + side, ring, tilt, 0))
    if make.integer(0, 2) == 0:
        foot = centre - torch.stack([torch.zeros(make.batch), half, torch.zeros(make.batch)], 1)
        plate = torch.stack([wide * 1.5, torch.full_like(wide, 0.03), wide * 1.5], 1)
        slots.append(Slot("lathe", foot, plate, tilt, 1, 0.6 + 0.4 * height.expand(make.batch, -1)))
    if make.integer(0, 1):
        hollow = torch.stack([wide * 0.7, half * 0.9, wide * 0.7], 1)
        lift = torch.einsum("bij,bj->bi", tilt, torch.stack([0 * half, half * 0.2, 0 * half], 1))
        slots.append(Slot("lathe", centre + lift, hollow, tilt, 0, radii, carve=True))
    return Solid("cup" if make.integer(0, 1) else "vase", slots, make.number(25, 60))


def person(make: Maker) -> Solid:
    """Head and shoulders: skull, jaw, nose, mouth, eyes, ears, hair, neck, trunk; skin, hair, cloth, eyes, lips."""
    items = [
        make.slot("ellipsoid", (0, 0.2, 0.0), (0.29, 0.36, 0.33), 0, 0.05),
        make.slot("ellipsoid", (0, 0.02, 0.06), (0.22, 0.24, 0.25), 0, 0.07),
        make.slot("ellipsoid", (0, 0.13, 0.34), (0.05, 0.11, 0.08), 0, 0.1, 0.1),
        make.slot("ellipsoid", (0, -0.06, 0.29), (0.085, 0.025, 0.04), 4, 0.06, 0.05),
        make.slot("ellipsoid", (-0.11, 0.2, 0.26), (0.05, 0.035, 0.05), 3, 0.03, 0.05),
        make.slot("ellipsoid", (0.11, 0.2, 0.26), (0.05, 0.035, 0.05), 3, 0.03, 0.05),
        make.slot("ellipsoid", (-0.11, 0.27, 0.27), (0.09, 0.025, 0.05), 1, 0.05, 0.08),
        make.slot("ellipsoid", (0.11, 0.27, 0.27), (0.09, 0.025, 0.05), 1, 0.05, 0.08),
        make.slot("capsule", (0, -0.28, -0.03), (0.13, 0.22, 0.13), 0, 0.06),
        make.slot("ellipsoid", (0, -0.85, -0.08), (0.62, 0.45, 0.27), 2, 0.08, 0.08),
    ]
    hair = make.integer(0, 3)
    if hair:
        items.append(make.slot("ellipsoid", (0, 0.33, -0.08), (0.33, 0.31, 0.34), 1, 0.05))
    if hair == 2:
        items.append(make.slot("ellipsoid", (-0.29, -0.02, -0.1), (0.11, 0.42, 0.2), 1, 0.08))
        items.append(make.slot("ellipsoid", (0.29, -0.02, -0.1), (0.11, 0.42, 0.2), 1, 0.08))
    if hair != 2:
        items.append(make.slot("ellipsoid", (-0.3, 0.15, 0.0), (0.04, 0.08, 0.05), 0, 0.05))
        items.append(make.slot("ellipsoid", (0.3, 0.15, 0.0), (0.04, 0.08, 0.05), 0, 0.05))
    turn, zoom = _yaw(make.normal(0.4)), make.number(0.85, 1.5)
    shift = torch.stack([make.normal(0.1), make.normal(0.08) - 0.25 * (zoom - 1), torch.zeros(make.batch)], 1)
    _pose(items, turn, zoom, shift)
    return Solid(("woman", "man")[make.integer(0, 1)], items, make.number(25, 45) / zoom)


def animal(make: Maker) -> Solid:
    """A sitting beast: trunk, head, muzzle, ears, eyes, legs."""
    ears = 0.14 + 0.1 * make.integer(0, 1)
    items = [
        make.slot("ellipsoid", (0.05, -0.4, -0.1), (0.4, 0.5, 0.4), 0, 0.1),
        make.slot("ellipsoid", (0, 0.25, 0.1), (0.32, 0.29, 0.3), 0, 0.08),
        make.slot("ellipsoid", (0, 0.13, 0.38), (0.13, 0.1, 0.14), 1, 0.12),
        make.slot("ellipsoid", (0, 0.19, 0.5), (0.045, 0.035, 0.03), 2, 0.1),
        make.slot("ellipsoid", (-0.13, 0.33, 0.34), (0.05, 0.05, 0.05), 3, 0.06),
        make.slot("ellipsoid", (0.13, 0.33, 0.34), (0.05, 0.05, 0.05), 3, 0.06),
        make.slot("ellipsoid", (-0.23, 0.5, 0.05), (0.09, ears, 0.05), 0, 0.1, 0.3),
        make.slot("ellipsoid", (0.23, 0.5, 0.05), (0.09, ears, 0.05), 0, 0.1, 0.3),
        make.slot("capsule", (-0.2, -0.6, 0.25), (0.09, 0.25, 0.09), 0, 0.1),
        make.slot("capsule", (0.22, -0.6, 0.25), (0.09, 0.25, 0.09), 0, 0.1),
    ]
    turn, zoom = _yaw(make.normal(0.5)), make.number(0.9, 1.3)
    shift = torch.stack([make.normal(0.08), make.normal(0.08), torch.zeros(make.batch)], 1)
    _pose(items, turn, zoom, shift)
    return Solid(("cat", "dog", "toy")[make.integer(0, 2)], items, make.number(20, 45))


def pile(make: Maker) -> Solid:
    """Small things heaped up: fruit, blocks, stones."""
    kinds = ("ellipsoid", "ellipsoid", "box", "lathe", "torus")
    slots = []
    for number in range(make.integer(4, 8)):
        row = number // 4
        x = -0.55 + 0.37 * (number % 4) + 0.18 * row
        centre = torch.tensor([x, -0.3 + 0.42 * row, 0.0]) + make.normal(0.09, 3)
        size = make.number(0.18, 0.34, 3)
        kind = kinds[make.integer(0, len(kinds) - 1)]
        if kind == "torus":
            size[:, 2] = 0.35 * size[:, 0]
        slots.append(Slot(kind, centre, size, make.turned(), min(number, 5), make.wavy(2, 0.12)))
    return Solid("still life", slots, make.number(40, 90))


def _pose(slots: list[Slot], turn: Tensor, zoom: Tensor, shift: Tensor) -> None:
    """Turn (Bx3x3), enlarge (B) and shift (Bx3) whole figures, in place."""
    for slot in slots:
        slot.centre = torch.einsum("bij,bj->bi", turn, slot.centre) * zoom[:, None] + shift
        slot.rotation = turn @ slot.rotation
        slot.size = slot.size * zoom[:, None]


def _yaw(angle: Tensor) -> Tensor:
    """Rotations about the upright axis, Bx3x3."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [[c, zero, s], [zero, one, zero], [-s, zero, c]]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


# Families and how often each is drawn.
FAMILIES: dict[Callable[[Maker], Solid], float] = {blob: 0.27, vessel: 0.15, person: 0.34, animal: 0.14, pile: 0.1}


def draw(batch: int, random: torch.Generator) -> Solid:
    """A batch of objects of one family."""
    share = torch.tensor(list(FAMILIES.values()))
    family = list(FAMILIES)[int(torch.multinomial(share, 1, generator=random))]
    return family(Maker(batch, random))
