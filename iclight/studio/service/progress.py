"""What shows a request while it waits and runs, in its result's own place: preview, step, time left.

The engine's `on_step` writes a small picture and a few numbers beside the request's flag; a timer on the page asks for
them. Programs that call the endpoints need none of it and get Gradio's own progress.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ...weights.files import write_whole
from ..ui.i18n import Say, speaker
from ..ui.page import HIDDEN
from .model_pool import ModelPool
from .sessions import Runs, Visits, session_of

STAGES = ("lowres", "highres")
# The share of a request's time that its steps are said to take; finishing and saving have the rest.
WORK = 0.95
LOADING = {
    "fc": "Loading the model for words",
    "fbc": "Loading the model for backgrounds",
    "env": "Loading the model for environments",
}
# Pixels of a preview's longer side; latents are smaller, and browsers do not enlarge pictures well.
PREVIEW = 384
SECONDS_BETWEEN_LOOKS = 0.4


def follow(flag: Path, say: Say, runs: int = 1, noun: str = "") -> Callable[[Any], bool]:
    """An `on_step` that moves Gradio's bar, leaves what the page shows, and stops when the flag is up.

    `runs`: how many times a request runs the model, one after the other; `noun`: what each of them makes.
    """
    bar = gr.Progress()
    first: tuple[float, float] | None = None

    def on_step(event: Any) -> bool:
        nonlocal first
        now = time.monotonic()
        first = first or (now, event.overall)
        stage = say("Pass {number} of {count}", number=1 + STAGES.index(event.stage), count=len(STAGES))
        words = [stage, say("step {step} of {steps}", step=event.step, steps=event.steps)]
        if runs > 1:
            number = min(runs, math.ceil(event.overall * runs - 1e-6))
            words.insert(0, say(noun, number=number, count=runs))
        if (left := time_left(first, (now, event.overall))) is not None:
            words.append(say("about {seconds} s left", seconds=left))
        with contextlib.suppress(LookupError, AttributeError):  # called outside of a page there is no bar to move
            bar(event.overall * WORK, desc=" · ".join(words))
        if event.step % 2 or event.step == event.steps:
            write_whole(flag.with_suffix(".jpg"), _preview(event.preview()))
        if event.overall < 1:
            tell(flag, event.overall * WORK, " · ".join(words))
        else:
            tell(flag, WORK, say("Finishing"))
        return not flag.exists()

    return on_step


def tell(flag: Path, share: float, words: str) -> None:
    """Leave how far a request is, from 0 to 1, and what it does, beside its flag."""
    write_whole(flag.with_suffix(".json"), json.dumps([share, words]).encode())


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
    """The page's side of it. `latest(session)`: an id of the last result that was saved for a session, or None."""

    def __init__(self, runs: Runs, visits: Visits, engine: ModelPool, latest: Callable[[str], str | None]) -> None:
        self.runs = runs
        self.visits = visits
        self.engine = engine
        self.latest = latest

    def show(self) -> None:
        """Make what is shown; it is empty, and covers nothing, while nothing runs."""
        self.strip = gr.HTML("", elem_id="live", padding=False)
        self.timer = gr.Timer(SECONDS_BETWEEN_LOOKS, active=False)
        self.shown = gr.State(None)
        # Changes where a result was saved that the page has not been given: its connection broke meanwhile.
        self.over = gr.Textbox(visible="hidden", elem_id="over", label="Results")
        parts = [self.strip, self.timer, self.shown, self.over]
        self.timer.tick(self.look, self.shown, parts, queue=False, show_progress="hidden", **HIDDEN)

    @property
    def parts(self) -> list[Any]:
        """The components that `begin` and `end` set."""
        return [self.strip, self.timer, self.shown]

    def begin(self, request: gr.Request, button: str) -> tuple[Any, Any, Any]:
        """A button was pressed and what it asks for can work: stand in line, look from now on."""
        self.visits.here(request)
        self.runs.wait(session_of(request), str(request.session_hash or ""), button)
        return self.now(request), gr.Timer(active=True), gr.skip()

    def look(self, request: gr.Request, shown: str | None) -> tuple[Any, Any, Any, Any]:
        """What is shown now; the timer stops by itself when there is nothing more to look at."""
        self.visits.here(request)
        if strip := self.now(request):
            return strip, gr.skip(), gr.skip(), gr.skip()
        latest = self.latest(session_of(request))
        return "", gr.Timer(active=False), latest, gr.skip() if latest in (shown, None) else latest

    def now(self, request: gr.Request) -> str:
        """A session's request as HTML; nothing where none waits or runs."""
        say, session = speaker(request), session_of(request)
        flag = self.runs.running(session)
        if flag is not None:
            return self._shown(flag, say)
        ahead = self.runs.ahead(session)
        if ahead is None:
            return ""
        return _strip(say("In the queue: {ahead} before you", ahead=ahead) if ahead else say("Starting"), None, b"")

    def end(self, request: gr.Request) -> tuple[str, Any, Any]:
        """The request is over, or was never taken up."""
        session = session_of(request)
        self.runs.give_up(session)
        busy = self.runs.running(session) is not None  # another button's
        return "", gr.skip() if busy else gr.Timer(active=False), self.latest(session)

    def _shown(self, flag: Path, say: Say) -> str:
        try:
            overall, words = json.loads(flag.with_suffix(".json").read_bytes())
        except OSError:  # not a step done yet
            loading = self.engine.loading
            return _strip(say(LOADING[loading]) if loading else say("Preparing the picture"), None, b"")
        preview = b""
        with contextlib.suppress(OSError):
            preview = flag.with_suffix(".jpg").read_bytes()
        return _strip(words, overall, preview)


def _strip(words: str, overall: float | None, preview: bytes) -> str:
    """`words` are our own. Screen readers are told them by `page.js`, which leaves the numbers out."""
    now = "" if overall is None else f' aria-valuenow="{100 * overall:.0f}"'
    bar = "" if overall is None else f' style="width:{100 * overall:.1f}%"'
    picture = f'<img alt="" id="preview" src="{data_url(preview)}">' if preview else ""
    return (
        f'<div class="live{" drawn" if preview else ""}"><div class="frame">{picture}</div><div class="meter">'
        f"<p>{html.escape(words)}</p>"
        f'<div class="bar{"" if bar else " unknown"}" role="progressbar" aria-label="{html.escape(words)}"'
        f' aria-valuemin="0" aria-valuemax="100"{now}><i{bar}></i></div></div></div>'
    )


def jpeg(pixels: Any, quality: int) -> bytes:
    """HxWx3 uint8 sRGB -> JPEG, its colours at full resolution."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", pixels[..., ::-1], options)[1])


def data_url(picture: bytes) -> str:
    """A JPEG's bytes as what an img's src takes."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
