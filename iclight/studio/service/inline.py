"""Pictures that travel inside the page: JPEGs as data URLs. No file is left that another visitor could ask for."""

from __future__ import annotations

import base64
from typing import Any


def jpeg(pixels: Any, quality: int) -> bytes:
    """HxWx3 uint8 sRGB -> JPEG, its colours at full resolution."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", pixels[..., ::-1], options)[1])


def data_url(picture: bytes) -> str:
    """A JPEG's bytes as what an img's src takes."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
