"""What a PNG is made of, read without trust: every chunk whole, every row there.

Decoders are given only such files: from a damaged one OpenCV returns what memory held before.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from . import budgets

MAGIC = b"\x89PNG\r\n\x1a\n"
HEADER = len(MAGIC) + 25  # with IHDR
# Values of a pixel by PNG's colour types.
_VALUES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# What is needed to decode the picture itself; the rest may be a profile, a text or an animation.
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# The seven passes of an interlaced picture: first column, first row, and the steps between them.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_STEP = 1 << 20


class BadPng(ValueError):
    """The file is no PNG, or not a whole one."""


def check_png(data: bytes, what: str, beside: float, most: int = budgets.MAX_PIXELS) -> tuple[int, int, bytes]:
    """(width, height, the file without the chunks that no decoder needs) of a PNG that is whole.

    `beside`: bytes per pixel that the caller will hold beside the decoded pixels; `most`: pixels that it may have.
    Raises BadPng for what is damaged, ImageError for what is too large.
    """
    chunks = list(_chunks(data))
    width, height, depth, colour, interlaced = _header(chunks)
    channels = {3: 4, 4: 4}.get(colour, _VALUES[colour])
    budgets.check_decode(width, height, channels * max(1, depth // 8) + beside, what, most)
    _check_rows(chunks, _passes(width, height, interlaced), _VALUES[colour] * depth)
    return width, height, MAGIC + b"".join(chunk(name, body) for name, body in chunks)


def chunk(name: bytes, body: bytes | memoryview) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(name, body) of the chunks that are needed, each with the checksum it should have."""
    if not data.startswith(MAGIC):
        raise BadPng("it is no PNG")
    view, at = memoryview(data), len(MAGIC)
    name = b""
    while name != b"IEND":
        if len(data) < at + 12:
            raise BadPng("it is cut short")
        length, name = struct.unpack_from(">I4s", data, at)
        body = view[at + 8 : at + 8 + length]
        if len(data) < at + 12 + length:
            raise BadPng("it is cut short")
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(body, zlib.crc32(name)) != checksum:
            raise BadPng("a checksum of it is wrong")
        if name in _NEEDED:
            yield name, body
        at += 12 + length


def _header(chunks: list[tuple[bytes, memoryview]]) -> tuple[int, int, int, int, bool]:
    """(width, height, bits of a value, colour type, whether it is interlaced)."""
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise BadPng("it has no header")
    width, height, depth, colour, method, filters, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if colour not in _VALUES or depth not in (1, 2, 4, 8, 16) or method or filters or interlaced > 1:
        raise BadPng("its header is of no known kind")
    return width, height, depth, colour, bool(interlaced)


def _passes(width: int, height: int, interlaced: bool) -> list[tuple[int, int]]:
    """(width, height) of the pictures that the rows make up."""
    if not interlaced:
        return [(width, height)]
    sides = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _PASSES]
    return [(w, h) for w, h in sides if w > 0 and h > 0]


def _check_rows(chunks: list[tuple[bytes, memoryview]], passes: list[tuple[int, int]], bits: int) -> None:
    """Unfold the rows once, keeping none: all must be there, each with a filter that exists."""
    strides = [(1 + (width * bits + 7) // 8, height) for width, height in passes]
    rows = _unfolded([body for name, body in chunks if name == b"IDAT"])
    held = b""
    for stride, height in strides:
        left = stride * height
        at = 0  # of `held`, in this pass
        while left:
            if not held:
                held = next(rows, b"")
                if not held:
                    raise BadPng("rows of it are missing")
            part = held[:left]
            filters = np.frombuffer(part, np.uint8)[-at % stride :: stride]
            if bool((filters > 4).any()):
                raise BadPng("a row of it has no known filter")
            held, left, at = held[len(part) :], left - len(part), at + len(part)


def _unfolded(bodies: list[memoryview]) -> Iterator[bytes]:
    """What a PNG's IDAT chunks unfold to, in pieces of at most a megabyte."""
    unfolder = zlib.decompressobj()
    try:
        for body in bodies:
            for start in range(0, len(body), _STEP):
                rest: bytes | memoryview = body[start : start + _STEP]
                while rest and not unfolder.eof:
                    yield unfolder.decompress(rest, _STEP)
                    rest = unfolder.unconsumed_tail
    except zlib.error as error:
        raise BadPng(str(error)) from error
