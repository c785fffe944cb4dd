"""What a newcomer can click: quick prompts of the reference's pages, example pictures, backgrounds.

Pictures are in `assets/`; where each comes from is told in `assets/README.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ...parameters import LIGHT_INPUTS, LIGHTS
from ..ui.i18n import Say, speaker
from ..ui.page import HIDDEN, Page
from ..ui.strip import Choice, Strip, small

ASSETS = Path(__file__).parents[1] / "assets"

SUBJECTS = ("beautiful woman, detailed face", "handsome man, detailed face")
LIGHTING = (
    "sunshine from window",
    "neon light, city",
    "sunset over sea",
    "golden time",
    "sci-fi RGB glowing, cyberpunk",
    "natural lighting",
    "warm atmosphere, at home, bedroom",
    "magic lit",
    "evil, gothic, Yharnam",
    "light and shadow",
    "shadow from window",
    "soft studio lighting",
    "home atmosphere, cozy bedroom illumination",
    "neon, Wong Kar-wai, warm",
)


@dataclass(frozen=True)
class Example:
    """A picture to begin with, its words and light, and for fbc and env the file that the light comes from."""

    workflow: str
    image: str
    prompt: str
    light: str
    file: str | None = None

    @property
    def pictures(self) -> list[str]:
        """What its button shows."""
        return [name for name in (self.image, self.file) if name and not name.endswith(".hdr")]


EXAMPLES = (
    Example("fc", "astronaut.png", "astronaut, sunshine from window", "left"),
    Example("fc", "coffee.jpg", "coffee cup, sunset over sea", "right"),
    Example("fc", "cat.jpg", "cat, warm atmosphere, at home, bedroom", "bottom"),
    Example("fbc", "astronaut.png", "astronaut, sunset over sea", "upload", "sunset.jpg"),
    Example("fbc", "coffee.jpg", "coffee cup, neon light, city", "upload", "neon.jpg"),
    Example("fbc", "cat.jpg", "cat, sunshine from window", "upload", "window.jpg"),
    Example("env", "astronaut.png", "astronaut, sunset over sea", "upload", "dusk.hdr"),
    Example("env", "coffee.jpg", "coffee cup, soft studio lighting", "upload", "softboxes.hdr"),
    Example("env", "cat.jpg", "cat, natural lighting", "back"),
)
BACKGROUNDS = {
    "sunset.jpg": "Sunset",
    "window.jpg": "By a window",
    "neon.jpg": "Neon street",
    "forest.jpg": "Forest",
    "studio.jpg": "Grey studio",
    "night.jpg": "Night",
}


def asset(name: str) -> str:
    """The path of a picture that ships."""
    return str(ASSETS / name)


def pick_subject(subject: str, prompt: str) -> str:
    """A subject pick replaces the prompt."""
    return subject


def pick_lighting(lighting: str, prompt: str) -> str:
    """A lighting pick keeps the prompt's first two comma-separated parts and appends itself."""
    kept = [part for part in prompt.split(", ")[:2] if part.strip()]
    return ", ".join([*kept, lighting])


def example_choices(say: Say) -> list[Choice]:
    """The examples as a strip shows them, each where its workflow is."""
    return [
        (
            str(number),
            f"{one.prompt} · {say(LIGHTS[one.workflow][one.light])}",
            [small(asset(name)) for name in one.pictures],
            f"only-{one.workflow}",
        )
        for number, one in enumerate(EXAMPLES)
    ]


def background_choices(say: Say) -> list[Choice]:
    """The backgrounds that ship, as a strip shows them."""
    return [(name, say(words), [small(asset(name))], "") for name, words in BACKGROUNDS.items()]


def show_examples(page: Page) -> Strip:
    """A strip of the workflow's examples; a click fills in what an example names; no mood, no mask."""
    strip = Strip(example_choices(Say()), label="Examples", elem_id="examples")
    page.looks["examples"] = strip
    filled = ("image", "background", "environment", "prompt", "light", "mood", "mask")

    def fill(key: Any) -> Any:
        if not isinstance(key, str) or not key.isdigit() or int(key) >= len(EXAMPLES):
            return [gr.skip()] * (2 + len(filled))
        one = EXAMPLES[int(key)]
        values: dict[str, Any] = {"image": asset(one.image), "prompt": one.prompt, "light": one.light}
        picked: Any = gr.skip()
        if one.file:
            values[LIGHT_INPUTS[one.workflow]] = asset(one.file)
            picked = one.file if one.workflow == "fbc" else picked
        values |= {"mood": None, "mask": None}
        return [None, picked, *(values.get(name, gr.skip()) for name in filled)]

    outputs = [strip, page.looks["backgrounds"], *(page.inputs[name] for name in filled)]
    strip.input(fill, strip, outputs, queue=False, **HIDDEN)
    return strip


def examples_in_their_language(request: gr.Request) -> Any:
    """The strip in the language of a request."""
    say = speaker(request)
    return Strip(example_choices(say), label=say("Examples"))


def backgrounds_in_their_language(request: gr.Request) -> Any:
    """The strip in the language of a request."""
    say = speaker(request)
    return Strip(background_choices(say), label=say("Backgrounds to pick from"))
