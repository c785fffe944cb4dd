"""The strip of moods: a click adds words to the request and, where the light is drawn, chooses the light.

Each has a thumbnail that the shipped model drew (`tools/make_moods.py`).
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..ui.i18n import Say, speaker
from ..ui.moods import DECIDES, MOODS
from ..ui.page import HIDDEN, Page
from ..ui.strip import Choice, Strip, small
from .examples import ASSETS


def show_moods(page: Page) -> Strip:
    """The moods, to stand above the light that they choose."""
    strip = Strip(captioned(Say()), label="Moods of light", elem_id="moods")
    page.add("mood", strip)
    return strip


def captioned(say: Say) -> list[Choice]:
    """The moods with their names in a visitor's language."""
    return [(key, say(mood.name), [small(ASSETS / "moods" / f"{key}.jpg")], "") for key, mood in MOODS.items()]


def in_their_language(request: gr.Request) -> Any:
    """The strip in the language of a request."""
    return Strip(captioned(speaker(request)), label=speaker(request)("Moods of light"))


def bind_moods(page: Page, strip: Strip) -> None:
    """Let a mood choose the light where lights are drawn; what it replaced comes back when the mood is let go."""
    decided = [page.inputs[name] for name in DECIDES]
    before = gr.State(None)
    strip.input(
        choose,
        [page.inputs["workflow"], strip, before, *decided],
        [before, *decided],
        queue=False,
        show_progress="hidden",
        **HIDDEN,
    )


def choose(workflow: Any, mood: Any, before: Any, *now: Any) -> list[Any]:
    """What a click on a mood changes: the lights before any mood, and the lights now."""
    if workflow != "fc":
        return [gr.skip()] * (1 + len(now))
    if isinstance(mood, str) and mood in MOODS:
        return [before or list(now), *MOODS[mood].light.values()]
    return [None, *(before or [gr.skip()] * len(now))]
