"""EXIF looked at before Pillow reads it: the directory whose values cost more than the whole picture.

Pillow copies the value of each entry of a directory. Thousands of entries that point at the same megabytes of a small
file so become gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from ..errors import ImageError

# What the values of a directory may add up to, in bytes. A camera's are some ten thousand, its preview included.
MOST = 16 << 20
# Bytes of a value by TIFF's types 1 to 13.
_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)
_JPEG = b"\xff\xd8"
_HEADS = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0")


def check_file(file: BinaryIO, what: str) -> None:
    """Raise ImageError for a picture whose EXIF, where opening it reads that, is no description but a bomb.

    The file is left at its beginning.
    """
    opening = file.read(32)
    file.seek(0)
    if opening.startswith(_JPEG):
        blocks = _blocks_of_jpeg(file)
    elif opening[4:8] == b"ftyp":
        blocks = _blocks_of_box(file.read())
    else:
        return
    file.seek(0)
    if any(weight(block) > MOST for block in blocks):
        raise ImageError("{what} is broken: its EXIF describes itself over and over. Export it again.", what=what)


def check_info(info: dict[Any, Any], what: str) -> None:
    """The same for the EXIF that an open picture keeps unread (PNG, WebP)."""
    blocks = [info.get("exif"), _from_text(info.get("Raw profile type exif"))]
    if any(isinstance(block, bytes) and weight(block) > MOST for block in blocks):
        raise ImageError("{what} is broken: its EXIF describes itself over and over. Export it again.", what=what)


def weight(block: bytes) -> int:
    """Bytes that the values of a block's first directory take; 0 for what is no EXIF."""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    if not block.startswith(_HEADS):
        return 0
    order = "<" if block.startswith(b"II") else ">"
    try:
        (at,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, at)
    except struct.error:
        return 0
    entries = block[at + 2 : at + 2 + 12 * count]
    total = 0
    for _, kind, number, _ in struct.iter_unpack(order + "HHII", entries[: len(entries) // 12 * 12]):
        size = number * (_SIZES[kind] if kind < len(_SIZES) else 0)
        total += size if size <= len(block) else 0  # what is not there is not read
    return total


def _blocks_of_jpeg(file: BinaryIO) -> list[bytes]:
    """The EXIF of a JPEG's segments, joined as Pillow joins it, and the directories of its further pictures (MPF)."""
    exif: list[bytes] = [b""]
    found: list[bytes] = []
    for marker, body in segments(file):
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif.append(body[6:])
        elif marker == 0xE2 and body.startswith(b"MPF\0"):
            found.append(body[4:])
    # Before Pillow 12, a line break stood between two segments.
    return [*found, b"".join(exif), b"\n".join(exif)[1:]]


def segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of the segments before the pixels, what is no segment skipped just as Pillow skips it."""
    from PIL.JpegImagePlugin import MARKER

    file.seek(2)
    while byte := file.read(1):
        if byte != b"\xff":
            continue
        while byte == b"\xff":
            byte = file.read(1)
        if not byte or byte == b"\xda":
            return
        known = MARKER.get(0xFF00 + byte[0])
        if known is not None and known[2] is not None:
            yield byte[0], file.read(max(0, int.from_bytes(file.read(2), "big") - 2))


def _blocks_of_box(data: bytes) -> list[bytes]:
    """Wherever a directory could begin in a file of boxes (AVIF), which may keep its EXIF anywhere."""
    found: list[bytes] = []
    for head in _HEADS:
        at = data.find(head)
        while at >= 0 and len(found) < 1000:
            found.append(data[at:])
            at = data.find(head, at + 1)
    return found


def _from_text(text: Any) -> bytes | None:
    """EXIF as ImageMagick writes it into a PNG's text: hexadecimal, below three lines."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except (AttributeError, ValueError):
        return None
