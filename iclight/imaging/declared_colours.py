"""What a file says of its colours, as a profile: the one inside, else PNG's and the boxes' words for one.

Of several, the one that the file's format ranks first: cICP, iCCP, sRGB, then gAMA with cHRM (PNG, third edition).
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .colour import to_linear
from .icc import matrix_icc
from .png_chunks import MAGIC as PNG_MAGIC
from .primaries import BT709, BT2020, D65, FROM_XYZ, P3, is_srgb, to_xyz

# Primaries and transfer functions by their numbers in ITU-T H.273, which PNG's cICP and the boxes of HEIC and AVIF use.
PRIMARIES = {
    1: BT709,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65),
    9: BT2020,
    11: (*P3[:6], 0.314, 0.351),
    12: P3,
}
_SRGB_LIKE = (1, 6, 13, 14, 15)  # those of video, too: screens show them so
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_PQ, _HLG = 16, 18
_SAMPLES = 255 * 16 + 1
# Chunks before a PNG's pixels, and bytes of a file of boxes in which they are looked for.
_CHUNKS, _BOXES = 1000, 4 << 20


def declared_icc(image: Image.Image, file: BinaryIO | None = None) -> bytes | None:
    """The profile of an open Pillow picture (of `file`, which stays where it is), None where it is sRGB or unknown."""
    if file is not None:
        place = file.tell()
        file.seek(0)
        opening = file.read(12)
        if opening.startswith(PNG_MAGIC):
            icc, known = _of_png(file)
        else:
            icc, known = image.info.get("icc_profile"), False
            if not icc and opening[4:8] in (b"ftyp", b"jP  "):
                file.seek(0)
                icc = icc_of_boxes(file.read(_BOXES))
        file.seek(place)
        if icc or known:
            return icc if isinstance(icc, bytes) else None
    icc = image.info.get("icc_profile")
    if isinstance(icc, bytes) and icc:
        return icc
    gamma, ends = image.info.get("gamma"), image.info.get("chromaticity")
    if "srgb" in image.info or (gamma is None and ends is None):
        return None
    return icc_of_gamma(gamma, None if ends is None else (*ends[2:8], *ends[:2]))  # PNG names white first


def _of_png(file: BinaryIO) -> tuple[bytes | None, bool]:
    """(profile, whether a cICP has spoken)."""
    file.seek(len(PNG_MAGIC))
    for _ in range(_CHUNKS):
        head = file.read(8)
        length, name = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"IDAT")
        if name == b"IDAT":
            break
        if name == b"cICP" and length == 4:
            body, checksum = file.read(4), file.read(4)
            primaries, transfer, matrix, full = body[:4].ljust(4, b"\0")
            if struct.pack(">I", zlib.crc32(name + body)) == checksum and matrix == 0 and full == 1:
                return icc_of_code(primaries, transfer), primaries in PRIMARIES and _transfer(transfer) is not None
        else:
            file.seek(length + 4, 1)
    return None, False


def icc_of_boxes(opening: bytes) -> bytes | None:
    """A profile of the first "colr" box in a file's opening bytes: code points (HEIC, AVIF), or one of JPEG 2000's."""
    at = opening.find(b"colr")
    if at < 4 or len(opening) < at + 12:
        return None
    if opening[at + 4 : at + 8] == b"nclx":
        return icc_of_code(*struct.unpack_from(">HH", opening, at + 8))
    (size,) = struct.unpack_from(">I", opening, at - 4)
    return opening[at + 7 : at - 4 + size] if opening[at + 4] in (2, 3) else None


def icc_of_code(primaries: int, transfer: int) -> bytes | None:
    """A profile of what H.273's numbers mean; None for sRGB and for numbers that say nothing.

    Highlights: light of 203 cd/m² (PQ), or of three quarters of the signal (HLG), is white (ITU-R BT.2408); what is
    brighter is clipped.
    """
    curve = _transfer(transfer)
    if primaries not in PRIMARIES or curve is None or (primaries == 1 and transfer in _SRGB_LIKE):
        return None
    return matrix_icc(to_xyz(PRIMARIES[primaries]), curve, f"H.273 {primaries}/{transfer}")


def srgb_icc() -> bytes:
    """A profile of sRGB, for formats in which a picture without one is of unknown colours."""
    curve = _transfer(13)
    assert curve is not None
    return matrix_icc(to_xyz(BT709), curve[::16], "sRGB")


def _transfer(number: int) -> NDArray[np.float64] | None:
    """Linear light at `_SAMPLES` even steps of the stored value."""
    x = np.linspace(0, 1, _SAMPLES)
    if number in _SRGB_LIKE:
        return to_linear(x)
    if number in _GAMMAS:
        return x ** _GAMMAS[number]
    if number == _PQ:
        root = x ** (1 / 78.84375)
        light = ((root - 0.8359375).clip(0, None) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        return (light * 10000 / 203).clip(0, 1)
    if number == _HLG:
        # The system gamma of 1.2 is taken channel by channel.
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(x <= 0.5, x * x / 3, (np.exp((x - c) / a) + b) / 12)
        return ((scene / np.interp(0.75, x, scene)) ** 1.2).clip(0, 1)
    return None


def icc_of_gamma(gamma: float | None, chromaticities: tuple[float, ...] | None) -> bytes | None:
    """A profile of PNG's gAMA (stored = light ** gamma) and cHRM (x and y of red, green, blue, white); None for sRGB.

    Like libpng, takes a gamma within 5 % of 1/2.2 for sRGB's.
    """
    near = gamma is None or abs(gamma * 2.2 - 1) <= 0.05
    if gamma is not None and not 0.1 <= gamma <= 10:
        return None
    try:
        matrix = to_xyz(BT709 if chromaticities is None else chromaticities)
    except ValueError:
        return None
    if near and is_srgb(FROM_XYZ @ matrix):
        return None
    curve = _transfer(13) if near or gamma is None else np.linspace(0, 1, _SAMPLES) ** (1 / gamma)
    assert curve is not None
    return matrix_icc(matrix, curve, "gAMA and cHRM")
