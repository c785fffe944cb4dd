"""The mixing desk: the picture lit from every side once, then mixed live, one fader for each light.

What a session's faders mix lies here, by session, and goes when the tab is closed; no model runs while a fader moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...errors import ImageError
from ...parameters import LIGHT_INPUTS, LIGHTS
from ..service.actions import Actions
from ..service.inline import data_url, jpeg
from ..service.progress import follow
from ..service.sessions import PerSession
from ..ui.i18n import Say, speaker

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
    """The desk's lights, in the faders' order (`stack.desk_lights`, without importing a model for it)."""
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
