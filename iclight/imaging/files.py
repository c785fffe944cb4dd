"""Pictures of more than 8 bits as files: PNGs and TIFFs of 16 bits, which Pillow reduces to 8, and OpenEXR.

They are read whole and within a budget or refused, and written whole or not at all.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import first_line
from ..weights.files import whole_file
from . import budgets
from .png_chunks import HEADER, BadPng, check_png

_STRIP = 64  # rows of a TIFF that are packed at once


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


def deep_png(pixels: NDArray[np.uint16], head: bytes = b"") -> bytes:
    """HxWx3 RGB or HxWx4 RGBA uint16 as a PNG file. `head`: chunks that stand before the pixels."""
    import cv2

    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    encoded, buffer = cv2.imencode(".png", cv2.cvtColor(pixels, order))
    assert encoded
    png = buffer.tobytes()
    return png[:HEADER] + head + png[HEADER:]


def deep_tiff(pixels: NDArray[np.uint16], icc: bytes, description: str = "") -> bytes:
    """HxWx3 RGB or HxWx4 RGBA uint16 as a TIFF file in the colours of a profile; `description`: in ASCII."""
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels,
        photometric="rgb",
        extrasamples=["unassalpha"] if pixels.shape[2] == 4 else None,
        rowsperstrip=_STRIP,
        compression="zlib",
        compressionargs={"level": 1},  # at half of the default's time
        predictor=True,
        iccprofile=icc,
        description=description or None,
        metadata=None,
        software=False,
    )
    return file.getvalue()


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
