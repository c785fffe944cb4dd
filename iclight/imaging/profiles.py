"""What a picture's numbers mean: its embedded profile, converted to sRGB by LittleCMS.

Relative colorimetric, with black point compensation: white is white, and what sRGB can show is shown as it was. A
profile that is sRGB but for roundings costs nothing and changes nothing; a broken one counts as none.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .colour import to_srgb
from .icc import MatrixProfile, colours_of, read_matrix_profile
from .primaries import FROM_XYZ
from .spaces import MatrixSpace, Space

Pixels = NDArray[np.uint8]

# Bytes of a profile. Those of printers have three million.
MOST = 16 << 20
# Levels of 255 by which a profile may differ from sRGB and still be it.
NEAR = 2.0
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
_LEVELS = np.array([0, 2, 5, 10, 20, 40, 80, 120, 160, 200, 230, 255], np.uint8)


@dataclass(frozen=True)
class Profile:
    """`colours`: what it is a profile of, "RGB", "GRAY" or "CMYK". `space`: for finishes that stay in it, else None."""

    colours: str
    space: Space | None
    _convert: Callable[[Pixels], Pixels]

    def fits(self, grey: bool, cmyk: bool = False) -> bool:
        """Whether it can be of pixels that are grey, CMYK, or else RGB. A profile of RGB may be of greys, too."""
        return self.colours == "CMYK" if cmyk else self.colours == "RGB" or (grey and self.colours == "GRAY")

    def to_srgb(self, pixels: Pixels) -> Pixels:
        """hxwx3 RGB, hxw grey or hxwx4 CMYK uint8, whatever `colours` says -> hxwx3 sRGB."""
        return self._convert(np.ascontiguousarray(pixels))


@lru_cache(maxsize=16)
def profile_of(icc: bytes) -> Profile | None:
    """None for what is sRGB, or no profile of a picture. Transforms are kept: a folder of photos has one profile."""
    from PIL import ImageCms

    if len(icc) > MOST or icc[12:16] not in _CLASSES or colours_of(icc) not in _MODES:
        return None
    colours = colours_of(icc)
    try:
        matrix = read_matrix_profile(icc)
    except (ValueError, struct.error):
        matrix = None  # LittleCMS may know better
    if matrix is not None and _is_srgb(matrix):
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            _MODES[colours],
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )

        def convert(pixels: Pixels) -> Pixels:
            return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels, _MODES[colours]), transform))

        if not _is_of_use(colours, convert):
            return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if colours == "GRAY":
        tones = convert(np.arange(256, dtype=np.uint8)[None])[0]
        return Profile(colours, None, lambda pixels: tones[pixels])
    space: Space | None = None
    if matrix is not None:
        with contextlib.suppress(ValueError):
            space = MatrixSpace(icc, matrix)
    return Profile(colours, space, convert)


def rgb_of_inks(pixels: Pixels, profile: Profile | None) -> Pixels:
    """hxwx4 CMYK -> hxwx3 sRGB, by its profile or, without one, by mere subtraction."""
    if profile is not None:
        return profile.to_srgb(pixels)
    return np.array(Image.fromarray(np.ascontiguousarray(pixels), "CMYK").convert("RGB"))


def _lattice() -> Pixels:
    return np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(len(_LEVELS), -1, 3)


def _is_srgb(profile: MatrixProfile) -> bool:
    if profile.to_xyz is None:
        stored = np.arange(256, dtype=np.uint8)
        shown = profile.curves[::256, 0]
    else:
        stored = _lattice()
        light = [profile.curves[256 * stored[..., channel].astype(int), channel] for channel in range(3)]
        shown = np.stack(light, axis=-1) @ (FROM_XYZ @ profile.to_xyz).T.astype(np.float32)
    return bool((np.abs(to_srgb(shown) * 255 - stored) <= NEAR).all())


def _is_of_use(colours: str, convert: Callable[[Pixels], Pixels]) -> bool:
    """Whether it tells black from white, and differs from sRGB."""
    ends = {"RGB": (0, 255), "GRAY": (0, 255), "CMYK": (255, 0)}[colours]
    shape = (1, 1) if colours == "GRAY" else (1, 1, 4 if colours == "CMYK" else 3)
    black, white = (float(convert(np.full(shape, end, np.uint8)).mean()) for end in ends)
    stored = _lattice()
    return white - black > 64 and not (
        colours == "RGB" and bool((np.abs(convert(stored).astype(int) - stored) <= NEAR).all())
    )
