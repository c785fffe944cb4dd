"""What an OpenEXR file says of its parts, read without trust and without the library, which believes it.

The file's format: https://openexr.com/en/latest/OpenEXRFileLayout.html
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..errors import ImageError
from . import budgets

MAGIC = b"\x76\x2f\x31\x01"
_LONGEST = 1 << 20  # of an attribute's value, and of a header, in bytes
_MULTIPART = 0x1000
_PIXEL_BYTES = (4, 2, 4)  # uint, half, float
# Rows that are compressed together, by compression; 256 for DWAB and whatever is newer.
_ROWS = (1, 1, 1, 16, 32, 16, 32, 32, 32)
# Measured: copies of a chunk while it is decoded, and bytes for each entry of a part's table.
CHUNK_COPIES, TABLE_BYTES = 5, 64
# Bytes per pixel of the colours that are read from channels; in a display window of another size, they are there twice.
JOINED = 16


class BadHeader(ValueError):
    """The header is cut short or contradicts itself."""


@dataclass(frozen=True)
class Part:
    """A part's `width` and `height`, the names of its channels, and the bytes of one pixel of all of them."""

    width: int
    height: int
    channels: tuple[str, ...]
    pixel_bytes: int
    deep: bool
    chunks: int  # of its table of offsets, in which tiles and their smaller levels count
    chunk_pixels: int  # of a tile, or of the rows that are compressed together
    shown: tuple[int, int]  # width and height of the display window


def read_parts(file: BinaryIO) -> list[Part]:
    """All parts of a file, from its beginning on. Raises BadHeader."""
    head = file.read(8)
    if len(head) < 8 or not head.startswith(MAGIC):
        raise BadHeader("no OpenEXR file")
    several = bool(struct.unpack("<I", head[4:])[0] & _MULTIPART)
    parts = []
    while attributes := _attributes(file):
        parts.append(_part(attributes))
        if not several:
            break
        if len(parts) > 1000:
            raise BadHeader("more than a thousand parts")
    if not parts:
        raise BadHeader("no part")
    return parts


def check_exr(file: BinaryIO, what: str, most: int, threads: int) -> int:
    """How many parts a file has, which the library decodes all.

    `most`: pixels that a part may have; `threads`: those of the library. Raises ImageError for a file that it could not
    decode within the budget, BadHeader for what is no such file.
    """
    pixels, working, joined = 0, 0, 0
    parts = read_parts(file)
    for part in parts:
        for width, height in ((part.width, part.height), part.shown):
            budgets.check_decode(width, height, 2 * JOINED, what, most)
        joined = max(joined, part.width * part.height * JOINED)
        if part.deep:
            raise ImageError("{what} holds no colours (R, G, B or Y) but deep data; export it as flat RGB.", what=what)
        size = part.width * part.height * part.pixel_bytes
        chunk = min(size, part.chunk_pixels * part.pixel_bytes)
        pixels += size + part.chunks * TABLE_BYTES
        working = max(working, min(size, chunk * max(1, threads)))
    if pixels + max(CHUNK_COPIES * working, joined) > budgets.DECODE_BYTES:
        raise ImageError(
            "{what} takes too much memory; export one picture as RGB, in half floats and scan lines.", what=what
        )
    return len(parts)


def _attributes(file: BinaryIO) -> dict[str, bytes]:
    """The values of a header by name; none where a list of headers ends."""
    found: dict[str, bytes] = {}
    total = 0
    while name := _text(file):
        _text(file)  # its type
        length = file.read(4)
        size = struct.unpack("<i", length)[0] if len(length) == 4 else -1
        total += size
        if not 0 <= size <= _LONGEST or total > _LONGEST:
            raise BadHeader("an attribute of an odd length")
        found[name] = file.read(size)
        if len(found[name]) < size:
            raise BadHeader("cut short")
    return found


def _text(file: BinaryIO) -> str:
    """Text that ends in a zero byte."""
    text = bytearray()
    while (byte := file.read(1)) != b"\0":
        if not byte or len(text) > 255:
            raise BadHeader("a name without an end")
        text += byte
    return text.decode("latin-1")


def _part(attributes: dict[str, bytes]) -> Part:
    try:
        left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
        channels = _channels(attributes["channels"])
        width, height = right - left + 1, bottom - top + 1
        start, first, end, last = struct.unpack("<4i", attributes["displayWindow"])
        shown = max(1, end - start + 1), max(1, last - first + 1)
        if width < 1 or height < 1:
            raise BadHeader("a data window of no size")
        compression = attributes.get("compression", b"") or b"\xff"
        rows = _ROWS[compression[0]] if compression[0] < len(_ROWS) else 256
        chunks, chunk_pixels = height, rows * width
        if "tiles" in attributes:
            across, down, mode = struct.unpack("<IIB", attributes["tiles"])
            tiles = math.ceil(width / max(across, 1)) * math.ceil(height / max(down, 1))
            chunk_pixels = min(across, width) * min(down, height)
            # Mipmaps add a third, ripmaps all combinations of halved sides; a row and a column of tiles remain in each.
            levels = 1 if mode & 15 == 0 else 4
            chunks = levels * tiles + levels * (width.bit_length() + height.bit_length()) ** 2
    except (KeyError, struct.error) as error:
        raise BadHeader("no data window or channels") from error
    names = tuple(name for name, _ in channels)
    pixel_bytes = sum(size for _, size in channels)
    return Part(width, height, names, pixel_bytes, b"deep" in attributes.get("type", b""), chunks, chunk_pixels, shown)


def threads_of(library: Any) -> int:
    """How many chunks the OpenEXR module decodes at once."""
    count = getattr(library, "global_thread_count", None)
    return int(count()) if count is not None else os.cpu_count() or 1


def _channels(coded: bytes) -> list[tuple[str, int]]:
    """(name, bytes of a value) of a list of channels."""
    found = []
    at = 0
    while at < len(coded) and coded[at]:
        end = coded.index(b"\0", at) if b"\0" in coded[at:] else len(coded)
        kind = struct.unpack_from("<i", coded, end + 1)[0]
        if not 0 <= kind < len(_PIXEL_BYTES):
            raise BadHeader("a channel of an unknown type")
        found.append((coded[at:end].decode("latin-1"), _PIXEL_BYTES[kind]))
        at = end + 17
    return found
