"""Pictures in and out: decoding what people hand over, resizing, cropping, and the way to tensors and back.

Everything inside the engine is HxWx3 uint8 RGB; a matte is HxWx1 float32 in [0, 1]. The conversions are the
reference's to the digit: 127 is exactly 0, and pixels are truncated, not rounded.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .errors import ImageError

if TYPE_CHECKING:
    import torch

# What a person may hand over: pixels, a Pillow picture, a path, or a file's bytes.
ImageLike = Any

# Larger pictures are refused from their header, before a single pixel is decoded.
MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "MPO", "JPEG2000", "PPM", "ICO", "TGA")
# Scaled beyond this, a picture is cropped before it is resized. No ordinary shape comes near it.
MAX_RESIZED = 64_000_000
SIZE_STEP = 64
MAX_SIDE = 2048


def read_image(image: ImageLike, what: str = "The picture") -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """Decode a picture into (HxWx3 uint8 RGB, HxWx1 float32 alpha or None).

    Takes a uint8 or uint16 array (HxW, HxWx1, HxWx3 or HxWx4), a Pillow picture, a path, or encoded bytes. EXIF
    rotation is applied; greyscale, palette, CMYK, 16-bit and float pictures become 8-bit RGB. An alpha channel that is
    opaque everywhere counts as none. Raises ImageError, opening with `what`, for anything that cannot be used.
    """
    if isinstance(image, np.ndarray):
        return _split_alpha(_array_to_uint8(image, what), what)
    if isinstance(image, (str, os.PathLike, bytes, bytearray)):
        image = _open(image, what)
    if not isinstance(image, Image.Image):
        raise ImageError(f"{what} is a {type(image).__name__}; give a picture file, a Pillow image or a uint8 array.")
    check_size(image.width, image.height, what)
    try:
        return _split_alpha(_pil_to_uint8(image), what)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever their parsers trip over
        raise ImageError(f"{what} is broken or cut short and cannot be decoded ({error}). Export it again.") from error


def _open(source: Any, what: str) -> Image.Image:
    if isinstance(source, (bytes, bytearray)):
        handle: Any = io.BytesIO(source)
    else:
        if not os.path.exists(source):
            raise ImageError(f"{what} {os.fspath(source)!r} does not exist.")
        if os.path.isdir(source):
            raise ImageError(f"{what} {os.fspath(source)!r} is a folder, not a picture.")
        handle = source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(handle, formats=_formats())
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(what)) from error
    except Exception as error:  # decoders raise whatever their parsers trip over
        raise ImageError(
            f"{what} is not an image this can read; give a PNG, JPEG, WebP or another common format."
        ) from error


def _formats() -> list[str]:
    """What is opened: the formats people have pictures in. Others run external programs or have weak parsers."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def check_size(width: int, height: int, what: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{what} is empty ({width}x{height} pixels).")
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(what))


def _too_large(what: str) -> str:
    return f"{what} has more than {MAX_PIXELS / 1e6:.0f} megapixels; scale it down first."


def _pil_to_uint8(image: Image.Image) -> NDArray[np.uint8]:
    image.load()
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to refuse the picture
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_to_uint8(np.asarray(image))
    if image.mode in ("RGB", "RGBA"):
        return np.array(image)
    has_alpha = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
    return np.array(image.convert("RGBA" if has_alpha else "RGB"))


def _deep_to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Greyscale of more than 8 bits: 16-bit integers, or floats in [0, 1] or [0, 255]."""
    grey = np.nan_to_num(values.astype(np.float64))
    if values.dtype.kind == "f":
        grey = grey * 255.0 if grey.max(initial=0) <= 1.0 else grey
    else:
        grey = grey / 257.0 if grey.max(initial=0) > 255 else grey
    return np.repeat(np.rint(grey).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _array_to_uint8(array: NDArray[Any], what: str) -> NDArray[np.uint8]:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(f"{what} has shape {array.shape}; give HxW, HxWx3 (RGB) or HxWx4 (RGBA).")
    if array.dtype == np.uint16:
        array = np.rint(array / 257.0).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"{what} has values of type {array.dtype}; give uint8 from 0 to 255.")
    check_size(array.shape[1], array.shape[0], what)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def _split_alpha(array: NDArray[np.uint8], what: str) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    rgb = np.ascontiguousarray(array[..., :3])
    if array.shape[2] == 3 or bool((array[..., 3] == 255).all()):
        return rgb, None
    if not array[..., 3].any():
        raise ImageError(f"{what} is fully transparent; there is nothing in it to light.")
    return rgb, array[..., 3:].astype(np.float32) / np.float32(255)


def check_pixels(image: Any) -> tuple[int, int]:
    """(height, width) of a HxWx3 uint8 picture, or ImageError."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        what = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"The picture is {what}; give a HxWx3 uint8 array (`read_image` makes one).")
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
            raise ImageError(f"The mask has shape {mask.shape}; give HxW or HxWx1.")
        if not np.isfinite(matte).all() or matte.min(initial=0) < 0 or matte.max(initial=0) > 1:
            raise ImageError("The mask has values outside 0 to 1; scale it to that range, or give uint8 0 to 255.")
    else:
        rgb, alpha = read_image(mask, "The mask")
        grey = rgb.astype(np.float32).mean(axis=2, keepdims=True) / np.float32(255)
        matte = grey if alpha is None else alpha
    if matte.shape[:2] != (height, width):
        raise ImageError(
            f"The mask is {matte.shape[1]}x{matte.shape[0]}, the picture {width}x{height}; give one of the same size."
        )
    if not matte.any():
        raise ImageError("The mask is empty (zero everywhere); there would be nothing to light.")
    return matte


def fingerprint(image: ImageLike) -> str:
    """SHA-256 over a picture's size and decoded pixels, alpha included: the same for any lossless copy of it."""
    rgb, alpha = read_image(image)
    digest = hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes())
    if alpha is not None:
        digest.update(np.rint(alpha * 255).astype(np.uint8).tobytes())
    return digest.hexdigest()


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


def to_tensor(images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """HxWx3 uint8 pictures of one size -> Nx3xHxW float32, 0 -> -1, 127 -> 0, 255 -> 1.0079."""
    import torch

    return (torch.from_numpy(np.stack(images)).float() / 127.0 - 1.0).movedim(-1, 1)


def to_pixels(decoded: torch.Tensor) -> list[NDArray[np.uint8]]:
    """Nx3xHxW floats about [-1, 1] -> pictures: y * 127.5 + 127.5, clipped, truncated."""
    values = decoded.movedim(1, -1).float().cpu().numpy()
    return list((values * 127.5 + 127.5).clip(0, 255).astype(np.uint8))


def to_unit(decoded: torch.Tensor) -> list[NDArray[np.float32]]:
    """Nx3xHxW floats about [-1, 1] -> HxWx3 float32 in [0, 1], as the fbc workflow's last decode has them."""
    values = decoded.movedim(1, -1).float().cpu().numpy()
    return list((values * 0.5 + 0.5).clip(0, 1))


def unit_to_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """HxWx3 in [0, 1] -> uint8, truncated."""
    return (image * 255.0).clip(0, 255).astype(np.uint8)
