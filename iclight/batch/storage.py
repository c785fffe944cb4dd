"""Where a batch's files are: paths of this machine, or addresses (s3://, gs://, memory://) that fsspec knows.

Files of this machine stay paths, so that readers and writers treat them as any other request's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ImageError, first_line, quoted
from ..imaging import budgets
from ..imaging.images import ImageLike
from ..weights.files import check_bytes, check_regular, write_whole

# What fsspec asks for where the program that speaks a protocol is missing.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


def is_remote(path: str) -> bool:
    """Whether it is an address rather than a path."""
    return "://" in path


def beside(base: str, path: str) -> str:
    """`path` as seen from the folder `base`; addresses and absolute paths stay what they are."""
    if is_remote(path) or os.path.isabs(path) or not base:
        return path
    return f"{base.rstrip('/')}/{path}" if is_remote(base) else os.path.join(base, path)


def folder_of(path: str) -> str:
    return path.rpartition("/")[0] if is_remote(path) else os.path.dirname(path)


def name_of(path: str) -> str:
    return path.rpartition("/")[2] if is_remote(path) else os.path.basename(path)


def same_place(path: str) -> str:
    """A key that two names of one file share: links resolved; case told apart by no file system of ours."""
    if is_remote(path):
        return path
    # Case folded: "A.png" and "a.png" are one file on most desktops.
    return os.path.realpath(path).casefold()


def check_there(path: str, what: str) -> None:
    """Raise ImageError for a path where no file is. Addresses are believed until they are read."""
    if not is_remote(path):
        check_regular(path, what)


def exists(path: str) -> bool:
    """Whether a file is there. Raises ImageError where an address cannot be asked."""
    if not is_remote(path):
        return os.path.exists(path)
    with _explained(path, "looked for"):
        system, inside = _open_system(path)
        return bool(system.exists(inside))


def fetch(path: str, what: str, limit: int = budgets.PICTURE_FILE) -> ImageLike:
    """A path as it is, or the bytes at an address. Raises ImageError where they cannot be had."""
    if not is_remote(path):
        return path
    with _explained(path, "read"):
        system, inside = _open_system(path)
        with system.open(inside, "rb") as file:
            data: bytes = file.read(limit + 1)
    check_bytes(len(data), limit, what)
    return data


def write(path: str, data: bytes) -> None:
    """A file, whole or not at all; folders are made. Raises ImageError where it cannot be written."""
    if not is_remote(path):
        write_whole(path, data)
        return
    with _explained(path, "written"):
        system, inside = _open_system(path)
        parent = system._parent(inside)
        if parent:
            system.makedirs(parent, exist_ok=True)
        system.pipe_file(inside, data)  # of object stores: there as a whole, or not


def _open_system(path: str) -> tuple[Any, str]:
    import fsspec

    system, inside = fsspec.core.url_to_fs(path)
    return system, inside


@contextmanager
def _explained(path: str, verb: str) -> Iterator[None]:
    """Whatever a store's own library raises, as an ImageError."""
    try:
        yield
    except ImportError as error:
        package = _PACKAGES.get(path.partition("://")[0], "the package it names")
        raise ImageError(
            "{path} needs a package that is not here ({reason}): pip install {package}.",
            path=quoted(path),
            reason=first_line(error),
            package=package,
        ) from error
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError("{path} does not exist.", path=quoted(path)) from error
    except Exception as error:
        raise ImageError(
            "{path} could not be {verb} ({reason}).", path=quoted(path), verb=verb, reason=first_line(error)
        ) from error
