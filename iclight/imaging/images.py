"""Pictures in: decoding what people hand over, once, within a budget, upright and in sRGB.

Everything inside the engine is HxWx3 uint8 RGB; a matte is HxWx1 float32 in [0, 1]. The conversions are the
reference's to the digit: 127 is exactly 0, and pixels are truncated, not rounded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError
from ..weights.files import check_bytes, open_regular
from . import budgets, formats
from .canvas import PART, Canvas
from .depths import to_depth
from .heic_reader import read_heic
from .pillow_reader import open_picture, paint
from .raw_reader import read_raw
from .spaces import SRGB, Native
from .tiff_reader import MAGIC as TIFF_MAGIC
from .tiff_reader import read_tiff

# What a person may hand over: pixels, a Pillow picture, a path, a file's bytes, or a `Picture`.
ImageLike = Any


@dataclass(frozen=True)
class Picture:
    """A picture that is decoded already: `rgb` HxWx3 uint8, `alpha` HxWx1 float32 in [0, 1] or None; not to be changed.

    It stands wherever a picture is taken, and whoever takes it decodes nothing. `name`: its file's, for recipes.
    `native`: its pixels as the file has them, where they have more than 8 bits, or a profile other than sRGB in which a
    finish can stay.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.float32] | None
    name: str = ""
    native: Native | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        held = self.rgb.nbytes + (0 if self.alpha is None else self.alpha.nbytes)
        return held if self.native is None else held + self.native.pixels.nbytes

    @cached_property
    def sha256(self) -> str:
        """Its `fingerprint`."""
        digest = hashlib.sha256(repr(self.rgb.shape).encode())
        digest.update(np.ascontiguousarray(self.rgb).data)
        for rows in np.array_split(self.alpha, max(1, self.alpha.size // PART)) if self.alpha is not None else ():
            digest.update(np.rint(rows * 255).astype(np.uint8).tobytes())
        return digest.hexdigest()


def read_image(
    image: ImageLike, what: str = "The picture", most: int = budgets.MAX_PIXELS
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """Decode a picture into (HxWx3 uint8 RGB, HxWx1 float32 alpha or None).

    Takes a uint8 or uint16 array (HxW, HxWx1, HxWx3 or HxWx4), a Pillow picture, a `Picture`, a path, or encoded
    bytes. EXIF rotation is applied; greyscale, palette, CMYK, 16-bit and float pictures become 8-bit RGB, and all sRGB,
    from the profile that is embedded. An alpha channel that is opaque everywhere counts as none. Raises ImageError,
    opening with `what`, for anything that cannot be used, of more than `most` pixels, or not to be decoded within
    `budgets.DECODE_BYTES`.
    """
    picture = read_picture(image, what, most, keep_native=False)
    return picture.rgb, picture.alpha


def read_picture(
    image: ImageLike, what: str = "The picture", most: int = budgets.MAX_PIXELS, keep_native: bool = True
) -> Picture:
    """What `read_image` takes, with its name and, if `keep_native` and memory allows it, its native pixels."""
    if isinstance(image, Picture):
        check_size(image.rgb.shape[1], image.rgb.shape[0], what, most)
        return image
    if isinstance(image, np.ndarray):
        return _of_array(image, what, most, keep_native)
    if isinstance(image, (bytes, bytearray)):
        check_bytes(len(image), budgets.PICTURE_FILE, what)
        return _read_file(io.BytesIO(image), what, most, keep_native)
    if isinstance(image, (str, os.PathLike)):
        with open_regular(image, what, budgets.PICTURE_FILE) as file:
            return dataclasses.replace(_read_file(file, what, most, keep_native), name=os.fspath(image))
    if not isinstance(image, Image.Image):
        raise ImageError(
            "{what} is a {type}; give a picture file, a Pillow image or a uint8 array.",
            what=what,
            type=type(image).__name__,
        )
    check_size(image.width, image.height, what, most)
    return _finished(paint(image, what, most, keep_native), what)


def _read_file(file: BinaryIO, what: str, most: int, keep_native: bool) -> Picture:
    opening = file.read(formats.OPENING)
    file.seek(0)
    raw = formats.raw_of(opening)
    if raw is not None:
        with budgets.turn():
            return _finished(read_raw(file.read(), raw, what, most, keep_native), what)
    if opening[:4] in TIFF_MAGIC or formats.is_heic(opening):
        read = read_heic if formats.is_heic(opening) else read_tiff
        with budgets.turn():
            return _finished(read(file.read(), what, most, keep_native), what)
    with open_picture(file, what, most) as picture, budgets.turn(picture.width * picture.height):
        painted = paint(picture, what, most, keep_native, file)
    return _finished(painted, what)


def check_size(width: int, height: int, what: str, most: int = budgets.MAX_PIXELS) -> None:
    """Raise ImageError for a picture without pixels, or of more than `most`."""
    budgets.check_decode(width, height, budgets.PLAIN, what, most)


def _finished(canvas: Canvas, what: str) -> Picture:
    cover = canvas.alpha
    if cover is None or int(cover.min()) == 255:
        return Picture(canvas.rgb, None, native=canvas.native)
    if not cover.any():
        raise ImageError("{what} is fully transparent; there is nothing in it to light.", what=what)
    matte = cover[..., None].astype(np.float32)
    matte /= np.float32(255)
    return Picture(canvas.rgb, matte, native=canvas.native)


def _of_array(array: NDArray[Any], what: str, most: int, keep_native: bool) -> Picture:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(
            "{what} has shape {shape}; give HxW, HxWx3 (RGB) or HxWx4 (RGBA).", what=what, shape=array.shape
        )
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError("{what} has values of type {type}; give uint8 from 0 to 255.", what=what, type=array.dtype)
    check_size(array.shape[1], array.shape[0], what, most)
    pixels = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array
    deep = keep_native and pixels.dtype == np.uint16
    native = Native(np.ascontiguousarray(pixels[..., :3]), SRGB) if deep else None
    return Picture(*_split_alpha(to_depth(pixels, np.uint8), what), native=native)


def _split_alpha(array: NDArray[np.uint8], what: str) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    rgb = np.ascontiguousarray(array[..., :3])
    if array.shape[2] == 3 or bool((array[..., 3] == 255).all()):
        return rgb, None
    if not array[..., 3].any():
        raise ImageError("{what} is fully transparent; there is nothing in it to light.", what=what)
    return rgb, array[..., 3:].astype(np.float32) / np.float32(255)


def check_pixels(image: Any, depths: tuple[type, ...] = (np.uint8,)) -> tuple[int, int]:
    """(height, width) of a HxWx3 picture of uint8 (or of `depths`), or ImageError."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype not in depths:
        given = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError("The picture is {given}; give a HxWx3 uint8 array (`read_image` makes one).", given=given)
    if image.size == 0:
        raise ImageError("The picture is empty (no pixels).")
    return image.shape[0], image.shape[1]


def read_mask(mask: ImageLike, width: int, height: int) -> NDArray[np.float32]:
    """A matte of the caller's own as HxWx1 float32 in [0, 1].

    Takes an array (bool, integers 0 and 1, uint8 0-255 or float 0-1; HxW or HxWx1), or a picture or path, whose alpha
    channel is used if it has one, else its brightness. Must have the picture's size. Raises ImageError otherwise, or if
    it is empty.
    """
    if isinstance(mask, np.ndarray) and mask.dtype.kind in "iu" and mask.size and mask.min() >= 0 and mask.max() <= 1:
        mask = mask.astype(bool)  # 0 and 1, in whatever integers
    if isinstance(mask, np.ndarray) and mask.dtype.kind in "bf":
        matte = np.asarray(mask, np.float32)
        matte = matte[..., None] if matte.ndim == 2 else matte
        if matte.ndim != 3 or matte.shape[2] != 1:
            raise ImageError("The mask has shape {shape}; give HxW or HxWx1.", shape=mask.shape)
        if not np.isfinite(matte).all() or matte.min(initial=0) < 0 or matte.max(initial=0) > 1:
            raise ImageError("The mask has values outside 0 to 1; scale it to that range, or give uint8 0 to 255.")
    else:
        rgb, alpha = read_image(mask, "The mask")
        matte = _brightness(rgb) if alpha is None else alpha
    check_mask(matte, width, height)
    return matte


def check_mask(values: NDArray[Any], width: int, height: int) -> None:
    """Raise ImageError for a mask (HxWxC) of another size than the picture's, and for one that is 0 everywhere."""
    if values.shape[:2] != (height, width):
        raise ImageError(
            "The mask is {size}, the picture {wanted}; give one of the same size.",
            size=f"{values.shape[1]}x{values.shape[0]}",
            wanted=f"{width}x{height}",
        )
    if not values.any():
        raise ImageError("The mask is empty (zero everywhere); there would be nothing to light.")


def _brightness(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """HxWx1 in [0, 1]: the mean of red, green and blue, without a float copy of all three."""
    sums = rgb[..., :1].astype(np.uint16)
    sums += rgb[..., 1:2]
    sums += rgb[..., 2:]
    grey = sums.astype(np.float32)
    grey /= np.float32(3)
    grey /= np.float32(255)
    return grey


def read_own_matte(
    image: ImageLike, mask: ImageLike | None, what: str = "The picture"
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """(HxWx3 uint8, HxWx1 float32 or None): a picture, and the matte it brings: the mask if there is one, else alpha.

    Raises ImageError, as `read_image` and `read_mask` do.
    """
    rgb, alpha = read_image(image, what)
    return rgb, alpha if mask is None else read_mask(mask, rgb.shape[1], rgb.shape[0])


def fingerprint(image: ImageLike) -> str:
    """SHA-256 over a picture's size and decoded pixels, alpha included: the same for any lossless copy of it."""
    return (image if isinstance(image, Picture) else read_picture(image, keep_native=False)).sha256


def unit_to_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """HxWx3 in [0, 1] -> uint8, truncated."""
    return (image * 255.0).clip(0, 255).astype(np.uint8)
