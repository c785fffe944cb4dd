"""Moods of light: words that a request adds to its prompt and, where the light is drawn, a light to go with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...errors import SettingsError, quoted
from ...parameters import PARAMETERS

# What a mood decides where lights are drawn (fc); what it does not name goes back to where the page began.
DECIDES = ("light", "angle", "light_colour", "shadow_colour", "falloff", "spot_x", "spot_y", "spot_size")


@dataclass(frozen=True)
class Mood:
    """`words` end the prompt; `parameters` are those of `DECIDES` that differ from their defaults."""

    name: str
    words: str
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name for programs and files."""
        return self.name.lower().replace(" ", "-")

    @property
    def light(self) -> dict[str, Any]:
        """All of `DECIDES`."""
        return {name: self.parameters.get(name, PARAMETERS[name].default) for name in DECIDES}


_ALL = (
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
MOODS = {mood.key: mood for mood in _ALL}


def with_mood(prompt: str | None, mood: Any) -> str:
    """A prompt with a mood's words behind it; `mood` is one of `MOODS`, or None or "" for none.

    Raises SettingsError for any other.
    """
    if not mood or not isinstance(prompt or "", str):
        return prompt or ""  # what is no text is refused with the other settings
    if not isinstance(mood, str) or mood not in MOODS:
        raise SettingsError(
            "mood is {mood}, but it takes one of {moods}.", mood=quoted(mood, 60), moods=", ".join(MOODS)
        )
    return ", ".join(part for part in ((prompt or "").strip().rstrip(",").rstrip(), MOODS[mood].words) if part)
