"""The Relight tab: the pictures, a slider between before and after, and the matte."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..service.actions import Actions
from ..ui.endpoints import index_of
from ..ui.page import QUIET, Page

BUTTONS = ["download", "fullscreen"]


def picture(label: str, elem_id: str, **options: Any) -> gr.Image:
    """A picture that is shown and can be taken away, losslessly."""
    return gr.Image(label=label, buttons=BUTTONS, format="png", interactive=False, elem_id=elem_id, **options)


def slider(label: str, elem_id: str) -> gr.ImageSlider:
    """Two pictures of one size under a divider that is dragged."""
    return gr.ImageSlider(
        label=label,
        type="filepath",
        format="png",
        image_mode=None,
        interactive=False,
        max_height=620,
        buttons=["fullscreen"],
        elem_id=elem_id,
    )


def show_results(page: Page, work: Actions) -> None:
    """The tab's content; the relighting's outputs are registered with the page."""
    about = gr.Markdown("Drop a picture, choose a mood, press Relight.", elem_id="about")
    with gr.Tabs(elem_id="views"):
        with gr.Tab("Pictures", id="pictures"):
            gallery = gr.Gallery(
                label="Results",
                height=600,
                object_fit="contain",
                columns=2,
                preview=True,
                format="png",
                elem_id="results",
                buttons=BUTTONS,
                interactive=False,
            )
        with gr.Tab("Before and after", id="compare"):
            both = slider("Before | after", "compare")
        with gr.Tab("Matte", id="matte-view"), gr.Row(elem_id="matte-row"):
            foreground = picture("Preprocessed foreground", "foreground", height=300)
            matte = picture("Matte", "matte", height=300)
    used_seed = gr.Number(label="Seed used", precision=0, interactive=False, visible="hidden", elem_id="used-seed")
    page.outputs = [gallery, foreground, matte, used_seed, about]
    page.looks["compare"] = both

    def other(request: gr.Request, event: gr.SelectData) -> Any:
        return work.history.latest(request, index_of(event)) or gr.skip()

    gallery.select(other, None, both, **QUIET)


def show_pair(page: Page, work: Actions, done: Any) -> Any:
    """After a relighting: the first picture opens large, and the slider has it beside its photo.

    The gallery's value itself stays a plain list, which is what programs get.
    """

    def look(request: gr.Request) -> tuple[Any, Any]:
        return gr.Gallery(selected_index=0), work.history.latest(request)

    return done.success(look, None, [page.outputs[0], page.looks["compare"]], **QUIET)
