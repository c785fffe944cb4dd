"""ICC profiles of RGB and grey that are three primaries and a curve each (ICC.1, "three-component matrix-based").

They are read without trust, and written for what says its colours in other words (PNG's gAMA, cHRM and cICP). Profiles
of tables are LittleCMS's (`profiles`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .primaries import Matrix

# Where curves are sampled: at 8-bit values, and 256 steps between two of them.
STEPS = 255 * 256 + 1
_TABLES = (b"A2B0", b"A2B1", b"B2A0", b"D2B0", b"D2B1")


@dataclass(frozen=True)
class MatrixProfile:
    """`curves`: `STEPS` x 3 (grey: x 1), from stored values 0 to 1 to linear light; `to_xyz`: of D50, grey: None."""

    curves: NDArray[np.float32]
    to_xyz: Matrix | None


def colours_of(icc: bytes) -> str:
    """What a profile's numbers are: "RGB", "GRAY", "CMYK", or another word of its header."""
    return icc[16:20].decode("latin-1").strip()


def read_matrix_profile(icc: bytes) -> MatrixProfile | None:
    """None for a profile of another kind. Raises ValueError or struct.error for what is damaged."""
    tags = _tags(icc)
    if any(table in tags for table in _TABLES) or icc[20:24] != b"XYZ ":
        return None
    if colours_of(icc) == "GRAY":
        return MatrixProfile(_curve(tags[b"kTRC"])[:, None], None) if b"kTRC" in tags else None
    names = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")
    if colours_of(icc) != "RGB" or not all(name in tags for name in names):
        return None
    columns = [_xyz(tags[name]) for name in names[:3]]
    sampled = {tag: _curve(tag) for tag in {tags[name] for name in names[3:]}}  # mostly one for all three
    return MatrixProfile(np.stack([sampled[tags[name]] for name in names[3:]], axis=1), np.stack(columns, axis=1))


def _tags(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, 128)
    if icc[36:40] != b"acsp" or count > 100:
        raise ValueError("no profile")
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * number) for number in range(count))
    return {name: icc[start : start + size] for name, start, size in entries}


def _xyz(tag: bytes) -> NDArray[np.float64]:
    if not tag.startswith(b"XYZ "):
        raise ValueError("a primary that is none")
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536


def _curve(tag: bytes) -> NDArray[np.float32]:
    """A "curv" (a gamma, or a table) or "para" (one of five functions), sampled."""
    x = np.linspace(0, 1, STEPS)
    if tag.startswith(b"curv"):
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x.astype(np.float32)
        if count == 1:
            return (x ** (struct.unpack_from(">H", tag, 12)[0] / 256)).astype(np.float32)
        table = np.frombuffer(tag, ">u2", count, 12).astype(np.float64) / 65535
        return np.interp(x, np.linspace(0, 1, count), table).astype(np.float32)
    if not tag.startswith(b"para"):
        raise ValueError("a curve of no known kind")
    (kind,) = struct.unpack_from(">H", tag, 8)
    sizes = (1, 3, 4, 5, 7)
    if kind >= len(sizes):
        raise ValueError("a curve of no known kind")
    given = [value / 65536 for value in struct.unpack_from(f">{sizes[kind]}i", tag, 12)]
    g, a, b = [*given, 1.0, 0.0][:3]
    c, d, e, f = 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        d = -b / a if a else 0.0
        e = f = given[3] if kind == 2 else 0.0
    elif kind >= 3:
        c, d = given[3:5]
        e, f = given[5:] if kind == 4 else (0.0, 0.0)
    with np.errstate(all="ignore"):
        high = (a * x + b).clip(0, None) ** g + e
    return np.nan_to_num(np.where(x >= d, high, c * x + f)).clip(0, 1).astype(np.float32)


def matrix_icc(to_xyz: Matrix, curve: Sequence[float] | NDArray[np.floating], name: str) -> bytes:
    """A profile (ICC version 2) of primaries and of one curve for all three, its samples at even steps from 0 to 1."""
    table = np.rint(np.asarray(curve, np.float64).clip(0, 1) * 65535).astype(">u2")
    shared = b"curv" + bytes(4) + struct.pack(">I", len(table)) + table.tobytes()
    text = name.encode("ascii") + b"\0"
    bodies = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        b"wtpt": _xyz_tag((0.9642, 1.0, 0.8249)),
        **{tag: _xyz_tag(to_xyz[:, column]) for column, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        b"rTRC": shared,
        b"gTRC": shared,
        b"bTRC": shared,
    }
    at, entries, data, places = 132 + 12 * len(bodies), b"", b"", dict[bytes, int]()
    for tag, body in bodies.items():
        if body not in places:
            places[body] = at + len(data)
            data += body.ljust(-(-len(body) // 4) * 4, b"\0")
        entries += struct.pack(">4sII", tag, places[body], len(body))
    date = (2026, 1, 1, 0, 0, 0)
    kind = (b"", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head = struct.pack(">I4sI4s4s4s6H4s", at + len(data), *kind, *date, b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(bodies)) + entries + data


def _xyz_tag(values: Sequence[float] | NDArray[np.floating]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))
