"""Moods of light: a click fills in words, a light, its angle and colours.

Each has a thumbnail that the shipped model made (`tools/make_moods.py`); without thumbnails they are a list of names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from ...parameters import LIGHTS, PARAMETERS
from ..ui.endpoints import index_of
from ..ui.i18n import Say, speaker
from ..ui.page import HIDDEN, Page
from .examples import ASSETS, pick_lighting

# What a mood decides; what it does not name goes back to where the page began.
DECIDES = ("light", "angle", "light_colour", "shadow_colour", "falloff", "spot_x", "spot_y", "spot_size")


@dataclass(frozen=True)
class Mood:
    """`words` end the prompt; `parameters` are those of `DECIDES` that differ from their defaults."""

    name: str
    words: str
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def thumbnail(self) -> str:
        return str(ASSETS / "moods" / f"{self.name.lower().replace(' ', '-')}.jpg")


MOODS = (
    Mood("Window", "sunshine from window", {"light": "left", "light_colour": "#fff4e0"}),
    Mood("Golden hour", "golden time, warm sunlight", {"light": "right", "light_colour": "#ffc070"}),
    Mood("Noon", "natural lighting, clear sky", {"light": "top"}),
    Mood(
        "Moonlight", "moonlight, night", {"light": "angle", "angle": 120.0, "light_colour": "#90b0ff", "falloff": 1.5}
    ),
    Mood("Neon", "neon light, city", {"light": "left", "light_colour": "#ff40c0", "shadow_colour": "#2060ff"}),
    Mood("Campfire", "warm light of a campfire", {"light": "bottom", "light_colour": "#ff9040", "falloff": 1.3}),
    Mood("Studio", "soft studio lighting", {"light": "front"}),
    Mood("Rim", "dark studio, rim light", {"light": "rim", "falloff": 1.5}),
)


def parameters_of(mood: Mood, workflow: str) -> dict[str, Any]:
    """All of `DECIDES` as a workflow has them: an environment has no rim, but a light at the back."""
    parameters = {name: mood.parameters.get(name, PARAMETERS[name].default_for(workflow)) for name in DECIDES}
    if parameters["light"] not in LIGHTS[workflow]:
        parameters["light"] = "back"
    return parameters


def show_moods(page: Page) -> Any:
    """The moods, to stand above the light that they choose."""
    if all(Path(mood.thumbnail).is_file() for mood in MOODS):
        return gr.Gallery(
            captioned(Say()),
            label="Moods of light",
            columns=8,
            allow_preview=False,
            object_fit="cover",
            elem_id="moods",
            elem_classes="strip",
            buttons=[],
        )
    return gr.Dataset(
        components=[page.inputs["prompt"]],
        samples=[[mood.name] for mood in MOODS],
        label="Moods of light",
        samples_per_page=len(MOODS),
        type="index",
        elem_id="moods",
    )


def captioned(say: Say) -> list[tuple[str, str]]:
    """Thumbnails with their names in a visitor's language."""
    return [(mood.thumbnail, say(mood.name)) for mood in MOODS]


def in_their_language(shown: Any) -> Callable[[gr.Request], Any]:
    """A function that gives what `show_moods` made in the language of a request."""

    def named(request: gr.Request) -> Any:
        say = speaker(request)
        if isinstance(shown, gr.Gallery):
            return captioned(say)
        return gr.Dataset(samples=[[say(mood.name)] for mood in MOODS])

    return named


def bind_moods(page: Page, shown: Any) -> None:
    """Let a click on what `show_moods` made fill the form in."""
    prompt = page.inputs["prompt"]
    targets = [prompt, *(page.inputs[name] for name in DECIDES)]

    def choose(index: Any, words: str | None) -> Any:
        if not isinstance(index, int) or not 0 <= index < len(MOODS):
            return [gr.skip()] * len(targets)
        return [pick_lighting(MOODS[index].words, words or ""), *parameters_of(MOODS[index], page.workflow).values()]

    def by_picture(event: gr.SelectData, words: str | None) -> list[Any]:
        return choose(index_of(event), words)

    settings: dict[str, Any] = {"queue": False, "show_progress": "hidden", **HIDDEN}
    if isinstance(shown, gr.Gallery):
        shown.select(by_picture, prompt, targets, **settings)
    else:
        shown.click(choose, [shown, prompt], targets, **settings)
    page.looks["moods"] = shown
