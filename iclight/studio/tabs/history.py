"""The History tab: what this session made, its settings back by one click, two pictures under a slider, a drop box."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...errors import IclightError
from ..service.actions import Actions
from ..service.history import caption
from ..ui.components import PanoramaInput
from ..ui.endpoints import index_of, shown, with_signature
from ..ui.i18n import as_text, speaker
from ..ui.page import DECODE, HIDDEN, QUIET, Page
from .relight import slider
from .restore import Restore


def show_history(page: Page, work: Actions, tab: gr.Tab) -> None:
    """The tab's content, bound; it is brought up to date when the tab is opened and when a relighting is done."""
    restore = Restore(work, list(page.inputs))
    gr.Markdown(
        "Everything this browser tab has made since it was opened. Click a picture to look at it; click another to "
        "compare the two."
    )
    past = gr.Gallery(
        label="History",
        columns=4,
        height=300,
        allow_preview=False,
        object_fit="cover",
        interactive=False,
        elem_id="history",
        buttons=[],
    )
    picked = gr.Markdown(elem_id="picked")
    again = gr.Button("Restore these settings", variant="primary", interactive=False, elem_id="restore")
    both = slider("The one clicked before | the one clicked last", "compare-two")
    drop = PanoramaInput(
        label="Drop a PNG made here: its settings come back", file_types=[".png"], height=120, elem_id="recipe"
    )
    said = gr.Markdown(elem_id="recipe-said")
    recipe = gr.JSON(visible=False)

    def pick(request: gr.Request, event: gr.SelectData) -> tuple[Any, ...]:
        try:
            shot = work.history.pick(request, index_of(event))
        except IclightError as error:
            raise shown(error, request) from error
        return as_text(caption(shot, speaker(request))), gr.Button(interactive=True), work.history.pair(request)

    past.select(pick, None, [picked, again, both], **QUIET)
    tab.select(work.history.thumbnails, None, past, **QUIET)
    # Programs ask for the same with the pictures themselves.
    listed = gr.Gallery(visible=False, format="png")
    gr.on(
        [],
        with_signature(work.history.listed, {}),
        None,
        listed,
        api_name=page.endpoint("history"),
        api_description=work.history.listed.__doc__,
        queue=False,
    )
    again.click(with_signature(restore.from_history, {}), None, page.values, **QUIET)
    gr.on(
        [],
        with_signature(restore.recipe, {"picture": ...}),
        drop,
        recipe,
        api_name=page.endpoint("recipe"),
        api_description=restore.recipe.__doc__,
        **DECODE,
    )
    drop.upload(
        with_signature(restore.from_recipe, {**dict.fromkeys(page.inputs), "recipe": None}),
        [*page.values, drop],
        [*page.values, said],
        show_progress_on=said,
        **DECODE,
        **HIDDEN,
    )
    page.looks["history"] = past


def refresh(page: Page, work: Actions, done: Any) -> None:
    """After a relighting: its pictures stand in the history."""
    done.success(work.history.thumbnails, None, page.looks["history"], **QUIET)
