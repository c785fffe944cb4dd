"""The door of a served page: who may come in, under which name, from where, and how much they may carry.

`Guard` stands before everything else that answers (ASGI), Gradio's own middleware included. It refuses foreign hosts
(DNS rebinding), foreign origins, visitors who did not log in, requests that are too large or too many, and what of
Gradio no page here uses. Whatever it lets in is Gradio's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from .storage import Storage

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")
API = "/gradio_api"
# Gradio's routes that no page here uses: they write files, list runs, reach other servers or edit the program.
UNUSED = (
    f"{API}/deep_link",
    f"{API}/dev/",
    f"{API}/process_recording",
    f"{API}/profiling",
    f"{API}/proxy=",
    f"{API}/run-history",
    f"{API}/runs",
    f"{API}/stream/",
    f"{API}/undo-vibe-edit",
    f"{API}/vibe-",
    "/monitoring",
)
# What a login page is made of.
FOR_ALL = (
    "/assets/",
    "/static/",
    "/svelte/",
    "/favicon.ico",
    "/theme.css",
    "/manifest.json",
    "/pwa_icon",
    "/robots.txt",
)
# Answered before the queue: as many at once as the queue has places.
DIRECT = (f"{API}/run/", f"{API}/api/")
DIRECT_AT_ONCE = 20
REQUESTS_AT_ONCE = 400
MEGABYTE = 1 << 20
# Bytes of one request's body beyond what it uploads; a picture of 80 MB inside is 107 MB of base64.
LARGEST_JSON = 120 * MEGABYTE
# Bytes of all bodies that are being received at the moment; small ones do not count.
BODIES_AT_ONCE, SMALL_BODY = 320 * MEGABYTE, MEGABYTE
# Seconds that a wrong login waits for its answer: twice as long each time, up to a limit.
FIRST_WAIT, LONGEST_WAIT, FORGOTTEN = 0.5, 4.0, 600.0
MANY_WRONG = 30
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
UNFRAMED = ((b"x-frame-options", b"SAMEORIGIN"), (b"content-security-policy", b"frame-ancestors 'self'"))


@dataclass(frozen=True)
class Doors:
    """Which names a page is served under.

    `names`: host names without a port. `addresses`: any literal IP address as well, which no foreign site can make a
    browser use as a name. `all_names`: on a Space, whose own front decides. `share`: the share link's address, once
    there is one.
    """

    names: frozenset[str] = frozenset(LOCAL_NAMES)
    addresses: bool = False
    all_names: bool = False
    share: Callable[[], str | None] = field(default=lambda: None)

    @classmethod
    def of(
        cls, host: str, allowed: Iterable[str] = (), space: bool = False, share: Callable[[], str | None] = lambda: None
    ) -> Doors:
        """The doors of a server that listens on `host` and was told to answer to the names `allowed`."""
        names = {name.lower().rstrip(".") for name in (*LOCAL_NAMES, *allowed)}
        if host not in EVERYWHERE:
            names.add(host.lower().strip("[]"))
        return cls(frozenset(names), host in EVERYWHERE, space, share)

    def knows(self, name: str) -> bool:
        """Whether the page is served under a host name."""
        if self.all_names or name in LOCAL_NAMES or self.names_itself(name):
            return True
        if self.addresses:
            with contextlib.suppress(ValueError):
                return bool(ipaddress.ip_address(name))
        return False

    def names_itself(self, name: str) -> bool:
        """Whether a name is the page's own and nobody else's: given by whoever started it, or the share link's."""
        shared = self.share()
        if shared and name == urlsplit(shared).hostname:
            return True
        own = self.names.difference(LOCAL_NAMES)
        return name in own or any(known.startswith("*.") and name.endswith(known[1:]) for known in own)


class Guard:
    """ASGI: hands on what may come in to `app`, answers the rest itself.

    `user_of`: the name behind a request's cookies, None for nobody; None where no login is asked for. `pages`: the
    paths that show the login page to whoever has not logged in.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        doors: Doors,
        storage: Storage,
        user_of: Callable[[dict[str, str]], str | None] | None = None,
        pages: Iterable[str] = ("/",),
    ) -> None:
        self.app = app
        self.doors = doors
        self.storage = storage
        self.user_of = user_of
        self.pages = frozenset(pages)
        self._logins = Logins()
        self._started = False
        self._requests = self._direct = self._bodies = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(scope, send, *refusal)
        elif scope["type"] == "websocket":
            await self.app(scope, receive, send)
        else:
            await self._let_in(scope, headers, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """(status, words) for a request that may not come in."""
        path, method = str(scope["path"]), str(scope.get("method", "GET"))
        if not self.doors.knows(_name_of(headers.get("host", ""))):
            return 403, "This page is not served under that name. Start it with --allow-host NAME to allow one."
        if _is_foreign(headers, self.doors):
            return 403, "Another site's page may not use this one."
        if path.startswith(UNUSED):
            return 404, "There is nothing here."
        if self.user_of is not None and not self._is_open(path, method) and self.user_of(_cookies(headers)) is None:
            return 401, "Log in first."
        if self._requests >= REQUESTS_AT_ONCE:
            return 503, "Too many requests at once; try again in a moment."
        if path.startswith(DIRECT) and self._direct >= DIRECT_AT_ONCE:
            return 503, f"More than {DIRECT_AT_ONCE} requests at once; use the queue ({API}/call/...), or try again."
        return None

    def _is_open(self, path: str, method: str) -> bool:
        """Whether a path answers without a login: the login page and what it is made of."""
        if path.rstrip("/") == "/login":
            return method == "POST"
        if path == f"{API}/startup-events" and not self._started:
            return True  # asked for once, by the launch itself
        return method in ("GET", "HEAD") and (path in self.pages or path.startswith(FOR_ALL))

    async def _let_in(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        path, visitor = str(scope["path"]), visitor_of(scope.get("client"))
        if path.rstrip("/") == "/login" and self.user_of is not None:
            await self._logins.follow(self.app, scope, receive, _with_headers(send, self.doors), visitor)
            return
        upload, direct = path.rstrip("/") == f"{API}/upload", path.startswith(DIRECT)
        body = _Body(self, receive, self.storage.per_visitor if upload else LARGEST_JSON)
        if (declared := headers.get("content-length", "")).isdigit() and (why := body.refuse(int(declared))):
            await _answer(scope, send, *why)
            return
        self._requests += 1
        self._direct += direct
        answer = _Answer(_with_headers(send, self.doors), upload)
        try:
            await self.app(scope, body.receive, answer.send)
            if path == f"{API}/startup-events":
                self._started = True
        except _TooLarge as error:
            if not answer.began:
                await _answer(scope, send, *error.args)
        finally:
            self._requests -= 1
            self._direct -= direct
            self._bodies -= body.counted
        for path in answer.files():
            await asyncio.to_thread(self.storage.keep, path, visitor)


def guarded(make: Callable[[Any], Guard]) -> Callable[[Any], Any]:
    """A lifespan for `launch(app_kwargs=...)` that puts the guard that `make(app)` gives before all of the app.

    Middleware given to FastAPI would stand behind Gradio's own, whose CORS answers foreign origins by itself.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        app.middleware_stack = make(app)
        yield

    return lifespan


def visitor_of(client: Any) -> str:
    """Who a request's files are counted for: the address it came from."""
    address = getattr(client, "host", None) or (client[0] if isinstance(client, (tuple, list)) and client else "")
    return str(address)


class Logins:
    """Makes guessing passwords slow: a wrong one waits for its answer, and until then its address gets no other.

    Addresses can be forged through a proxy: where many logins go wrong, all of them count as one address's.
    """

    def __init__(self) -> None:
        self._wrong: dict[str, list[float]] = {}
        self._waiting: set[str] = set()

    async def follow(self, app: Any, scope: Scope, receive: Receive, send: Send, visitor: str) -> None:
        """Hand a login on to `app`, or refuse it."""
        now = time.monotonic()
        recent = ((who, [at for at in times if now - at < FORGOTTEN]) for who, times in self._wrong.items())
        self._wrong = {who: times for who, times in recent if times}
        attacked = sum(map(len, self._wrong.values())) > MANY_WRONG
        visitor = "" if attacked else visitor
        if visitor in self._waiting:
            await _answer(scope, send, 429, "Wrong logins have to wait; try again in a few seconds.")
            return
        self._waiting.add(visitor)
        status = 0

        async def delayed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                if status == 400:
                    times = self._wrong.setdefault(visitor, [])
                    times.append(time.monotonic())
                    await asyncio.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(len(times) - 1, 10)))
            await send(message)

        try:
            await app(scope, receive, delayed)
        finally:
            self._waiting.discard(visitor)
            if status == 200:
                self._wrong.pop(visitor, None)


class _TooLarge(Exception):
    """A body went on beyond its limit; args are (status, words)."""


class _Body:
    """A request's body as it comes in: counted, and stopped at a limit."""

    def __init__(self, guard: Guard, receive: Receive, limit: int) -> None:
        self._guard = guard
        self._receive = receive
        self._limit = limit
        self._size = 0
        self.counted = 0

    def refuse(self, size: int) -> tuple[int, str] | None:
        """Why a body of `size` bytes, or of what has come so far, is not taken; else counts it."""
        if size > self._limit:
            return 413, f"The request is larger than {self._limit // MEGABYTE} MB; send smaller pictures."
        if size > max(SMALL_BODY, self.counted):
            if self._guard._bodies + size - self.counted > BODIES_AT_ONCE:
                return 503, "Too many large requests at once; try again in a moment."
            self._guard._bodies += size - self.counted
            self.counted = size
        return None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if why := self.refuse(self._size):
                raise _TooLarge(*why)
        return message


class _Answer:
    """Hands an answer on; of an upload's it keeps what it says, the paths of the files."""

    def __init__(self, send: Send, upload: bool) -> None:
        self._send = send
        self._upload = upload
        self._said = bytearray()
        self.began = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began = True
            self._upload = self._upload and message["status"] == 200
        elif self._upload:
            self._said += message.get("body", b"")
        await self._send(message)

    def files(self) -> list[str]:
        with contextlib.suppress(ValueError, RecursionError):
            said = json.loads(self._said) if self._said else []
            return [path for path in said if isinstance(path, str)]
        return []


def _name_of(host: str) -> str:
    """A Host header's, or an origin's, name without port and brackets, in lower case; "" for what has none."""
    with contextlib.suppress(ValueError):
        return (urlsplit(host if "://" in host else f"//{host}").hostname or "").rstrip(".")
    return ""


def _is_foreign(headers: dict[str, str], doors: Doors) -> bool:
    """Whether another site's page makes the browser ask. Programs name no origin; reading a page by a link is fine."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
    if _with_port(origin) == _with_port(headers.get("host", "")):
        return False
    # Behind a proxy that hands on another Host, the page's own origin is a name that it was told to answer to.
    return not doors.names_itself(_name_of(origin))


def _with_port(host: str) -> tuple[str, int | None]:
    """Name and port; the ports of http and https are left out, because a Host header leaves them out, too."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(host if "://" in host else f"//{host}")
        return _name_of(host), parts.port if parts.port not in (80, 443) else None
    return "", -1


def _cookies(headers: dict[str, str]) -> dict[str, str]:
    with contextlib.suppress(CookieError):
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    return {}


def _with_headers(send: Send, doors: Doors) -> Send:
    """Hands an answer on with the headers that every answer has; a Space's page stands in its site's frame."""
    extra = HEADERS if doors.all_names else (*HEADERS, *UNFRAMED)

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", [])}
            message = {
                **message,
                "headers": [*message.get("headers", []), *(one for one in extra if one[0] not in names)],
            }
        await send(message)

    return sent


async def _answer(scope: Scope, send: Send, status: int, words: str) -> None:
    """A refusal, as JSON in the form that Gradio's clients read."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"detail": words, "error": words}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *HEADERS]
    if status in (429, 503):
        headers.append((b"retry-after", b"2"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
