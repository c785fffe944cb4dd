"""What the page asks for, in one view: pictures, words, a mood, a light; how it is lit is chosen above them.

What only one workflow asks for has the class `only-fc`, `only-fbc` or `only-env`, and what only one light asks for
`when-…`: the style sheet shows them while that is chosen (`static/style.css`).
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...parameters import LIGHTS, OPEN, PARAMETERS
from ..service.actions import look_at_map
from ..service.model_pool import ModelPool
from ..ui.components import PanoramaInput, ParameterChoice
from ..ui.dial import show_handles
from ..ui.i18n import Say
from ..ui.inputs import parameter_input, picture_input
from ..ui.page import DECODE, HIDDEN, QUIET, Page
from ..ui.strip import Strip
from . import examples
from .details import show_details
from .painting import Painting, bind_light_tools, show_light_tools
from .presets import bind_moods, show_moods

WORKFLOWS = {"fc": "Words", "fbc": "Background", "env": "Environment"}
# As the reference's pages name the lights, but for what is said by the label above them.
SHORT = {
    "left": "Left",
    "right": "Right",
    "top": "Top",
    "bottom": "Bottom",
    "angle": "Any angle",
    "front": "Front",
    "rim": "Rim",
    "back": "Back",
    "upload-flipped": "Flipped background",
}
UPLOADED = {"fc": "Light map", "fbc": "Background", "env": "Environment map"}


def light_choices(workflow: str) -> list[tuple[str, str]]:
    """A workflow's lights as a radio's choices: (words, name)."""
    own = {**SHORT, "upload": UPLOADED[workflow]}
    return [(own.get(name, words), name) for name, words in LIGHTS[workflow].items()]


def show_workflows(page: Page) -> gr.Radio:
    """The choice between words, background and environment."""
    choices = [(words, name) for name, words in WORKFLOWS.items()]
    return ParameterChoice(
        choices, value=page.workflow, label="Light it by", elem_id="workflow", elem_classes="segments"
    )


def show_form(page: Page, painting: Painting, engine: ModelPool, workflow: gr.Radio) -> dict[str, gr.Button]:
    """The whole form; returns its buttons by name."""
    _pictures(page)
    page.add("workflow", workflow)
    page.add("prompt", _prompt())
    _words_to_start_from(page)
    moods = show_moods(page)
    gr.Markdown("A mood adds words; the light stays where it was chosen.", elem_classes=["not-fc", "hint"])
    _light(page, painting)
    buttons = _buttons()
    page.looks["said"] = gr.Markdown("", elem_id="said")
    show_details(page, painting, engine.matting)
    bind_moods(page, moods)
    _bind_backgrounds(page)
    _show_map(page)
    _bind_workflows(page, engine)
    return buttons


def _pictures(page: Page) -> None:
    with gr.Row(elem_id="pictures"):
        with gr.Column(elem_id="photo", min_width=120):
            page.add("image", picture_input(label="Picture", elem_id="image"), ...)
            page.looks["peek"] = gr.HTML("", elem_id="peek")
            show_handles()
        with gr.Column(elem_classes="only-fbc", min_width=120):
            page.add("background", picture_input(label="Background", elem_id="background"))
        with gr.Column(elem_classes="only-env", min_width=120):
            page.add("environment", PanoramaInput(label="Environment map", height=96, elem_id="environment"))
            page.looks["map"] = gr.Image(
                label="The light; its middle is behind the subject", buttons=[], interactive=False, elem_id="map"
            )
            page.looks["map-said"] = gr.Markdown("", elem_id="map-said")
    with gr.Column(elem_classes="only-fbc"):
        strip = Strip(examples.background_choices(Say()), label="Backgrounds to pick from", elem_id="backgrounds")
        page.looks["backgrounds"] = strip


def _bind_backgrounds(page: Page) -> None:
    strip, background, light = page.looks["backgrounds"], page.inputs["background"], page.inputs["light"]

    def pick(name: Any) -> Any:
        if name is None:
            return None, gr.skip()
        # Whoever picks a background wants to be lit by it, whatever light was chosen before.
        return (examples.asset(name), "upload") if name in examples.BACKGROUNDS else (gr.skip(), gr.skip())

    strip.input(pick, strip, [background, light], **QUIET)
    background.upload(lambda: (None, "upload"), None, [strip, light], **QUIET)
    background.clear(lambda: None, None, strip, **QUIET)


def _prompt() -> gr.Textbox:
    hint = "subject and light, e.g. cat, sunset over sea"
    return gr.Textbox(label="Prompt", placeholder=hint, value="", lines=1, max_lines=3, elem_id="prompt")


def _words_to_start_from(page: Page) -> None:
    prompt = page.inputs["prompt"]
    lists = (
        ("Subjects", examples.SUBJECTS, examples.pick_subject),
        ("Lighting", examples.LIGHTING, examples.pick_lighting),
    )
    with gr.Accordion("Words to start from", open=False, elem_id="words"):
        for label, entries, pick in lists:
            strip = Strip([(entry, entry, [], "") for entry in entries], label=label, elem_id=f"quick-{label.lower()}")

            def filled_in(entry: Any, text: Any, pick: Any = pick) -> Any:
                return (None, pick(entry, str(text or ""))) if isinstance(entry, str) else (gr.skip(), gr.skip())

            strip.input(filled_in, [strip, prompt], [strip, prompt], **QUIET)
            page.looks[f"quick-{label.lower()}"] = strip


def _light(page: Page, painting: Painting) -> None:
    light = ParameterChoice(
        light_choices(page.workflow),
        value=PARAMETERS["light"].default_for(page.workflow),
        label="Light from",
        elem_id="light",
        elem_classes="segments",
    )
    page.add("light", light)
    with gr.Column(elem_classes="when-angle"):
        page.add("angle", parameter_input("angle", page.workflow))
    with gr.Row(elem_classes="when-spot"):
        for name in ("spot_x", "spot_y", "spot_size"):
            page.add(name, parameter_input(name, page.workflow))
    show_light_tools(page, painting)
    with gr.Column(elem_classes=["when-map", "only-fc"]):
        page.add("light_map", picture_input(label="Light map: bright where light comes from", elem_id="light-map"))
    page.add("light_strength", parameter_input("light_strength", page.workflow))
    bind_light_tools(page, painting)


def _show_map(page: Page) -> None:
    """Keep the look at the environment's light up to date."""
    sources = [page.inputs["environment"], page.inputs["light"]]
    gr.on(
        [component.change for component in sources],
        look_at_map,
        sources,
        [page.looks["map"], page.looks["map-said"]],
        show_progress="hidden",
        **DECODE,
        **HIDDEN,
    )


def _buttons() -> dict[str, gr.Button]:
    with gr.Row(elem_id="buttons"):
        return {
            "relight": gr.Button("Relight", variant="primary", scale=3, min_width=120, elem_id="relight"),
            "cancel": gr.Button("Cancel", scale=3, min_width=120, elem_id="cancel"),
            "vary": gr.Button("Vary ×4", scale=2, min_width=80, elem_id="vary"),
        }


def _bind_workflows(page: Page, engine: ModelPool) -> None:
    """A change of workflow, or a model that is loaded, keeps what is there but for what stands at earlier defaults."""
    parts = [page.inputs[name] for name in OPEN]
    # On the page, not in the session: two of these events may be under way at once, and each must come with the
    # defaults that its values stood beside.
    known = gr.JSON(defaults_of(engine, page.workflow), visible="hidden", elem_id="known", label="Form")

    def switch(workflow: Any, before: Any, *now: Any) -> Any:
        if workflow not in WORKFLOWS or not isinstance(before, dict):
            return [gr.skip()] * (1 + len(parts))
        usual = defaults_of(engine, workflow)
        return [usual, *opened(workflow, usual, before, dict(zip(OPEN, now, strict=True)))]

    inputs, outputs = [page.inputs["workflow"], known, *parts], [known, *parts]
    page.inputs["workflow"].change(switch, inputs, outputs, **QUIET)
    page.inputs["workflow"].change(lambda: [gr.update(visible=False)] * 2, None, page.looks["light-editor"], **QUIET)
    page.looks["known-defaults"] = known
    page.looks["fill-defaults"] = lambda event: event(switch, inputs, outputs, **QUIET)


def defaults_of(engine: ModelPool, workflow: str) -> dict[str, Any]:
    """What the inputs `OPEN` begin with: as the loaded model's card says, else as the reference has it."""
    own = engine.defaults(workflow)
    return {name: own.get(name, PARAMETERS[name].default_for(workflow)) for name in OPEN}


def opened(workflow: str, usual: dict[str, Any], before: dict[str, Any], now: dict[str, Any]) -> list[Any]:
    """Updates of the inputs `OPEN`: from the defaults `before` to the `usual` ones; `now` are their values."""
    values = {name: usual[name] if value in (None, before.get(name)) else value for name, value in now.items()}
    if values["light"] not in LIGHTS[workflow]:
        values["light"] = PARAMETERS["light"].default_for(workflow)
    light = gr.Radio(choices=light_choices(workflow), value=values["light"])
    return [light, *(values[name] for name in OPEN[1:])]
