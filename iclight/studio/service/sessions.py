"""What the page remembers of each visitor, so that none sees or stops another's work.

`session_of` says whose a request is; `PerSession` holds values by session, `Visits` notices who has left, `Runs` knows
who waits, who runs, and who has asked to stop.
"""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# A browser's tab names itself in this header (`tab.js`), by 128 random bits that a reload does not change.
HEADER, TOKEN = "x-iclight-tab", re.compile("[0-9a-f]{32}")
# Seconds after which whoever left is gone: their running work is stopped; what is kept of them is dropped.
ABSENT, GONE = 120.0, 1800.0
# Connections, and tabs that left, that are remembered at once: the longest unheard of goes first.
CONNECTIONS, AWAY = 4096, 65_536

# Seconds: a page asks for the strip more often than twice a second, one in the background every second.
LAPSES = 20.0


def session_of(request: Any) -> str:
    """Under which key a request's things are kept: its tab's token, or for programs the session that they name."""
    token = str((getattr(request, "headers", None) or {}).get(HEADER) or "")
    return f"tab-{token}" if TOKEN.fullmatch(token) else str(getattr(request, "session_hash", None) or "")


class Visits:
    """Who is here. A tab that reloads, or loses its network for a while, comes back under its token.

    `stop(session)` is called once it has been away for `ABSENT` seconds, `drop(session)` after `GONE`; both at once
    for a program, which does not come back.
    """

    def __init__(
        self, stop: Callable[[str], None], drop: Callable[[str], None], absent: float = ABSENT, gone: float = GONE
    ) -> None:
        self._stop, self._drop = stop, drop
        self._absent, self._gone = absent, gone
        # Gradio's sessions that are open -> whose they are; who is away -> since when, and whether they were stopped.
        self._open: OrderedDict[str, str] = OrderedDict()
        self._away: OrderedDict[str, tuple[float, bool]] = OrderedDict()
        self._lock = threading.Lock()
        self._watching = False

    def here(self, request: Any) -> None:
        """A tab is heard of."""
        session = session_of(request)
        if session.startswith("tab-"):
            with self._lock:
                self._open[str(request.session_hash)] = session
                self._open.move_to_end(str(request.session_hash))
                while len(self._open) > CONNECTIONS:
                    self._open.popitem(last=False)
                self._away.pop(session, None)

    def left(self, request: Any) -> None:
        """A connection ended: its tab may come back by another."""
        name = str(request.session_hash or "")
        with self._lock:
            session = self._open.pop(name, None)
            if session is not None:
                if session not in self._open.values():
                    self._away[session] = time.monotonic(), False
                    self._watch()
                if len(self._away) <= AWAY:
                    return
                name, _ = self._away.popitem(last=False)
        self._stop(name)
        self._drop(name)

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            threading.Thread(target=self._look, name="visits", daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(min(1.0, self._absent / 4))
            with self._lock:
                now = time.monotonic()
                absent = [one for one, (since, told) in self._away.items() if not told and now - since > self._absent]
                gone = [one for one, (since, _) in self._away.items() if now - since > self._gone]
                for one in absent:
                    self._away[one] = self._away[one][0], True
                for one in gone:
                    del self._away[one]
                self._watching = bool(self._away)
            for one in absent:
                self._stop(one)
            for one in gone:
                self._drop(one)
            if not self._watching:
                return


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
        # In the order of their coming: sessions whose button was pressed and whose turn has not come; when each was
        # last heard of, by which connection it waits, and for which button. A place lapses: whoever pressed a button
        # looks at the strip, until it is over.
        self._waiting: OrderedDict[str, tuple[float, str, str]] = OrderedDict()
        # Whose connection broke while they stood in line: when, and what they had pressed.
        self._broken: PerSession[tuple[float, str]] = PerSession(CONNECTIONS)
        self._lock = threading.Lock()

    def wait(self, session: str | None, connection: str = "", button: str = "") -> None:
        """The session's button was pressed: it stands in line until its request runs or is given up."""
        self._broken.drop(session)
        with self._lock:
            self._waiting[session or ""] = time.monotonic(), connection, button

    def hung_up(self, connection: str) -> None:
        """A connection ended: Gradio takes what waits by it out of its queue, whoever comes back by another."""
        with self._lock:
            for session, button in [
                (known, what) for known, (_, by, what) in self._waiting.items() if by == connection
            ]:
                self._leave(session)
                self._broken.put(session, (time.monotonic(), button))

    def broken(self, session: str | None, connection: str) -> str:
        """The button that a session, now here by `connection`, had pressed when its last one broke; told once.

        "" for none, or after `ABSENT` seconds. A tab may be back before its old connection is known to be gone.
        """
        with self._lock:
            _, by, button = self._waiting.get(session or "", (0.0, connection, ""))
            if by != connection:
                self._leave(session or "")
                return button
        since, button = self._broken.get(session) or (-math.inf, "")
        self._broken.drop(session)
        return button if time.monotonic() - since < ABSENT else ""

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
                self._waiting[session or ""] = now, *self._waiting[session or ""][1:]
            for other in [known for known, (heard, *_) in self._waiting.items() if now - heard > LAPSES]:
                self._leave(other)
            if (session or "") not in self._waiting:
                return None
            return list(self._waiting).index(session or "") + sum(map(len, self._running.values()))

    def _leave(self, session: str) -> None:
        self._waiting.pop(session, None)
