"""The page: what is asked for on the left; Relight, Mix, Normals and History on the right, each in its own place.

How a picture is lit (words, background, environment) is one of the form's choices; the rest is the same for all three.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import gradio as gr

from .service.actions import Actions
from .service.model_pool import ModelPool
from .service.pages import Pages
from .service.progress import Live
from .service.sessions import Runs, Visits, session_of
from .service.storage import KEPT, Storage
from .tabs.details import bind_doubts
from .tabs.examples import backgrounds_in_their_language, examples_in_their_language, show_examples
from .tabs.form import show_form, show_workflows
from .tabs.history import refresh, show_history
from .tabs.memory import bind_memory
from .tabs.mix import MixTab, show_desk
from .tabs.normals import NormalsTab, show_after, show_relief
from .tabs.painting import Painting
from .tabs.picture import bind_picture
from .tabs.presets import in_their_language
from .tabs.relight import show_pair, show_results
from .ui.endpoints import with_signature
from .ui.i18n import mark, speaker
from .ui.page import DECODE, HIDDEN, QUIET, Page

CONCURRENCY: dict[str, Any] = {"concurrency_id": "gpu", "concurrency_limit": 1}


def build(workflow: str, engine: ModelPool, gpu: Callable[..., Any], storage: Storage | None = None) -> Pages:
    """The page as `gr.Blocks`, opened on a workflow and ready to be launched.

    `storage`: where uploads and results are; by default where Gradio puts them.
    """
    # Results stay for a day: a history whose pictures are gone is none.
    cache = {"delete_cache": (3600, KEPT)}
    with Pages(storage or Storage(), title="iclight", analytics_enabled=False, **cache) as blocks:
        _show_page(blocks, Page(workflow), engine, gpu)
    for block in blocks.blocks.values():
        mark(block)
    _name_tools(blocks)
    return blocks


def _name_tools(blocks: gr.Blocks) -> None:
    """Assistants (MCP) know tools by their functions' names: let those be the endpoints'."""
    for event in blocks.fns.values():
        if event.api_visibility == "public" and isinstance(event.fn, FunctionType):
            event.fn.__name__ = str(event.api_name)


def _show_page(blocks: Pages, page: Page, engine: ModelPool, gpu: Callable[..., Any]) -> None:
    work = Actions(engine, gpu, blocks.storage)
    desk, relief = MixTab(work, gpu), NormalsTab(work, gpu)

    def drop(session: str) -> None:
        for room in (work, desk, relief):
            room.drop(session)

    def forgotten(request: gr.Request) -> None:
        work.cancel(request)  # or its result would be kept after all
        drop(session_of(request))

    visits = Visits(work.runs.stop, drop)
    live = Live(work.runs, visits, engine, work.latest)
    page.looks["belongs"] = gr.State(None)
    with gr.Row(elem_id="head"):
        gr.Markdown("# iclight", elem_id="title")
        ways = show_workflows(page)
    with gr.Row(elem_id="floor", equal_height=False):
        with gr.Column(scale=5, min_width=300, elem_id="form"):
            buttons = show_form(page, Painting(work), engine, ways)
        with gr.Column(scale=8, min_width=300, elem_id="stage"):
            live.show()
            with gr.Tabs(elem_id="tabs"):
                with gr.Tab("Relight", id="relight-tab", elem_id="relight-tab"):
                    show_results(page, work)
                    show_examples(page)
                with gr.Tab("Mix", id="mix-tab", elem_id="mix-tab"):
                    desk_view = show_desk(desk, page)
                with gr.Tab("Normals", id="normals-tab", elem_id="normals-tab"):
                    estimate = show_relief(page, relief)
                with gr.Tab("History", id="history-tab", elem_id="history-tab") as tab:
                    show_history(page, work, tab)
    with gr.Row(elem_id="foot"):
        status = gr.Markdown(engine.status(), elem_id="engine-status")
        kept = "This tab keeps its form until it is closed, the server its pictures for a day at most."
        gr.Markdown(kept, elem_classes="hint")
        forget = gr.Button("Forget all of it", size="sm", elem_id="forget")
    page.looks["editors"] = [*page.looks["light-editor"], *page.looks["matte-editor"]]
    bound = _Bound(page, live)
    for name in ("relight", "vary"):
        made = bound.run(name, buttons[name], work.check, getattr(work, name), page.outputs)
        made.then(_status_of(engine), ways, status, **QUIET)  # the first request may have loaded the workflow
        show_pair(page, work, made)
        refresh(page, work, made)
    lit = bound.run("lights", desk_view.button, desk.check, desk.lights, desk_view.about)
    desk_view.mix_after(lit)
    refresh(page, work, page.looks["exported"])
    exponent = {"exponent": page.looks["exponent"]}
    show_after(page, bound.run("normals", estimate, relief.check, relief.normals, page.looks["normals"], exponent))
    bound.cancel(buttons["cancel"], work.cancel)
    bind_picture(page, work, desk, relief)
    bind_doubts(page)
    bind_memory(page, work, live, desk_view, blocks)
    _keep_status(blocks, engine, status, ways, page)
    blocks.unload(_leaving(visits, work.runs))
    blocks.stop = work.runs.stop
    gone = forget.click(with_signature(forgotten, {}), None, None, **QUIET)
    gone.then(None, None, None, js="() => window.iclight?.forget()", **HIDDEN)
    for shown, named in (
        (page.inputs["mood"], in_their_language),
        (page.looks["examples"], examples_in_their_language),
        (page.looks["backgrounds"], backgrounds_in_their_language),
    ):
        blocks.load(named, None, shown, **QUIET)


def _leaving(visits: Visits, runs: Runs) -> Callable[[gr.Request], None]:
    def leave(request: gr.Request) -> None:
        runs.hung_up(str(request.session_hash or ""))
        visits.left(request)

    return leave


class _Bound:
    """Ties buttons to long work: looked at first, shown while it runs, and given up by Cancel."""

    def __init__(self, page: Page, live: Live) -> None:
        self.page = page
        self.live = live
        self.running: list[Any] = []

    def run(
        self,
        name: str,
        button: gr.Button,
        check: Callable[[dict[str, Any]], Any],
        action: Callable[..., Any],
        outputs: Any,
        more: dict[str, Any] | None = None,
    ) -> Any:
        """Bind the endpoint `name` to a button; `more` are inputs beyond the form's. Returns the event of the work."""
        more, live, said = more or {}, self.live, self.page.looks["said"]
        inputs = [*self.page.inputs.values(), *more.values()]
        defaults = {**self.page.defaults, **{key: one.value for key, one in more.items()}}

        def looked_at(request: gr.Request, **values: Any) -> Any:
            check(values)
            return *live.begin(request, str(button.elem_id)), ""

        # Looked at without waiting for the GPU: what cannot work is said at once; the last result stays.
        first = button.click(
            with_signature(looked_at, defaults),
            inputs,
            [*live.parts, said],
            show_progress="hidden",
            **DECODE,
            **HIDDEN,
        )
        made = first.success(
            with_signature(action, defaults),
            inputs,
            outputs,
            api_name=name,
            api_description=action.__doc__,
            show_progress="hidden",
            **CONCURRENCY,
        )
        made.then(live.end, None, live.parts, **QUIET)
        self.running.append(made)
        return made

    def cancel(self, button: gr.Button, cancel: Callable[..., Any]) -> None:
        """The flag stops what runs, within one step; `cancels` takes away what still waits in the queue."""

        def told(request: gr.Request) -> tuple[Any, ...]:
            say = speaker(request)
            return *self.live.end(request), say("Cancelled.")

        button.click(
            with_signature(cancel, {}),
            None,
            None,
            queue=False,
            api_name="cancel",
            api_description=cancel.__doc__,
        ).then(told, None, [*self.live.parts, self.page.looks["said"]], **QUIET)
        button.click(None, None, None, cancels=self.running, **HIDDEN)


def _status_of(engine: ModelPool) -> Callable[..., str]:
    def status(request: gr.Request, workflow: Any) -> str:
        return engine.status(speaker(request), workflow)

    return status


def _keep_status(blocks: gr.Blocks, engine: ModelPool, status: gr.Markdown, ways: gr.Radio, page: Page) -> None:
    """Keep the model's line fresh until loading is over, and whenever another workflow is chosen.

    A model that is loaded brings its own defaults, which take the place of those that the page began with.
    """
    timer, now = gr.Timer(1.0), _status_of(engine)

    def look(request: gr.Request, workflow: Any) -> tuple[Any, Any]:
        return now(request, workflow), gr.Timer(active=not engine.ready)

    page.looks["fill-defaults"](timer.tick(look, ways, [status, timer], **QUIET).then)
    blocks.load(look, ways, [status, timer], **QUIET)
    ways.change(now, ways, status, **QUIET)
