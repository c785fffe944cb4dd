"""The door of a served page: who may come in, under which name, from where, and how much they may carry.

`Guard` stands before everything else that answers (ASGI), Gradio's own middleware included. It refuses foreign hosts
(DNS rebinding), foreign origins, visitors who did not log in, requests that are too large or too many, and what of
Gradio no page here uses. Whatever it lets in is Gradio's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

from .doors import Doors, cookies_of, headers_of, is_foreign, name_of
from .keys import VARIABLE, Key
from .logins import Logins
from .requests import (
    API,
    HEALTH,
    Bodies,
    Body,
    Message,
    Receive,
    Refused,
    Scope,
    Send,
    check_content,
    check_session,
    error_body,
    is_for_programs,
    limit_of,
    replayed,
)
from .storage import Storage

# Headers by which a proxy tells Gradio the page's address.
FORWARDED = (b"x-forwarded-host", b"x-gradio-server")
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
# Requests and streams (two for each open tab) that are answered at once, of one address and of all.
OF_ONE, AT_ONCE = 120, 400
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
UNFRAMED = ((b"x-frame-options", b"SAMEORIGIN"), (b"content-security-policy", b"frame-ancestors 'self'"))


class Guard:
    """ASGI: hands on what may come in to `app`, answers the rest itself.

    `user_of`: the name behind a request's cookies, None for nobody; None where no login is asked for. `pages`: the
    paths of the pages, which show the login page to whoever has not logged in. `hung_up`: called with the id of a
    program's event whose stream its client closed before its end. `key`: what programs show on their own paths
    (`requests.PROGRAMS`), where a login does as well.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        doors: Doors,
        storage: Storage,
        user_of: Callable[[dict[str, str]], str | None] | None = None,
        pages: Iterable[str] = ("/",),
        hung_up: Callable[[str], None] = lambda event_id: None,
        key: Key | None = None,
    ) -> None:
        self.app = app
        self.doors = doors
        self.storage = storage
        self.user_of = user_of
        self.pages = frozenset(pages)
        self.hung_up = hung_up
        self.key = key
        self._logins = Logins()
        self._bodies = Bodies()
        self._started = False
        self._direct = 0
        self._requests: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = headers_of(scope)
        visitor = visitor_of(scope.get("client"))
        answer = _Answer(_with_headers(send, self.doors))
        try:
            self._check(scope, headers)
            if self._requests.total() >= AT_ONCE or self._requests[visitor] >= OF_ONE:
                raise Refused(503, "Too many requests at once; try again in a moment.")
            self._requests[visitor] += 1
            try:
                await self._let_in(self._cleaned(scope), headers, receive, answer, visitor)
            finally:
                self._requests[visitor] -= 1
                self._requests += Counter()  # forgets addresses of whom nothing is here
        except Refused as refusal:
            if not answer.began:
                answer.muted = False
                await _refuse(scope, answer.send, refusal)

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        """Raise Refused for a request that may not come in, by its head alone."""
        path, method = str(scope["path"]), str(scope.get("method", "GET"))
        if not self.doors.knows(name_of(headers.get("host", ""))):
            raise Refused(403, "This page is not served under that name. Start it with --allow-host NAME to allow one.")
        if is_foreign(headers, self.doors, method == "GET" and path in self.pages):
            raise Refused(403, "Another site's page may not use this one.")
        if path.startswith(UNUSED):
            raise Refused(404, "There is nothing here.")
        if not self._is_open(path, method):
            self._check_who(path, headers)
        if path.startswith(f"{API}/heartbeat/"):
            check_session(path.removeprefix(f"{API}/heartbeat/"))
        for key in parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", []):
            check_session(key)

    def _check_who(self, path: str, headers: dict[str, str]) -> None:
        """Raise Refused for a visitor without a login where one is asked for, and for a program without the key."""
        for_programs = is_for_programs(path)
        if for_programs and self.key is not None and self.key.fits(headers):
            return
        if self.user_of is not None and self.user_of(cookies_of(headers)) is not None:
            return
        if for_programs and self.key is not None:
            raise Refused(401, "Show the server's API key: Authorization: Bearer KEY.")
        if self.user_of is not None:
            start = f" A program takes an API key: start the page with --api-key or {VARIABLE}." if for_programs else ""
            raise Refused(401, f"Log in first.{start}")

    def _is_open(self, path: str, method: str) -> bool:
        """Whether a path answers without a login: the login page, what it is made of, and whether all is well."""
        if path == HEALTH:
            return True
        if path.rstrip("/") == "/login":
            return method == "POST"
        if path == f"{API}/startup-events" and not self._started:
            return True  # asked for once, by the launch itself
        return method in ("GET", "HEAD") and (path in self.pages or path.startswith(FOR_ALL))

    def _cleaned(self, scope: Scope) -> Scope:
        """The request without headers that tell Gradio another name of the page than it has."""

        def stays(name: bytes, value: bytes) -> bool:
            return name.lower() not in FORWARDED or self.doors.knows(name_of(value.decode("latin-1").split(",")[0]))

        return {**scope, "headers": [(name, value) for name, value in scope["headers"] if stays(name, value)]}

    async def _let_in(
        self, scope: Scope, headers: dict[str, str], receive: Receive, answer: _Answer, visitor: str
    ) -> None:
        path = str(scope["path"])
        if scope["type"] == "websocket":
            await self.app(scope, receive, answer.send)
        elif path.rstrip("/") == f"{API}/upload":
            await self._upload(scope, headers, receive, answer, visitor)
        elif scope["method"] == "GET" and path.startswith(f"{API}/call/"):
            await self._stream(scope, receive, answer)
        elif scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, answer.send)
            self._started |= path == f"{API}/startup-events"
        else:
            body = Body(receive, limit_of(path), self._bodies)
            try:
                body.check_declared(headers.get("content-length"))
                content = await body.whole()
                if content is None:
                    return  # hung up
                await check_content(content, headers.get("content-type", ""))
                await self._hand_on(scope, replayed(content, body.receive), answer, visitor)
            finally:
                body.close()

    async def _stream(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """A program's event: whoever closes its stream gives it up, as who closes a tab does."""
        gone, asked = asyncio.Event(), False

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()
            if not answer.over:
                self.hung_up(str(scope["path"]).rstrip("/").rsplit("/", 1)[-1])

        async def received() -> Message:
            nonlocal asked
            if asked:
                await gone.wait()
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        watcher = asyncio.create_task(watch())
        try:
            await self.app(scope, received, answer.send)
        finally:
            watcher.cancel()

    async def _hand_on(self, scope: Scope, receive: Receive, answer: _Answer, visitor: str) -> None:
        """A request whose body is here."""
        path = str(scope["path"])
        if path.rstrip("/") == "/login" and self.user_of is not None:
            await self._logins.follow(self.app, scope, receive, answer.send, visitor)
            return
        direct = path.startswith(DIRECT)
        if direct and self._direct >= DIRECT_AT_ONCE:
            raise Refused(503, f"More than {DIRECT_AT_ONCE} requests at once; use the queue ({API}/call/...).")
        self._direct += direct
        try:
            await self.app(scope, receive, answer.send)
        finally:
            self._direct -= direct

    async def _upload(
        self, scope: Scope, headers: dict[str, str], receive: Receive, answer: _Answer, visitor: str
    ) -> None:
        """An upload goes to the disk while it comes; what breaks off leaves nothing there."""
        body = Body(receive, limit_of(str(scope["path"])), self._bodies)
        body.check_declared(headers.get("content-length"))
        answer.listen()
        with (
            contextlib.closing(body),
            contextlib.suppress(_BrokenOff),
            self.storage.uploading(visitor) as room,
        ):

            async def counted() -> Message:
                before = body.size
                try:
                    message = await body.receive()
                    if message["type"] != "http.request":
                        raise _BrokenOff  # before Gradio's parser stumbles over it
                    if not room(body.size - before):
                        raise Refused(507, "There is no room for more uploads at the moment; try again in a while.")
                except (Refused, _BrokenOff):
                    answer.muted = True  # whoever catches it on the way has no better answer
                    raise
                return message

            await self.app(scope, counted, answer.send)
            if not answer.good:
                raise _BrokenOff
        for path in answer.files():
            await asyncio.to_thread(self.storage.keep, path, visitor)


class _BrokenOff(Exception):
    """An upload ended without its files."""


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


class _Answer:
    """Hands an answer on; after `listen` it keeps what a good one says, the paths of the files."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._listens = False
        self._said = bytearray()
        self.began = self.over = self.good = self.muted = False

    def listen(self) -> None:
        self._listens = True

    async def send(self, message: Message) -> None:
        if self.muted:
            return
        if message["type"] == "http.response.start":
            self.began, self.good = True, message["status"] == 200
        elif self._listens and self.good:
            self._said += message.get("body", b"")
        self.over = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    def files(self) -> list[str]:
        with contextlib.suppress(ValueError, RecursionError):
            said = json.loads(self._said) if self._said else []
            return [path for path in said if isinstance(path, str)]
        return []


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


async def _refuse(scope: Scope, send: Send, refusal: Refused) -> None:
    """A refusal, as JSON in the form that Gradio's clients read, or OpenAI's. The rest of the request is not waited
    for."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    said: dict[str, Any] = {"detail": refusal.words, "error": refusal.words}
    if is_for_programs(str(scope["path"])):
        said = error_body(refusal.status, refusal.words)
    body = json.dumps(said).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status in (408, 413, 507):
        headers.append((b"connection", b"close"))
    if refusal.status in (429, 503):
        headers.append((b"retry-after", b"2"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
