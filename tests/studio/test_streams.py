"""A program that closes its event's stream gives the event up; one that reads it to the end does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from iclight.studio.service.doors import Doors
from iclight.studio.service.guard import Guard
from iclight.studio.service.storage import Storage

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/gradio_api/call/relight/abc123",
    "query_string": b"",
    "headers": [(b"host", b"localhost:7860")],
    "client": ("127.0.0.1", 1),
}


async def served(folder: Path, ends: bool, path: str = SCOPE["path"]) -> tuple[list[str], list[str]]:
    """(events given up, what the application heard) of a client that hangs up in the stream, or after its end."""
    given_up: list[str] = []
    heard: list[str] = []
    sent = asyncio.Event()
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def application(scope, receive, send):
        heard.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"event: heartbeat\n\n", "more_body": True})
        if ends:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        sent.set()
        heard.append((await receive())["type"])

    async def receive():
        if requests:
            return requests.pop()
        await sent.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    guard = Guard(application, Doors(), Storage(folder), hung_up=given_up.append)
    await guard({**SCOPE, "path": path}, receive, send)
    return given_up, heard


@pytest.mark.parametrize(
    ("ends", "path", "given_up"),
    [
        (False, SCOPE["path"], ["abc123"]),
        (False, f"{SCOPE['path']}/", ["abc123"]),
        (True, SCOPE["path"], []),
        (False, "/gradio_api/queue/data", []),
    ],
)
def test_a_stream_that_is_closed_before_its_end_gives_its_event_up(ends, path, given_up, tmp_path):
    assert asyncio.run(served(tmp_path, ends, path)) == (given_up, ["http.request", "http.disconnect"])
