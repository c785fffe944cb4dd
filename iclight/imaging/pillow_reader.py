"""Pictures that Pillow decodes: opened by the formats people have, within a budget, and painted upright in sRGB."""

from __future__ import annotations

import contextlib
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import ImageError, first_line
from . import budgets, exif, formats
from .canvas import Canvas, grey_canvas, parts
from .declared_colours import declared_icc
from .files import read_png
from .png_chunks import BadPng
from .profiles import Profile, profile_of, rgb_of_inks
from .tiff_reader import read_tiff

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "MPO", "JPEG2000", "PPM", "ICO", "TGA")
# What a decoder of Pillow's holds at its worst moment, in bytes per pixel (measured; AVIF's of 10 bits, JPEG's
# progressive).
BYTES_PER_PIXEL = {"JPEG": 12, "MPO": 12, "WEBP": 16, "AVIF": 18, "JPEG2000": 25}
GREY = ("1", "L", "I", "F")  # how Pillow's names of grey modes begin, with alpha or without
ORIENTATION = 274  # EXIF's tag
_BESIDE = 12  # bytes per pixel that are held beside a PNG's values of 16 bits: a canvas, and Pillow's picture


def open_picture(file: BinaryIO, what: str, most: int) -> Image.Image:
    """A picture whose header has been read and whose size will do. Raises ImageError for anything else."""
    exif.check_file(file, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(file, formats=formats_here())
    except Image.DecompressionBombError as error:
        raise budgets.too_large(what, most) from error
    except Exception as error:  # decoders raise whatever their parsers trip over
        file.seek(0)
        raise formats.refuse(file.read(formats.OPENING), what) from error
    budgets.check_decode(picture.width, picture.height, _held(picture), what, most)
    exif.check_info(picture.info, what)
    return picture


def _held(picture: Image.Image) -> int:
    """Bytes per pixel while it is decoded."""
    return BYTES_PER_PIXEL.get(picture.format or "", budgets.PLAIN)


def formats_here() -> list[str]:
    """What is opened: the formats people have pictures in. Others run external programs or have weak parsers."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def paint(image: Image.Image, what: str, most: int, keep_native: bool, file: BinaryIO | None = None) -> Canvas:
    """A Pillow picture, painted. A TIFF that is not decoded yet goes the way of TIFF files."""
    try:
        if isinstance(image, TiffImageFile) and image.tile and image.fp is not None and image.tell() == 0:
            image.fp.seek(0)
            return read_tiff(image.fp.read(), what, most, keep_native)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _painted(image, what, most, keep_native, file)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever their parsers trip over
        reason = first_line(error)
        raise ImageError(
            "{what} is broken or cut short and cannot be decoded ({reason}). Export it again.", what=what, reason=reason
        ) from error


def _painted(image: Image.Image, what: str, most: int, keep_native: bool, file: BinaryIO | None) -> Canvas:
    """A Pillow picture on a canvas, upright, converted part by part."""
    icc = declared_icc(image, file)
    deep = image.format == "PNG" and image.mode in ("RGB", "RGBA", "LA") and "16B" in str(getattr(image, "tile", ""))
    image.load()
    budgets.check_decode(
        image.width, image.height, budgets.PLAIN, what, most
    )  # an ICO holds a picture that may be larger than it says
    orientation = 1
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to refuse the picture
        orientation = int(image.getexif().get(ORIENTATION, 1))
    orientation = orientation if 1 <= orientation <= 8 else 1
    profile = profile_of(icc) if icc else None
    if profile is not None and not profile.fits(image.mode.startswith(GREY), image.mode == "CMYK"):
        profile = None
    if image.mode.startswith("I") or image.mode == "F":
        # Whatever Pillow makes an "I" of has 16 bits, but for TIFFs, which are read elsewhere.
        full = 1.0 if image.mode == "F" else 65535
        keep = keep_native and budgets.fits(image.width, image.height, _held(image) + 6)
        return grey_canvas(np.asarray(image), full, orientation, profile, image.info.get("transparency"), keep)
    has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    mode = "RGBA" if has_alpha else "RGB"
    if deep and file is not None:
        keep = keep_native and budgets.fits(image.width, image.height, 8 + _BESIDE + 6)
        keyed = "transparency" in image.info
        try:
            if keep or keyed:
                return _deep_png(file, orientation, profile, what, most, keep)
        except BadPng:  # Pillow may forgive what is damaged, but not tell which colour is transparent
            if keyed:
                raise
    inks = image.mode == "CMYK"
    keep = keep_native and budgets.fits(image.width, image.height, _held(image) + 3)
    canvas = Canvas(image.width, image.height, has_alpha, orientation, None if inks else profile, keep)
    for box in parts(image.width, image.height):
        part = image.crop(box)
        if inks:
            canvas.put(box[0], box[1], rgb_of_inks(np.asarray(part), profile))
        else:
            canvas.put(box[0], box[1], np.asarray(part if part.mode == mode else part.convert(mode)))
    return canvas


def _deep_png(file: BinaryIO, orientation: int, profile: Profile | None, what: str, most: int, keep: bool) -> Canvas:
    """A PNG of 16 bits, in colours: all of them kept, or one of them transparent, and not its neighbours of 8 bits."""
    file.seek(0)
    values = read_png(file.read(), what, _BESIDE, most)
    height, width, channels = values.shape
    canvas = Canvas(width, height, channels == 4, orientation, profile, keep, deep=True)
    for left, top, right, bottom in parts(width, height):
        part = values[top:bottom, left:right]
        canvas.put(left, top, (part >> 8).astype(np.uint8), part[..., :3])
    return canvas
