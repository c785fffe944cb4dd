"""Path-traced things, one light at a time: true shadows, interreflection and gloss for training and for evaluation.

    pip install -e ".[pathtraced]"
    python -m training.scenes.traced.pathtraced build/traced --objects 24 --size 192 --spp 64 --seed 0

Each thing (`objects.sculpt(seed)`) is rendered by Mitsuba 3 under twelve fixed white lights and kept as one shard.
Light adds up, so any weighing of the twelve is one more lighting of the thing, exact up to the renderer's noise:
`mix(scene, weights)` is the picture, `mix_environments(weights)` the light all around that makes it.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iclight.errors import IclightError
from iclight.imaging.colour import to_srgb
from iclight.imaging.environment import SIDE, directions

from .meshes import Floats, Mesh
from .objects import Sculpture, sculpt

Halfs = NDArray[np.float16]

# Towards each light: x right, y up, z to the camera; None is light from all around. The corners fill the gaps that the
# six axes leave, so that mixes can come from anywhere; light from straight behind is the sum of the two back ones.
HIGH = float(np.sin(np.radians(35)))
FLAT = float(np.cos(np.radians(35)) / np.sqrt(2))
LIGHTS: dict[str, tuple[float, float, float] | None] = {
    "left": (-1, 0, 0),
    "right": (1, 0, 0),
    "top": (0, 1, 0),
    "bottom": (0, -1, 0),
    "front": (0, 0, 1),
    "ambient": None,
    "left-front-high": (-FLAT, HIGH, FLAT),
    "right-front-high": (FLAT, HIGH, FLAT),
    "left-front-low": (-FLAT, -HIGH, FLAT),
    "right-front-low": (FLAT, -HIGH, FLAT),
    "left-back": (-FLAT, HIGH, -FLAT),
    "right-back": (FLAT, HIGH, -FLAT),
}
# Half as bright 20 degrees off its middle: a large softbox, and still smooth at the 11 degrees of a 32-pixel map.
SHARPNESS = 12.0
DEPTH = 5
VARIANT = "scalar_rgb"
ARRAYS = ("lit", "environments", "matte", "normal")  # of a shard


@dataclass(frozen=True)
class TracedScene:
    """One thing under K lights (`LIGHTS`, in its order), size S x S; every picture is linear and channels come first.

    lit: K x 3 x S x S, the thing on black (its edges are already weighed by the matte); 1 is a white matt surface
        facing a light of weight 1, highlights go beyond.
    environments: K x 3 x 32 x 32 radiance, as in `iclight.environment`.
    matte: 1 x S x S in [0, 1].   normal: 3 x S x S, unit, x right, y up, z to the camera; nought off the thing.
    """

    seed: int
    lit: Halfs
    environments: Floats
    matte: Halfs
    normal: Halfs


def lobe(towards: tuple[float, float, float] | None, where: NDArray[np.floating]) -> Floats:
    """Radiance in the directions `where` (... x 3) of a soft light that lights white matt paint facing it to 1."""
    if towards is None:
        return np.ones(where.shape[:-1], np.float32)
    k = SHARPNESS
    # 1 / pi times the integral of exp(k (cos - 1)) cos over the hemisphere is 2 (k - 1 + exp(-k)) / k^2.
    peak = k * k / (2 * (k - 1 + np.exp(-k)))
    return (peak * np.exp(k * (where @ np.asarray(towards, np.float64) - 1))).astype(np.float32)


@functools.lru_cache(maxsize=1)
def environments() -> Floats:
    """K x 3 x 32 x 32: the twelve lights as maps of radiance."""
    maps = np.stack([lobe(towards, directions(SIDE, SIDE)) for towards in LIGHTS.values()])
    return np.repeat(maps[:, None], 3, axis=1)


def weighing(**lights: float | tuple[float, float, float]) -> Floats:
    """K x 3 weights by name: `weighing(left=(1, 0.8, 0.6), ambient=0.1)`; a hyphen is written as an underscore."""
    weights = np.zeros((len(LIGHTS), 3), np.float32)
    for name, value in lights.items():
        weights[list(LIGHTS).index(name.replace("_", "-"))] = value
    return weights


def mix(scene: TracedScene, weights: NDArray[np.floating]) -> Floats:
    """The thing under lights of those weights and colours (K x 3): 3 x S x S, linear, on black."""
    return np.einsum("kc,kchw->chw", np.asarray(weights, np.float32), scene.lit.astype(np.float32), optimize=True)


def mix_environments(weights: NDArray[np.floating], maps: Floats | None = None) -> Floats:
    """The 3 x 32 x 32 radiance under which `mix` shows the thing."""
    maps = environments() if maps is None else maps
    return np.einsum("kc,kchw->chw", np.asarray(weights, np.float32), maps, optimize=True)


def as_mitsuba_map(towards: tuple[float, float, float] | None, height: int = 64, width: int = 128) -> Floats:
    """height x width x 3: a light on the grid of Mitsuba's `envmap`.

    Its columns start behind the subject and go the same way round as ours, so ours are rolled by half a turn. Its
    first and last rows are the poles themselves, where ours are half a pixel away from them.
    """
    azimuth = (np.arange(width) + 0.5) / width * 2 * np.pi
    polar = np.arange(height)[:, None] / (height - 1) * np.pi
    level = np.sin(polar)
    where = np.stack(np.broadcast_arrays(level * np.sin(azimuth), np.cos(polar), -level * np.cos(azimuth)), axis=2)
    return np.repeat(lobe(towards, where)[..., None], 3, axis=2)


@functools.lru_cache(maxsize=1)
def mitsuba() -> Any:
    """The Mitsuba module with its plain scalar renderer chosen, which needs neither LLVM nor a GPU."""
    try:
        import mitsuba as mi
    except ImportError as error:
        raise IclightError("Path tracing needs Mitsuba 3: pip install mitsuba scikit-image") from error
    mi.set_variant(VARIANT)
    return mi


def trace(sculpture: Sculpture, size: int = 192, spp: int = 64, seed: int = 0) -> TracedScene:
    """Render a thing under every light.

    `size`: pixels a side; `spp`: paths a pixel and light.
    `seed`: of the paths; the same seed, the same pixels.
    """
    mi = mitsuba()
    film = {"type": "hdrfilm", "width": size, "height": size, "pixel_format": "rgba", "rfilter": {"type": "box"}}
    scene = {
        "type": "scene",
        "sensor": _camera(sculpture.distance) | {"film": film, "sampler": {"type": "multijitter"}},
        **{f"part{n}": _shape(mesh, material) for n, (mesh, material) in enumerate(sculpture.parts)},
    }
    path = {"type": "path", "max_depth": DEPTH, "hide_emitters": True}
    lights = [
        mi.load_dict({"type": "envmap", "bitmap": mi.Bitmap(as_mitsuba_map(towards))}) for towards in LIGHTS.values()
    ]
    # Loaded once, for sorting the triangles takes as long as a small picture; the lights are swapped inside it.
    loaded = mi.load_dict(scene | {"light": lights[0], "integrator": path})
    inside = mi.traverse(loaded)
    lit = []
    for number, data in enumerate([mi.traverse(light)["data"] for light in lights]):
        inside["light.data"] = data
        inside.update()
        lit.append(np.array(mi.render(loaded, spp=spp, seed=seed * len(LIGHTS) + number)))
    surfaces = mi.load_dict({"type": "aov", "aovs": "normal:sh_normal", "path": path})
    flat = np.array(mi.render(loaded, integrator=surfaces, spp=spp, seed=seed)).transpose(2, 0, 1)
    # Means over each pixel's paths: of unit vectors, hence made unit again.
    length = np.linalg.norm(flat[4:7], axis=0)
    normal = np.where(length > 1e-3, flat[4:7] / length.clip(1e-3, None), 0)
    return TracedScene(
        seed=seed,
        lit=np.stack([calm(picture[..., :3].transpose(2, 0, 1)) for picture in lit]).astype(np.float16),
        environments=environments(),
        matte=flat[3:4].clip(0, 1).astype(np.float16),
        normal=normal.astype(np.float16),
    )


def calm(picture: Floats, ceiling: float = 60.0) -> Floats:
    """A 3 x H x W linear picture without fireflies: no pixel twice as bright as the third brightest around it.

    A lone pixel or two that glow are a rare path that was found by chance; a highlight covers more. Colours keep their
    hue. The loss is of energy in corners that light reaches in rare ways, which is below the noise that it removes.
    """
    brightness = picture.max(0)
    padded = np.pad(brightness, 1, mode="edge")
    height, width = brightness.shape
    around = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    third = np.sort(np.stack(around), axis=0)[-3]
    allowed = np.minimum(2 * third + 0.05, ceiling)
    return picture * np.minimum(1, allowed / brightness.clip(1e-6, None))


def save(path: Path, scene: TracedScene) -> None:
    """One shard; it appears whole or not at all, so an interrupted run leaves nothing half-written behind."""
    from safetensors.numpy import save_file

    arrays = {name: getattr(scene, name) for name in ARRAYS}
    words = {"seed": str(scene.seed), "lights": ",".join(LIGHTS)}
    unfinished = path.with_suffix(".tmp")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, unfinished, words)
    unfinished.replace(path)


def read(path: Path) -> TracedScene:
    from safetensors import safe_open

    with safe_open(path, "numpy") as shard:
        words = shard.metadata() or {}
        if words.get("lights") != ",".join(LIGHTS):
            raise IclightError(f"{path} was rendered under other lights; delete it and render it anew.")
        arrays = {name: shard.get_tensor(name) for name in ARRAYS}
    return TracedScene(int(words["seed"]), **arrays)


def load(folder: Path | str) -> Iterator[TracedScene]:
    """The folder's scenes in the order of their seeds, each read when it is asked for."""
    for path in sorted(Path(folder).glob("*.safetensors")):
        yield read(path)


def contact_sheet(scenes: list[TracedScene], side: int = 128) -> Image.Image:
    """A row for each scene: matte, normal, then every light of `LIGHTS`, as sRGB on dark grey."""
    rows = []
    for scene in scenes:
        matte = scene.matte.astype(np.float32)
        on_grey = [to_srgb(np.asarray(p, np.float32) + (1 - matte) * 0.02) for p in scene.lit]
        normal = (scene.normal.astype(np.float32) * 0.5 + 0.5) * matte
        tiles = [np.repeat(matte, 3, axis=0), normal, *on_grey]
        rows.append([cv2.resize(tile.transpose(1, 2, 0), (side, side), interpolation=cv2.INTER_AREA) for tile in tiles])
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    return Image.fromarray((sheet.clip(0, 1) * 255).round().astype(np.uint8))


def _camera(distance: float) -> dict[str, Any]:
    mi = mitsuba()
    place = mi.ScalarTransform4f().look_at(origin=[0, 0, distance or 10], target=[0, 0, 0], up=[0, 1, 0])
    if not distance:
        return {"type": "orthographic", "to_world": place}
    fov = float(np.degrees(2 * np.arctan(1 / distance)))  # the plane through the origin fills [-1, 1]
    return {"type": "perspective", "to_world": place, "fov": fov}


def _shape(mesh: Mesh, bsdf: dict[str, Any]) -> Any:
    mi = mitsuba()
    properties = mi.Properties()
    # Vessels are thin and handles open-ended: whatever side a ray meets is painted.
    properties["mesh_bsdf"] = mi.load_dict({"type": "twosided", "paint": _bsdf(bsdf)})
    smooth = mesh.normals is not None
    if not smooth:
        properties["face_normals"] = True
    shape = mi.Mesh(
        "part",
        len(mesh.vertices),
        len(mesh.faces),
        props=properties,
        has_vertex_normals=smooth,
        has_vertex_texcoords=True,
    )
    buffers = mi.traverse(shape)
    buffers["vertex_positions"] = mesh.vertices.ravel()
    buffers["faces"] = mesh.faces.ravel()
    buffers["vertex_texcoords"] = mesh.uv.ravel()
    if mesh.normals is not None:
        buffers["vertex_normals"] = mesh.normals.ravel()
    buffers.update()
    return shape


def _bsdf(bsdf: dict[str, Any]) -> dict[str, Any]:
    """A material's dictionary with its pictures turned into Mitsuba's textures of linear values."""
    return {key: _texture(value) if isinstance(value, np.ndarray) else value for key, value in bsdf.items()}


def _texture(picture: Floats) -> dict[str, Any]:
    if picture.shape[:2] == (1, 1):  # Mitsuba warns of pictures this small
        return {"type": "rgb", "value": [float(value) for value in picture[0, 0]]}
    return {"type": "bitmap", "bitmap": mitsuba().Bitmap(np.ascontiguousarray(picture)), "raw": True}


def main(arguments: list[str] | None = None) -> None:
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        prog="python -m training.scenes.traced.pathtraced", description=__doc__.splitlines()[0]
    )
    parser.add_argument("out", type=Path, help="folder of the shards; those already there are kept")
    parser.add_argument("--objects", type=int, default=24, help="how many things, one shard each")
    parser.add_argument("--size", type=int, default=192, help="pixels a side")
    parser.add_argument("--spp", type=int, default=64, help="paths a pixel and light")
    parser.add_argument("--seed", type=int, default=0, help="the first thing's; the next ones count on")
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    options = parser.parse_args(arguments)
    mitsuba()
    if options.threads:
        import drjit

        drjit.set_thread_count(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    paths = [options.out / f"{options.seed + number:06d}.safetensors" for number in range(options.objects)]
    for number, path in enumerate(tqdm(paths, unit="object")):
        if not path.exists():
            seed = options.seed + number
            save(path, trace(sculpt(seed), options.size, options.spp, seed))
    contact_sheet([read(path) for path in paths[:40]]).save(options.out / "sheet.png")


if __name__ == "__main__":
    main()
