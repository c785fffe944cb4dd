"""The Normals tab: estimate, read flatter or steeper, light from anywhere at once, take away for other programs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .components import KnobSlider
from .desk_view import LIVE
from .handlers import with_signature
from .page import Page
from .relief import Relief
from .relight_view import BUTTONS, HIDDEN, picture

GREENS = [("OpenGL: green up (Blender, Unity)", "opengl"), ("DirectX: green down (Unreal)", "directx")]


def show_relief(page: Page, relief: Relief) -> gr.Button:
    """The tab's content but for the estimate, which takes the page's inputs; returns the button for that."""
    gr.Markdown(
        "Four relightings, from left, right, bottom and top, show which way each place of the subject faces. "
        "The picture can then be lit from anywhere at once, without the model."
    )
    if page.workflow != "fbc":
        gr.Markdown("Normals are made by the background model: the first press loads it beside this page's own.")
    button = gr.Button("Estimate normals (4 relightings)", variant="primary", elem_id="normals")
    exponent = KnobSlider(
        0,
        20,
        value=5.0,
        step=0.5,
        label="Relief",
        info="The exponent of the height: 5 is the paper's, less is flatter, more is steeper.",
        elem_id="exponent",
    )
    with gr.Row():
        surface = picture("Normal map", "normal-map", height=340)
        lit = gr.Image(
            label="Lit by the normals", format="jpeg", height=340, interactive=False, buttons=BUTTONS, elem_id="shaded"
        )
    light: dict[str, Any] = {
        "angle": KnobSlider(
            0, 360, value=135, step=1, label="Angle: 0 right, 90 top, 180 left, 270 bottom", elem_id="shade-angle"
        ),
        "elevation": KnobSlider(
            -30, 90, value=35, step=1, label="Height towards the camera, degrees", elem_id="shade-elevation"
        ),
    }
    with gr.Row():
        light["colour"] = gr.ColorPicker("#ffffff", label="Colour", min_width=80, elem_id="shade-colour")
        light["ambient"] = KnobSlider(0, 1, value=0.2, step=0.01, label="Ambient", elem_id="shade-ambient")
        light["strength"] = KnobSlider(0, 1.5, value=1.0, step=0.01, label="Strength", elem_id="shade-strength")
    light["exponent"] = exponent
    with gr.Row():
        green = gr.Radio(GREENS, value="opengl", label="Green channel", elem_id="green")
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

    read = {"fn": with_signature(relief.map_picture, {"exponent": 5.0}), "inputs": exponent, "outputs": surface}
    shading = {
        "fn": with_signature(relief.shade, {name: one.value for name, one in light.items()}),
        "inputs": list(light.values()),
        "outputs": lit,
    }
    gr.on(
        [one.input for one in light.values()],
        **shading,
        api_name="shade",
        api_description=relief.shade.__doc__,
        trigger_mode="always_last",
        **LIVE,
    )
    exponent.input(**read, trigger_mode="always_last", **LIVE, **HIDDEN)
    save.click(
        with_signature(relief.normal_map, {"green": "opengl", "exponent": 5.0}),
        [green, exponent],
        file,
        api_name="normal_map",
        api_description=relief.normal_map.__doc__,
    )
    page.looks["relief"] = (read, shading)
    return button


def show_after(page: Page, made: Any) -> None:
    """After an estimate: the map and the picture lit by it."""
    read, shading = page.looks["relief"]
    made.success(**read, **LIVE, **HIDDEN).success(**shading, **LIVE, **HIDDEN)
