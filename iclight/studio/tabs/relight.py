"""The Relight tab: pictures in one place, before and after under a divider, the matte, and what can be taken away."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...errors import IclightError
from ..service.actions import Actions
from ..service.outputs import as_jpeg, as_tiff
from ..ui.components import Compare, ParameterChoice
from ..ui.endpoints import index_of, shown
from ..ui.page import DECODE, HIDDEN, QUIET, Page

BUTTONS = ["download", "fullscreen"]
FORMATS = [("PNG", "png"), ("JPEG", "jpeg"), ("TIFF 16", "tiff")]


def picture(label: str, elem_id: str, **options: Any) -> gr.Image:
    """A picture that is shown and can be taken away, losslessly."""
    return gr.Image(label=label, buttons=BUTTONS, format="png", interactive=False, elem_id=elem_id, **options)


def show_results(page: Page, work: Actions) -> None:
    """The tab's content; the relighting's outputs are registered with the page."""
    with gr.Tabs(elem_id="views"):
        with gr.Tab("Pictures", id="pictures"):
            gr.Markdown("Drop a picture, choose a mood, press Relight.", elem_id="empty")
            gallery = gr.Gallery(
                label="Results",
                object_fit="contain",
                columns=2,
                preview=True,
                format="png",
                elem_id="results",
                buttons=BUTTONS,
                interactive=False,
            )
        with gr.Tab("Before and after", id="compare"):
            both = Compare(label="Divider between before and after", elem_id="compare")
        with gr.Tab("Matte", id="matte-view"), gr.Row(elem_id="matte-row"):
            foreground = picture("Preprocessed foreground", "foreground")
            matte = picture("Matte", "matte")
    about = gr.Markdown("", elem_id="about")
    with gr.Row(elem_id="doubt"):  # shown by the style sheet, below a line that doubts the matte
        page.looks["paint-matte"] = gr.Button("Paint the matte", size="sm", elem_id="paint-matte")
        page.looks["light-all"] = gr.Button("Light the whole picture", size="sm", elem_id="light-all")
    chosen = gr.State(0)
    with gr.Row(elem_id="take"):
        hold = gr.Button("Hold to see the photo (B)", size="sm", elem_id="hold")
        keep = gr.Button("Keep this seed", size="sm", elem_id="keep-seed")
        kind = ParameterChoice(
            FORMATS,
            value="png",
            label="Format",
            info="TIFF has 16 bits a value: the photo's own depth, where it has more than 8 bits and the finish is "
            "native; else 8 bits, widened.",
            elem_id="format",
            elem_classes="segments",
        )
        save = gr.Button("Download", size="sm", elem_id="save")
    file = gr.DownloadButton("Download", visible="hidden", elem_id="saved")
    used_seed = gr.Number(label="Seed used", precision=0, interactive=False, visible="hidden", elem_id="used-seed")
    page.outputs = [gallery, foreground, matte, used_seed, about]
    page.looks |= {"compare": both, "chosen": chosen, "hold": hold}

    def other(request: gr.Request, event: gr.SelectData) -> Any:
        index = index_of(event)
        pair = work.history.latest(request, index)
        return (pair, index) if pair else (gr.skip(), gr.skip())

    def seed(request: gr.Request, index: Any) -> tuple[str, bool]:
        return str(_shot(work, request, index).settings.seed), False

    def download(request: gr.Request, index: Any, ending: Any) -> str:
        path = _shot(work, request, index).path
        return {"jpeg": as_jpeg, "tiff": as_tiff}.get(ending, str)(path)

    gallery.select(other, None, [both, chosen], **QUIET)
    keep.click(seed, chosen, [page.inputs["seed"], page.inputs["random_seed"]], **QUIET)
    ready = save.click(download, [chosen, kind], file, show_progress="hidden", **DECODE, **HIDDEN)
    ready.success(None, None, None, js="() => document.querySelector('#saved')?.click()", **HIDDEN)


def _shot(work: Actions, request: gr.Request, index: Any) -> Any:
    try:
        return work.history.of_last(request, index if isinstance(index, int) else 0)
    except IclightError as error:
        raise shown(error, request) from error


def show_pair(page: Page, work: Actions, done: Any) -> Any:
    """After a relighting: one picture opens large, several as a grid, and the divider has the first beside its photo.

    The gallery's value itself stays a plain list, which is what programs get.
    """

    def look(request: gr.Request) -> tuple[Any, Any, int]:
        selected, pair = looked_at(work, request)
        return gr.Gallery(selected_index=selected), pair, 0

    return done.success(look, None, [page.outputs[0], page.looks["compare"], page.looks["chosen"]], **QUIET)


def looked_at(work: Actions, request: gr.Request) -> tuple[int | None, Any]:
    """How the last relighting is looked at first: which picture is large (None: all side by side), and the divider's
    two."""
    alone = work.history.latest(request, 1) is None
    return 0 if alone else None, work.history.latest(request)
