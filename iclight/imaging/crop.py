"""The engine's crop and its inverse: a photo cut to the model's size, and small planes brought back to the photo's."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# Scaled beyond this, a picture is cropped before it is resized. No ordinary shape comes near it.
MAX_RESIZED = 64_000_000
SIZE_STEP = 64
MAX_SIDE = 2048

STRIPE = 256


def size_for(
    image_size: tuple[int, int],
    native_size: tuple[int, int],
    width: int | None = None,
    height: int | None = None,
) -> tuple[int, int]:
    """The (width, height) of the first pass: what was asked for, and what was left out chosen after the picture.

    `image_size` is the picture's (width, height), `native_size` the one whose area the model was made for. Sides are
    the multiples of 64 nearest to the picture's aspect at that area, from 64 to 2048.
    """
    aspect = image_size[0] / image_size[1]
    area = native_size[0] * native_size[1]
    if width is None:
        width = _snap(math.sqrt(area * aspect) if height is None else height * aspect)
        if height is None:
            height = _snap(math.sqrt(area / aspect))
    elif height is None:
        height = _snap(width / aspect)
    return width, height


def _snap(side: float) -> int:
    return min(max(round(side / SIZE_STEP) * SIZE_STEP, SIZE_STEP), MAX_SIDE)


def highres_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """The second pass's (width, height): each side times `scale`, to the nearest multiple of 64."""
    return round(width * scale / 64.0) * 64, round(height * scale / 64.0) * 64


def resize(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Pillow's LANCZOS to exactly width x height, without cropping. Any HxW or HxWxC uint8."""
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def resize_and_center_crop(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale until width x height is covered (LANCZOS), then cut the middle out. HxW or HxWx3 uint8 in and out."""
    picture = Image.fromarray(image)
    scale = max(width / picture.width, height / picture.height)
    resized_width, resized_height = round(picture.width * scale), round(picture.height * scale)
    # Strips thinner than a pixel after scaling cannot be; the reference fails there.
    resized_width, resized_height = max(resized_width, width), max(resized_height, height)
    if resized_width * resized_height > MAX_RESIZED:
        # A hair-thin picture would be blown up to gigabytes only to be cut down again: cut first, then scale.
        middle = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
        return np.array(middle)
    picture = picture.resize((resized_width, resized_height), Image.Resampling.LANCZOS)
    left, top = (resized_width - width) / 2, (resized_height - height) / 2
    box = (left, top, (resized_width + width) / 2, (resized_height + height) / 2)
    return np.array(picture.crop(box))  # type: ignore[arg-type]  # Pillow rounds the floats itself


def crop_of(small_width: int, small_height: int, width: int, height: int) -> tuple[float, float, float]:
    """How the engine cropped: full-size pixels per small pixel, and the crop's left and top in full-size pixels."""
    scale = min(width / small_width, height / small_height)
    return scale, (width - small_width * scale) / 2, (height - small_height * scale) / 2


def enlarged(plane: Floats, rows: slice, width: int, height: int) -> Floats:
    """The rows of a small plane (hxwxC) enlarged to where it was cropped from; beyond the crop its border goes on."""
    scale, left, top = crop_of(plane.shape[1], plane.shape[0], width, height)
    # Pixel centres: small = (full + 0.5 - offset) / scale - 0.5.
    to_small = np.array(
        [[1 / scale, 0, (0.5 - left) / scale - 0.5], [0, 1 / scale, (rows.start + 0.5 - top) / scale - 0.5]]
    )
    size = (width, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    made = cv2.warpAffine(plane, to_small, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return made if made.ndim == 3 else made[..., None]


def placed(picture: Pixels, width: int, height: int, hidden: Floats) -> Pixels:
    """A small picture (hxwx3) enlarged to where it was cropped from, in width x height; beyond the crop it goes on.

    It goes on mirrored and ever softer, without what is `hidden` (hxwx1, from 0 to 1): a subject is not to stand there
    once more.
    """
    scale, left, top = crop_of(picture.shape[1], picture.shape[0], width, height)
    inner = resize(picture, max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    y, x = max(0, round(top)), max(0, round(left))
    if inner.shape[0] >= height and inner.shape[1] >= width:
        return inner[:height, :width]
    across, down = math.ceil(left / scale) + 1, math.ceil(top / scale) + 1
    made = _cut(
        _continued(picture, hidden, across, down), width, height, scale, across - left / scale, down - top / scale
    )
    part = inner[: height - y, : width - x]
    made[y : y + part.shape[0], x : x + part.shape[1]] = part
    return made


def _continued(picture: Pixels, hidden: Floats, across: int, down: int) -> Pixels:
    """A picture with so many columns and rows more on each side."""
    sides = ((down, down), (across, across), (0, 0))
    wide = cv2.dilate(hidden, np.ones((5, 5), np.uint8)).reshape(hidden.shape)  # its soft edge as well
    shown = np.pad(1 - wide, sides, mode="symmetric").clip(1e-3)
    whole = np.pad(picture, sides, mode="symmetric").astype(np.float32)
    sigma = max(1.0, min(picture.shape[:2]) / 24)
    weight = cv2.GaussianBlur(shown, (0, 0), sigma)[..., None]
    soft = cv2.GaussianBlur(whole * shown, (0, 0), sigma) / weight
    inside = np.zeros(whole.shape[:2], np.uint8)
    inside[down : down + picture.shape[0], across : across + picture.shape[1]] = 1
    far = (cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3) / (2 * sigma)).clip(0, 1)[..., None]
    share = np.maximum(far, 1 - shown)
    return np.where(inside[..., None] > 0, whole, whole + share * (soft - whole)).round().clip(0, 255).astype(np.uint8)


def _cut(picture: Pixels, width: int, height: int, scale: float, left: float, top: float) -> Pixels:
    """width x height of a picture enlarged by `scale`, from `left` and `top` on, which are its own pixels."""
    to_small = np.array([[1 / scale, 0, left + 0.5 / scale - 0.5], [0, 1 / scale, top + 0.5 / scale - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, to_small, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def stripes(height: int, rows: int = STRIPE) -> Iterator[slice]:
    """Rows of a picture, a stripe at a time."""
    for start in range(0, height, rows):
        yield slice(start, min(height, start + rows))
