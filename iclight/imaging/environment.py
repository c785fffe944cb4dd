"""The light all around a subject, as a picture: 32 x 32 RGB of linear radiance, in the panorama (lat-long) projection.

A map's centre is what the camera sees behind the subject, its left quarter is the light from the left, its left and
right edges meet behind the camera, its top row is overhead: a panorama shot from the subject's place, looking the way
the camera looks. Radiance 1 all around lights a white matt surface to 1.

A map's way: file -> read_environment -> to_map -> expose -> the env workflow's tokens.
"""

from __future__ import annotations

import hashlib
import math
import os
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..parameters import DIRECTIONS, channels_of
from ..weights.files import open_regular, read_regular
from . import budgets, images
from .colour import LUMINANCE, to_linear, to_srgb
from .exr_header import MAGIC as EXR_MAGIC
from .exr_reader import read_exr
from .images import ImageLike
from .radiance import MAGIC as HDR_MAGIC
from .radiance import read_hdr

Floats = NDArray[np.float32]

SIDE = 32
# What a white matt surface about the subject shows on average; a panorama's own unit of radiance means nothing.
KEY_LEVEL = 0.55
# Light that hardly reaches the subject's visible side (from straight behind) is not blown up beyond this.
DIMMEST = 0.05

# Where a preset's light comes from, as the camera sees it: "front" is from the camera's side, "back" is against it.
TOWARDS: dict[str, tuple[float, float, float]] = {
    **{side: (x, y, 0.0) for side, (x, y) in DIRECTIONS.items()},
    "front": (0.0, 0.0, 1.0),
    "back": (0.0, 0.0, -1.0),
}
# The normals that the level is taken over: all that the camera sees, what faces it twice.
KEY_NORMALS = tuple(TOWARDS[side] for side in (*DIRECTIONS, "front", "front"))
SHARPNESS = 6.0
FILL = 0.05

# A side of more would make a map's weights larger than the panorama.
MAX_SIDE = 65_536


@lru_cache(maxsize=8)
def directions(height: int = SIDE, width: int = SIDE) -> Floats:
    """height x width x 3 unit vectors towards each pixel's centre; x right, y up, z towards the camera."""
    azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    elevation = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    level = np.cos(elevation)[:, None]
    x, z = level * np.sin(azimuth), -level * np.cos(azimuth)
    y = np.broadcast_to(np.sin(elevation)[:, None], x.shape)
    return np.stack([x, y, z], axis=2).astype(np.float32)


@lru_cache(maxsize=8)
def solid_angles(height: int = SIDE, width: int = SIDE) -> Floats:
    """height x width steradians of each pixel; they sum to 4 pi."""
    edges = np.sin((0.5 - np.arange(height + 1) / height) * np.pi)
    rows = (edges[:-1] - edges[1:]) * 2 * np.pi / width
    return np.broadcast_to(rows[:, None], (height, width)).astype(np.float32)


def irradiance(environment: Floats, normal: tuple[float, float, float]) -> Floats:
    """RGB light that falls on a surface facing `normal` (a unit vector), over pi: what white matt paint would show."""
    cosine = (directions(*environment.shape[:2]) @ np.asarray(normal, np.float32)).clip(0, None)
    weight = cosine * solid_angles(*environment.shape[:2]) / np.pi
    return np.einsum("hw,hwc->c", weight, environment).astype(np.float32)


# --- reading ----------------------------------------------------------------------------------------------------------


def read_environment(source: ImageLike, what: str = "The environment map") -> Floats:
    """A panorama as HxWx3 float32 linear radiance, 0 or more everywhere, more than 0 somewhere.

    Takes what `images.read_image` takes, and Radiance .hdr, OpenEXR .exr and float arrays (HxW, HxWx1, HxWx3, HxWx4),
    whose values are radiance already. 8-bit pictures are decoded by the sRGB curve; where they are transparent there is
    no light. Any aspect is taken; 2:1 is what panoramas have. NaN and negative radiance become 0, infinite radiance the
    largest finite one. Raises ImageError, opening with `what`, for anything that cannot be used.
    """
    radiance = _stored_radiance(source, what)
    if radiance is None:
        picture, alpha = images.read_image(source, what, budgets.PANORAMA_PIXELS)
        _check_size(picture.shape[1], picture.shape[0], what)
        light = to_linear(np.arange(256, dtype=np.float32) / np.float32(255))[picture]
        return _lit(light if alpha is None else np.multiply(light, alpha, out=light), what)
    finite = np.isfinite(radiance)
    if not finite.all():
        brightest = float(np.max(radiance, initial=0, where=finite))
        np.nan_to_num(radiance, copy=False, nan=0.0, posinf=brightest, neginf=0.0)
    return _lit(np.maximum(radiance, 0, out=radiance), what)


def _lit(radiance: Floats, what: str) -> Floats:
    if not radiance.any():
        raise ImageError("{what} is black everywhere; there is no light in it.", what=what)
    return radiance


def fingerprint(source: ImageLike) -> str:
    """SHA-256 over a panorama's size and stored radiance; for ordinary pictures it is `images.fingerprint`."""
    radiance = _stored_radiance(source, "The picture")
    if radiance is None:
        return images.fingerprint(source)
    digest = hashlib.sha256(repr(radiance.shape).encode())
    digest.update(np.ascontiguousarray(radiance).data)
    return digest.hexdigest()


def is_radiance(source: ImageLike) -> bool:
    """Whether a file holds radiance (.hdr, .exr) rather than an ordinary picture."""
    return _opening(source, "The environment map").startswith((HDR_MAGIC, EXR_MAGIC))


def _stored_radiance(source: ImageLike, what: str) -> Floats | None:
    """HxWx3 as a file or array of radiance has it, the caller's to write to, not checked; None for anything else."""
    if isinstance(source, np.ndarray) and source.dtype.kind == "f":
        return _from_floats(source, what)
    opening = _opening(source, what)
    if opening.startswith(HDR_MAGIC):
        with budgets.turn():
            return _from_floats(read_hdr(_all_of(source, what), what, _check_size), what)
    if opening.startswith(EXR_MAGIC):
        with budgets.turn():
            return _from_floats(read_exr(source, what, budgets.PANORAMA_PIXELS, budgets.PANORAMA_FILE), what)
    return None


def _from_floats(array: NDArray[Any], what: str) -> Floats:
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(
            "{what} has shape {shape}; give HxW, HxWx3 (RGB) or HxWx4 (RGBA).", what=what, shape=array.shape
        )
    _check_size(array.shape[1], array.shape[0], what)
    rgb = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and that is dealt with
        return rgb.astype(np.float32)


def _check_size(width: int, height: int, what: str) -> None:
    # A radiance as it is stored, 16 bytes at most, beside its copy of 12.
    budgets.check_decode(width, height, 28, what, budgets.PANORAMA_PIXELS)
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            "{what} is {size} pixels; a side may have {most}. Scale it down first.",
            what=what,
            size=f"{width}x{height}",
            most=MAX_SIDE,
        )


def _opening(source: ImageLike, what: str) -> bytes:
    """The first bytes of a file or of a file's bytes, else nothing."""
    if isinstance(source, (bytes, bytearray)):
        return bytes(source[:16])
    if isinstance(source, (str, os.PathLike)):
        with open_regular(source, what, budgets.PANORAMA_FILE) as file:
            return file.read(16)
    return b""


def _all_of(source: ImageLike, what: str) -> bytes:
    if isinstance(source, (bytes, bytearray)):
        return bytes(source)
    return read_regular(source, what, budgets.PANORAMA_FILE)


# --- 32 x 32 ----------------------------------------------------------------------------------------------------------


def to_map(radiance: Floats) -> Floats:
    """HxWx3 of any size -> 32x32x3: the mean radiance over each pixel's part of the sphere."""
    height, width = radiance.shape[:2]
    # Equal steps in the sine of the elevation are equal solid angles.
    rows = _overlaps(_sines(height), _sines(SIDE))
    columns = _overlaps(np.linspace(0, 1, width + 1), np.linspace(0, 1, SIDE + 1))
    wide = (rows @ radiance.reshape(height, -1)).reshape(SIDE, width, 3)
    return np.ascontiguousarray(np.einsum("cw,hwk->hck", columns, wide, optimize=True), np.float32)


def _sines(count: int) -> NDArray[np.float64]:
    """The edges of `count` rows, overhead first, as 0 (straight up) to 2 (straight down)."""
    return 1 - np.sin((0.5 - np.arange(count + 1) / count) * np.pi)


def _overlaps(fine: NDArray[np.float64], coarse: NDArray[np.float64]) -> Floats:
    """How much of each coarse cell each fine cell covers, from their edges; rows sum to 1."""
    covered = np.minimum(fine[None, 1:], coarse[1:, None]) - np.maximum(fine[None, :-1], coarse[:-1, None])
    covered = covered.clip(0, None)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)


def key_luminance(environment: Floats) -> float:
    """The mean luminance that `KEY_NORMALS` receive (`irradiance`)."""
    weights = np.array(LUMINANCE, np.float64)
    return float(np.mean([irradiance(environment, normal) @ weights for normal in KEY_NORMALS]))


def expose(environment: Floats, level: float = KEY_LEVEL) -> Floats:
    """The map scaled so that `KEY_NORMALS` receive a luminance of `level` on average (`irradiance`).

    Light that hardly reaches them counts as at least `DIMMEST` of the map's mean radiance. A black map stays black.
    """
    weights = np.array(LUMINANCE, np.float64)
    around = np.average(environment, axis=(0, 1), weights=_weights(environment)) @ weights
    key = max(key_luminance(environment), DIMMEST * float(around))
    if key <= 0:
        return environment.astype(np.float32)
    return (environment.astype(np.float64) * (level / key)).astype(np.float32)


def even(environment: Floats) -> Floats:
    """The flat map (of the same shape) that gives `KEY_NORMALS` the light, colour by colour, they have on average."""
    received = np.mean([irradiance(environment, normal) for normal in KEY_NORMALS], axis=0)
    return np.tile(received.astype(np.float32), (*environment.shape[:2], 1))


def _weights(environment: Floats) -> NDArray[np.float64]:
    height, width = environment.shape[:2]
    return np.repeat(solid_angles(height, width).astype(np.float64)[..., None], 3, axis=2)


def preset(light: str, angle: float = 180.0, colour: str = "#ffffff") -> Floats:
    """A light of its own as a 32x32x3 map: soft, from one side over a dim fill, or "ambient", all around.

    `light` is one of `TOWARDS`, "ambient", or "angle": from `angle` degrees, counter-clockwise from the right.
    Radiance is FILL + exp(SHARPNESS (d . l - 1)), exposed to `KEY_LEVEL`, in the sRGB `colour`.
    """
    if light == "ambient":
        lobe = np.ones((SIDE, SIDE), np.float32)
    else:
        turned = math.radians(angle)
        towards = (math.cos(turned), math.sin(turned), 0.0) if light == "angle" else TOWARDS[light]
        lobe = FILL + np.exp(SHARPNESS * (directions() @ np.asarray(towards, np.float32) - 1))
    tint = to_linear(np.array(channels_of(colour), np.float32) / 255)
    return expose((lobe[..., None] * tint).astype(np.float32))


def preview(environment: Floats) -> NDArray[np.uint8]:
    """A 32x32x3 map as a 128x256x3 picture for people: 1 - exp(-radiance) in sRGB, so that lamps keep their colours."""
    picture = np.rint(to_srgb(1 - np.exp(-environment)) * 255).astype(np.uint8)
    return picture.repeat(4, axis=0).repeat(8, axis=1)
