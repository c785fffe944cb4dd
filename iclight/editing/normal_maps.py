"""Normal maps: from four relightings to unit vectors, and from vectors to files that other programs read.

Vectors are x to the right, y up, z towards the viewer. A file's red, green and blue are x, y, z from -1 to 1; "opengl"
files store y up (Blender, Unity, Substance), "directx" files y down (Unreal, 3ds Max).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, plain
from ..imaging import budgets, images
from ..imaging.canvas import parts
from ..imaging.files import deep_png, read_png
from ..imaging.png_chunks import MAGIC as PNG_MAGIC
from ..imaging.png_chunks import BadPng
from ..imaging.png_text import with_text
from ..imaging.tiff_reader import MAGIC as TIFF_MAGIC
from ..imaging.tiff_reader import read_deep_rgb
from ..parameters import NORMAL_LIGHTS as LIGHTS
from ..parameters import NORMAL_PARAMETERS
from ..weights.files import read_regular, write_whole

Floats = NDArray[np.float32]

EXPONENT: float = NORMAL_PARAMETERS["exponent"].default  # the reference's
EPSILON = 1e-5
WHAT = "The normal map"
# A vector of three floats.
VECTOR_BYTES = 12
FACING = np.array([0, 0, 1], np.float32)


def normals_from_lights(
    relit: Mapping[str, Floats], matte: Floats, exponent: float = EXPONENT
) -> tuple[Floats, dict[str, Floats]]:
    """(HxWx3 normal, brightening per light) from relightings HxWx3 in [0, 1] by light name and an HxWx1 matte.

    A = mean of the four, d_X = (X + e) / (A + e) - 1, u = (d_right - d_left) / 2, v = (d_top - d_bottom) / 2, averaged
    over RGB; height = max(0, 1 - u^2 - v^2) ^ exponent; the normal is (u, v, height) normalised, then blended by the
    matte over (0, 0, 1), as the reference does. A larger exponent makes a steeper relief.
    """
    ambient = (relit["left"] + relit["right"] + relit["bottom"] + relit["top"]) / 4
    brightening = {light: ((relit[light] + EPSILON) / (ambient + EPSILON) - 1).astype(np.float32) for light in LIGHTS}
    u = ((brightening["right"] - brightening["left"]) / 2).mean(axis=2)
    v = ((brightening["top"] - brightening["bottom"]) / 2).mean(axis=2)
    height = np.clip(1 - u**2 - v**2, 0, None) ** exponent
    normal = unit(np.stack([u, v, height], axis=2))
    return (normal * matte + FACING * (1 - matte)).astype(np.float32), brightening


def unit(vectors: NDArray[Any]) -> Floats:
    """HxWx3 vectors of length 1; where one is zero or not finite there is no direction, and it faces the viewer."""
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    known = np.isfinite(length) & (length > 0)
    return np.where(known, vectors / np.where(known, length, 1), FACING).astype(np.float32)


def flip_green(normal: Floats, green: str = "opengl") -> Floats:
    """The vectors as a file of that convention has them. Raises SettingsError for an unknown one."""
    NORMAL_PARAMETERS["green"].check("green", green)
    return normal if green == "opengl" else normal * np.array([1, -1, 1], np.float32)


def encode(values: Floats) -> NDArray[np.uint8]:
    """[-1, 1] -> uint8 as the reference stores normal maps: 127.5 * v + 127.5, clipped, truncated."""
    return (values * 127.5 + 127.5).clip(0, 255).astype(np.uint8)


def encode_normals(normal: Floats, green: str = "opengl") -> NDArray[np.uint16]:
    """HxWx3 unit vectors -> HxWx3 uint16: 32767.5 * n + 32767.5, rounded; `green` "opengl" or "directx".

    Raises ImageError for arrays of another shape, SettingsError for an unknown `green`.
    """
    if normal.ndim != 3 or normal.shape[2] != 3:
        raise ImageError("The normals have shape {shape}; give HxWx3.", shape=normal.shape)
    shown = flip_green(unit(normal), green)
    return np.rint(shown * 32767.5 + 32767.5).clip(0, 65535).astype(np.uint16)


def write_normals(
    path: str | Path, normal: Floats, green: str = "opengl", texts: Mapping[str, str] | None = None
) -> None:
    """Write HxWx3 unit vectors as a 16-bit RGB .png, `texts` (by key) inside. Raises ImageError where that fails."""
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ImageError("Normals of 16 bits are written as .png, not {name}.", name=target.name)
    png = deep_png(encode_normals(normal, green))
    for key, text in (texts or {}).items():
        png = with_text(png, key, text)
    write_whole(target, png)


def read_normals(path: str | Path, green: str = "opengl") -> Floats:
    """HxWx3 unit vectors from a normal map, iclight's or another program's: a PNG or TIFF of 8 or 16 bits, or what
    `images.read_image` takes, in 8 bits.

    `green`: how the file stores y. Raises ImageError for what cannot be read or holds no directions.
    """
    source = Path(path)
    data = read_regular(source, WHAT, budgets.LAYER_FILE)
    coded = _coded(data, plain(source.name))
    del data
    if coded.dtype not in (np.uint8, np.uint16) or coded.ndim != 3 or coded.shape[2] < 3:
        raise ImageError("{name} is no normal map; give an RGB picture of 8 or 16 bits.", name=plain(source.name))
    middle = np.float32(127.5 if coded.dtype == np.uint8 else 32767.5)
    # Eight bits truncate: what faces the viewer is a little to the left and below in them.
    shift = np.float32(0.5 / 127.5 if coded.dtype == np.uint8 else 0)
    normals = np.zeros((*coded.shape[:2], 3), np.float32)
    depth = 0.0
    for left, top, right, bottom in parts(coded.shape[1], coded.shape[0]):
        place = slice(top, bottom), slice(left, right)
        vectors = coded[place][..., :3].astype(np.float32) / middle - 1 + shift
        depth += float(vectors[..., 2].sum(dtype=np.float64))
        normals[place] = unit(flip_green(vectors, green))
    if depth < 0:
        raise ImageError("{name} is no normal map: its surface faces away from the viewer.", name=plain(source.name))
    return normals


def _coded(data: bytes, name: str) -> NDArray[Any]:
    """HxWxC as the file has it."""
    if data.startswith(PNG_MAGIC):
        try:
            return read_png(data, WHAT, VECTOR_BYTES)
        except BadPng as error:
            raise ImageError(
                "{name} is no normal map; it is broken ({reason}). Export it again.", name=name, reason=error
            ) from error
    coded = read_deep_rgb(data, WHAT, VECTOR_BYTES) if data.startswith(TIFF_MAGIC) else None
    if coded is not None:
        return coded
    pixels, _ = images.read_image(data, f"{name} is no normal map: it")
    budgets.check_decode(pixels.shape[1], pixels.shape[0], 3 + VECTOR_BYTES, WHAT)
    if all(np.array_equal(pixels[..., 0], pixels[..., channel]) for channel in (1, 2)):
        raise ImageError("{name} is no normal map; it is grey. Give an RGB picture of 8 or 16 bits.", name=name)
    return pixels
