"""Makes a page's inputs: pictures, and one for every knob of `settings.KNOBS`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..settings import KNOBS
from .components import KnobNumber, KnobSlider, PictureInput


def picture_input(**options: Any) -> PictureInput:
    """A `PictureInput` with the settings that all of them share (Gradio reads a component's own signature)."""
    return PictureInput(type="filepath", image_mode=None, format="png", sources=["upload", "clipboard"], **options)


def knob_input(name: str, workflow: str) -> gr.components.Component:
    """The input for a knob of `settings.KNOBS`: text, slider, or a number that may stay empty."""
    knob = KNOBS[name]
    common = {"label": knob.label, "info": knob.help, "value": knob.default_for(workflow), "elem_id": f"knob-{name}"}
    if knob.kind == "text":
        return gr.Textbox(lines=1, max_lines=4, **common)
    if knob.choices:
        return gr.Radio([(label, value) for value, label in knob.choices.items()], **common)
    if knob.kind == "colour":
        return gr.ColorPicker(**common)
    if knob.optional:
        empty = "random" if name == "seed" else "follow the picture"
        return KnobNumber(precision=0, step=int(knob.step), placeholder=empty, **common)
    low, high = knob.slider_range
    return KnobSlider(minimum=low, maximum=high, step=knob.step, **common)
