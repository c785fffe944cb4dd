"""What the first page of a TIFF says of itself, read without trust: every number is checked against the file.

TIFF 6.0 and BigTIFF, either byte order. Nothing is decoded here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Tags of TIFF 6.0.
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES = 273, 274, 277, 278, 279
PLANAR, PREDICTOR, COLOURS, EXTRA, FORMAT = 284, 317, 320, 338, 339
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, ICC = 322, 323, 324, 325, 34675
_KNOWN = {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_ROWS}
SUBFILE, DESCRIPTION, SUBPAGES, DNG = 254, 270, 330, 50706
_KNOWN |= {
    SUBFILE,
    DESCRIPTION,
    SUBPAGES,
    DNG,
    STRIP_BYTES,
    PLANAR,
    PREDICTOR,
    COLOURS,
    EXTRA,
    FORMAT,
    TILE_WIDTH,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_BYTES,
    ICC,
}
UNCOMPRESSED = 1
# What else may be broken in a file whose pixels are whole.
_BESIDE_PIXELS = (DESCRIPTION, ICC)
# Types of entries that hold whole numbers: BYTE, SHORT, LONG, UNDEFINED, IFD, LONG8, IFD8. ASCII is for texts alone.
_ASCII = 2
_TYPES = {1: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}


class Damaged(ValueError):
    """The file contradicts itself or is cut short."""


class Unsupported(ValueError):
    """A TIFF of a kind that is not read here."""


@dataclass(frozen=True)
class Page:
    """A page's directory. Segments are its strips or tiles: row by row, and plane by plane where `planar` is 2."""

    order: str  # "<" or ">"
    width: int
    height: int
    samples: int
    bits: tuple[int, ...]
    formats: tuple[int, ...]
    extra: tuple[int, ...]
    compression: int
    photometric: int
    fill_order: int
    planar: int
    predictor: int
    orientation: int
    colours: NDArray[np.uint16]  # 3 x 2**bits, or empty
    tiled: bool
    segment_width: int
    segment_height: int
    offsets: NDArray[np.uint64]
    counts: NDArray[np.uint64]
    size: int  # of the file, in bytes
    icc: bytes  # empty where there is no profile
    is_raw: bool  # a camera's: what stands first is a small picture of it

    @property
    def across(self) -> int:
        return -(-self.width // self.segment_width)

    @property
    def down(self) -> int:
        return -(-self.height // self.segment_height)

    @property
    def row_bytes(self) -> int:
        """Bytes of a segment's row, decompressed."""
        values = self.segment_width * (1 if self.planar == 2 else self.samples)
        return -(-values * self.bits[0] // 8)

    def segment(self, column: int, row: int, plane: int) -> tuple[int, int, int]:
        """(first byte, bytes, rows of the picture) of a strip or tile. Raises Damaged where the file has no such.

        What is missing must be refused: it would show whatever memory held before.
        """
        number = (plane * self.down + row) * self.across + column
        # A tile that reaches over the edge is stored whole, the last strip as far as the picture goes.
        rows = min(self.segment_height, self.height - row * self.segment_height)
        if number >= len(self.offsets):
            raise Damaged(f"it lists {len(self.offsets)} strips or tiles, which is too few")
        start = int(self.offsets[number])
        if self.compression == UNCOMPRESSED:
            size = rows * self.row_bytes  # what is listed is often wrong, and nobody needs it
        elif number < len(self.counts):
            size = int(self.counts[number])
        else:
            raise Damaged(f"it lists the sizes of {len(self.counts)} strips or tiles, which is too few")
        if not 0 < start <= start + size <= self.size:
            raise Damaged("strips or tiles of it lie beyond its end")
        return start, size, rows


def read_page(data: bytes) -> Page:
    """The first page of a TIFF. Raises Damaged where it cannot be true, Unsupported where strips are not listed."""
    order = "<" if data[:2] == b"II" else ">"
    tags = _tags(data, order)
    width, height = _one(tags, WIDTH, 0), _one(tags, HEIGHT, 0)
    samples = _one(tags, SAMPLES, 1)
    if width < 1 or height < 1 or not 1 <= samples <= 64:
        raise Damaged("it has no sides, or no samples")
    tiled = TILE_WIDTH in tags
    nothing = np.zeros(0, np.uint64)
    offsets = tags.get(TILE_OFFSETS, tags.get(STRIP_OFFSETS))
    if offsets is None:
        raise Unsupported("it does not list its strips")
    rows = min(_one(tags, STRIP_ROWS, height), height)
    sides = (_one(tags, TILE_WIDTH, 0), _one(tags, TILE_HEIGHT, 0)) if tiled else (width, rows)
    if min(sides) < 1:
        raise Damaged("its strips or tiles have no sides")
    return Page(
        order,
        width,
        height,
        samples,
        _each(tags, BITS, 1, samples),
        _each(tags, FORMAT, 1, samples),
        tuple(int(value) for value in tags.get(EXTRA, ())[:samples]),
        _one(tags, COMPRESSION, 1),
        _one(tags, PHOTOMETRIC, -1),
        _one(tags, FILL_ORDER, 1),
        _one(tags, PLANAR, 1),
        _one(tags, PREDICTOR, 1),
        _one(tags, ORIENTATION, 1),
        tags.get(COLOURS, nothing).astype(np.uint16),
        tiled,
        *sides,
        offsets,
        tags.get(TILE_BYTES, tags.get(STRIP_BYTES, nothing)),
        len(data),
        tags.get(ICC, nothing).astype(np.uint8).tobytes(),
        DNG in tags or (SUBPAGES in tags and bool(_one(tags, SUBFILE, 0) & 1)),
    )


def description_of(data: bytes) -> str:
    """The text that a TIFF's first page is described by, "" for none. Raises Damaged."""
    tags = _tags(data, "<" if data[:2] == b"II" else ">")
    return tags[DESCRIPTION].astype(np.uint8).tobytes().split(b"\0")[0].decode("latin-1") if DESCRIPTION in tags else ""


def _tags(data: bytes, order: str) -> dict[int, NDArray[np.uint64]]:
    """The values of the entries that are of use, by tag. The first of two counts."""
    big = data[2:4] in (b"+\0", b"\0+")
    head, entry, inline = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    place = "Q" if big else "I"
    try:
        (at,) = struct.unpack_from(order + place, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + head, data, at)
        at += struct.calcsize("=" + head)
        size = struct.calcsize("=" + entry)
        if count > 4096 or at + count * size > len(data):
            raise Damaged("its directory is cut short")
        found: dict[int, NDArray[np.uint64]] = {}
        total = 0
        for tag, kind, number, value in struct.iter_unpack(order + entry, data[at : at + count * size]):
            types = {_ASCII: "u1"} if tag == DESCRIPTION else _TYPES
            if tag not in _KNOWN or tag in found or kind not in types:
                continue
            dtype = np.dtype(order + types[kind])
            needed = number * dtype.itemsize
            start = 0 if needed <= inline else struct.unpack(order + place, value)[0]
            source = value if needed <= inline else data
            if not 0 < needed <= len(source) - start:
                if tag in _BESIDE_PIXELS:
                    continue  # a broken profile is none
                raise Damaged(f"its entry {tag} lies beyond its end")
            total += needed
            if total > len(data):  # entries that share their bytes could ask for any amount of memory
                raise Damaged("its entries are more than the file")
            found[tag] = np.frombuffer(source, dtype, number, start).astype(np.uint64)
    except (struct.error, OverflowError) as error:
        raise Damaged("its directory is cut short") from error
    return found


def _one(tags: dict[int, NDArray[np.uint64]], tag: int, default: int) -> int:
    return int(tags[tag][0]) if tag in tags else default


def _each(tags: dict[int, NDArray[np.uint64]], tag: int, default: int, samples: int) -> tuple[int, ...]:
    """A value for each sample; where there are fewer, the first stands for all."""
    values = tuple(int(value) for value in tags.get(tag, ())[:samples]) or (default,)
    return values if len(values) == samples else (values[0],) * samples
