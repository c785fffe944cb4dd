"""The strip that shows a request while it waits and runs: place in the line, preview, step, time left.

The engine's `on_step` writes a small picture and a few numbers beside the request's flag; a timer on the page asks for
them. Programs that call the endpoints need none of it and get Gradio's own progress.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ...weights.files import write_whole
from ..ui.i18n import Say, speaker
from ..ui.page import HIDDEN
from .model_pool import ModelPool
from .sessions import Runs

STAGES = {"lowres": "First pass", "highres": "Second pass"}
# Pixels of a preview's longer side; latents are smaller, and browsers do not enlarge pictures well.
PREVIEW = 384
SECONDS_BETWEEN_LOOKS = 0.4


def follow(flag: Path, say: Say) -> Callable[[Any], bool]:
    """An `on_step` that moves Gradio's bar, leaves what the strip shows, and stops when the flag is up."""
    bar = gr.Progress()
    first: tuple[float, float] | None = None

    def on_step(event: Any) -> bool:
        nonlocal first
        now = time.monotonic()
        first = first or (now, event.overall)
        words = say(
            "{stage}, step {step} of {steps}", stage=say(STAGES[event.stage]), step=event.step, steps=event.steps
        )
        if (left := time_left(first, (now, event.overall))) is not None:
            words += " · " + say("about {seconds} s left", seconds=left)
        with contextlib.suppress(LookupError, AttributeError):  # called outside of a page there is no bar to move
            bar(event.overall, desc=words)
        if event.step % 2 or event.step == event.steps:
            write_whole(flag.with_suffix(".jpg"), _preview(event.preview()))
        write_whole(flag.with_suffix(".json"), json.dumps([event.overall, words]).encode())
        return not flag.exists()

    return on_step


def time_left(first: tuple[float, float], now: tuple[float, float]) -> int | None:
    """Whole seconds until the share of the work done reaches 1, from two (seconds, share); None before it moved."""
    seconds, done = now[0] - first[0], now[1] - first[1]
    return round(seconds / done * (1 - now[1])) if done > 0 else None


def _preview(pixels: Any) -> bytes:
    """h x w x 3 uint8 -> JPEG, enlarged smoothly."""
    import cv2

    height, width = pixels.shape[:2]
    scale = PREVIEW / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    large = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    return jpeg(large, 82)


class Live:
    """The strip's side of the page."""

    def __init__(self, runs: Runs, engine: ModelPool) -> None:
        self.runs = runs
        self.engine = engine

    def show(self) -> None:
        """Make the strip; it is empty, and takes no room, while nothing runs."""
        self.strip = gr.HTML("", elem_id="live", padding=False)
        self.timer = gr.Timer(SECONDS_BETWEEN_LOOKS, active=False)
        self.timer.tick(self.look, None, [self.strip, self.timer], queue=False, show_progress="hidden", **HIDDEN)

    @property
    def parts(self) -> list[Any]:
        """The components that `begin`, `look` and `end` set."""
        return [self.strip, self.timer]

    def begin(self, request: gr.Request) -> tuple[Any, Any]:
        """A button was pressed and what it asks for can work: stand in line, look from now on."""
        self.runs.wait(request.session_hash)
        return self.look(request)[0], gr.Timer(active=True)

    def look(self, request: gr.Request) -> tuple[Any, Any]:
        """The strip as it is now; the timer stops by itself when there is nothing more to look at."""
        say, session = speaker(request), request.session_hash
        flag = self.runs.running(session)
        if flag is not None:
            return self._shown(flag, say), gr.skip()
        ahead = self.runs.ahead(session)
        if ahead is None:
            return "", gr.Timer(active=False)
        waits = say("In the queue: {ahead} before you", ahead=ahead) if ahead else say("Starting")
        return _strip(waits, None, b""), gr.skip()

    def end(self, request: gr.Request) -> tuple[str, Any]:
        """The request is over, or was never taken up."""
        self.runs.give_up(request.session_hash)
        if self.runs.running(request.session_hash) is not None:  # another tab's button, the same session
            return "", gr.skip()
        return "", gr.Timer(active=False)

    def _shown(self, flag: Path, say: Say) -> str:
        try:
            overall, words = json.loads(flag.with_suffix(".json").read_bytes())
        except OSError:  # not a step done yet
            waits = say("Loading the model") if self.engine.loading else say("Preparing the picture")
            return _strip(waits, None, b"")
        preview = b""
        with contextlib.suppress(OSError):
            preview = flag.with_suffix(".jpg").read_bytes()
        return _strip(words, overall, preview)


def _strip(words: str, overall: float | None, preview: bytes) -> str:
    bar = "" if overall is None else f' style="width:{100 * overall:.1f}%"'
    kind = "bar" if overall is not None else "bar unknown"
    picture = ""
    if preview:
        picture = f'<img alt="" id="preview" src="{data_url(preview)}">'
    return f'<div class="live" role="status">{picture}<p>{words}</p><div class="{kind}"><i{bar}></i></div></div>'


def jpeg(pixels: Any, quality: int) -> bytes:
    """HxWx3 uint8 sRGB -> JPEG, its colours at full resolution."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", pixels[..., ::-1], options)[1])


def data_url(picture: bytes) -> str:
    """A JPEG's bytes as what an img's src takes."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
