"""What most requests leave as it is, folded away: the light's colours, the matte, the finish, every other parameter."""

from __future__ import annotations

import gradio as gr

from ...parameters import FINISHING
from ...weights.catalogue import MATTING_CHOICES
from ..ui.components import ParameterChoice
from ..ui.inputs import parameter_input, picture_input
from ..ui.page import HIDDEN, QUIET, Page
from .painting import Painting, show_matte_tools

MATTING_LABELS = {
    "auto": "Automatic",
    "rmbg": "RMBG-1.4 (non-commercial licence)",
    "ormbg": "ORMBG (Apache-2.0)",
    "u2netp": "U²-Net small (Apache-2.0)",
    "grabcut": "GrabCut (no network)",
    "none": "None: light the whole picture",
}
# A moment later, when the page has taken in what was set and opened just before.
PRESS = "() => setTimeout(() => document.getElementById('{button}')?.click(), 300)"
# What only one workflow has.
ONLY = {"lowres_denoise": "only-fc", "backdrop_blur": "only-fbc"}
ADVANCED = (
    ("num_images",),
    ("width", "height"),
    ("steps", "cfg"),
    ("sampler",),
    ("lowres_denoise",),
    ("backdrop_blur",),
    ("highres_scale", "highres_denoise"),
    ("emphasis", "clip_skip"),
)


def show_details(page: Page, painting: Painting, matting: str) -> None:
    """The folded parts of the form."""
    _colours(page)
    _matte(page, painting, matting)
    _finish(page)
    _advanced(page)


def _colours(page: Page) -> None:
    with gr.Accordion("Colours of the light", open=False, elem_id="shape"):
        with gr.Row():
            page.add("light_colour", parameter_input("light_colour", page.workflow))
            with gr.Column(elem_classes="not-env", min_width=80):
                page.add("shadow_colour", parameter_input("shadow_colour", page.workflow))
        with gr.Column(elem_classes="not-env"):
            page.add("falloff", parameter_input("falloff", page.workflow))


def _matte(page: Page, painting: Painting, matting: str) -> None:
    with gr.Accordion("Matte: what is the subject", open=False, elem_id="matte-tools") as tools:
        choices = [(MATTING_LABELS[name], name) for name in MATTING_CHOICES]
        page.add(
            "matting",
            ParameterChoice(
                choices,
                value=matting,
                label="Matting",
                info="Who cuts the subject out. A picture's own transparency, or a mask, always wins.",
                elem_id="matting",
            ),
        )
        page.add("mask", picture_input(label="Own mask (white is subject)", elem_id="mask"))
        show_matte_tools(page, painting)
    page.looks["matte-tools"] = tools


def bind_doubts(page: Page) -> None:
    """The two ways out of a doubtful matte: paint on it, or do without one and relight at once."""
    opened = page.looks["paint-matte"].click(lambda: gr.Accordion(open=True), None, page.looks["matte-tools"], **QUIET)
    opened.then(None, None, None, js=PRESS.format(button="show-matte"), **HIDDEN)
    without = page.looks["light-all"].click(
        lambda: ("none", None), None, [page.inputs[name] for name in ("matting", "mask")], **QUIET
    )
    without.then(None, None, None, js=PRESS.format(button="relight"), **HIDDEN)


def _finish(page: Page) -> None:
    with gr.Accordion("Finish: keep the photo's pixels and background", open=False, elem_id="finish"):
        for name in FINISHING:
            page.add(name, parameter_input(name, page.workflow))
        page.add("behind", picture_input(label="Own picture behind the subject", elem_id="behind"))


def _advanced(page: Page) -> None:
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        with gr.Row():
            page.add("seed", parameter_input("seed", page.workflow))
            page.add("random_seed", gr.Checkbox(False, label="Random seed", elem_id="random-seed"))
        for row in ADVANCED:
            with gr.Row(elem_classes=ONLY.get(row[0])):
                for name in row:
                    page.add(name, parameter_input(name, page.workflow))
        for name in ("added_prompt", "negative_prompt"):
            page.add(name, parameter_input(name, page.workflow))
