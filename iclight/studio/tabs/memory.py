"""A reload loses nothing: the browser's tab keeps the form, the server the tab's pictures, and both are put back.

The form lies in the tab's own storage (`tab.js`) and goes with the tab, or by "Forget all of it". What the server keeps
lies under a token that only the tab knows (`service.sessions`).
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ...parameters import LIGHTS
from ...settings import INPUTS
from ..service.actions import Actions
from ..service.progress import Live
from ..service.sessions import session_of
from ..service.storage import Storage
from ..ui.page import HIDDEN, QUIET, Page
from .form import WORKFLOWS
from .history import filling
from .mix import DeskView
from .relight import looked_at

# Characters of a form that a browser hands back.
MOST = 100_000
KEEP = "(...values) => { window.iclight?.keep(values); }"
# A button that is not on the page, because its tab was never opened, stays as it is.
PRESS = "(name) => { if (name) document.getElementById(name)?.click(); }"
GIVE = "() => [window.iclight?.kept() ?? '']"


def bind_memory(page: Page, work: Actions, live: Live, desk: DeskView, blocks: gr.Blocks) -> None:
    """Keep what is typed; after a reload put it back, the last result with it, and watch what still runs.

    What stood in the queue is pressed again.
    """
    names, faders = list(page.inputs), list(desk.faders.values())
    remembered = [*page.values, *faders]
    gr.on([one.change for one in remembered], None, remembered, None, js=KEEP, **HIDDEN)
    kept = gr.Textbox(visible="hidden", elem_id="kept", label="Form")
    press = gr.Textbox(visible="hidden", elem_id="press", label="Form")
    filled = [*page.values, page.looks["known-defaults"], page.looks["belongs"], *faders]
    results = [*page.outputs, page.looks["compare"], page.looks["chosen"], page.looks["history"]]

    def refill(request: gr.Request, text: Any) -> list[Any]:
        form = read_form(text, names, [one.value for one in faders], work.storage)
        if form is None:
            return [gr.skip()] * len(filled)
        values, stood = form
        return [*filling(names, values, work.engine), *stood]

    def waited(request: gr.Request) -> str:
        return work.runs.broken(session_of(request), str(request.session_hash or ""))

    def again(request: gr.Request) -> list[Any]:
        last = work.again(request)
        if last is None:
            return [*[gr.skip()] * (len(results) - 1), work.history.thumbnails(request)]
        selected, pair = looked_at(work, request)
        gallery = gr.Gallery(value=last[0], selected_index=selected)
        return [gallery, *last[1:], pair, 0, work.history.thumbnails(request)]

    def arrive(request: gr.Request) -> tuple[Any, ...]:
        live.visits.here(request)
        running = live.now(request)
        return running, gr.Timer(active=bool(running)), work.latest(session_of(request))

    restored = blocks.load(refill, kept, filled, js=GIVE, **QUIET)
    page.looks["fill-defaults"](restored.then)  # after it: what was typed stays
    desk.again_after(restored)
    broken = restored.then(waited, None, press, **QUIET)
    broken.then(None, press, None, js=PRESS, **HIDDEN)
    blocks.load(again, None, results, **QUIET)
    blocks.load(arrive, None, live.parts, **QUIET)
    live.over.change(again, None, results, **QUIET)


def read_form(
    text: Any, names: list[str], faders: list[Any], storage: Storage
) -> tuple[dict[str, Any], list[Any]] | None:
    """The values of the inputs `names`, and then of `faders` (given as they begin), out of a browser's JSON; None for
    what is no form of this page.

    Of files only the paths are kept, and only of those that are still among the visitors' own (`Storage.holds`).
    """
    if not isinstance(text, str) or not 0 < len(text) <= MOST:
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or len(values) != len(names) + len(faders):
        return None
    form = {name: _value(name, value, storage) for name, value in zip(names, values, strict=False)}
    workflow = form.get("workflow")
    if workflow not in WORKFLOWS or form.get("light") not in LIGHTS[workflow]:
        return None
    now = zip(values[len(names) :], faders, strict=True)
    return form, [value if _kind(value) == _kind(first) else first for value, first in now]


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _value(name: str, value: Any, storage: Storage) -> Any:
    if name in INPUTS:
        path = value.get("path") if isinstance(value, dict) else None
        return path if storage.holds(path) else None
    return value if isinstance(value, (str, int, float, bool)) else None
