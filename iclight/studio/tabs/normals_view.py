"""The Normals tab: estimate, read flatter or steeper, light from anywhere at once, take away for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...parameters import NORMAL_PARAMETERS, SHADE_PARAMETERS, Parameter
from ..ui.components import ParameterSlider
from ..ui.endpoints import with_signature
from ..ui.page import HIDDEN, LIVE, Page
from .normals import NormalsTab
from .relight import BUTTONS, picture


def show_relief(page: Page, relief: NormalsTab) -> gr.Button:
    """The tab's content but for the estimate, which takes the page's inputs; returns the button for that."""
    gr.Markdown(
        "Four relightings, from left, right, bottom and top, show which way each place of the subject faces. "
        "The picture can then be lit from anywhere at once, without the model."
    )
    if page.workflow != "fbc":
        gr.Markdown("Normals are made by the background model: the first press loads it beside this page's own.")
    button = gr.Button("Estimate normals (4 relightings)", variant="primary", elem_id="normals")
    exponent = _slider("exponent", "exponent", NORMAL_PARAMETERS)
    with gr.Row():
        surface = picture("Normal map", "normal-map", height=340)
        lit = gr.Image(
            label="Lit by the normals", format="jpeg", height=340, interactive=False, buttons=BUTTONS, elem_id="shaded"
        )
    light: dict[str, Any] = {name: _slider(name, f"shade-{name}") for name in ("angle", "elevation")}
    with gr.Row():
        colour = SHADE_PARAMETERS["colour"]
        light["colour"] = gr.ColorPicker(colour.default, label=colour.label, min_width=80, elem_id="shade-colour")
        light |= {name: _slider(name, f"shade-{name}") for name in ("ambient", "strength")}
    light["exponent"] = exponent
    with gr.Row():
        parameter = NORMAL_PARAMETERS["green"]
        choices = [(words, name) for name, words in parameter.choices.items()]
        green = gr.Radio(choices, value=parameter.default, label=parameter.label, elem_id="green")
        save = gr.Button("Save as 16-bit PNG", elem_id="save-normals")
    file = gr.File(label="Normal map, 16 bits", interactive=False, elem_id="normals-file")
    with gr.Accordion("How they were made: nine pictures", open=False, elem_id="nine"):
        nine = gr.Gallery(
            label="Normals, gains and relightings",
            columns=3,
            height=480,
            format="png",
            interactive=False,
            object_fit="contain",
            elem_id="normals-gallery",
            buttons=BUTTONS,
        )
    page.looks |= {"nine": nine, "exponent": exponent}

    read = {
        "fn": with_signature(relief.map_picture, {"exponent": exponent.value}),
        "inputs": exponent,
        "outputs": surface,
    }
    shading = {
        "fn": with_signature(relief.shade, {name: one.value for name, one in light.items()}),
        "inputs": list(light.values()),
        "outputs": lit,
    }
    gr.on(
        [one.input for one in light.values()],
        **shading,
        api_name=page.endpoint("shade"),
        api_description=relief.shade.__doc__,
        trigger_mode="always_last",
        **LIVE,
    )
    exponent.input(**read, trigger_mode="always_last", **LIVE, **HIDDEN)
    save.click(
        with_signature(relief.normal_map, {"green": green.value, "exponent": exponent.value}),
        [green, exponent],
        file,
        show_progress_on=surface,
        api_name=page.endpoint("normal_map"),
        api_description=relief.normal_map.__doc__,
    )
    page.looks["relief"] = (read, shading)
    return button


def _slider(name: str, elem_id: str, parameters: Mapping[str, Parameter] = SHADE_PARAMETERS) -> ParameterSlider:
    parameter = parameters[name]
    info = parameter.help if name == "exponent" else None
    return ParameterSlider(
        *parameter.slider_range,
        value=parameter.default,
        step=parameter.step,
        label=parameter.label,
        info=info,
        elem_id=elem_id,
    )


def show_after(page: Page, made: Any) -> None:
    """After an estimate: the map and the picture lit by it."""
    read, shading = page.looks["relief"]
    made.success(**read, **LIVE, **HIDDEN).success(**shading, **LIVE, **HIDDEN)
