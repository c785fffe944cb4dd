"""Where a page keeps uploads and results: a folder of its own, bounded for each visitor and in all, gone at the end.

Gradio puts uploads and what it shows into one folder (`GRADIO_TEMP_DIR`). `open_storage` makes that a fresh one which
only this user can enter, `Storage` says which files are in it, whose they are, and which go first when room runs out.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..checks import cache_root
from ..errors import ImageError

PREFIX = "page-"
# Bytes. A visitor's oldest files make room for new ones; in all, at most this much.
PER_VISITOR = 1 << 30
IN_ALL = 8 << 30
# A file takes a directory entry, too: many small ones are not free.
SMALLEST = 16 << 10
# Seconds: results stay for a day; what an upload that broke off left behind, for ten minutes.
KEPT, DRAFT = 86_400, 600
SECONDS_BETWEEN_SWEEPS = 10


class Storage:
    """The files of one page, below `root`. Safe from any thread."""

    def __init__(self, root: Path | None = None, per_visitor: int = PER_VISITOR, in_all: int = IN_ALL) -> None:
        """`root`: by default wherever Gradio puts its uploads. Limits in bytes."""
        self._root = root
        self.per_visitor = per_visitor
        self.in_all = in_all
        self._lock = threading.Lock()
        # (visitor, bytes) of each file or folder of results, in the order of their coming.
        self._kept: OrderedDict[Path, tuple[str, int]] = OrderedDict()
        self._last_sweep = time.monotonic()

    @property
    def root(self) -> Path:
        """The folder, made if it is not there; links in its own path are resolved."""
        if self._root is None:
            from gradio.utils import get_upload_folder

            root = Path(get_upload_folder())
        else:
            root = self._root
        root.mkdir(parents=True, exist_ok=True)
        return root.resolve()

    def holds(self, path: Any) -> bool:
        """Whether `path` names a regular file below `root`, whatever links lead there. Never raises."""
        try:
            resolved = Path(path).resolve(strict=True)
            return resolved.is_relative_to(self.root) and stat.S_ISREG(resolved.stat().st_mode)
        except (OSError, ValueError, TypeError, RuntimeError):
            return False

    def new_folder(self, visitor: str) -> Path:
        """A folder for a request's results, under a name that nobody guesses."""
        folder = self.root / f"iclight-{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700)
        self.keep(folder, visitor)
        return folder

    def keep(self, path: str | os.PathLike[str], visitor: str) -> None:
        """Count a file or folder as a visitor's; where that is too much, the visitor's oldest ones go."""
        with self._lock:
            path = Path(path)
            self._kept.pop(path, None)
            self._kept[path] = (visitor, _size(path))
            theirs = [known for known, (whose, _) in self._kept.items() if whose == visitor]
            for known in theirs[-2:]:  # folders are filled after they were counted
                self._kept[known] = (visitor, _size(known))
            used = sum(self._kept[known][1] for known in theirs)
            for oldest in theirs[:-1]:
                if used <= self.per_visitor:
                    break
                used -= self._kept.pop(oldest)[1]
                _remove(oldest)
        if time.monotonic() - self._last_sweep > SECONDS_BETWEEN_SWEEPS:
            self.sweep()

    def sweep(self) -> None:
        """Remove what is too old, what broken uploads left, and, above the limit for all, what is oldest."""
        self._last_sweep, now = time.monotonic(), time.time()
        files = sorted(_files(self.root), key=lambda file: file[1])
        used = sum(size for _, _, size in files)
        # Half of what would be free without them; less, if other programs fill the disk.
        room = min(self.in_all, (used + shutil.disk_usage(self.root).free) // 2)
        for path, changed, size in files:
            draft = path.parent == self.root and path.name.startswith("tmp") and now - changed > DRAFT
            if used > room or now - changed > KEPT or draft:
                used -= size
                _remove(path)
        with self._lock:
            for path in [known for known in self._kept if not known.exists()]:
                del self._kept[path]
        for folder in self.root.iterdir():
            if folder.is_dir() and now - folder.stat().st_mtime > DRAFT:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # only if it is empty


@contextlib.contextmanager
def open_storage() -> Iterator[Storage]:
    """A folder for this process alone, which Gradio and every temporary file of ours use until it is removed again.

    It lies below $GRADIO_TEMP_DIR, else below the cache. What earlier pages that were killed left there goes first.
    """
    folder, lock = _own_folder(Path(os.environ.get("GRADIO_TEMP_DIR") or cache_root() / "pages"))
    _remove_abandoned(folder)
    places = {"GRADIO_TEMP_DIR": folder / "files", "TMPDIR": folder / "tmp"}
    before = {name: os.environ.get(name) for name in places}
    for name, place in places.items():
        place.mkdir()
        os.environ[name] = str(place)
    usual, tempfile.tempdir = tempfile.tempdir, None  # asked for anew, and found in TMPDIR
    try:
        yield Storage(places["GRADIO_TEMP_DIR"])
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        tempfile.tempdir = usual
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _own_folder(base: Path) -> tuple[Path, FileLock]:
    """A new folder below `base` (below the system's temporary folder where that cannot be written), and its lock."""
    name = PREFIX + secrets.token_hex(8)
    for place in (base, Path(tempfile.gettempdir())):
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = FileLock(place / f"{name}.lock")
            lock.acquire()  # before the folder is there: without its lock it would look abandoned
            (place / name).mkdir(mode=0o700)
            return place / name, lock
        except OSError as error:
            reason = error
    raise ImageError(f"There is no folder to keep pictures in ({reason.strerror}). Point GRADIO_TEMP_DIR at one.")


def _remove_abandoned(own: Path) -> None:
    """Folders whose page is no longer there: a lock goes with its process, however that ended."""
    for folder in own.parent.glob(f"{PREFIX}*"):
        if folder == own or not folder.is_dir():
            continue
        lock = FileLock(f"{folder}.lock")
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            continue
        Path(lock.lock_file).unlink(missing_ok=True)


def _files(root: Path) -> Iterator[tuple[Path, float, int]]:
    """(path, time of change, bytes) of every file below `root`; links count as themselves."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                found = path.lstat()
                yield path, found.st_mtime, max(found.st_size, SMALLEST)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(size for _, _, size in _files(path))
    with contextlib.suppress(OSError):
        return max(path.lstat().st_size, SMALLEST)
    return 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
