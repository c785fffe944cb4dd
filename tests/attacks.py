"""What the tests of attacks share: a visitor who speaks HTTP by hand and sends what no browser would."""

from __future__ import annotations

import io
import json
import threading
import uuid
from typing import Any

import pytest
from PIL import Image

httpx = pytest.importorskip("httpx")  # which Gradio brings along

API = "/gradio_api"
# Seconds until what was asked for has failed to be answered: a machine may be busy with other things.
PATIENCE = 120
TOY = {"width": 64, "height": 64, "steps": 1, "highres_scale": 1, "matting": "none"}


class Visitor:
    """A session of a served page. `headers` go with every request."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url.rstrip("/")
        self.session = uuid.uuid4().hex
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False)

    def upload(self, content: bytes, name: str = "photo.png") -> str:
        answer = self.http.post(f"{API}/upload", files={"files": (name, content)})
        answer.raise_for_status()
        return answer.json()[0]

    def file(self, content: bytes, name: str = "photo.png") -> dict[str, Any]:
        return {"path": self.upload(content, name), "meta": {"_type": "gradio.FileData"}}

    def config(self) -> dict[str, Any]:
        return self.http.get("/config").json()

    def run(self, name: str, data: list[Any]) -> httpx.Response:
        """Past the queue."""
        return self.http.post(f"{API}/run/{name}", json={"data": data, "session_hash": self.session})

    def call(self, name: str, data: list[Any]) -> tuple[str, Any]:
        """As programs ask: ("complete" or "error", what came)."""
        begun = self.http.post(f"{API}/call/{name}", json={"data": data, "session_hash": self.session})
        if begun.status_code != 200:
            return f"{begun.status_code}", begun.json()
        kind = ""
        with self.http.stream("GET", f"{API}/call/{name}/{begun.json()['event_id']}") as lines:
            for line in lines.iter_lines():
                if line.startswith("event:"):
                    kind = line.removeprefix("event:").strip()
                elif line.startswith("data:") and kind in ("complete", "error"):
                    return kind, json.loads(line.removeprefix("data:"))
        raise AssertionError(f"/{name} never ended")

    def inputs(self, name: str, **values: Any) -> list[Any]:
        """An endpoint's inputs in their order: those given by name, the others' defaults."""
        parameters = self.http.get(f"{API}/info").json()["named_endpoints"][f"/{name}"]["parameters"]
        return [values.get(one["parameter_name"], one.get("parameter_default")) for one in parameters]

    def ask(self, **values: Any) -> tuple[str, Any]:
        """/relight by names, at a toy size."""
        return self.call("relight", self.inputs("relight", **{**TOY, **values}))

    def event(self, index: int, data: list[Any], event_data: Any = None) -> dict[str, Any]:
        """A page's event by its number, private ones too: the message that ends it."""
        session = uuid.uuid4().hex
        body = {"data": data, "fn_index": index, "session_hash": session, "event_data": event_data}
        begun = self.http.post(f"{API}/queue/join", json=body)
        if begun.status_code != 200:
            return {"success": False, "output": begun.json()}
        with self.http.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as lines:
            for line in lines.iter_lines():
                if line.startswith("data:"):
                    message = json.loads(line.removeprefix("data:"))
                    if message["msg"] in ("process_completed", "unexpected_error"):
                        return message
        raise AssertionError(f"event {index} never ended")


def png(colour: tuple[int, ...] = (200, 120, 40), size: tuple[int, int] = (48, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def at_once(count: int, action: Any) -> list[Any]:
    """`action(number)` from as many threads; what each gave."""
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        results[number] = action(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
