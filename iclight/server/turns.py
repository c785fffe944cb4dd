"""Whose turn it is to run the model: one request at a time, whether the page or a program brought it.

A caller's requests run in the order of their coming, the callers in turn: whoever sends many keeps nobody out.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

# Requests of programs that wait at once; one more is told so.
PLACES = 64
# The page's one request that Gradio's own queue has let through.
PAGE = "page"
# Seconds until whoever found no place is asked to come again, at most.
LONGEST = 60


class Full(Exception):
    """There is no place left to wait. `retry_after`: seconds until there may be."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"no place for {retry_after} s")
        self.retry_after = retry_after


class Turns:
    """A fair line. A place in it is a future: done when its turn has come. Safe from any thread."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._lines: OrderedDict[str, deque[Future[None]]] = OrderedDict()
        self._busy = False
        self._since = 0.0
        self._mean = 1.0  # seconds of a turn, the last ones weighing most
        self._lock = threading.Lock()

    def join(self, caller: str) -> Future[None]:
        """A place for a request of `caller`, to be given back by `leave` in any case. Raises Full."""
        place: Future[None] = Future()
        with self._lock:
            if self._busy:
                if caller != PAGE and self.waiting >= self._places:
                    raise Full(min(LONGEST, math.ceil(self._mean * self._places / 2)))  # when half of the line has gone
                self._lines.setdefault(caller, deque()).append(place)
                return place
            self._busy, self._since = True, time.monotonic()
        place.set_result(None)
        return place

    def leave(self, place: Future[None]) -> None:
        """Give a place up: its turn is over, or it is not waited for any longer."""
        if place.cancel():
            with self._lock:
                self._lines = OrderedDict(
                    (caller, kept)
                    for caller, line in self._lines.items()
                    if (kept := deque(p for p in line if p is not place))
                )
            return
        with self._lock:
            now = time.monotonic()
            self._mean += 0.3 * (now - self._since - self._mean)
            self._since = now
            following = self._next()
            self._busy = following is not None
        if following is not None:
            following.set_result(None)

    def _next(self) -> Future[None] | None:
        while self._lines:
            caller, line = next(iter(self._lines.items()))
            place = line.popleft()
            if line:
                self._lines.move_to_end(caller)
            else:
                del self._lines[caller]
            if place.set_running_or_notify_cancel():
                return place
        return None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, list(self._lines.values())))

    @property
    def busy(self) -> bool:
        """Whether somebody's turn it is."""
        return self._busy

    def taken(self, gpu: Callable[..., Any]) -> Callable[..., Any]:
        """`gpu`, a decorator of what runs the model, such that what it decorates waits for the page's turn first."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            run = gpu(function)

            @functools.wraps(function)
            def in_turn(*arguments: Any, **named: Any) -> Any:
                place = self.join(PAGE)
                try:
                    place.result()
                    return run(*arguments, **named)
                finally:
                    self.leave(place)

            return in_turn

        return decorate
