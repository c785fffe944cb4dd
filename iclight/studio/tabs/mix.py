"""The mixing desk: the picture lit from every side once, then mixed live, one fader for each light.

What a session's faders mix lies here, by session, and goes when the tab is closed; no model runs while a fader moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...errors import ImageError
from ...parameters import LIGHT_INPUTS, LIGHTS, MIX_PARAMETERS
from ..service.actions import Actions
from ..service.progress import data_url, follow, jpeg
from ..service.sessions import PerSession
from ..ui.components import ParameterSlider
from ..ui.endpoints import with_signature
from ..ui.i18n import Say, speaker
from ..ui.page import HIDDEN, LIVE, Page

if TYPE_CHECKING:
    from ...editing.mixing import LightMix, LightWeight
    from ...olat import OLATResult
    from ...settings import Settings

LABELS = {"left": "Left", "right": "Right", "top": "Top", "bottom": "Bottom", "ambient": "Ambient"}
# The visitor's: the light map, background or environment map in the form when the lights are made.
OWN = "own"
OWN_LABELS = {"fc": "Your light map", "fbc": "Your background", "env": "Your environment map"}
# Stacks kept at once, over all sessions: the longest unused goes first.
KEPT = 16


def lights_of(workflow: str) -> list[str]:
    """The desk's lights, in the faders' order (`olat.desk_lights`, without importing a model for it)."""
    return [light for light in LABELS if light in LIGHTS[workflow]]


class MixTab:
    """The actions of one page's desk."""

    def __init__(self, work: Actions, gpu: Callable[..., Any]) -> None:
        self.work = work
        self._stacks: PerSession[OLATResult] = PerSession(KEPT)
        self._light = gpu(self._light_here)

    def check(self, values: dict[str, Any]) -> None:
        """Refuse what cannot be lit. The lights are the desk's own, so none has to be given."""
        self.work.check(self._lit(values))

    def _lit(self, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "light": lights_of(self.work.engine.workflow)[0]}

    def lights(self, request: gr.Request, **values: Any) -> str:
        """Relight a picture once from every side, and by a light of your own if given, for /mix and /export of this

        session; says how well light adds up.
        """
        say, values = speaker(request), self._lit(values)
        settings, inputs = self.work.check(values)
        with self.work.runs.of(request.session_hash) as flag:
            made = self._light(settings, inputs, values.get("matting"), flag, say)
        self._stacks.put(request.session_hash, made)
        line = say("**{seconds:.1f} s** for {count} lights.", seconds=made.seconds, count=len(made.stack.pictures))
        if made.residual is not None:
            line += " " + say(
                "Left, right, top and bottom together differ from the ambient picture by **{share:.0f} %** "
                "(0: light adds exactly).",
                share=100 * made.residual,
            )
        return line

    def mix(self, request: gr.Request, **values: Any) -> Any:
        """Mix this session's lights (/lights): exposure in stops; of each light strength, colour, muted, solo."""
        stack = self._of(request).stack
        return self.work.live_picture(request, stack.mix(*_read(values, stack)))

    def shown(self, request: gr.Request) -> str:
        """This session's lights as pictures in the page itself, for the browser to mix (`faders.js`)."""
        pictures = self._of(request).stack.pictures
        urls = {name: data_url(jpeg(picture, 95)) for name, picture in pictures.items()}
        return "".join(f'<img data-light="{name}" alt="" src="{url}">' for name, url in urls.items())

    def export(self, request: gr.Request, **values: Any) -> list[str]:
        """The mix at the photo's own size (PNG), and the lights in linear light (16-bit TIFF, EXR)."""
        from ...editing.mixing import save_stack
        from ...recipes import save_png

        made = self._of(request)
        folder = self.work.folder(request)
        save_png(folder / "mix.png", made.export(*_read(values, made.stack)))
        for name in ("lights.tiff", "lights.exr"):
            save_stack(made.stack, folder / name)
        return [str(folder / name) for name in ("mix.png", "lights.tiff", "lights.exr")]

    def forget(self, request: gr.Request) -> None:
        """Drop a closed tab's lights."""
        self._stacks.drop(request.session_hash)

    def _of(self, request: gr.Request) -> OLATResult:
        made = self._stacks.get(request.session_hash)
        if made is None:
            raise ImageError("There is nothing to mix yet: press 'Light it from every side' first.")
        return made

    def _light_here(
        self, settings: Settings, inputs: dict[str, Any], matting: str | None, flag: Path, say: Say
    ) -> OLATResult:
        from ...olat import relight_olat

        own = inputs[LIGHT_INPUTS[settings.workflow]]
        return relight_olat(
            self.work.loaded(flag),
            inputs["image"],
            settings,
            mask=inputs["mask"],
            on_step=follow(flag, say),
            own=None if own is None else {OWN: own},
            matting=matting,
        )


def _read(values: dict[str, Any], stack: LightMix) -> tuple[dict[str, LightWeight], float]:
    """A page's values as `LightMix.mix` takes them. A fader of one's own moves nothing where no such light was made."""
    from ...editing.mixing import WHITE, LightWeight, parse_colour

    channels = {}
    for light in (name for name in values if name in LABELS or (name == OWN and OWN in stack.pictures)):
        colour = values.get(f"{light}_colour")
        tint = parse_colour(colour) if colour else WHITE
        muted, solo = bool(values.get(f"{light}_muted")), bool(values.get(f"{light}_solo"))
        channels[light] = LightWeight(_number(values, light), tint, muted, solo)
    return channels, _number(values, "exposure")


def _number(values: dict[str, Any], name: str) -> float:
    """A fader's value; 0 where none came, and for what is no number one that every check refuses."""
    try:
        return float(values.get(name) or 0)
    except (TypeError, ValueError):
        return math.nan


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
    exposure, strength = MIX_PARAMETERS["exposure"], MIX_PARAMETERS["strength"]
    made: dict[str, Any] = {
        "exposure": ParameterSlider(
            *exposure.slider_range, exposure.default, step=exposure.step, label=exposure.label, elem_id="exposure"
        )
    }
    small: dict[str, Any] = {"scale": 1, "min_width": 70}
    labels = {**{light: LABELS[light] for light in lights_of(workflow)}, OWN: OWN_LABELS[workflow]}
    for light, label in labels.items():
        with gr.Row(elem_classes="fader"):
            start, step = START.get(light, 0.0), strength.step
            made[light] = ParameterSlider(
                *strength.slider_range, start, step=step, label=label, scale=5, elem_id=f"fader-{light}"
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
