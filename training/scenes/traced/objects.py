"""Things for the path tracer that the light stage has not: letters, gears, vases, knots, busts, piles.

`sculpt(seed)` gives a thing's parts, posed and fitted into the frame [-1, 1] x [-1, 1]. Kinds take turns by seed, so
that any run of seeds holds them all; everything else about a thing is drawn from its seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .materials import Material, random_material
from .meshes import Floats, Mesh, ball, draw_outline, draw_text, extrude, lathe, prism, resample, rotation, solid, tube

Part = tuple[Mesh, Material]
Parts = list[Part]
Random = np.random.Generator

WORDS = ("A", "B", "G", "K", "R", "S", "&", "?", "2", "5", "8", "art", "go", "lux", "sun", "yes", "IC", "hey", "Ω", "@")


@dataclass(frozen=True)
class Sculpture:
    """parts: fitted into the frame as seen from `distance`.

    distance: of the camera from the origin along z; nought stands for parallel rays (an orthographic camera).
    """

    parts: Parts
    distance: float


def sculpt(seed: int) -> Sculpture:
    rng = np.random.default_rng([seed, 0x1C])
    kind = list(KINDS)[seed % len(KINDS)]
    build, yaw, pitch = KINDS[kind]
    parts = build(rng)
    turn = rotation(rng.uniform(-yaw, yaw), rng.uniform(*pitch), rng.uniform(-8, 8))
    distance = 0.0 if rng.random() < 0.4 else float(rng.uniform(5, 9))
    fitted = fit([(mesh.moved(turn), material) for mesh, material in parts], rng.uniform(0.74, 0.93), distance)
    return Sculpture(fitted, distance)


def fit(parts: Parts, reach: float, distance: float) -> Parts:
    """Parts moved to the frame's middle and made to reach `reach` of the way to its edges, as the camera sees them."""
    for _ in range(4):  # what lies nearer looks larger, so the fit moves a little each time
        points = np.concatenate([mesh.vertices for mesh, _ in parts])
        seen = points[:, :2] / (1 - points[:, 2:] / distance).clip(0.2, None) if distance else points[:, :2]
        low, high = seen.min(0), seen.max(0)
        centre = np.array([*(low + high) / 2, (points[:, 2].min() + points[:, 2].max()) / 2])
        factor = reach / float((high - low).max() / 2)
        parts = [(mesh.scaled(factor, centre), material) for mesh, material in parts]
    return parts


def _letters(rng: Random) -> Parts:
    drawing = draw_text(str(rng.choice(WORDS)))
    return [(extrude(drawing, rng.uniform(0.25, 0.6), rng.uniform(0.02, 0.06)), random_material(rng))]


def _star(rng: Random) -> Parts:
    tips = int(rng.integers(4, 9))
    angle = np.pi / 2 + np.arange(2 * tips) * np.pi / tips
    radius = np.where(np.arange(2 * tips) % 2 == 0, 1, rng.uniform(0.4, 0.72))
    outline = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mesh = extrude(draw_outline(outline), rng.uniform(0.3, 0.7), rng.uniform(0.04, 0.14))
    return [(mesh, random_material(rng))]


def _gear(rng: Random) -> Parts:
    teeth = int(rng.integers(7, 15))
    angle = np.linspace(0, 2 * np.pi, 1200, endpoint=False)
    wave = (np.sin(teeth * angle) * 4).clip(-1, 1)
    outline = (0.87 + 0.13 * wave)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    depth, hole = rng.uniform(0.25, 0.6), rng.uniform(0.15, 0.5)
    parts = [(extrude(draw_outline(outline, hole), depth, 0.03), random_material(rng))]
    if rng.random() < 0.6:  # an axle through the hole
        axle = prism(_polygon(40, hole * 0.9), depth * rng.uniform(1.3, 2.4))
        back_to_front = rotation(pitch=90)
        shift = float((axle.vertices @ back_to_front.T)[:, 2].mean())
        parts.append((axle.moved(back_to_front, (0, 0, -shift)), random_material(rng)))
    return parts


def _column(rng: Random) -> Parts:
    sides = int(rng.integers(3, 8))
    outline = _polygon(sides, 0.5)
    if rng.random() < 0.4:  # pinched walls: a fluted column
        outline = resample(np.concatenate([outline, outline[:1]]), 240)[:-1]
        outline *= (0.6 + 0.4 * np.linalg.norm(outline, axis=1, keepdims=True) / 0.5) ** 2
    twist = rng.uniform(40, 260) * rng.choice([-1, 1])
    height = rng.uniform(1.0, 1.9)
    parts = [(prism(outline, height, twist, rng.uniform(0.45, 1.1)), random_material(rng))]
    if rng.random() < 0.5:
        parts.append((_slab(rng, 0.62, 0.14), random_material(rng)))
    return parts


def _vase(rng: Random) -> Parts:
    height = rng.uniform(1.3, 2.4)
    knots = np.array([rng.uniform(0.3, 0.5), rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.8), rng.uniform(0.2, 0.4)])
    outside = _spline(np.append(knots, knots[-1] + rng.uniform(0.05, 0.25)), height)
    parts = [(lathe(_vessel(outside, 0.05)), random_material(rng))]
    for side in (1, -1)[: int(rng.integers(0, 3))]:
        low, high = 0.35 * height, 0.86 * height
        ends = np.interp([low, high], outside[:, 1], outside[:, 0]) - 0.03
        parts.append((_handle(ends, low, high, rng.uniform(0.25, 0.45), side), parts[0][1]))
    return parts


def _goblet(rng: Random) -> Parts:
    foot, stem, bowl = rng.uniform(0.45, 0.65), rng.uniform(0.06, 0.12), rng.uniform(0.5, 0.75)
    rise, height = rng.uniform(0.6, 1.1), rng.uniform(0.7, 1.1)
    t = np.linspace(0, 1, 40)
    parameter = 0.09 * np.exp(-(((t - 0.55) / 0.12) ** 2))
    base = np.stack([stem + (foot - stem) * np.exp(-9 * t) + parameter, 0.06 + rise * t], axis=1)
    cup = np.stack(
        [stem + (bowl - stem) * np.sin(t * np.pi * rng.uniform(0.5, 0.62)), 0.06 + rise + height * t**1.4], 1
    )
    outside = np.concatenate([[[foot, 0]], base, cup[1:]])
    inside = cup[:4:-1] - [[0.05, 0]]
    closed = np.concatenate([[[0, 0]], outside, inside.clip(0, None), [[0, inside[-1, 1]]]])
    parts = [(lathe(closed), random_material(rng))]
    if rng.random() < 0.4:
        fruit = ball(bowl * 0.72).moved(shift=(0, 0.06 + rise + height * 0.95, 0))
        parts.append((fruit, random_material(rng)))
    return parts


def _mug(rng: Random) -> Parts:
    height, radius = rng.uniform(0.9, 1.4), rng.uniform(0.42, 0.6)
    belly = radius * (1 + rng.uniform(-0.12, 0.2) * np.sin(np.linspace(0, np.pi, 24)))
    outside = np.stack([belly, np.linspace(0, height, 24)], axis=1)
    material = random_material(rng)
    handle = _handle(
        np.interp([0.2 * height, 0.8 * height], outside[:, 1], belly) - 0.02, 0.2 * height, 0.8 * height, 0.32
    )
    parts = [(lathe(_vessel(outside, 0.06)), material), (handle, material)]
    saucer = np.array([[0, -0.08], [0.4, -0.08], [0.95, 0.06], [0.95, 0.1], [0.4, -0.01], [0, -0.01]])
    if rng.random() < 0.6:
        parts.append((lathe(saucer * [rng.uniform(0.9, 1.2), 1]), random_material(rng)))
    return parts


def _knot(rng: Random) -> Parts:
    around, through = ((2, 3), (3, 2), (2, 5), (3, 4), (1, 4))[int(rng.integers(5))]
    t = np.arange(480) / 480 * 2 * np.pi
    ring = 1 + 0.42 * np.cos(through * t)
    core = np.stack([np.cos(around * t), np.sin(around * t), np.zeros_like(t)], axis=1)
    path = core * ring[:, None] + np.array([0, 0, 0.42]) * np.sin(through * t)[:, None]
    thickness = rng.uniform(0.15, 0.25) * (1 + rng.uniform(0, 0.25) * np.sin(int(rng.integers(2, 9)) * t))
    return [(tube(path, path - core, thickness, closed=True), random_material(rng))]


def _bust(rng: Random) -> Parts:
    """Head, neck and shoulders out of ellipsoids that melt into each other (polynomial smooth minimum)."""
    head = np.array([rng.uniform(0.38, 0.45), rng.uniform(0.5, 0.58), rng.uniform(0.44, 0.5)])
    nose, brow, hair = rng.uniform(0.06, 0.1), rng.uniform(0.02, 0.05), int(rng.integers(3))
    shoulders = rng.uniform(0.7, 0.88)
    chin = -0.9 * head[1]
    blobs: list[tuple[tuple[float, float, float], tuple[float, float, float], float]] = [
        ((0, chin + 0.14, 0.16), (0.22, 0.2, 0.24), 0.1),  # jaw
        ((0, -0.56, -0.06), (0.2, 0.4, 0.2), 0.12),  # neck
        ((0, -1.02, -0.08), (shoulders, 0.26, 0.3), 0.2),
        ((0, -1.16, 0.0), (0.8 * shoulders, 0.42, 0.36), 0.15),  # chest
        ((0, -0.06, head[2] + 0.02), (nose * 0.8, 0.13, nose * 1.5), 0.05),
        ((0, 0.1, head[2] - 0.06), (0.24, 0.05, 0.08 + brow), 0.06),
        ((0, -0.24, head[2] - 0.03), (0.11, 0.045, 0.07), 0.04),  # mouth
        ((head[0], -0.03, -0.02), (0.05, 0.11, 0.08), 0.03),  # ears
        ((-head[0], -0.03, -0.02), (0.05, 0.11, 0.08), 0.03),
    ]
    eyes = [((side * 0.15, 0.0, head[2] + 0.0), (0.085, 0.055, 0.09)) for side in (-1, 1)]

    def face(x: Floats, y: Floats, z: Floats) -> Floats:
        field = _ellipsoid(x, y, z, (0, 0, 0), (head[0], head[1], head[2]))
        for centre, radii, melt in blobs:
            field = _melt(field, _ellipsoid(x, y, z, centre, radii), melt)
        for centre, radii in eyes:  # sockets: a melt with the outside
            field = -_melt(-field, _ellipsoid(x, y, z, centre, radii), 0.05)
        return np.maximum(field, -1.38 - y).astype(np.float32)

    def locks(x: Floats, y: Floats, z: Floats) -> Floats:
        cap = _ellipsoid(x, y, z, (0, 0.07, -0.05), (head[0] + 0.05, head[1] + 0.02, head[2] + 0.03))
        cap = np.maximum(cap, 0.75 * (z - 0.1) - (y - 0.12))  # leaves the face free
        if hair == 1:
            cap = _melt(cap, _ellipsoid(x, y, z, (0, 0.42, -0.36), (0.2, 0.2, 0.2)), 0.05)
        if hair == 2:
            cap = _melt(cap, _ellipsoid(x, y, z, (0, -0.3, -0.25), (head[0] + 0.06, 0.5, 0.24)), 0.1)
        return cap.astype(np.float32)

    low, high = np.array([-1.0, -1.4, -0.75], np.float32), np.array([1.0, 0.75, 0.75], np.float32)
    parts = [(solid(face, low, high, 150), random_material(rng)), (solid(locks, low, high, 110), random_material(rng))]
    if rng.random() < 0.5:
        parts.append((_slab(rng, 0.5, 0.2).moved(shift=(0, -1.38, 0)), random_material(rng)))
    return parts


def _tower(rng: Random) -> Parts:
    parts: Parts = []
    floor, size = 0.0, 0.7
    count = int(rng.integers(3, 6))
    for number in range(count):
        height = size * rng.uniform(0.45, 0.95)
        shape = int(rng.integers(3))
        if number == count - 1 and rng.random() < 0.5:  # lower down it would roll away
            mesh, height = ball(size * 0.6), size * 1.2
            mesh = mesh.moved(shift=(0, size * 0.6, 0))
        else:
            outline = _polygon((4, 40, 6)[shape], size * 0.65)
            mesh = prism(outline, height, top=(1, 1, rng.uniform(0.5, 0.9))[shape])
        aside = rng.uniform(-0.25, 0.25, 2) * size
        parts.append((mesh.moved(rotation(rng.uniform(0, 90)), (aside[0], floor, aside[1])), random_material(rng)))
        floor, size = floor + height, size * rng.uniform(0.7, 1.05)
    return parts


def _heap(rng: Random) -> Parts:
    """Balls dropped one after another: each comes to rest on the floor, or on the highest ball below it."""
    parts: Parts = [(_slab(rng, 1.15, 0.12), random_material(rng, metals=False))]
    placed: list[tuple[float, float, float, float]] = []
    for _ in range(int(rng.integers(6, 14))):
        radius = rng.uniform(0.2, 0.45)
        # Of a few places the lowest: balls roll off each other, they seldom stand one on top of another.
        x, rest, z = min((_rest(placed, radius, rng.uniform(-0.75, 0.75, 2)) for _ in range(6)), key=lambda at: at[1])
        placed.append((x, rest, z, radius))
        parts.append((ball(radius).moved(shift=(x, rest, z)), random_material(rng)))
    return parts


def _rest(
    placed: list[tuple[float, float, float, float]], radius: float, place: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Where a ball let fall over `place` (x, z) touches the floor or the first of the balls (x, y, z, radius)."""
    height = radius
    for x, y, z, other in placed:
        room = (radius + other) ** 2 - (place[0] - x) ** 2 - (place[1] - z) ** 2
        if room > 0:
            height = max(height, y + float(np.sqrt(room)))
    return float(place[0]), height, float(place[1])


def _polygon(sides: int, radius: float) -> NDArray[np.float64]:
    angle = (np.arange(sides) + 0.5) / sides * 2 * np.pi
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _slab(rng: Random, radius: float, height: float) -> Mesh:
    """A plinth whose top is at y = 0, round or square."""
    outline = _polygon(4, radius * 1.3) if rng.random() < 0.5 else _polygon(60, radius)
    return prism(outline, height).moved(shift=(0, -height, 0))


def _spline(radii: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    """A P x 2 profile: radii at even heights, joined by straight lines, smoothed."""
    at = np.linspace(0, 1, 80)
    line = np.interp(at, np.linspace(0, 1, len(radii)), radii)
    smooth = np.convolve(np.pad(line, 12, mode="edge"), np.hanning(27)[1:-1] / np.hanning(27).sum(), mode="valid")
    return np.stack([smooth, height * at], axis=1)


def _vessel(outside: NDArray[np.float64], wall: float) -> NDArray[np.float64]:
    """An outside profile, bottom to rim, closed to a hollow thing with a bottom."""
    inside = (outside - [[wall, 0]])[::-1]
    inside = inside[inside[:, 1] > wall + outside[0, 1]]
    return np.concatenate([[[0, outside[0, 1]]], outside, inside, [[0, inside[-1, 1]]]])


def _handle(ends: NDArray[np.float64], low: float, high: float, out: float, side: int = 1) -> Mesh:
    """Half an ellipse in the xy plane from (ends[0], low) to (ends[1], high), reaching `out` beyond them."""
    t = np.linspace(0, np.pi, 60)
    x = ends[0] + (ends[1] - ends[0]) * t / np.pi + out * np.sin(t) ** 0.8
    path = np.stack([side * x, (low + high) / 2 - (high - low) / 2 * np.cos(t), np.zeros_like(t)], axis=1)
    return tube(path, np.broadcast_to([0.0, 0.0, 1.0], path.shape), 0.07)


def _ellipsoid(x: Floats, y: Floats, z: Floats, centre: tuple[float, ...], radii: tuple[float, ...]) -> Floats:
    """About the distance to an ellipsoid: right on its surface, wrong in scale far from it."""
    along = [(axis - middle) / radius for axis, middle, radius in zip((x, y, z), centre, radii, strict=True)]
    return ((np.sqrt(sum(a * a for a in along)) - 1) * min(radii)).astype(np.float32)


def _melt(a: Floats, b: Floats, width: float) -> Floats:
    share = (0.5 + 0.5 * (b - a) / width).clip(0, 1)
    return b + (a - b) * share - width * share * (1 - share)


# Kind -> how to build it; how far it may turn aside (degrees); how much of its top may be seen, from and to (degrees).
KINDS: dict[str, tuple[Callable[[Random], Parts], float, tuple[float, float]]] = {
    "letters": (_letters, 40, (-10, 20)),
    "vase": (_vase, 180, (5, 35)),
    "bust": (_bust, 55, (-8, 12)),
    "knot": (_knot, 180, (-50, 50)),
    "tower": (_tower, 180, (8, 30)),
    "star": (_star, 45, (-30, 40)),
    "goblet": (_goblet, 180, (5, 35)),
    "heap": (_heap, 180, (15, 40)),
    "gear": (_gear, 50, (-40, 40)),
    "column": (_column, 180, (5, 30)),
    "mug": (_mug, 60, (20, 40)),
}
