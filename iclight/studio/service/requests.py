"""A request's body before anything of it is believed: read within a limit and a time, and looked at where it is JSON.

What unfolds is counted before it unfolds: a value of JSON takes fifty times its bytes in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

API = "/gradio_api"
# What programs ask without the page: `iclight.server`.
HEALTH = "/health"
PROGRAMS = ("/v1/", "/metrics", HEALTH)
MEGABYTE = 1 << 20
# Bytes of a body by what its path begins with. What waits in the queue stays in memory until its turn, and 20 may wait.
# An upload is one file, and may turn out to be a form's field, which Gradio keeps in memory.
LIMITS = {
    "/login": 16 << 10,
    f"{API}/run/": 16 * MEGABYTE,
    f"{API}/api/": 16 * MEGABYTE,
    f"{API}/call/": 16 * MEGABYTE,
    f"{API}/queue/join": 16 * MEGABYTE,
    f"{API}/mcp": 16 * MEGABYTE,
    f"{API}/upload": 100 * MEGABYTE,
    f"{API}/component_server": 20 * MEGABYTE,
    "/v1/images/edits": 100 * MEGABYTE,
}
OTHERS = 64 << 10
# Values in JSON, counted by what separates them; and bytes of a session's key.
MOST_VALUES, KEY = 100_000, re.compile(r"[A-Za-z0-9_-]{1,64}")
# Bytes of the head of a form's part.
HEAD = 1000
# Seconds: without a byte of a body that has not ended, and for all of it.
SILENCE, PATIENCE = 20.0, 600.0
# Bytes of all bodies that are here at the moment, and below which a body does not count.
AT_ONCE, SMALL = 320 * MEGABYTE, 256 << 10


class Refused(Exception):
    """A request that is not taken: its status and the words for it."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


class Bodies:
    """Counts the bytes of all bodies that are here."""

    def __init__(self) -> None:
        self.held = 0


class Body:
    """One request's body as it comes in: counted as it comes, whatever length it claims, and stopped at a limit."""

    def __init__(self, receive: Receive, limit: int, bodies: Bodies) -> None:
        self._receive = receive
        self._limit = limit
        self._bodies = bodies
        self._begun = time.monotonic()
        self._ended = False
        self.size = 0

    def check_declared(self, length: str | None) -> None:
        """Raise Refused for a Content-Length beyond the limit."""
        if length is not None and (not length.isdigit() or int(length) > self._limit):
            raise self._too_large()

    def _too_large(self) -> Refused:
        limit = f"{self._limit / MEGABYTE:.0f} MB" if self._limit >= MEGABYTE else f"{self._limit >> 10} kB"
        return Refused(413, f"The request is larger than {limit}; send less at once.")

    async def receive(self) -> Message:
        """The next message, as ASGI has it. Raises Refused where nothing comes for too long, or too much."""
        if self._ended:
            return await self._receive()  # the visitor's hanging up, which may take as long as it likes
        left = min(SILENCE, PATIENCE - (time.monotonic() - self._begun))
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.0))
        except asyncio.TimeoutError as error:
            raise Refused(408, "The request did not end in time.") from error
        if message["type"] == "http.request":
            self._ended = not message.get("more_body", False)
            self._count(len(message.get("body", b"")))
        else:
            self._ended = True
        return message

    def _count(self, more: int) -> None:
        before = self.counted
        self.size += more
        if self.size > self._limit:
            raise self._too_large()
        self._bodies.held += self.counted - before
        if self.counted > before and self._bodies.held > AT_ONCE:
            raise Refused(503, "Too many large requests at once; try again in a moment.")

    @property
    def counted(self) -> int:
        return self.size if self.size > SMALL else 0

    def close(self) -> None:
        """The request is over."""
        self._bodies.held -= self.counted

    async def whole(self) -> bytes | None:
        """All of it; None where the visitor hung up before its end."""
        parts = []
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            if self._ended:
                return b"".join(parts)


def limit_of(path: str) -> int:
    """Bytes that a request to a path may bring."""
    return next((limit for start, limit in LIMITS.items() if path.startswith(start)), OTHERS)


def is_for_programs(path: str) -> bool:
    """Whether a path is one of `PROGRAMS`, which answers errors in OpenAI's form."""
    return path.startswith(PROGRAMS[0]) or path.rstrip("/") in PROGRAMS


def error_body(status: int, words: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's API words it."""
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
    return {"error": {"message": words, "type": kind if status < 500 else "server_error", "param": param, "code": code}}


def check_session(key: Any) -> None:
    """Raise Refused unless a session's key is one of a browser's or a client's: it is kept in many places."""
    if key is not None and not (isinstance(key, str) and KEY.fullmatch(key)):
        raise Refused(422, "A session_hash is up to 64 letters, digits, - and _.")


async def check_content(body: bytes, kind: str) -> None:
    """Raise Refused for JSON of too many values, and for JSON and forms with an odd session_hash."""
    if kind.startswith("multipart/"):
        _check_form(body)
        return
    if body[:1] in (b"\xef", b"\xfe", b"\xff", b"\0"):
        raise Refused(422, "JSON comes as UTF-8 without a byte-order mark.")
    if body.lstrip()[:1] not in (b"{", b"["):
        return
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_VALUES:
        raise Refused(413, f"The request holds more than {MOST_VALUES:,} values; send less at once.")
    with contextlib.suppress(ValueError, RecursionError):  # what is no JSON is refused by whoever reads it
        values = await asyncio.to_thread(json.loads, body) if len(body) > SMALL else json.loads(body)
        if isinstance(values, dict):
            check_session(values.get("session_hash"))
            for part in (values.get("data"),):
                if isinstance(part, dict):
                    check_session(part.get("session_hash"))


def _check_form(body: bytes) -> None:
    """Raise Refused for a form whose session_hash is odd; in one pass, whatever the form holds."""
    at, seen = body.find(b"session_hash"), 0
    while at >= 0:
        begin, seen = body.find(b"\r\n\r\n", at, at + HEAD), seen + 1
        end = body.find(b"\r\n", begin + 4, begin + HEAD)
        if begin < 0 or end < 0 or seen > 4:
            raise Refused(422, "This form cannot be read.")
        check_session(body[begin + 4 : end].decode("latin-1"))
        at = body.find(b"session_hash", end)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, then whatever comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
