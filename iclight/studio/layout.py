"""The page the workflows share: what is asked for on the left; Relight, Mix, Normals and History on the right.

fbc adds a background with a gallery to pick from; env adds an environment map with a look at what was understood of
it. Everything else is the same by construction.
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
from .service.storage import KEPT, Storage
from .tabs.examples import EXAMPLES, filled
from .tabs.form import show_form
from .tabs.history import refresh, show_history
from .tabs.mix import MixTab, show_desk
from .tabs.normals import NormalsTab, show_after, show_relief
from .tabs.painting import Painting
from .tabs.presets import in_their_language
from .tabs.relight import show_pair, show_results
from .ui.endpoints import with_signature
from .ui.i18n import mark, speaker
from .ui.page import DECODE, HIDDEN, QUIET, Page

TITLES = {
    "fc": "Relight a picture by words and a direction",
    "fbc": "Relight a picture by a background",
    "env": "Relight a picture by an environment map",
}
# Where each workflow's page is, unless the site was started for it: then it is the first.
PATHS = {"fc": "words", "fbc": "background", "env": "environment"}
SWITCH = {"fc": "By words", "fbc": "By background", "env": "By environment"}
CONCURRENCY: dict[str, Any] = {"concurrency_id": "gpu", "concurrency_limit": 1}


def build(workflow: str, engine: ModelPool, gpu: Callable[..., Any], storage: Storage | None = None) -> Pages:
    """The whole site as `gr.Blocks`, ready to be launched: the workflow's page, and the others' under their paths.

    `storage`: where uploads and results are; by default where Gradio puts them.
    """
    # Results stay for a day: a history whose pictures are gone is none.
    cache = {"delete_cache": (3600, KEPT)}
    with Pages(storage or Storage(), title="iclight", analytics_enabled=False, **cache) as blocks:
        forgets: list[Callable[..., Any]] = []
        _show_page(blocks, Page(workflow), engine, gpu, workflow, forgets)
    for other in PATHS:
        if other != workflow:
            with blocks.route(TITLES[other], PATHS[other], show_in_navbar=False):
                _show_page(blocks, Page(other, suffix=f"_{other}"), engine.beside(other), gpu, workflow, forgets)
    with blocks:
        blocks.unload(_forget_all(forgets))
    for block in blocks.blocks.values():
        mark(block)
    _name_tools(blocks)
    return blocks


def _forget_all(forgets: list[Callable[..., Any]]) -> Callable[[gr.Request], None]:
    """One event for a closed tab: Gradio does each with a state of its own, and strangers can ask for it."""

    def forget(request: gr.Request) -> None:
        for one in forgets:
            one(request)

    return forget


def _name_tools(blocks: gr.Blocks) -> None:
    """Assistants (MCP) know tools by their functions' names: let those be the endpoints'."""
    for event in blocks.fns.values():
        if event.api_visibility == "public" and isinstance(event.fn, FunctionType):
            event.fn.__name__ = str(event.api_name)


def _show_page(
    blocks: Pages, page: Page, engine: ModelPool, gpu: Callable[..., Any], home: str, forgets: list[Callable[..., Any]]
) -> None:
    """One page of the site; `forgets` gets what drops a session's things."""
    work = Actions(engine, gpu, blocks.storage)
    live, desk, relief = Live(work.runs, engine), MixTab(work, gpu), NormalsTab(work, gpu)
    with gr.Row(elem_id="head"):
        gr.Markdown("# iclight", elem_id="title")
        for workflow in PATHS:
            shown = ["here"] if workflow == page.workflow else []
            link = "./" if workflow == home else f"./{PATHS[workflow]}"
            gr.Button(SWITCH[workflow], link=link, link_target="_self", size="sm", elem_classes=["switch", *shown])
    gr.Markdown(TITLES[page.workflow], elem_id="subtitle")
    status = gr.Markdown(engine.status(), elem_id="engine-status")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes="half"):
            buttons = show_form(page, Painting(work), engine.matting)
        with gr.Column(scale=6, min_width=320, elem_classes="half", elem_id="stage"):
            live.show()
            with gr.Tabs(elem_id="tabs"):
                with gr.Tab("Relight", id="relight-tab", elem_id="relight-tab"):
                    show_results(page, work)
                with gr.Tab("Mix", id="mix-tab", elem_id="mix-tab"):
                    desk_view = show_desk(desk, page)
                with gr.Tab("Normals", id="normals-tab", elem_id="normals-tab"):
                    estimate = show_relief(page, relief)
                with gr.Tab("History", id="history-tab", elem_id="history-tab") as tab:
                    show_history(page, work, tab)
            _examples(page)
    bound = _Bound(page, live)
    for name in ("relight", "vary"):
        made = bound.run(name, buttons[name], work.check, getattr(work, name), page.outputs)
        made.then(_status_of(engine), None, status, **QUIET)  # the first request may have loaded the workflow
        show_pair(page, work, made)
        refresh(page, work, made)
    lit = bound.run("lights", desk_view.button, desk.check, desk.lights, desk_view.about)
    desk_view.mix_after(lit)
    outputs = [page.looks["nine"], *page.outputs[1:]]
    exponent = {"exponent": page.looks["exponent"]}
    show_after(page, bound.run("normals", estimate, relief.check, relief.normals, outputs, exponent))
    bound.cancel(buttons["cancel"], work.cancel)
    forgets += (work.forget, desk.forget, relief.forget)
    _keep_status(blocks, engine, status)
    blocks.load(in_their_language, None, page.inputs["mood"], **QUIET)


class _Bound:
    """Ties buttons to long work: looked at first, waited for on the strip, and given up by Cancel."""

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
        more, live = more or {}, self.live
        inputs = [*self.page.inputs.values(), *more.values()]
        defaults = {**self.page.defaults, **{key: one.value for key, one in more.items()}}

        def looked_at(request: gr.Request, **values: Any) -> Any:
            check(values)
            return live.begin(request)

        # Looked at without waiting for the GPU: what cannot work is said at once; the last result stays.
        first = button.click(
            with_signature(looked_at, defaults),
            inputs,
            live.parts,
            show_progress="hidden",
            **DECODE,
            **HIDDEN,
        )
        made = first.success(
            with_signature(action, defaults),
            inputs,
            outputs,
            api_name=self.page.endpoint(name),
            api_description=action.__doc__,
            show_progress="hidden",
            **CONCURRENCY,
        )
        made.then(live.end, None, live.parts, **QUIET)
        self.running.append(made)
        return made

    def cancel(self, button: gr.Button, cancel: Callable[..., Any]) -> None:
        """The flag stops what runs, within one step; `cancels` takes away what still waits in the queue."""
        button.click(
            with_signature(cancel, {}),
            None,
            None,
            queue=False,
            api_name=self.page.endpoint("cancel"),
            api_description=cancel.__doc__,
        ).then(self.live.end, None, self.live.parts, **QUIET)
        button.click(None, None, None, cancels=self.running, **HIDDEN)


def _examples(page: Page) -> None:
    names = [name for name in ("image", "background", "environment", "prompt", "light") if name in page.inputs]
    for name in names:
        mark(page.inputs[name])  # a click on an example sets labels again, as they are now
    examples = gr.Examples(
        [[filled(cell) for cell in row] for row in EXAMPLES[page.workflow]],
        [page.inputs[name] for name in names],
        label="Examples",
        elem_id="examples",
        cache_examples=False,
        api_visibility="private",
    )
    examples.dataset.click(lambda: None, None, page.inputs["mood"], **QUIET)  # an example's words are all of them


def _status_of(engine: ModelPool) -> Callable[[gr.Request], str]:
    def status(request: gr.Request) -> str:
        return engine.status(speaker(request))

    return status


def _keep_status(blocks: gr.Blocks, engine: ModelPool, status: gr.Markdown) -> None:
    """Keep the model's line fresh until loading is over."""
    timer, now = gr.Timer(1.0), _status_of(engine)

    def look(request: gr.Request) -> tuple[Any, Any]:
        return now(request), gr.Timer(active=not engine.ready)

    timer.tick(look, None, [status, timer], **QUIET)
    blocks.load(look, None, [status, timer], **QUIET)
