"""TIFFs that need libtiff (LZW, JPEG, fax, ...), HEIC and raw files, decoded in a process that holds nothing else.

libtiff says on the standard error what Pillow does not hear, and what it leaves undecoded is garbage of that process
alone. Whatever it says there, the file is refused. Where the C library can fill fresh memory (glibc), the file is
decoded twice over different fillings: where they show, rows were not decoded.
"""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
from numpy.typing import NDArray

from ..errors import ImageError, plain
from . import budgets
from .canvas import PART, Canvas, grey_canvas
from .declared_colours import icc_of_boxes
from .decoder import TOO_LARGE
from .depths import sixteen_bits
from .profiles import Profile, profile_of, rgb_of_inks

SECONDS = 60
# The process may address what decoding may take, and what Python and Pillow map before it.
ADDRESSES = budgets.DECODE_BYTES + 400_000_000
# Greys of more than 8 bits, as Pillow calls them, and what is white.
_DEEP = {"I;16": ("<u2", 65535.0), "I": ("=i4", 2.0**31 - 1), "F": ("=f4", 1.0)}

_DECODER = str(Path(__file__).with_name("decoder.py"))


def decode_apart(
    data: bytes, what: str, most: int, kind: str = "TIFF", profile: Profile | None = None, keep_native: bool = False
) -> Canvas:
    """The first page of a TIFF, a HEIC picture (`kind` "HEIF", with its own profile) or a raw file ("RAW"), upright.

    Raises ImageError, opening with `what`, where the library complains of anything, beyond `most` pixels and `SECONDS`.
    """
    with _apart(data, what, most, kind) as pipe:
        mode, width, height, icc_bytes = _head(pipe)
        if kind == "HEIF":
            icc = pipe.read(icc_bytes) or icc_of_boxes(data)
            profile = profile_of(icc) if icc else None
            profile = profile if profile is not None and profile.fits(mode == "L") else None
        if mode in _DEEP:
            kind, full = _DEEP[mode]
            return grey_canvas(np.frombuffer(pipe.read(), kind).reshape(height, width), full, profile=profile)
        mode, _, bits = mode.partition(";")
        deep, channels, inks = bool(bits), len(mode), mode == "CMYK"
        canvas = Canvas(width, height, mode == "RGBA", profile=None if inks else profile, keep=keep_native, deep=deep)
        rows = max(1, PART // width)
        for top in range(0, height, rows):
            count = min(rows, height - top)
            coded = pipe.read(count * width * channels * (1 + deep))
            band: NDArray[Any] = np.frombuffer(coded, np.uint16 if deep else np.uint8)
            pixels = band.reshape((count, width, channels) if channels > 1 else (count, width))
            if deep:
                stored = sixteen_bits(pixels[..., :3] >> (16 - int(bits)), 2 ** int(bits) - 1)
                canvas.put(0, top, (pixels >> 8).astype(np.uint8), stored)
            else:
                canvas.put(0, top, rgb_of_inks(pixels, profile) if inks else pixels)
        return canvas


def unfold_apart(
    segments: Sequence[memoryview], compression: int, row_bytes: int, rows: int, height: int, what: str
) -> memoryview:
    """What strips of `rows` rows each unfold to, one after the other: `height` x `row_bytes` bytes.

    They are given to libtiff as a grey picture of 8 bits, so that it need not know what they hold. Raises ImageError
    like `decode_apart`.
    """
    with _apart(_grey_tiff(segments, compression, row_bytes, rows, height), what, row_bytes * height) as pipe:
        if _head(pipe) != ("L", row_bytes, height, 0):
            raise EOFError
        unfolded = bytearray(row_bytes * height)
        if pipe.readinto(unfolded) != len(unfolded):  # type: ignore[attr-defined]  # a buffered pipe has it
            raise EOFError
        return memoryview(unfolded)


def _grey_tiff(segments: Sequence[memoryview], compression: int, width: int, rows: int, height: int) -> bytes:
    """A TIFF of 8-bit greys around strips that are compressed already."""
    counts = [len(segment) for segment in segments]
    offsets = np.cumsum([8, *counts])
    lists_at = int(offsets[-1])
    lists = np.array([*offsets[:-1], *counts], "<u4").tobytes()
    # A list of one stands in the entry itself.
    places = (8, counts[0]) if len(counts) == 1 else (lists_at, lists_at + len(lists) // 2)
    entries = [
        (256, 1, width),
        (257, 1, height),
        (258, 1, 8),
        (259, 1, compression),
        (262, 1, 1),
        (273, len(counts), places[0]),
        (277, 1, 1),
        (278, 1, rows),
        (279, len(counts), places[1]),
    ]
    coded = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, count, value in entries)
    head = struct.pack("<2sHI", b"II", 42, lists_at + len(lists))
    return b"".join([head, *segments, lists, struct.pack("<H", len(entries)), coded, bytes(4)])


@contextlib.contextmanager
def _apart(data: bytes, what: str, most: int, kind: str = "TIFF") -> Iterator[IO[bytes]]:
    """The pipe that a process writes a picture's pixels to. What was read counts only when this has ended well."""
    home = str(Path(PIL.__file__).parents[1])
    limits = [str(limit) for limit in (ADDRESSES + 2 * len(data), SECONDS, most)]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-I", _DECODER, home, kind, *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        assert child.stdin is not None and child.stdout is not None
        clock = threading.Timer(SECONDS, child.kill)
        clock.start()
        whole = False
        try:
            with contextlib.suppress(BrokenPipeError), child.stdin:
                child.stdin.write(data)
            with contextlib.suppress(EOFError, ValueError):  # it wrote less than a picture, and says why
                yield child.stdout
                whole = True
            # Drained, so that it is not in the way of its own end.
            while child.stdout.read(PART):
                pass
            status = child.wait()
        finally:
            clock.cancel()
            child.kill()
            child.stdout.close()
            child.wait()
        complaints.seek(0)
        said = complaints.read(2000).decode("utf-8", "replace").strip()
    if said.endswith(TOO_LARGE):
        raise budgets.too_large(what, most)
    if status != 0 or said or not whole:
        reason = plain(said.splitlines()[-1] if said else "its decoder did not end well")
        raise ImageError(
            "{what} is broken or cut short and cannot be decoded ({reason}). Export it again.", what=what, reason=reason
        )


def _head(pipe: IO[bytes]) -> tuple[str, int, int, int]:
    """Mode, width and height, and the bytes of the profile that follows."""
    head = re.fullmatch(rb"([A-Z;0-9]+) ([0-9]{1,10}) ([0-9]{1,10}) ([0-9]{1,8})\n", pipe.readline(100))
    if head is None:
        raise EOFError
    return head[1].decode(), int(head[2]), int(head[3]), int(head[4])
