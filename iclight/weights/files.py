"""Files on the disk: regular ones alone are read, no larger than they may be; what is written is whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import IclightError, ImageError, quoted

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


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
        raise error(
            "{what} is a file of {size:.0f} MB; it may have {most:.0f} MB.",
            what=what,
            size=count / 1e6,
            most=limit / 1e6,
        )


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], error: type[IclightError] = ImageError) -> Iterator[Path]:
    """The name of a draft beside `path`, to write to: it takes that place when the block ends well.

    Where anything goes wrong, a full disk too, `path` stays as it was, and nothing is left beside it. Folders are made;
    a link is written through; a file that is replaced hands on its permissions. Raises `error` for an OSError.
    """
    draft = None
    try:
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{secrets.token_hex(8)}.tmp")
        replaced = os.path.isfile(target)
        if replaced and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        yield draft
        if replaced:
            shutil.copymode(target, draft)
        os.replace(draft, target)
    except (OSError, ValueError) as reason:  # ValueError: a NUL in the name
        why = getattr(reason, "strerror", None) or reason
        raise error("{path} cannot be written ({reason}).", path=path, reason=why) from reason
    finally:
        if draft is not None:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], data: bytes, error: type[IclightError] = ImageError) -> None:
    """Write a file whole or not at all (`whole_file`)."""
    with whole_file(path, error) as draft:
        draft.write_bytes(data)


def _check_kind(status: os.stat_result, path: str | os.PathLike[str], what: str, error: type[IclightError]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise error("{what} {path} is a folder, not a picture.", what=what, path=quoted(os.fspath(path)))
    if not stat.S_ISREG(status.st_mode):
        raise error("{what} {path} is not a regular file.", what=what, path=quoted(os.fspath(path)))


def _cannot_open(
    path: str | os.PathLike[str], what: str, error: type[IclightError], reason: OSError | ValueError
) -> IclightError:
    name = quoted(os.fspath(path))
    if isinstance(reason, ValueError) or reason.errno in _MISSING:
        return error("{what} {name} does not exist.", what=what, name=name)
    return error("{what} {name} cannot be read ({reason}).", what=what, name=name, reason=reason.strerror)
