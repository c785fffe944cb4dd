"""Pictures of more than 8 bits as files: PNGs of 16 bits, which Pillow reduces to 8, and OpenEXR.

They are read whole and within a budget or refused, and written whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, first_line
from ..weights.files import open_regular, whole_file
from . import budgets
from .exr_header import check_exr, threads_of
from .png_chunks import BadPng, check_png


def read_png(data: bytes, what: str, beside: float, most: int = budgets.MAX_PIXELS) -> NDArray[Any]:
    """HxW grey, HxWx3 RGB or HxWx4 RGBA of a PNG, uint8 or uint16 as it is stored.

    `beside`: bytes per pixel that the caller will hold beside these pixels; `most`: pixels that it may have. Raises
    BadPng for what is damaged, ImageError for what is too large.
    """
    import cv2

    width, height, whole = check_png(data, what, beside, most)
    try:
        pixels = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadPng("it cannot be decoded") from error
    if pixels is None or pixels.shape[:2] != (height, width):
        raise BadPng("it cannot be decoded")
    if pixels.ndim == 3:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA, dst=pixels)
    return pixels


def deep_png(pixels: NDArray[np.uint16]) -> bytes:
    """HxWx3 RGB or HxWx4 RGBA uint16 as a PNG file."""
    import cv2

    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    encoded, buffer = cv2.imencode(".png", cv2.cvtColor(pixels, order))
    assert encoded
    return buffer.tobytes()


def read_exr(source: bytes | str | os.PathLike[str], what: str, most: int, limit: int) -> NDArray[Any]:
    """HxWxC or HxW floats: RGB, RGBA or Y of an OpenEXR file's first part, whatever its layer is called.

    `source`: a path, or the file's bytes. `what`: opens messages. `most`: pixels that it may have. `limit`: bytes that
    it may have. Raises ImageError for what is damaged, too large or without colours. (OpenCV's builds often cannot.)
    """
    if isinstance(source, (bytes, bytearray)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "picture.exr")
            path.write_bytes(source)
            return read_exr(path, what, most, limit)
    import OpenEXR

    try:
        with open_regular(source, what, limit) as file:
            check_exr(file, what, most, threads_of(OpenEXR))
        with OpenEXR.File(os.fspath(source)) as decoded:
            layers = [channel.pixels for channel in decoded.channels().values()]
    except ImageError:
        raise
    except Exception as error:  # the library raises bare RuntimeError, ValueError and others
        raise ImageError(
            "{what} is broken or cut short and cannot be decoded as {kind}. Export it again.", what=what, kind="OpenEXR"
        ) from error
    layers = [layer for layer in layers if layer is not None and layer.dtype.kind == "f"]
    coloured = [layer for layer in layers if layer.ndim == 3]
    if not layers:
        raise ImageError("{what} holds no colours (R, G, B or Y); export it as RGB.", what=what)
    return (coloured or layers)[0]


def write_exr(path: str | os.PathLike[str], channels: Mapping[str, NDArray[np.float32]]) -> None:
    """Write scan lines, compressed without loss: name -> HxW floats, or "RGB" or "RGBA" -> HxWx3 or HxWx4.

    Raises ImageError where it cannot be written.
    """
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with whole_file(path) as draft:
        try:
            with OpenEXR.File(header, dict(channels)) as file:
                file.write(str(draft))
        except RuntimeError as error:  # what the library makes of whatever the system refuses
            raise OSError(first_line(error)) from error
