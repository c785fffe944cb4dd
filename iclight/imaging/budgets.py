"""How much a file may ask for, said before it is decoded: of which kind it is, its bytes, and the memory of its pixels.

A picture of a few kilobytes can unfold to gigabytes. Every reader asks here first: `check_decode` refuses pixels that
would take more than `DECODE_BYTES` with all the copies the reader makes. A file of at most 20 MB then takes at most
1.5 GB while it is read.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ..errors import ImageError

# Larger pictures are refused from their header, before a single pixel is decoded.
MAX_PIXELS = 100_000_000
# What decoding may take beyond what is there already; 1.5 GB with the file itself and what libraries keep.
DECODE_BYTES = 1_300_000_000
# Bytes per pixel of an ordinary picture: four for Pillow's, three of RGB, one of alpha.
PLAIN = 8
# What a file of each kind may weigh. No larger one unfolds to something that would be taken.
PICTURE_FILE = 1 << 30
PANORAMA_FILE = 1 << 30
# Layers and normal maps are read whole, and stay beside their pixels.
LAYER_FILE = 256 << 20
# Panoramas of more than 8192 x 4096 and a little say nothing more about 32 x 32 values; layers have the model's size.
PANORAMA_PIXELS = LAYER_PIXELS = 36_000_000

# Pixels from which on a decode takes its turn.
HEAVY = 8_000_000
_TURN = threading.RLock()  # a reader may lead to another


@contextlib.contextmanager
def turn(pixels: int = HEAVY) -> Iterator[None]:
    """While a large file is decoded: one at a time in this process, so that their memory does not add up.

    `pixels`: of the picture; small ones do not wait. By default it counts as large.
    """
    with _TURN if pixels >= HEAVY else contextlib.nullcontext():
        yield


def check_decode(width: int, height: int, bytes_per_pixel: float, what: str, most: int = MAX_PIXELS) -> None:
    """Raise ImageError unless width x height pixels are at most `most` and within `DECODE_BYTES`.

    `bytes_per_pixel` counts whatever the reader holds at its worst moment: decoder, channels, parts, copies.
    """
    if width < 1 or height < 1:
        raise ImageError("{what} is empty ({width}x{height} pixels).", what=what, width=width, height=height)
    most = min(most, int(DECODE_BYTES / bytes_per_pixel))
    if width * height > most:
        raise too_large(what, most)


def fits(width: int, height: int, bytes_per_pixel: float) -> bool:
    """Whether width x height pixels are within `DECODE_BYTES`."""
    return width * height * bytes_per_pixel <= DECODE_BYTES


def too_large(what: str, most: int) -> ImageError:
    """What is said of a picture of more than `most` pixels; rounded down, so that what it allows is taken."""
    return ImageError("{what} has more than {most} megapixels; scale it down first.", what=what, most=most // 1_000_000)
