"""What a page asks for: pictures, words, a mood, a light, and, folded away, every other parameter."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...parameters import FINISHING, LIGHTS, PARAMETERS
from ...weights.catalogue import MATTING_CHOICES
from ..service.actions import look_at_map
from ..ui.components import PanoramaInput
from ..ui.endpoints import index_of
from ..ui.inputs import parameter_input, picture_input
from ..ui.page import DECODE, HIDDEN, Page
from . import examples
from .painting import Painting, show_light_tools, show_matte_tools
from .presets import bind_moods, show_moods

MATTING_LABELS = {
    "auto": "Automatic",
    "rmbg": "RMBG-1.4 (non-commercial licence)",
    "ormbg": "ORMBG (Apache-2.0)",
    "u2netp": "U²-Net small (Apache-2.0)",
    "grabcut": "GrabCut (no network)",
    "none": "None: light the whole picture",
}
ADVANCED = (
    ("seed",),
    ("num_images",),
    ("width", "height"),
    ("steps", "cfg"),
    ("light_strength", "backdrop_blur"),
    ("lowres_denoise",),
    ("highres_scale", "highres_denoise"),
)
# The other workflows' first pass always starts from noise; only fbc has a backdrop.
ONLY_IN = {"lowres_denoise": "fc", "backdrop_blur": "fbc"}
SHAPE = (("angle", "falloff"), ("light_colour", "shadow_colour"), ("spot_x", "spot_y", "spot_size"))
ENV_SHAPE = ("angle", "light_colour")  # an environment map has no ramp to shape


def show_form(page: Page, painting: Painting, matting: str) -> dict[str, gr.Button]:
    """The whole form; returns its buttons by name."""
    backgrounds = _pictures(page)
    _words(page)
    moods = show_moods(page)
    _light(page)
    _show_map(page)
    buttons = _buttons()
    _quick_lists(page)
    _shape(page, painting)
    _matte(page, painting, matting)
    _advanced(page)
    _finish(page)
    bind_moods(page, moods)
    if backgrounds is not None:
        _bind_backgrounds(page, backgrounds)
    return buttons


def _pictures(page: Page) -> gr.Gallery | None:
    with gr.Row():
        page.add("image", picture_input(label="Picture", height=300, elem_id="image"), ...)
        if page.workflow == "fbc":
            page.add("background", picture_input(label="Background", height=300, elem_id="background"))
        if page.workflow == "env":
            with gr.Column(min_width=160):
                label = "Environment map (.hdr, .exr, picture)"
                page.add("environment", PanoramaInput(label=label, height=140, elem_id="environment"))
                page.looks["map"] = gr.Image(
                    label="The light; its middle is behind the subject",
                    buttons=[],
                    height=170,
                    interactive=False,
                    elem_id="map",
                )
    if page.workflow != "fbc":
        return None
    return gr.Gallery(
        [examples.asset(name) for name in examples.BACKGROUNDS],
        label="Backgrounds to pick from",
        columns=6,
        allow_preview=False,
        object_fit="cover",
        elem_id="backgrounds",
        elem_classes="strip",
        buttons=[],
    )


def _bind_backgrounds(page: Page, gallery: gr.Gallery) -> None:
    def pick(event: gr.SelectData) -> Any:
        index = index_of(event)
        if not 0 <= index < len(examples.BACKGROUNDS):
            return gr.skip(), gr.skip()
        # Whoever picks a background wants to be lit by it, whatever light was chosen before.
        return examples.asset(examples.BACKGROUNDS[index]), "upload"

    gallery.select(pick, None, [page.inputs["background"], page.inputs["light"]], queue=False, **HIDDEN)


def _words(page: Page) -> None:
    hint = "the light and the scene, e.g. sunset over sea"
    page.add("prompt", gr.Textbox(label="Prompt", placeholder=hint, value="", elem_id="prompt"))


def _light(page: Page) -> None:
    choices = [(label, name) for name, label in LIGHTS[page.workflow].items()]
    light = gr.Radio(choices, value=PARAMETERS["light"].default_for(page.workflow), label="Light", elem_id="light")
    page.add("light", light)


def _show_map(page: Page) -> None:
    """Keep the look at the light up to date."""
    if "map" in page.looks:
        sources = [page.inputs["environment"], page.inputs["light"]]
        gr.on(
            [component.change for component in sources],
            look_at_map,
            sources,
            page.looks["map"],
            show_progress="hidden",
            **DECODE,
            **HIDDEN,
        )


def _buttons() -> dict[str, gr.Button]:
    with gr.Row(elem_id="buttons"):
        return {
            "relight": gr.Button("Relight", variant="primary", scale=3, min_width=120, elem_id="relight"),
            "vary": gr.Button("Vary ×4", scale=2, min_width=80, elem_id="vary"),
            "cancel": gr.Button("Cancel", variant="stop", scale=1, min_width=80, elem_id="cancel"),
        }


def _quick_lists(page: Page) -> None:
    prompt = page.inputs["prompt"]
    lists = (
        ("Subjects", examples.SUBJECTS, examples.pick_subject),
        ("Lighting", examples.LIGHTING, examples.pick_lighting),
    )
    with gr.Accordion("Words to start from", open=False, elem_id="words"):
        for label, entries, pick in lists:
            rows = gr.Dataset(
                components=[prompt],
                samples=[[entry] for entry in entries],
                label=label,
                samples_per_page=20,
                elem_id=f"quick-{label.lower()}",
            )

            def filled_in(row: Any, text: str | None, pick: Any = pick) -> Any:
                return pick(str(row[0]), text or "") if row else gr.skip()

            rows.click(filled_in, [rows, prompt], prompt, queue=False, **HIDDEN)


def _shape(page: Page, painting: Painting) -> None:
    with gr.Accordion("Shape the light: angle, colours, spot", open=False, elem_id="shape"):
        for row in SHAPE:
            with gr.Row():
                for name in row:
                    made = page.add(name, parameter_input(name, page.workflow))
                    made.visible = page.workflow != "env" or name in ENV_SHAPE
        if page.workflow == "fc":
            label = "Light map: bright where light comes from (choose 'Use Light Map')"
            page.add("light_map", picture_input(label=label, height=200, elem_id="light-map"))
    if page.workflow != "env":
        with gr.Accordion("Paint the light", open=False, elem_id="paint"):
            show_light_tools(page, painting, page.workflow)


def _matte(page: Page, painting: Painting, matting: str) -> None:
    with gr.Accordion("Matte: what is the subject", open=False, elem_id="matte-tools"):
        choices = [(MATTING_LABELS[name], name) for name in MATTING_CHOICES]
        page.add(
            "matting",
            gr.Radio(
                choices,
                value=matting,
                label="Matting",
                info="Who cuts the subject out. A picture's own transparency, or a mask, always wins.",
                elem_id="matting",
            ),
        )
        page.add("mask", picture_input(label="Own mask (white is subject)", height=200, elem_id="mask"))
        show_matte_tools(page, painting)


def _advanced(page: Page) -> None:
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        for row in ADVANCED:
            with gr.Row():
                for name in row:
                    if page.workflow != ONLY_IN.get(name, page.workflow):
                        continue
                    page.add(name, parameter_input(name, page.workflow))
                if "seed" in row:
                    page.add("random_seed", gr.Checkbox(False, label="Random seed", elem_id="random-seed"))
        for name in ("added_prompt", "negative_prompt"):
            page.add(name, parameter_input(name, page.workflow))


def _finish(page: Page) -> None:
    with gr.Accordion("Finish: keep the photo's pixels and background", open=False, elem_id="finish"):
        for name in FINISHING:
            page.add(name, parameter_input(name, page.workflow))
        page.add("behind", picture_input(label="Own picture behind the subject", height=160, elem_id="behind"))
