"""Makes a page's inputs: pictures, and one for every parameter of `parameters.PARAMETERS`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...parameters import PARAMETERS
from .components import Colour, ParameterChoice, ParameterNumber, ParameterSlider, PictureInput


def picture_input(**options: Any) -> PictureInput:
    """A `PictureInput` with the settings that all of them share (Gradio reads a component's own signature)."""
    return PictureInput(type="filepath", image_mode=None, format="png", sources=["upload"], **options)


def parameter_input(name: str, workflow: str) -> gr.components.Component:
    """The input for a parameter of `parameters.PARAMETERS`: text, slider, or a number that may stay empty."""
    parameter = PARAMETERS[name]
    value, elem_id = parameter.default_for(workflow), f"knob-{name}"
    if parameter.kind == "colour":
        return Colour(value, label=parameter.label, elem_id=elem_id)
    common = {"label": parameter.label, "info": parameter.help, "value": value, "elem_id": elem_id}
    if parameter.kind == "text":
        return gr.Textbox(lines=1, max_lines=4, **common)
    if parameter.choices:
        return ParameterChoice([(label, value) for value, label in parameter.choices.items()], **common)
    if parameter.optional:
        empty = "random" if name == "seed" else "follow the picture"
        return ParameterNumber(lines=1, max_lines=1, placeholder=empty, **common)
    low, high = parameter.slider_range
    return ParameterSlider(minimum=low, maximum=high, step=parameter.step, **common)
