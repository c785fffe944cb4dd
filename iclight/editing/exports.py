"""Light layers: what a relighting did to a picture, as a file, to be put on another export of the same picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, first_line, plain
from ..imaging import budgets
from ..imaging.canvas import parts
from ..imaging.exr_reader import read_exr
from ..imaging.files import deep_png, read_png, write_exr
from ..imaging.png_chunks import BadPng
from ..weights.files import read_regular, write_whole
from .gain_map import GainMap

Floats = NDArray[np.float32]

# A light layer's gains reach this many stops either way (16-bit files hold them so).
STOPS = 8.0
# A light takes this many bytes a pixel, beside the file's 16.
LIGHT_BYTES = 16


def save_layer(light: GainMap, path: str | Path) -> None:
    """Write a light to a file: .exr (float, linear gains) or .png (16 bits: 32768 is no change, 4096 a stop).

    Red, green and blue are gains, alpha is the matte. Raises ImageError for other endings, and where
    it cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() == ".png":
        coded = np.clip(light.gain * (32768 / STOPS) + 32768, 0, 65535)
        coded = np.concatenate([coded, light.matte * 65535], axis=2)
        write_whole(target, deep_png((coded + 0.5).astype(np.uint16)))
    elif target.suffix.lower() == ".exr":
        write_exr(target, {"RGBA": np.concatenate([np.exp2(light.gain), light.matte], axis=2).astype(np.float32)})
    else:
        raise ImageError("A light layer is a .png (16 bits) or an .exr, not {name}.", name=target.name)


def read_layer(path: str | Path) -> GainMap:
    """A light from its file. Raises ImageError when the file is none; NaN and infinite gains count as no change."""
    source = Path(path)
    what = f"The light layer {plain(source.name)}"
    try:
        return _read_exr(source, what) if source.suffix.lower() == ".exr" else _read_png(source, what)
    except ImageError:
        raise
    except Exception as error:  # BadPng, and what odd values trip over
        reason = first_line(error)
        raise ImageError(
            "{name} is not a light layer ({reason}); give a file that iclight saved.",
            name=plain(source.name),
            reason=reason,
        ) from error


def _read_exr(source: Path, what: str) -> GainMap:
    values = read_exr(source, what, budgets.LAYER_PIXELS, budgets.LAYER_FILE)
    if values.ndim != 3 or values.shape[2] != 4:
        raise ValueError("not an RGBA picture")
    light = _dark(values)
    for left, top, right, bottom in parts(values.shape[1], values.shape[0]):
        place = slice(top, bottom), slice(left, right)
        part = values[place].astype(np.float32)
        gain = np.where(np.isfinite(part[..., :3]), part[..., :3], 1)
        light.gain[place] = np.log2(gain.clip(2**-STOPS, 2**STOPS))
        light.matte[place] = np.nan_to_num(part[..., 3:], nan=0, posinf=1, neginf=0).clip(0, 1)
    return light


def _read_png(source: Path, what: str) -> GainMap:
    coded = read_png(read_regular(source, what, budgets.LAYER_FILE), what, LIGHT_BYTES, budgets.LAYER_PIXELS)
    if coded.dtype != np.uint16 or coded.ndim != 3 or coded.shape[2] != 4:
        raise BadPng("not a 16-bit RGBA picture")
    light = _dark(coded)
    for left, top, right, bottom in parts(coded.shape[1], coded.shape[0]):
        place = slice(top, bottom), slice(left, right)
        light.gain[place] = (coded[place][..., :3].astype(np.float32) - 32768) * (STOPS / 32768)
        light.matte[place] = coded[place][..., 3:].astype(np.float32) / 65535
    return light


def _dark(values: NDArray[Any]) -> GainMap:
    """A light of the size of HxWx4 values, to be filled part by part: whole copies would be as large again."""
    height, width = values.shape[:2]
    return GainMap(np.zeros((height, width, 3), np.float32), np.zeros((height, width, 1), np.float32))
