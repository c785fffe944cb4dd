"""What visitors' files look like, decoded: each once, however many events of a request ask for it."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...imaging.images import Picture

# What is kept: a request's own files, and what the next request is likely to ask for again; in pictures, and in bytes.
MOST, ROOM = 8, 384 << 20


class Pictures:
    """Decoded uploads by their paths, the longest unused going first. Safe from any thread."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._known: OrderedDict[tuple[str, int, int], Picture] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, source: Any, what: str = "The picture") -> Picture:
        """A file's `Picture`. Raises ImageError, opening with `what`, for what cannot be used."""
        from ...request import decode_file

        key = _key_of(source)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        picture = decode_file(source, what)
        if key is not None and picture.nbytes <= self._room:
            with self._lock:
                self._known[key] = picture
                used = sum(one.nbytes for one in self._known.values())
                while used > self._room or len(self._known) > MOST:
                    used -= self._known.popitem(last=False)[1].nbytes
        return picture


def _key_of(source: Any) -> Any:
    """What tells a file from another of its name; None for what is no file."""
    try:
        status = os.stat(source)
    except (OSError, TypeError, ValueError):
        return None
    return str(source), status.st_mtime_ns, status.st_size
