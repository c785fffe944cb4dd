"""How much a file may ask for, said before it is decoded: of which kind it is, its bytes, and the memory of its pixels.

A picture of a few kilobytes can unfold to gigabytes. Every reader asks here first: `open_regular` opens nothing but
files of a size that may be read, `check_decode` refuses pixels that would take more than `DECODE_BYTES` with all the
copies the reader makes. A file of at most 20 MB then takes at most 1.5 GB while it is read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from typing import BinaryIO

from .errors import IclightError, ImageError, quoted

# Larger pictures are refused from their header, before a single pixel is decoded.
MAX_PIXELS = 100_000_000
# What decoding may take beyond what is there already; 1.5 GB with the file itself and what libraries keep.
DECODE_BYTES = 1_300_000_000
# What a file of each kind may weigh. No larger one unfolds to something that would be taken.
PICTURE_FILE = 1 << 30
PANORAMA_FILE = 1 << 30
# Layers and normal maps are read whole, and stay beside their pixels.
LAYER_FILE = 256 << 20

# Pixels from which on a decode takes its turn.
HEAVY = 8_000_000
_TURN = threading.RLock()  # a reader may lead to another

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


@contextlib.contextmanager
def turn(pixels: int = HEAVY) -> Iterator[None]:
    """While a large file is decoded: one at a time in this process, so that their memory does not add up.

    `pixels`: of the picture; small ones do not wait. By default it counts as large.
    """
    with _TURN if pixels >= HEAVY else contextlib.nullcontext():
        yield


def check_regular(path: str | os.PathLike[str], what: str, error: type[IclightError] = ImageError) -> os.stat_result:
    """The status of a file that may be opened. Raises `error` for what is missing, a folder, a pipe, a device, ..."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as reason:  # ValueError: a NUL in the name
        raise _cannot_open(path, what, error, reason) from reason
    _check_kind(status, path, what, error)
    return status


def open_regular(
    path: str | os.PathLike[str], what: str, limit: int, error: type[IclightError] = ImageError
) -> BinaryIO:
    """A regular file of at most `limit` bytes, opened for reading. Raises `error` for anything else."""
    check_regular(path, what, error)
    # Opened without waiting, and looked at again: a name may mean a pipe by now, whose opening waits for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError) as reason:
        raise _cannot_open(path, what, error, reason) from reason
    file = os.fdopen(handle, "rb")
    try:
        status = os.fstat(handle)
        _check_kind(status, path, what, error)
        check_bytes(status.st_size, limit, what, error)
    except IclightError:
        file.close()
        raise
    return file


def read_regular(path: str | os.PathLike[str], what: str, limit: int, error: type[IclightError] = ImageError) -> bytes:
    """All of a regular file of at most `limit` bytes. Raises `error` for anything else."""
    with open_regular(path, what, limit, error) as file:
        try:
            return file.read(os.fstat(file.fileno()).st_size)  # what has been added since is no part of it
        except OSError as reason:
            raise _cannot_open(path, what, error, reason) from reason


def check_bytes(count: int, limit: int, what: str, error: type[IclightError] = ImageError) -> None:
    """Raise `error` for a file of more than `limit` bytes."""
    if count > limit:
        raise error(f"{what} is a file of {count / 1e6:.0f} MB; it may have {limit / 1e6:.0f} MB.")


def check_decode(width: int, height: int, bytes_per_pixel: float, what: str, most: int = MAX_PIXELS) -> None:
    """Raise ImageError unless width x height pixels are at most `most` and within `DECODE_BYTES`.

    `bytes_per_pixel` counts whatever the reader holds at its worst moment: decoder, channels, parts, copies.
    """
    if width < 1 or height < 1:
        raise ImageError(f"{what} is empty ({width}x{height} pixels).")
    most = min(most, int(DECODE_BYTES / bytes_per_pixel))
    if width * height > most:
        raise ImageError(too_large(what, most))


def too_large(what: str, most: int) -> str:
    """What is said of a picture of more than `most` pixels; rounded down, so that what it allows is taken."""
    return f"{what} has more than {most // 1_000_000} megapixels; scale it down first."


def _check_kind(status: os.stat_result, path: str | os.PathLike[str], what: str, error: type[IclightError]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise error(f"{what} {quoted(os.fspath(path))} is a folder, not a picture.")
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{what} {quoted(os.fspath(path))} is not a regular file.")


def _cannot_open(
    path: str | os.PathLike[str], what: str, error: type[IclightError], reason: OSError | ValueError
) -> IclightError:
    name = quoted(os.fspath(path))
    if isinstance(reason, ValueError) or reason.errno in _MISSING:
        return error(f"{what} {name} does not exist.")
    return error(f"{what} {name} cannot be read ({reason.strerror}).")
