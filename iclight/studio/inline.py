"""Pictures that travel inside the page: JPEGs as data URLs. No file is left that another visitor could ask for."""

from __future__ import annotations

import base64
import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

# What browsers paint: formats, and pixels.
PAINTED, MOST_PAINTED = ("PNG", "WEBP", "JPEG"), 16_000_000


def jpeg(pixels: Any, quality: int) -> bytes:
    """HxWx3 uint8 sRGB -> JPEG, its colours at full resolution."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", pixels[..., ::-1], options)[1])


def read_painting(source: bytes | str) -> NDArray[np.uint8]:
    """A picture that a canvas hands over (a file's bytes or path) as HxWx4 uint8, transparent where nothing is painted.

    Raises ImageError for anything else.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=PAINTED) as picture:
                if picture.width * picture.height > MOST_PAINTED:
                    raise ImageError("The painting is too large.")
                return np.array(picture.convert("RGBA"))
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever their parsers trip over
        raise ImageError("The painting cannot be read; paint it again.") from error


def data_url(picture: bytes) -> str:
    """A JPEG's bytes as what an img's src takes."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
