"""Many programs at once: every request is answered, or told when to come again, and none is lost.

Prints what docs/api.md states: `python -m pytest -m slow -n 0 -s tests/server/test_load.py`.
"""

from __future__ import annotations

import base64
import io
import os
import time
from collections import Counter

import pytest
from attacks import PATIENCE, at_once, httpx
from PIL import Image

KEY = "a-key-that-nobody-guesses"
SMALL = {"width": 64, "height": 64, "steps": 2, "highres_scale": 1, "matting": "none"}
EACH = 2


def photo(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (3 * number % 256, 120, 40)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("clients", [1, 50, 100])
def test_no_request_is_lost(server, clients):
    seconds: list[float] = []
    refused: Counter[int] = Counter()

    def ask(number: int) -> int:
        """A client that asks one request after the other, each again where it is told to; how many were answered."""
        answered = 0
        with httpx.Client(
            base_url=server.url, headers={"authorization": f"Bearer {KEY}"}, timeout=PATIENCE, trust_env=False
        ) as http:
            for turn in range(EACH):
                seed = EACH * number + turn
                began = time.perf_counter()
                while True:
                    answer = http.post("/v1/images/edits", files={"image": photo(number)}, data={**SMALL, "seed": seed})
                    if answer.status_code == 200:
                        break
                    assert answer.status_code == 503, answer.text
                    assert answer.json()["error"]["code"] == "queue_full"
                    refused[503] += 1
                    time.sleep(int(answer.headers["retry-after"]))
                seconds.append(time.perf_counter() - began)
                assert answer.json()["seed"] == seed, "an answer of one's own"
                assert base64.b64decode(answer.json()["data"][0]["b64_json"]).startswith(b"\x89PNG")
                answered += 1
        return answered

    began = time.perf_counter()
    assert at_once(clients, ask) == [EACH] * clients
    whole = time.perf_counter() - began
    ordered = sorted(seconds)
    p50, p95 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.95))
    print(
        f"\n{clients} clients, {len(ordered)} requests in {whole:.1f} s: {len(ordered) / whole:.1f} a second, "
        f"p50 {p50:.2f} s, p95 {p95:.2f} s, told to come again {refused[503]} times, {os.cpu_count()} cores"
    )
