"""What the mixing desk looks like: a button, the mix, a dial, a fader for each light, an export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..ui.components import ParameterSlider
from ..ui.endpoints import with_signature
from ..ui.page import HIDDEN, LIVE, Page
from .mix import LABELS, OWN, OWN_LABELS, MixTab, lights_of

# Where the faders stand at first: lit from the left, a little from above, the shadows not black.
START = {"left": 0.8, "top": 0.2, "ambient": 0.2}


@dataclass(frozen=True)
class DeskView:
    """The desk's parts that the page's own work touches."""

    desk: MixTab
    button: gr.Button
    picture: gr.Image
    about: gr.Markdown
    mix: dict[str, Any]
    lights: gr.HTML

    def mix_after(self, lit: Any) -> None:
        """Show the mix of what has just been lit; the browser gets the lights, to mix them while a fader moves."""
        lit.success(**self.mix, **LIVE, **HIDDEN)
        lit.success(with_signature(self.desk.shown, {}), None, self.lights, **LIVE, **HIDDEN)


def show_desk(desk: MixTab, page: Page) -> DeskView:
    """The desk's tab, its /mix and /export bound; /lights is the page's, for it takes the page's inputs."""
    workflow = page.workflow
    gr.Markdown(
        "Light the picture once from every side (prompt, size and seed as in the form); then mix the lights "
        "without waiting: light adds up. A light of your own in the form is one more fader."
    )
    button = gr.Button("Light it from every side", variant="primary", elem_id="lights")
    picture = gr.Image(
        label="Mix", format="jpeg", height=520, interactive=False, buttons=["download", "fullscreen"], elem_id="mix"
    )
    lights = gr.HTML(elem_id="desk-lights")
    about = gr.Markdown(elem_id="desk-about")
    dial = gr.Slider(0, 360, value=180, step=5, label="Dial: 0 right, 90 top, 180 left, 270 bottom", elem_id="dial")
    inputs = _faders(workflow)
    export = gr.Button("Export: full-size mix, lights as TIFF and EXR", elem_id="export")
    files = gr.File(label="Exported", file_count="multiple", interactive=False, elem_id="exported")

    values, defaults = list(inputs.values()), {name: one.value for name, one in inputs.items()}
    mix = {"fn": with_signature(desk.mix, defaults), "inputs": values, "outputs": picture}
    gr.on(
        [one.input for one in values],
        **mix,
        api_name=page.endpoint("mix"),
        api_description=desk.mix.__doc__,
        trigger_mode="always_last",
        **LIVE,
    )
    turned = dial.input(
        _turn(workflow),
        dial,
        [inputs[light] for light in lights_of(workflow)],
        trigger_mode="always_last",
        **LIVE,
        **HIDDEN,
    )
    turned.then(**mix, **LIVE, **HIDDEN)
    export.click(
        with_signature(desk.export, defaults),
        values,
        files,
        show_progress_on=picture,
        api_name=page.endpoint("export"),
        api_description=desk.export.__doc__,
    )
    return DeskView(desk, button, picture, about, mix, lights)


def _faders(workflow: str) -> dict[str, Any]:
    """The desk's inputs by their names in the API: exposure; strength, colour, muted and solo of each light."""
    made: dict[str, Any] = {
        "exposure": ParameterSlider(-3, 3, value=0, step=0.1, label="Exposure, stops", elem_id="exposure")
    }
    small: dict[str, Any] = {"scale": 1, "min_width": 70}
    labels = {**{light: LABELS[light] for light in lights_of(workflow)}, OWN: OWN_LABELS[workflow]}
    for light, label in labels.items():
        with gr.Row(elem_classes="fader"):
            made[light] = ParameterSlider(
                0, 2, START.get(light, 0.0), step=0.01, label=label, scale=5, elem_id=f"fader-{light}"
            )
            made[f"{light}_colour"] = gr.ColorPicker("#ffffff", label="Colour", elem_id=f"colour-{light}", **small)
            made[f"{light}_muted"] = gr.Checkbox(False, label="Mute", elem_id=f"mute-{light}", **small)
            made[f"{light}_solo"] = gr.Checkbox(False, label="Solo", elem_id=f"solo-{light}", **small)
    return made


def _turn(workflow: str) -> Callable[[float], list[float]]:
    """The dial's answer: a strength for each fader. 0 is right, 90 top, 180 left, 270 bottom."""

    def strengths(angle: float) -> list[float]:
        from ...editing.mixing import dial

        turned = dial(float(angle))
        return [turned[light].strength if light in turned else 0.0 for light in lights_of(workflow)]

    return strengths
