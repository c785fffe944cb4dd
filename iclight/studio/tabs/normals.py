"""The normals of the picture: estimated once, then read flatter or steeper, saved, and lit from anywhere at once.

What a session estimated lies here, by session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...errors import ImageError
from ...parameters import NORMAL_LIGHTS, NORMAL_PARAMETERS, SHADE_PARAMETERS, Parameter
from ..service import outputs as outcome
from ..service.actions import SAVING, Actions, workflow_of
from ..service.progress import follow, tell
from ..service.sessions import PerSession, session_of
from ..ui.components import Colour, ParameterChoice, ParameterSlider
from ..ui.dial import show_dial
from ..ui.endpoints import with_signature
from ..ui.i18n import Say, speaker
from ..ui.page import HIDDEN, LIVE, Page
from .relight import BUTTONS, picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...normals import Normals
    from ...settings import Settings

# Sessions whose normals are kept: the longest unused goes first.
KEPT = 16
# What the fbc workflow's own defaults decide where the page lights by another.
FBC_ONLY = ("cfg", "steps")


@dataclass(frozen=True)
class Seen:
    """An estimate, the photo at its size, cropped once, and the file that the photo came from."""

    normals: Normals
    photo: NDArray[np.uint8]
    image: str


class NormalsTab:
    """The actions of one page's Normals tab."""

    def __init__(self, work: Actions, gpu: Callable[..., Any]) -> None:
        self.work = work
        self._made: PerSession[Seen] = PerSession(KEPT)
        self._estimate = gpu(self._estimate_here)

    def check(self, values: dict[str, Any]) -> tuple[Settings, dict[str, Any]]:
        """What fbc is asked with, and the inputs decoded. The lights are fixed: no background has to be given."""
        asked = {**values, "light": "ambient"}
        if workflow_of(values, self.work.engine.workflow) != "fbc":
            asked = {name: value for name, value in asked.items() if name not in FBC_ONLY}
        return self.work.check(asked, "fbc")

    def normals(self, request: gr.Request, **values: Any) -> tuple[Any, ...]:
        """Estimate a subject's surface normals from four relightings (left, right, bottom, top)."""
        say = speaker(request)
        exponent = _or_default(values.get("exponent"), NORMAL_PARAMETERS["exponent"])
        with self.work.runs.of(session_of(request)) as flag:
            self.work.loaded(flag)  # the model's card decides what is left open
            settings, inputs = self.check(values)
            result = self._estimate(settings, inputs, values.get("matting"), exponent, flag, say)
            tell(flag, SAVING, say("Saving"))
            height, width = result.normal.shape[:2]
            photo = outcome.crop(result.picture, width, height)
            self._made.put(session_of(request), Seen(result, photo, str(values["image"])))
            folder = self.work.folder(request)
            paths = outcome.save_all(folder, result, inputs, "normals")
        captions = [say(caption) for caption in outcome.NORMALS_CAPTIONS]
        return list(zip(paths, captions, strict=True)), *outcome.about(folder, result, say)

    def normal_map(self, request: gr.Request, **values: Any) -> str:
        """This session's normals (/normals) as a 16-bit PNG: `green` "opengl" (y up) or "directx" (y down)."""
        from ...editing.normal_maps import write_normals

        green = str(values.get("green") or NORMAL_PARAMETERS["green"].default)
        path = self.work.folder(request) / f"normals-{green}.png"
        write_normals(path, self._read(request, values).normals.normal, green)
        return str(path)

    def map_picture(self, request: gr.Request, **values: Any) -> Any:
        """The normal map as a picture, read with an exponent."""
        return outcome.save_plain(self.work.folder(request), "map", self._read(request, values).normals.images[0])

    def shade(self, request: gr.Request, **values: Any) -> Any:
        """This session's picture (/normals) under a light from any direction, by its normals and no model: degrees
        counter-clockwise from the right, and towards the viewer (90: at the camera)."""
        from ...editing.shading import shade

        seen = self._read(request, values)
        light = {name: _or_default(values.get(name), parameter) for name, parameter in SHADE_PARAMETERS.items()}
        # At the size of the normals: this is a preview, and it answers while a slider moves.
        return self.work.live_picture(request, shade(seen.photo, seen.normals.normal, seen.normals.matte, **light))

    def leave(self, session: str, image: str) -> bool:
        """Another picture was chosen: drop the normals of the one before; whether there were any."""
        seen = self._made.get(session)
        if seen is None or seen.image == image:
            return False
        self.drop(session)
        return True

    def drop(self, session: str) -> None:
        """Forget a session's normals."""
        self._made.drop(session)

    def _read(self, request: gr.Request, values: dict[str, Any]) -> Seen:
        """The session's normals, read with the exponent that is asked for, and kept so: sliders ask again at once."""
        seen = self._made.get(session_of(request))
        if seen is None:
            raise ImageError("There are no normals yet: press 'Estimate normals' first.")
        exponent = _or_default(values.get("exponent"), NORMAL_PARAMETERS["exponent"])
        if exponent != seen.normals.exponent:
            seen = replace(seen, normals=seen.normals.with_exponent(exponent))
            self._made.put(session_of(request), seen)
        return seen

    def _estimate_here(
        self, settings: Settings, inputs: dict[str, Any], matting: str | None, exponent: float, flag: Path, say: Say
    ) -> Normals:
        from ...normals import estimate_normals

        return estimate_normals(
            self.work.loaded(flag, "fbc"),
            inputs["image"],
            settings,
            mask=inputs["mask"],
            on_step=follow(flag, say, len(NORMAL_LIGHTS), "light {number} of {count}"),
            exponent=exponent,
            matting=matting,
        )


def _or_default(value: Any, parameter: Parameter) -> Any:
    return parameter.default if value is None else value


def show_relief(page: Page, relief: NormalsTab) -> gr.Button:
    """The tab's content but for the estimate, which takes the page's inputs; returns the button for that."""
    with gr.Row(elem_classes="ask"):
        gr.Markdown(
            "Four relightings by the background model, from left, right, bottom and top, show which way each place of "
            "the subject faces. The picture can then be lit from anywhere at once, without the model."
        )
        button = gr.Button("Estimate normals (4 relightings)", variant="primary", elem_id="normals")
    about = gr.Markdown(elem_id="normals-about")
    with gr.Column(elem_id="relief"):
        with gr.Row(elem_id="surfaces"):
            surface = picture("Normal map", "normal-map")
            lit = gr.Image(
                label="Lit by the normals", format="jpeg", interactive=False, buttons=BUTTONS, elem_id="shaded"
            )
        with gr.Row(elem_id="shade-row"):
            show_dial("shade-angle", "Where the light stands around the picture")
            light: dict[str, Any] = {name: _slider(name, f"shade-{name}") for name in ("angle", "elevation")}
        with gr.Row():
            colour = SHADE_PARAMETERS["colour"]
            light["colour"] = Colour(colour.default, label=colour.label, elem_id="shade-colour")
            light |= {name: _slider(name, f"shade-{name}") for name in ("ambient", "strength")}
        exponent = light["exponent"] = _slider("exponent", "exponent", NORMAL_PARAMETERS)
        with gr.Row():
            parameter = NORMAL_PARAMETERS["green"]
            choices = [(words, name) for name, words in parameter.choices.items()]
            green = ParameterChoice(choices, value=parameter.default, label=parameter.label, elem_id="green")
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
            # What programs get, and the Relight tab shows for its own pictures.
            prepared = [picture(label, name, visible=False) for label, name in (("Foreground", "of"), ("Matte", "m"))]
            seed = gr.Number(label="Seed used", visible=False)
    page.looks |= {"normals": [nine, *prepared, seed, about], "of-normals": [surface, lit, file, nine, about]}
    page.looks["exponent"] = exponent

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
        api_name="shade",
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
        api_name="normal_map",
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
