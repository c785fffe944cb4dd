"""Where a page keeps uploads and results: a folder of its own, bounded for each visitor and in all, gone at the end.

Gradio puts uploads and what it shows into one folder (`GRADIO_TEMP_DIR`). `open_storage` makes that a fresh one which
only this user can enter, `Storage` says which files are in it, whose they are, and which go first when room runs out.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ...errors import ImageError
from ...weights.manifest import cache_root
from .pictures import Pictures

PREFIX = "page-"
# Bytes. A visitor's oldest files make room for new ones; in all, at most this much.
PER_VISITOR = 1 << 30
IN_ALL = 8 << 30
# A file takes a directory entry, too: many small ones are not free.
SMALLEST = 16 << 10
# Seconds: results stay for a day; what an upload that broke off left behind, for ten minutes.
KEPT, DRAFT = 86_400, 600
SECONDS_BETWEEN_SWEEPS = 10
M_ARENA_MAX = -8  # malloc.h
# Bytes of the disk that uploads leave to others.
RESERVE = 1 << 30


class Storage:
    """The files of one page, below `root`. Safe from any thread."""

    def __init__(self, root: Path | None = None, per_visitor: int = PER_VISITOR, in_all: int = IN_ALL) -> None:
        """`root`: by default wherever Gradio puts its uploads. Limits in bytes."""
        self._root = root
        self.pictures = Pictures()
        self.per_visitor = per_visitor
        self.in_all = in_all
        self._lock = threading.RLock()
        self._shares: dict[str, _Share] = {}
        # How many visitors a file is kept for: one of equal content is stored once.
        self._owners: Counter[Path] = Counter()
        self._own: frozenset[Path] = frozenset()
        # Bytes by visitor: of uploads that are under way, and of those that broke off since the last sweep.
        self._arriving: Counter[str] = Counter()
        self._broken_off: Counter[str] = Counter()
        self._drafts: set[Path] = set()

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

    def pin(self) -> None:
        """What is here by now is the page's own (its examples): no visitor's, and never removed."""
        self._own = frozenset(path for path, _, _ in _files(self.root))

    def new_folder(self, visitor: str) -> Path:
        """A folder for a request's results, under a name that nobody guesses."""
        folder = self.root / f"iclight-{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700)
        self.keep(folder, visitor)
        return folder

    def keep(self, path: str | os.PathLike[str], visitor: str) -> None:
        """Count a file or folder as a visitor's; where that is too much, the visitor's oldest ones go."""
        path = Path(path)
        with self._lock:
            if path in self._own:
                return
            share = self._shares.setdefault(visitor, _Share())
            if share.add(path):
                self._owners[path] += 1
            for oldest in share.beyond(self.per_visitor):
                self._let_go(oldest)

    def used(self, path: str | os.PathLike[str], visitor: str) -> None:
        """A request names a file: where it is the visitor's, it is among the last to go."""
        with self._lock:
            share = self._shares.get(visitor)
            if share is not None and Path(path) in share.files:
                share.files.move_to_end(Path(path))

    def _let_go(self, path: Path) -> None:
        self._owners[path] -= 1
        if self._owners[path] <= 0:
            del self._owners[path]
            _remove(path)

    @contextlib.contextmanager
    def uploading(self, visitor: str) -> Iterator[Callable[[int], bool]]:
        """While an upload comes in: a function that counts more bytes of it, and says whether there is room for them.

        What an upload that breaks off left on the disk counts until the next sweep, which removes it.
        """
        arrived, whole = 0, False

        def room(more: int) -> bool:
            nonlocal arrived
            with self._lock:
                arrived += more
                self._arriving[visitor] += more
                theirs = self._arriving[visitor] + self._broken_off[visitor]
                within = theirs <= self.per_visitor and self._arriving.total() <= self.in_all // 2
            return within and (more == 0 or shutil.disk_usage(self.root).free > RESERVE)

        try:
            yield room
            whole = True
        finally:
            with self._lock:
                self._arriving[visitor] -= arrived
                self._arriving += Counter()
                if not whole:
                    self._broken_off[visitor] += arrived

    def _remove_drafts(self) -> None:
        """Remove temporary files that nobody writes to any longer: uploads that broke off, parts of broken forms.

        Twice in a row, so that one is not taken that is about to be moved to its place.
        """
        folders = (self.root, self.root.parent / "tmp")
        drafts = {path for folder in folders for path in folder.glob("tmp*") if path.is_file()}
        opened = _open_files()
        if opened is None:  # only age tells
            now = time.time()
            drafts = {path for path in drafts if path.exists() and now - path.stat().st_mtime > DRAFT}
        idle = drafts - (opened or set())
        for path in idle & self._drafts:
            _remove(path)
        self._drafts = idle - self._drafts
        if not self._drafts:
            self._broken_off.clear()

    def sweep(self) -> None:
        """Remove what is too old, what broken uploads left, and, above the limit for all, what is oldest."""
        now = time.time()
        with self._lock:
            self._remove_drafts()
        files = sorted((file for file in _files(self.root) if file[0] not in self._own), key=lambda file: file[1])
        used = sum(size for _, _, size in files)
        # Half of what would be free without them; less, if other programs fill the disk.
        room = min(self.in_all, (used + shutil.disk_usage(self.root).free) // 2)
        for path, changed, size in files:
            if used > room or now - changed > KEPT:
                used -= size
                _remove(path)
        with self._lock:
            for share in self._shares.values():
                for path in share.forget_missing():
                    self._owners[path] -= 1
            self._shares = {visitor: share for visitor, share in self._shares.items() if share.files}
            self._owners += Counter()
        for folder in self.root.iterdir():
            if folder.is_dir() and now - folder.stat().st_mtime > DRAFT:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # only if it is empty


class _Share:
    """One visitor's files and folders, in the order of their coming, and the bytes of each and of all."""

    def __init__(self) -> None:
        self.files: OrderedDict[Path, int] = OrderedDict()
        self.used = 0
        # Folders are filled after they were counted, within minutes.
        self._filling: dict[Path, float] = {}

    def add(self, path: Path) -> bool:
        """Count a path, or count it anew; whether it was not known."""
        new = path not in self.files
        now = time.monotonic()
        if path.is_dir():
            self._filling[path] = now
        self._filling = {folder: since for folder, since in self._filling.items() if now - since < DRAFT}
        for known in {path, *self._filling}:
            size = _size(known)
            self.used += size - self.files.get(known, 0)
            self.files[known] = size
        self.files.move_to_end(path)
        return new

    def beyond(self, limit: int) -> list[Path]:
        """Forget the oldest, but never the youngest, until no more than `limit` bytes are left; what was forgotten."""
        gone = []
        while self.used > limit and len(self.files) > 1:
            gone.append(next(iter(self.files)))
            self._forget(gone[-1])
        return gone

    def forget_missing(self) -> list[Path]:
        """Forget what is no longer on the disk."""
        gone = [path for path in self.files if not path.exists()]
        for path in gone:
            self._forget(path)
        return gone

    def _forget(self, path: Path) -> None:
        self.used -= self.files.pop(path)
        self._filling.pop(path, None)


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
    _tell_allocator("mallopt", M_ARENA_MAX, 2)
    storage, over = Storage(places["GRADIO_TEMP_DIR"]), threading.Event()
    threading.Thread(target=_sweep_until, args=(storage, over), name="sweep", daemon=True).start()
    try:
        yield storage
    finally:
        over.set()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        tempfile.tempdir = usual
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _sweep_until(storage: Storage, over: threading.Event) -> None:
    while not over.wait(SECONDS_BETWEEN_SWEEPS):
        with contextlib.suppress(OSError):
            storage.sweep()
        _tell_allocator("malloc_trim", 0)


def _tell_allocator(function: str, *arguments: int) -> None:
    """glibc keeps what one thread freed from the others, and a server has dozens of threads. Elsewhere: nothing."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        getattr(ctypes.CDLL(None), function)(*arguments)


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
    raise ImageError(
        "There is no folder to keep pictures in ({reason}). Point GRADIO_TEMP_DIR at one.", reason=reason.strerror
    )


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


def _open_files() -> set[Path] | None:
    """What this process has open; None where the system does not tell."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return None
    found = set()
    for name in names:
        with contextlib.suppress(OSError):
            found.add(Path(os.readlink(f"/proc/self/fd/{name}")))
    return found


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
