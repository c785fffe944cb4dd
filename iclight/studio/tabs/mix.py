"""The mixing desk: the picture lit from every side once, then mixed live, one fader for each light.

What a session's faders mix lies here, by session, and goes when the tab is closed; no model runs while a fader moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...errors import ImageError
from ...parameters import LIGHT_INPUTS, MIX_PARAMETERS
from ..service.actions import Actions
from ..service.outputs import shots
from ..service.progress import data_url, follow, jpeg
from ..service.sessions import PerSession, session_of
from ..ui.components import Colour, ParameterSlider
from ..ui.dial import show_dial
from ..ui.endpoints import with_signature
from ..ui.i18n import Say, speaker
from ..ui.page import HIDDEN, LIVE, QUIET, Page

if TYPE_CHECKING:
    from ...editing.mixing import LightMix, LightWeight
    from ...olat import OLATResult
    from ...recipes import Recipe
    from ...settings import Settings

LABELS = {"left": "Left", "right": "Right", "top": "Top", "bottom": "Bottom", "ambient": "Ambient"}
# The visitor's: the light map, background or environment map in the form when the lights are made.
OWN = "own"
# Stacks kept at once, over all sessions: the longest unused goes first.
KEPT = 16


@dataclass(frozen=True)
class Lit:
    """A desk's lights, the recipe they have in common, and the form that asked for them."""

    made: OLATResult
    recipe: Recipe
    values: dict[str, Any]


class MixTab:
    """The actions of the desk."""

    def __init__(self, work: Actions, gpu: Callable[..., Any]) -> None:
        self.work = work
        self._lit: PerSession[Lit] = PerSession(KEPT)
        self._light = gpu(self._light_here)

    def check(self, values: dict[str, Any]) -> tuple[Settings, dict[str, Any]]:
        """Refuse what cannot be lit. The lights are the desk's own, so none has to be given."""
        return self.work.check({**values, "light": "left"})

    def lights(self, request: gr.Request, **values: Any) -> str:
        """Relight a picture once from every side, and by a light of your own if given, for /mix and /export of this

        session; says how well light adds up.
        """
        say, session = speaker(request), session_of(request)
        with self.work.runs.of(session) as flag:
            self.work.loaded(flag)  # the model's card decides what is left open
            settings, inputs = self.check(values)
            made = self._light(settings, inputs, values.get("matting"), flag, say)
            self._lit.put(session, Lit(made, _recipe_of(made, inputs), values))
        return _line(made, say)

    def mix(self, request: gr.Request, **values: Any) -> Any:
        """Mix this session's lights (/lights): exposure in stops; of each light strength, colour, muted, solo."""
        stack = self._of(request).made.stack
        return self.work.live_picture(request, stack.mix(*_read(values, stack)))

    def shown(self, request: gr.Request) -> str:
        """This session's lights as pictures in the page itself, for the browser to mix (`faders.js`)."""
        pictures = self._of(request).made.stack.pictures
        urls = {name: data_url(jpeg(picture, 95)) for name, picture in pictures.items()}
        return "".join(f'<img data-light="{name}" alt="" src="{url}">' for name, url in urls.items())

    def again(self, request: gr.Request, **values: Any) -> tuple[Any, Any, Any]:
        """After a reload: this session's line, mix and lights, if it has any."""
        lit = self._lit.get(session_of(request))
        if lit is None:
            return gr.skip(), gr.skip(), gr.skip()
        return _line(lit.made, speaker(request)), self.mix(request, **values), self.shown(request)

    def export(self, request: gr.Request, **values: Any) -> list[str]:
        """The mix at the photo's own size (PNG, with its recipe, in the photo's colours and depth), and the lights in
        linear light (16-bit TIFF, EXR)."""
        import numpy as np

        from ...editing.mixing import save_stack
        from ...imaging.depths import to_depth
        from ...recipes import save_png

        lit = self._of(request)
        made, folder = lit.made, self.work.folder(request)
        channels, exposure = _read(values, made.stack)
        picture = made.export(channels, exposure)
        path = folder / f"{Path(lit.recipe.inputs['image']['file']).stem[:40]}-mix-{made.settings.seed}.png"
        described = {name: asdict(channel) for name, channel in channels.items()}
        save_png(path, picture, replace(lit.recipe, mix={"channels": described, "exposure": exposure}), icc=made.icc)
        shown = {str(path): to_depth(picture, np.uint8)}
        self.work.history.add(
            session_of(request), shots(folder, made.settings, shown, lit.values, made.picture, "mix", made.icc)
        )
        for name in ("lights.tiff", "lights.exr"):
            save_stack(made.stack, folder / name)
        return [str(path), *(str(folder / name) for name in ("lights.tiff", "lights.exr"))]

    def leave(self, session: str, image: str) -> bool:
        """Another picture was chosen: drop the lights of the one before; whether there were any."""
        lit = self._lit.get(session)
        if lit is None or lit.values.get("image") == image:
            return False
        self.drop(session)
        return True

    def drop(self, session: str) -> None:
        """Forget a session's lights."""
        self._lit.drop(session)

    def _of(self, request: gr.Request) -> Lit:
        lit = self._lit.get(session_of(request))
        if lit is None:
            raise ImageError("There is nothing to mix yet: press 'Light it from every side' first.")
        return lit

    def _light_here(
        self, settings: Settings, inputs: dict[str, Any], matting: str | None, flag: Path, say: Say
    ) -> OLATResult:
        from ...olat import desk_lights, relight_olat

        own = inputs[LIGHT_INPUTS[settings.workflow]]
        count = len(desk_lights(settings.workflow)) + (own is not None)
        return relight_olat(
            self.work.loaded(flag, settings.workflow),
            inputs["image"],
            settings,
            mask=inputs["mask"],
            on_step=follow(flag, say, count, "light {number} of {count}"),
            own=None if own is None else {OWN: own},
            matting=matting,
        )


def _line(made: OLATResult, say: Say) -> str:
    line = say("**{seconds:.1f} s** for {count} lights.", seconds=made.seconds, count=len(made.stack.pictures))
    if made.residual is None:
        return line
    adds = say(
        "Left, right, top and bottom together differ from the ambient picture by **{share:.0f} %** "
        "(0: light adds exactly).",
        share=100 * made.residual,
    )
    return f"{line} {adds}"


def _recipe_of(made: OLATResult, inputs: dict[str, Any]) -> Recipe:
    from ...recipes import describe_input, recipe_of

    recipe, name = recipe_of(made, inputs, "mix"), LIGHT_INPUTS[made.settings.workflow]
    own = {name: describe_input(inputs[name])} if OWN in made.stack.pictures else {}
    return replace(recipe, inputs={**recipe.inputs, **own})


def _read(values: dict[str, Any], stack: LightMix) -> tuple[dict[str, LightWeight], float]:
    """A page's values as `LightMix.mix` takes them. A fader moves nothing where no such light was made."""
    from ...editing.mixing import WHITE, LightWeight, parse_colour

    channels = {}
    for light in (name for name in values if name in stack.pictures):
        colour = values.get(f"{light}_colour")
        tint = parse_colour(colour) if colour else WHITE
        muted, solo = bool(values.get(f"{light}_muted")), bool(values.get(f"{light}_solo"))
        channels[light] = LightWeight(_number(values, light), tint, muted, solo)
    return channels, _number(values, "exposure")


def _number(values: dict[str, Any], name: str) -> float:
    """A fader's value; 0 where none came, and for what is no number one that every check refuses."""
    try:
        return float(values.get(name) or 0)
    except (TypeError, ValueError, OverflowError):
        return math.nan


# Where the faders stand at first: lit from the left, a little from above, the shadows not black.
START = {"left": 0.8, "top": 0.2, "ambient": 0.2}


@dataclass(frozen=True)
class DeskView:
    """The desk's parts that the page's own work touches."""

    desk: MixTab
    button: gr.Button
    about: gr.Markdown
    mix: dict[str, Any]
    lights: gr.HTML
    faders: dict[str, Any]

    def again_after(self, restored: Any) -> None:
        """Show what this session's faders mixed before a reload."""
        again = with_signature(self.desk.again, {name: one.value for name, one in self.faders.items()})
        outputs = [self.about, self.mix["outputs"], self.lights]
        restored.then(again, list(self.faders.values()), outputs, **QUIET)

    def mix_after(self, lit: Any) -> None:
        """Show the mix of what has just been lit; the browser gets the lights, to mix them while a fader moves."""
        lit.success(**self.mix, **LIVE, **HIDDEN)
        lit.success(with_signature(self.desk.shown, {}), None, self.lights, **LIVE, **HIDDEN)


def show_desk(desk: MixTab, page: Page) -> DeskView:
    """The desk's tab, its /mix and /export bound; /lights is the page's, for it takes the page's inputs."""
    with gr.Row(elem_classes="ask"):
        gr.Markdown(
            "The picture is lit once from every side, by the form's words, size and seed; then the lights are mixed "
            "without waiting. A light map, background or panorama in the form is one more light."
        )
        button = gr.Button("Light it from every side", variant="primary", elem_id="lights")
    about = gr.Markdown(elem_id="desk-about")
    with gr.Row(elem_id="desk", equal_height=False):
        with gr.Column(scale=5, min_width=240, elem_id="mixed"):
            picture = gr.Image(label="Mix", format="jpeg", interactive=False, buttons=["fullscreen"], elem_id="mix")
        with gr.Column(scale=4, min_width=260, elem_id="faders"):
            inputs = _faders()
            with gr.Row(elem_id="turn"):
                show_dial("dial", "One light from an angle: the other faders go down")
                dial = gr.Slider(0, 360, value=180, step=5, label="Angle", elem_id="dial")
    lights = gr.HTML(elem_id="desk-lights")
    export = gr.Button("Export: full-size mix, lights as TIFF and EXR", elem_id="export")
    files = gr.File(label="Exported", file_count="multiple", interactive=False, elem_id="exported")
    page.looks["of-desk"] = [picture, lights, files, about]

    values, defaults = list(inputs.values()), {name: one.value for name, one in inputs.items()}
    mix = {"fn": with_signature(desk.mix, defaults), "inputs": values, "outputs": picture}
    gr.on(
        [one.input for one in values],
        **mix,
        api_name="mix",
        api_description=desk.mix.__doc__,
        trigger_mode="always_last",
        **LIVE,
    )
    turned = dial.input(
        _strengths, dial, [inputs[light] for light in LABELS], trigger_mode="always_last", **LIVE, **HIDDEN
    )
    turned.then(**mix, **LIVE, **HIDDEN)
    page.looks["exported"] = export.click(
        with_signature(desk.export, defaults),
        values,
        files,
        show_progress_on=picture,
        api_name="export",
        api_description=desk.export.__doc__,
    )
    return DeskView(desk, button, about, mix, lights, inputs)


def _faders() -> dict[str, Any]:
    """The desk's inputs by their names in the API: exposure; strength, colour, muted and solo of each light."""
    exposure, strength = MIX_PARAMETERS["exposure"], MIX_PARAMETERS["strength"]
    made: dict[str, Any] = {}
    for light, label in {**LABELS, OWN: "Your own light"}.items():
        with gr.Row(elem_classes="fader", elem_id=f"row-{light}"):
            start, step = START.get(light, 0.0), strength.step
            made[light] = ParameterSlider(
                *strength.slider_range, start, step=step, label=label, scale=5, min_width=90, elem_id=f"fader-{light}"
            )
            made[f"{light}_colour"] = Colour(label="Colour", elem_id=f"colour-{light}")
            made[f"{light}_muted"] = gr.Checkbox(False, label="Mute", scale=0, min_width=50, elem_id=f"mute-{light}")
            made[f"{light}_solo"] = gr.Checkbox(False, label="Solo", scale=0, min_width=50, elem_id=f"solo-{light}")
    made["exposure"] = ParameterSlider(
        *exposure.slider_range, exposure.default, step=exposure.step, label=exposure.label, elem_id="exposure"
    )
    return made


def _strengths(angle: float) -> list[float]:
    """The dial's answer, a strength for each fader: 0 is right, 90 top, 180 left, 270 bottom."""
    from ...editing.mixing import dial

    turned = dial(float(angle))
    return [turned[light].strength for light in LABELS]
