"""Text in a PNG, put in and read chunk by chunk: no pixel is decoded, and nothing unfolds beyond what it may."""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO

from ..errors import RecipeError
from .png_chunks import HEADER, MAGIC, chunk

# A picture of 100 megapixels in chunks of 8 kB, as libpng writes them, has fewer.
CHUNKS = 200_000


def with_text(png: bytes, key: str, text: str) -> bytes:
    """A PNG file of any depth with a text put inside under `key`, its pixels untouched."""
    return png[:HEADER] + text_chunk(key, text) + png[HEADER:]


def text_chunk(key: str, text: str) -> bytes:
    """The chunk of a text under `key`."""
    return chunk(b"iTXt", key.encode() + bytes(5) + text.encode())


def text_of(file: BinaryIO, key: str, limit: int) -> str | None:
    """The text that a PNG carries under `key` (tEXt, zTXt or iTXt), None if there is none.

    Raises RecipeError for more than `limit` bytes of it; ValueError, IndexError, zlib.error or OSError for a file that
    is no whole PNG.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("no PNG")
    text: str | None = None
    kinds: set[bytes] = set()
    start = len(MAGIC)
    for _ in range(CHUNKS):
        file.seek(start)
        head = file.read(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (size, b"")
        if start + 12 + length > size or (not kinds and kind != b"IHDR"):
            raise ValueError("cut short, or no PNG")
        if kind == b"IEND":
            if b"IDAT" not in kinds:
                raise ValueError("no pixels")
            return text
        if kind in (b"tEXt", b"zTXt", b"iTXt") and file.read(len(key) + 1) == key.encode() + b"\0":
            if length > limit:
                raise _too_long(limit)
            file.seek(start + 8)
            text = _decoded(kind, _whole(kind, file.read(length), file.read(4))[len(key) + 1 :], limit)
        kinds.add(kind)
        start += 12 + length
    raise ValueError("too many chunks")


def _whole(kind: bytes, body: bytes, checksum: bytes) -> bytes:
    if struct.pack(">I", zlib.crc32(kind + body)) != checksum:
        raise ValueError("damaged")
    return body


def _decoded(kind: bytes, body: bytes, limit: int) -> str:
    """A text chunk's text, from what comes after its key."""
    if kind == b"tEXt":
        return body.decode("latin-1")
    if kind == b"zTXt":
        return _unfolded(body[1:], limit).decode("latin-1")
    packed = body[0]
    _language, _translated, text = body[2:].split(b"\0", 2)
    return (_unfolded(text, limit) if packed else text).decode("utf-8")


def _unfolded(data: bytes, limit: int) -> bytes:
    text = zlib.decompressobj().decompress(data, limit + 1)
    if len(text) > limit:
        raise _too_long(limit)
    return text


def _too_long(limit: int) -> RecipeError:
    return RecipeError("The recipe is broken: it has more than {most:.0f} MB.", most=limit / 1e6)
