"""Triangle meshes out of NumPy: swept sheets (lathes, tubes, prisms) and solids cut out of a distance field.

Nothing here knows of a renderer. Space is that of the light stage: x right, y up, z towards the camera; any unit, since
whoever renders a thing first fits it into the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from iclight.errors import IclightError

Floats = NDArray[np.float32]
Indices = NDArray[np.uint32]


@dataclass(frozen=True)
class Mesh:
    """vertices N x 3; faces M x 3, counter-clockwise seen from outside; uv N x 2, one tile of texture per unit.

    normals: N x 3 unit vectors, or None where every facet is flat and its edges are sharp.
    """

    vertices: Floats
    faces: Indices
    uv: Floats
    normals: Floats | None = None

    def moved(self, turn: NDArray[np.floating] | None = None, shift: tuple[float, ...] = (0, 0, 0)) -> Mesh:
        """The mesh turned by a 3 x 3 rotation, then shifted."""
        turn = np.eye(3) if turn is None else turn
        vertices = (self.vertices @ turn.T + np.asarray(shift)).astype(np.float32)
        normals = None if self.normals is None else (self.normals @ turn.T).astype(np.float32)
        return replace(self, vertices=vertices, normals=normals)

    def scaled(self, factor: float, centre: NDArray[np.floating]) -> Mesh:
        """The mesh with `centre` brought to the origin and everything made `factor` times as large."""
        return replace(self, vertices=((self.vertices - centre) * factor).astype(np.float32))


def rotation(yaw: float = 0, pitch: float = 0, roll: float = 0) -> NDArray[np.float64]:
    """3 x 3, from degrees: yaw turns the front to the right, pitch shows more of the top, roll is anticlockwise."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    around_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return around_x @ around_y @ around_z


def sheet(grid: NDArray[np.floating], closed: tuple[bool, bool] = (False, True), smooth: bool = True) -> Mesh:
    """A rows x columns x 3 grid of points as a surface, facing (along columns) x (along rows).

    `closed` says whether the last row, the last column, meet the first again.
    """
    rows, columns = grid.shape[:2]
    number = np.arange(rows * columns).reshape(rows, columns)
    # The seam's points are doubled, so that the texture runs on instead of back.
    number = np.pad(number, [(0, int(closed[0])), (0, int(closed[1]))], mode="wrap")
    height, width = number.shape
    here = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    a, b, c, d = here[:-1, :-1].ravel(), here[:-1, 1:].ravel(), here[1:, 1:].ravel(), here[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    points = grid.reshape(-1, 3)
    vertices = points[number.ravel()]
    normals = None
    if smooth:
        normals = _normals(points, number.ravel()[faces])[number.ravel()]
    return Mesh(vertices.astype(np.float32), faces, _tiles(vertices.reshape(height, width, 3), closed), normals)


def lathe(profile: NDArray[np.floating], rows: int = 128, columns: int = 96) -> Mesh:
    """A P x 2 profile (radius, height), walked upwards along its outside, turned around the y axis."""
    angle = np.arange(columns) / columns * 2 * np.pi
    dense = resample(profile, rows)
    x, z = np.outer(dense[:, 0], np.sin(angle)), np.outer(dense[:, 0], np.cos(angle))
    return sheet(np.stack([x, np.broadcast_to(dense[:, 1:], x.shape), z], axis=2))


def ball(radius: float) -> Mesh:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 64)
    return lathe(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1), rows=56, columns=72)


def tube(
    path: NDArray[np.floating], aside: NDArray[np.floating], radius: NDArray[np.floating] | float, closed: bool = False
) -> Mesh:
    """A round tube along a path.

    `path`: P x 3; `closed`: its end is its beginning.
    `aside`: P x 3, never along the path: keeps the tube from twisting.
    `radius`: one, or P of them.
    """
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    ahead = _unit(ahead)
    first = _unit(aside - (aside * ahead).sum(1, keepdims=True) * ahead)
    second = np.cross(ahead, first)
    angle = np.arange(40) / 40 * 2 * np.pi
    ring = np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * second[:, None]
    width = np.broadcast_to(np.asarray(radius, np.float64), len(path))[:, None, None]
    return sheet(path[:, None] + width * ring, closed=(closed, True))


def prism(outline: NDArray[np.floating], height: float, twist: float = 0, top: float = 1) -> Mesh:
    """A P x 2 outline (x, z) raised from y = 0 to `height`, turning by `twist` degrees and scaled by `top` on the way.

    Walls and ends are flat with sharp edges. The outline may go either way round; its centre is the origin.
    """
    x, z = resample(np.concatenate([outline, outline[:1]]), 120, keep=True)[:-1].T
    if (x * np.roll(z, -1) - z * np.roll(x, -1)).sum() > 0:
        x, z = x[::-1], z[::-1]
    levels = np.concatenate([[0], np.linspace(0, 1, 49), [1]])
    turn, size = np.radians(twist) * levels, 1 + (top - 1) * levels
    size[[0, -1]] = 0
    px = size[:, None] * (np.cos(turn)[:, None] * x + np.sin(turn)[:, None] * z)
    pz = size[:, None] * (np.cos(turn)[:, None] * z - np.sin(turn)[:, None] * x)
    return sheet(np.stack([px, np.broadcast_to(height * levels[:, None], px.shape), pz], axis=2), smooth=False)


def solid(distance: Callable[[Floats, Floats, Floats], Floats], low: Floats, high: Floats, cells: int = 96) -> Mesh:
    """The surface where `distance(x, y, z)`, negative inside, is nought; `cells` cubes march along the longest side."""
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise IclightError("Solid shapes need scikit-image: pip install scikit-image") from error
    step = float((high - low).max()) / cells
    axes = [np.arange(a - 2 * step, b + 2 * step, step, dtype=np.float32) for a, b in zip(low, high, strict=True)]
    field = distance(*np.meshgrid(*axes, indexing="ij", sparse=True))
    vertices, faces, _, _ = marching_cubes(field, 0, spacing=(step,) * 3, gradient_direction="descent")
    vertices = (vertices + np.array([a[0] for a in axes])).astype(np.float32)
    # An oblique projection: seamless, and no side is seen edge-on by it, which would smear the texture into streaks.
    uv = vertices[:, :2] + vertices[:, 2:] * np.array([0.6, 0.5])
    return Mesh(vertices, faces.astype(np.uint32), uv.astype(np.float32), _normals(vertices, faces))


def extrude(mask: NDArray[np.uint8], depth: float, bevel: float) -> Mesh:
    """A drawing (H x W, 255 inside, 0 around it) given `depth` and round edges; its longer side spans 2 units."""
    inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, 5) for m in (mask, 255 - mask))
    flat = cv2.GaussianBlur(outside - inside, (0, 0), 2.0)
    pixel = 2 / max(mask.shape)
    half_height, half_width = mask.shape[0] * pixel / 2, mask.shape[1] * pixel / 2

    def distance(x: Floats, y: Floats, z: Floats) -> Floats:
        columns = np.broadcast_to((x + half_width) / pixel - 0.5, np.broadcast_shapes(x.shape, y.shape))[..., 0]
        rows = np.broadcast_to((half_height - y) / pixel - 0.5, np.broadcast_shapes(x.shape, y.shape))[..., 0]
        plan = cv2.remap(flat, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR, None, 1)
        a, b = plan[..., None] * pixel + bevel, np.abs(z) - depth / 2 + bevel
        rounded = np.hypot(np.maximum(a, 0), np.maximum(b, 0)) - bevel
        return (np.minimum(np.maximum(a, b), 0) + rounded).astype(np.float32)

    corner = np.array([half_width, half_height, depth / 2], np.float32)
    return solid(distance, -corner, corner, cells=144)


def draw_text(text: str) -> NDArray[np.uint8]:
    """The text in Pillow's own typeface, 255 on 0, bold enough to carry a bevel, with a margin."""
    font = ImageFont.load_default(200)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, stroke_width=7))
    canvas = Image.new("L", (right - left + 16, bottom - top + 16))
    ImageDraw.Draw(canvas).text((8 - left, 8 - top), text, 255, font, stroke_width=7)
    return _cut(np.array(canvas))


def draw_outline(outline: NDArray[np.floating], hole: float = 0) -> NDArray[np.uint8]:
    """A P x 2 outline in [-1, 1] (y up) filled with 255, with a round hole of that radius."""
    side = 400
    points = np.stack([(1 + outline[:, 0] * 0.97) * side / 2, (1 - outline[:, 1] * 0.97) * side / 2], axis=1)
    canvas = cv2.fillPoly(np.zeros((side, side), np.uint8), [points.round().astype(np.int32)], 255)
    if hole:
        cv2.circle(canvas, (side // 2, side // 2), round(hole * side / 2), 0, -1)
    return canvas


def resample(line: NDArray[np.floating], count: int, keep: bool = False) -> NDArray[np.float64]:
    """About `count` points along a P x D polyline, evenly; with `keep`, its own corners among them."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0, length[-1], count)
    if keep:
        at = np.unique(np.concatenate([at, length]))
    return np.stack([np.interp(at, length, line[:, axis]) for axis in range(line.shape[1])], axis=1)


def _cut(drawing: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where(drawing > 127, 255, 0).astype(np.uint8)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12, None)


def _normals(points: NDArray[np.floating], faces: NDArray[np.integer]) -> Floats:
    """N x 3: at each point, the mean of its faces' normals by their areas."""
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    total = [np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), len(points)) for axis in range(3)]
    return _unit(np.stack(total, axis=1)).astype(np.float32)


def _tiles(grid: NDArray[np.floating], closed: tuple[bool, bool]) -> Floats:
    """Texture coordinates by length along rows and columns; closed directions get whole tiles, or seams would show."""
    lengths = [np.linalg.norm(np.diff(grid, axis=axis), axis=2).mean(1 - axis) for axis in (0, 1)]
    spans = [np.concatenate([[0], np.cumsum(length)]) for length in lengths]
    for axis, span in enumerate(spans):
        if closed[axis]:
            span *= max(1, round(span[-1])) / max(span[-1], 1e-9)
    v, u = np.meshgrid(*spans, indexing="ij")
    return np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float32)
