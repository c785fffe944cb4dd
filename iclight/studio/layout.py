"""The page the workflows share: picture, light and prompt on the left; what came of it on the right.

fbc adds a background with a gallery to pick from, and normals; env adds an environment map with a look at what was
understood of it. Everything else is the same by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ..catalogue import MATTING_CHOICES
from ..settings import FINISHING, KNOBS, LIGHTS
from . import examples
from .components import PanoramaInput
from .desk import Desk
from .desk_view import DeskView, show_desk
from .engine import Engine
from .inputs import knob_input, picture_input
from .painting import Painting, show_light_tools, show_matte_tools
from .work import Work

TITLES = {
    "fc": "Relight a picture by words and a direction",
    "fbc": "Relight a picture by a background",
    "env": "Relight a picture by an environment map",
}
MATTING_LABELS = {
    "auto": "Automatic",
    "rmbg": "RMBG-1.4 (non-commercial licence)",
    "ormbg": "ORMBG (Apache-2.0)",
    "grabcut": "GrabCut (no download)",
    "none": "None: light the whole picture",
}
ADVANCED = (
    ("seed",),
    ("num_images",),
    ("width", "height"),
    ("steps", "cfg"),
    ("lowres_denoise",),
    ("highres_scale", "highres_denoise"),
)
CONCURRENCY = {"concurrency_id": "gpu", "concurrency_limit": 1}
SHAPE = (("angle", "falloff"), ("light_colour", "shadow_colour"), ("spot_x", "spot_y", "spot_size"))
ENV_SHAPE = ("angle", "light_colour")  # an environment map has no ramp to shape
HIDDEN = {"api_visibility": "private"}
SHOW_BUTTONS = ["download", "fullscreen"]

CSS = """
.gradio-container { max-width: 1320px !important; min-width: 0 !important; margin: auto; }
.main { padding: 16px clamp(8px, 2vw, 32px) !important; min-width: 0 !important; }
#title h1 { margin: 0.2em 0 0; font-size: 1.5rem; }
#title p, #engine-status { opacity: 0.8; }
#about { min-height: 1.6em; }
#buttons { position: sticky; bottom: 0; z-index: 5; padding: 6px 0; background: var(--body-background-fill); }
#backgrounds .grid-container { grid-template-columns: repeat(auto-fill, minmax(72px, 1fr)) !important; }
#backgrounds .thumbnail-item { min-width: 0; aspect-ratio: 1; }
#matte-row .image-container { max-height: 260px; }
#examples { overflow-x: auto; }
.half { min-width: min(320px, 100%) !important; overflow-x: clip; }
.fader { flex-wrap: nowrap !important; align-items: center; }
@media (max-width: 640px) {
  .fader { flex-wrap: wrap !important; }
  .half { flex-basis: 100% !important; max-width: 100%; }
  #examples td, #examples th { padding: 4px !important; font-size: 0.8rem; }
}
"""


@dataclass
class Page:
    """The components that events tie together, by name."""

    inputs: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    outputs: list[Any] = field(default_factory=list)
    looks: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, component: Any, default: Any = None) -> Any:
        """Register an input; `default` is what its API parameter falls back to where the component is empty."""
        self.inputs[name] = component
        self.defaults[name] = default
        return component


def build(workflow: str, engine: Engine, gpu: Callable[..., Any]) -> gr.Blocks:
    """The whole page as `gr.Blocks`, ready to be launched."""
    work = Work(engine, gpu)
    painting = Painting(work)
    page = Page()
    with gr.Blocks(title=f"iclight · {workflow}", delete_cache=(3600, 3600), analytics_enabled=False) as blocks:
        gr.Markdown(f"# iclight\n{TITLES[workflow]}", elem_id="title")
        status = gr.Markdown(engine.status(), elem_id="engine-status")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320, elem_classes="half"):
                _pictures(page, workflow)
                _light(page, workflow)
                _show_map(page, work)
                buttons = _buttons(workflow)
                _quick_lists(page)
                _shape(page, workflow, painting)
                _matte(page, painting, engine.matting)
                _advanced(page, workflow)
                _finish(page, workflow)
            with gr.Column(scale=6, min_width=320, elem_classes="half"):
                with gr.Tabs():
                    with gr.Tab("Pictures", id="pictures"):
                        _results(page)
                    with gr.Tab("Mixing desk", id="desk", elem_id="desk"):
                        desk = show_desk(Desk(work, gpu), workflow)
                _examples(page, workflow)
        _bind(page, work, buttons, desk)
        blocks.unload(desk.desk.forget)
        _keep_status(blocks, engine, status)
        blocks.unload(work.cancel)  # nobody waits for a closed tab
    return blocks


def _pictures(page: Page, workflow: str) -> None:
    with gr.Row():
        page.add("image", picture_input(label="Picture", height=320, elem_id="image"), ...)
        if workflow == "fbc":
            page.add("background", picture_input(label="Background", height=320, elem_id="background"))
        if workflow == "env":
            with gr.Column(min_width=160):
                label = "Environment map (.hdr, .exr, picture)"
                page.add("environment", PanoramaInput(label=label, height=140, elem_id="environment"))
                page.looks["map"] = gr.Image(
                    label="The light; its middle is behind the subject",
                    buttons=[],
                    height=190,
                    interactive=False,
                    elem_id="map",
                )
    if workflow == "fbc":
        paths = [examples.asset(name) for name in examples.BACKGROUNDS]
        gallery = gr.Gallery(
            paths,
            label="Backgrounds to pick from",
            columns=6,
            height=130,
            allow_preview=False,
            object_fit="cover",
            elem_id="backgrounds",
            buttons=[],
        )

        def pick(event: gr.SelectData) -> str:
            return paths[int(event.index)]

        gallery.select(pick, None, page.inputs["background"], queue=False, **HIDDEN)


def _light(page: Page, workflow: str) -> None:
    choices = [(label, name) for name, label in LIGHTS[workflow].items()]
    page.add(
        "prompt",
        gr.Textbox(
            label="Prompt", placeholder="the light and the scene, e.g. sunset over sea", value="", elem_id="prompt"
        ),
    )
    page.add(
        "light",
        gr.Radio(choices, value=KNOBS["light"].default_for(workflow), label="Light", elem_id="light"),
    )


def _shape(page: Page, workflow: str, painting: Painting) -> None:
    with gr.Accordion("Shape the light: angle, colours, spot", open=False, elem_id="shape"):
        for row in SHAPE:
            with gr.Row():
                for name in row:
                    if workflow != "env" or name in ENV_SHAPE:
                        page.add(name, knob_input(name, workflow))
        if workflow == "fc":
            label = "Light map: bright where light comes from (choose 'Use Light Map')"
            page.add("light_map", picture_input(label=label, height=200, elem_id="light-map"))
    if workflow != "env":
        with gr.Accordion("Paint the light", open=False, elem_id="paint"):
            show_light_tools(page, painting, workflow)


def _show_map(page: Page, work: Work) -> None:
    """Keep the look at the light up to date."""
    if "map" in page.looks:
        sources = [page.inputs["environment"], page.inputs["light"]]
        gr.on(
            [component.change for component in sources],
            work.look_at_map,
            sources,
            page.looks["map"],
            queue=False,
            show_progress="hidden",
            **HIDDEN,
        )


def _buttons(workflow: str) -> dict[str, gr.Button]:
    with gr.Row(elem_id="buttons"):
        made = {"relight": gr.Button("Relight", variant="primary", scale=3, elem_id="relight")}
        if workflow == "fbc":
            made["normals"] = gr.Button("Normals (4x)", scale=2, elem_id="normals")
        made["cancel"] = gr.Button("Cancel", variant="stop", scale=1, min_width=80, elem_id="cancel")
    return made


def _quick_lists(page: Page) -> None:
    prompt = page.inputs["prompt"]
    lists = (
        ("Subjects", examples.SUBJECTS, examples.pick_subject),
        ("Lighting", examples.LIGHTING, examples.pick_lighting),
    )
    for label, entries, pick in lists:
        rows = gr.Dataset(
            components=[prompt],
            samples=[[entry] for entry in entries],
            label=label,
            samples_per_page=20,
            elem_id=f"quick-{label.lower()}",
        )
        rows.click(lambda row, text, pick=pick: pick(row[0], text or ""), [rows, prompt], prompt, queue=False, **HIDDEN)


def _advanced(page: Page, workflow: str) -> None:
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        for row in ADVANCED:
            with gr.Row():
                for name in row:
                    if name == "lowres_denoise" and workflow != "fc":
                        continue  # the other workflows' first pass always starts from noise
                    page.add(name, knob_input(name, workflow))
                if "seed" in row:
                    page.add("random_seed", gr.Checkbox(False, label="Random seed", elem_id="random-seed"))
        for name in ("added_prompt", "negative_prompt"):
            page.add(name, knob_input(name, workflow))


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


def _finish(page: Page, workflow: str) -> None:
    with gr.Accordion("Finish: keep the photo's pixels and background", open=False, elem_id="finish"):
        for name in FINISHING:
            page.add(name, knob_input(name, workflow))
        page.add("behind", picture_input(label="Own picture behind the subject", height=160, elem_id="behind"))


def _results(page: Page) -> None:
    gallery = gr.Gallery(
        label="Results",
        height=620,
        object_fit="contain",
        columns=2,
        preview=True,
        format="png",
        elem_id="results",
        buttons=SHOW_BUTTONS,
        interactive=False,
    )
    about = gr.Markdown(elem_id="about")
    with gr.Row(elem_id="matte-row"):
        foreground = gr.Image(
            label="Preprocessed foreground",
            buttons=SHOW_BUTTONS,
            format="png",
            height=240,
            interactive=False,
            elem_id="foreground",
        )
        matte = gr.Image(
            label="Matte", buttons=SHOW_BUTTONS, format="png", height=240, interactive=False, elem_id="matte"
        )
        used_seed = gr.Number(label="Seed used", precision=0, interactive=False, visible="hidden", elem_id="used-seed")
    page.outputs = [gallery, foreground, matte, used_seed, about]


def _examples(page: Page, workflow: str) -> None:
    names = [name for name in ("image", "background", "environment", "prompt", "light") if name in page.inputs]
    gr.Examples(
        [[examples.filled(cell) for cell in row] for row in examples.EXAMPLES[workflow]],
        [page.inputs[name] for name in names],
        label="Examples",
        elem_id="examples",
        cache_examples=False,
        api_visibility="private",
    )


def _bind(page: Page, work: Work, buttons: dict[str, gr.Button], desk: DeskView) -> None:
    from .work import with_signature

    inputs, gallery = list(page.inputs.values()), page.outputs[0]
    running = []
    for name, action, check in (
        ("relight", work.relight, work.check_relight),
        ("normals", work.normals, work.check_normals),
    ):
        if name in buttons:
            # Looked at without waiting for the GPU: what cannot work is said at once; the last result stays.
            looked_at = buttons[name].click(
                with_signature(check, page.defaults), inputs, None, concurrency_limit=None, **HIDDEN
            )
            running.append(
                looked_at.success(
                    with_signature(action, page.defaults),
                    inputs,
                    page.outputs,
                    api_name=name,
                    api_description=action.__doc__,
                    show_progress_on=gallery,
                    **CONCURRENCY,
                )
            )
            # The first picture opens large; the value itself stays a plain list, which is what programs get.
            running[-1].success(lambda: gr.Gallery(selected_index=0), None, gallery, queue=False, **HIDDEN)
    lit = desk.button.click(
        with_signature(desk.desk.lights, page.defaults),
        inputs,
        desk.about,
        api_name="lights",
        api_description=desk.desk.lights.__doc__,
        show_progress_on=desk.picture,
        **CONCURRENCY,
    )
    running.append(lit)
    desk.mix_after(lit)
    # The flag stops what runs, within one step; `cancels` takes away what still waits in the queue.
    buttons["cancel"].click(work.cancel, None, None, queue=False, api_name="cancel")
    buttons["cancel"].click(None, None, None, cancels=running, **HIDDEN)


def _keep_status(blocks: gr.Blocks, engine: Engine, status: gr.Markdown) -> None:
    """Keep the model's line fresh until loading is over."""
    timer = gr.Timer(1.0)

    def look() -> tuple[Any, Any]:
        return engine.status(), gr.Timer(active=not engine.ready)

    timer.tick(look, None, [status, timer], queue=False, show_progress="hidden", **HIDDEN)
    blocks.load(look, None, [status, timer], queue=False, show_progress="hidden", **HIDDEN)
