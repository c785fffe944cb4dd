"""What the pages remember of each browser session, so that no visitor sees or stops another's work.

`PerSession` holds values by session; `Runs` knows who waits, who runs, and who has asked to stop.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

# Seconds: a page asks for the strip more often than twice a second, one in the background every second.
LAPSES = 20.0


class PerSession(Generic[T]):
    """One value for each session, at most `kept` of them: the longest unused goes first. Safe from any thread."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._values: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, session: str | None, value: T) -> None:
        with self._lock:
            self._values[session or ""] = value
            self._values.move_to_end(session or "")
            while len(self._values) > self._kept:
                self._values.popitem(last=False)

    def get(self, session: str | None) -> T | None:
        with self._lock:
            if (session or "") in self._values:
                self._values.move_to_end(session or "")
            return self._values.get(session or "")

    def change(self, session: str | None, change: Callable[[T | None], T]) -> T:
        """Put what `change` makes of the value (None: there is none); nobody else changes it meanwhile."""
        with self._lock:
            value = self._values[session or ""] = change(self._values.get(session or ""))
            self._values.move_to_end(session or "")
            while len(self._values) > self._kept:
                self._values.popitem(last=False)
            return value

    def drop(self, session: str | None) -> None:
        with self._lock:
            self._values.pop(session or "", None)


class Runs:
    """Who waits and who runs, and a flag for every request that runs, raised by its session's Cancel.

    A flag is a file that appears: on ZeroGPU the work runs in another process, and a file is seen from there too. Each
    request has its own, because Gradio may start a session's next request while the cancelled one is still in a step.
    What a run has to show is a file beside its flag (`live`), for the same reason.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="iclight-runs-"))
        self._running: dict[str, list[Path]] = {}
        # In the order of their coming: sessions whose button was pressed and whose turn has not come; and when each was
        # last heard of. A place lapses: whoever pressed a button looks at the strip, until it is over.
        self._waiting: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, session: str | None) -> None:
        """The session's button was pressed: it stands in line until its request runs or is given up."""
        with self._lock:
            self._waiting[session or ""] = time.monotonic()

    @contextlib.contextmanager
    def of(self, session: str | None) -> Iterator[Path]:
        """A new request's flag, for as long as the request runs."""
        flag = self._folder / uuid.uuid4().hex
        with self._lock:
            self._leave(session or "")
            self._running.setdefault(session or "", []).append(flag)
        try:
            yield flag
        finally:
            with self._lock:
                self._running[session or ""].remove(flag)
                if not self._running[session or ""]:
                    del self._running[session or ""]
            for left in self._folder.glob(f"{flag.name}*"):
                left.unlink(missing_ok=True)

    def stop(self, session: str | None) -> None:
        """Stop whatever runs for a session, and take it out of the line."""
        with self._lock:
            self._leave(session or "")
            for flag in self._running.get(session or "", ()):
                flag.touch()

    def give_up(self, session: str | None) -> None:
        """Take a session out of the line, if it stands there; what runs goes on."""
        with self._lock:
            self._leave(session or "")

    def running(self, session: str | None) -> Path | None:
        """The flag of the session's youngest running request that nobody has stopped."""
        with self._lock:
            flags = [flag for flag in self._running.get(session or "", ()) if not flag.exists()]
            return flags[-1] if flags else None

    def ahead(self, session: str | None) -> int | None:
        """How many requests come before the session's waiting one; None if it waits for nothing."""
        with self._lock:
            now = time.monotonic()
            if (session or "") in self._waiting:
                self._waiting[session or ""] = now
            for other in [known for known, heard in self._waiting.items() if now - heard > LAPSES]:
                self._leave(other)
            if (session or "") not in self._waiting:
                return None
            return list(self._waiting).index(session or "") + sum(map(len, self._running.values()))

    def _leave(self, session: str) -> None:
        self._waiting.pop(session, None)
