"""The knobs of normals and of lighting by them: ranges and defaults for the page, the command line and the checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .settings import Knob

NORMAL_KNOBS: dict[str, Knob] = {
    "exponent": Knob(
        "number",
        "Relief",
        "The exponent of the height: 5 is the paper's, less is flatter, more is steeper.",
        5.0,
        minimum=0,
        maximum=20,
        step=0.5,
    ),
    "green": Knob(
        "choice",
        "Green channel",
        "How a map's file stores up and down.",
        "opengl",
        choices={
            "opengl": "OpenGL: green up (Blender, Unity)",
            "directx": "DirectX: green down (Unreal)",
        },
    ),
}
SHADE_KNOBS: dict[str, Knob] = {
    "angle": Knob(
        "number",
        "Angle: 0 right, 90 top, 180 left, 270 bottom",
        "Where the light stands around the picture, degrees: 0 right, 90 top, 180 left, 270 bottom.",
        135.0,
        minimum=-360,
        maximum=360,
        slider=(0, 360),
    ),
    "elevation": Knob(
        "number",
        "Height towards the camera, degrees",
        "How far it comes forward, degrees: 0 beside the subject, 90 at the camera, below 0 behind.",
        35.0,
        minimum=-90,
        maximum=90,
        slider=(-30, 90),
    ),
    "colour": Knob("colour", "Colour", "The light's.", "#ffffff"),
    "ambient": Knob("number", "Ambient", "Share of light from everywhere.", 0.2, minimum=0, maximum=1, step=0.01),
    "strength": Knob("number", "Strength", "0 leaves the picture as it is.", 1.0, minimum=0, maximum=1.5, step=0.01),
}


def check_knobs(knobs: Mapping[str, Knob], values: Mapping[str, Any]) -> None:
    """Raise SettingsError naming the knob, the value and the range where one of `values` does not fit."""
    for name, value in values.items():
        knobs[name].check(name, value)
