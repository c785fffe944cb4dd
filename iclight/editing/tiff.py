"""Pictures of 16 bits as pages of one TIFF, each with its name: the libraries here write one of the two, not both."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHORT, LONG, ASCII = 3, 4, 2
# Tags of TIFF 6.0, in the order in which a page lists them.
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 256, 257, 258, 259, 262, 270
STRIP, SAMPLES, ROWS, BYTES, PLANAR, PAGE_NAME = 273, 277, 278, 279, 284, 285


def write_pages(path: Path, pages: Mapping[str, NDArray[np.uint16]]) -> None:
    """Write HxWx3 uint16 RGB pictures, uncompressed; a page's description and page name is its key (ASCII).

    Raises OSError where the file cannot be written, ValueError beyond TIFF's 4 GB.
    """
    with open(path, "wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 8))
        at = 8
        for number, (name, page) in enumerate(pages.items()):
            last = number == len(pages) - 1
            head, size = _directory(at, name, page, last)
            if at + size >= 2**32:
                raise ValueError("A TIFF holds at most 4 GB; write an .exr.")
            file.write(head)
            file.write(np.ascontiguousarray(page, "<u2").tobytes())
            at += size


def _directory(at: int, name: str, page: NDArray[np.uint16], last: bool) -> tuple[bytes, int]:
    """A page's directory with what it points at, to be followed by its pixels; and the length of all of it."""
    height, width = page.shape[:2]
    text = name.encode("ascii", "replace") + b"\0"
    count = len(text)
    text += b"\0" * (-count % 2)  # pixels begin at an even place
    tags = 12
    extra_at = at + 2 + 12 * tags + 4
    pixels_at = extra_at + 6 + len(text)
    length = pixels_at - at + page.nbytes
    entries = [
        (WIDTH, LONG, 1, width),
        (HEIGHT, LONG, 1, height),
        (BITS, SHORT, 3, extra_at),
        (COMPRESSION, SHORT, 1, 1),
        (PHOTOMETRIC, SHORT, 1, 2),
        (DESCRIPTION, ASCII, count, extra_at + 6),
        (STRIP, LONG, 1, pixels_at),
        (SAMPLES, SHORT, 1, 3),
        (ROWS, LONG, 1, height),
        (BYTES, LONG, 1, page.nbytes),
        (PLANAR, SHORT, 1, 1),
        (PAGE_NAME, ASCII, count, extra_at + 6),
    ]
    made = struct.pack("<H", tags) + b"".join(_entry(*one, text) for one in entries)
    made += struct.pack("<I", 0 if last else at + length)
    return made + struct.pack("<3H", 16, 16, 16) + text, length


def _entry(tag: int, kind: int, count: int, value: int, text: bytes) -> bytes:
    if kind == ASCII and count <= 4:  # so short a text stands in the entry itself
        return struct.pack("<HHI4s", tag, kind, count, text.ljust(4, b"\0"))
    return struct.pack("<HHII", tag, kind, count, value)
