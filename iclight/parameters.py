"""Every parameter with its range, its default for each workflow, and the words that explain it.

The pages' sliders, the command line's options and the checks are all made from here; nothing else in the project states
a range or a default. A request's own are `PARAMETERS`; mixing, normals and shading have theirs beside them.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .errors import Message, SettingsError, quoted

Workflow = Literal["fc", "fbc", "env"]
WORKFLOWS: tuple[str, ...] = get_args(Workflow)

# Towards the lights that stand beside the subject, as the camera sees it: x to the right, y up.
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "top": (0.0, 1.0), "bottom": (0.0, -1.0)}
# The same in degrees, counter-clockwise from the right.
ANGLES = {side: math.degrees(math.atan2(y, x)) % 360 for side, (x, y) in DIRECTIONS.items()}
_SIDES = {side: f"{side.capitalize()} Light" for side in DIRECTIONS}

# A light's name, then the words the reference's pages use for it.
LIGHTS: dict[str, dict[str, str]] = {
    "fc": {
        "none": "None",
        **_SIDES,
        "angle": "Any Angle",
        "front": "Front Light",
        "rim": "Rim Light",
        "spot": "Spot",
        "upload": "Use Light Map",
    },
    "fbc": {
        "upload": "Use Background Image",
        "upload-flipped": "Use Flipped Background Image",
        **_SIDES,
        "ambient": "Ambient",
        "angle": "Any Angle",
        "front": "Front Light",
        "rim": "Rim Light",
        "spot": "Spot",
    },
    "env": {
        "upload": "Use Environment Map",
        **_SIDES,
        "front": "Front Light",
        "back": "Back Light",
        "ambient": "Ambient",
        "angle": "Any Angle",
    },
}

# How a model runs, from "computes what the reference computes" on.
SPEEDS = ("exact", "fast", "max")

# The input that an uploaded light comes from.
LIGHT_INPUTS = {"fc": "light_map", "fbc": "background", "env": "environment"}

# The lights that normals are estimated from, in the order the reference shows them.
NORMAL_LIGHTS = ("left", "right", "bottom", "top")


@dataclass(frozen=True)
class Parameter:
    """One setting: what it accepts, what it starts at, and what a face should say about it.

    `minimum` to `maximum` is accepted; `slider`, where given, is the narrower range a page offers (the reference's).
    `optional` means None is accepted and stands for "choose for me". `step` is a grid that integers must lie on.
    `differing` holds the defaults of the workflows that start at another than `default`. `choices` maps what a choice
    accepts to the words a face shows; that of the light depends on the workflow and stands in `LIGHTS`.
    """

    kind: Literal["text", "integer", "number", "choice", "colour"]
    label: str
    help: str
    default: Any
    differing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    minimum: float = -math.inf
    maximum: float = math.inf
    step: float = 1
    slider: tuple[float, float] | None = None
    optional: bool = False
    choices: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def default_for(self, workflow: str) -> Any:
        return self.differing.get(workflow, self.default)

    @property
    def slider_range(self) -> tuple[float, float]:
        return self.slider or (self.minimum, self.maximum)

    def range_text(self) -> Message:
        """The accepted range, in words."""
        least, most = self.minimum, self.maximum
        if self.kind == "colour":
            return Message("a colour, #RRGGBB")
        if self.kind == "text":
            return Message("text of at most {most:,.0f} characters", most=most)
        if self.kind == "number":
            text = Message("a number from {least:g} to {most:g}", least=least, most=most)
        else:
            text = Message("a whole number from {least:g} to {most:,.0f}", least=least, most=most)
            if self.step != 1:
                text = Message("{range} in steps of {step:g}", range=text, step=self.step)
        return Message("{range}, or left out", range=text) if self.optional else text

    def parse(self, text: str) -> Any:
        """A value written as text, for `check`: of a command line or a table. "random" is a seed's None."""
        if self.kind not in ("integer", "number"):
            return text
        if self is PARAMETERS["seed"] and text == "random":
            return None
        try:
            return int(text) if self.kind == "integer" and len(text) < 100 else float(text)
        except ValueError:
            try:
                return float(text)  # "2.5" for a whole number: the check says what is taken
            except ValueError:
                return text

    def check(self, name: str, value: Any) -> Any:
        """`value` as this parameter's plain Python type; raises SettingsError naming parameter, value and range."""
        if value is None and self.optional:
            return None
        if self.kind == "text":
            return self._check_text(name, value)
        if self.kind == "colour":
            try:
                return hex_colour(value)
            except (ValueError, TypeError) as error:  # TypeError: no text
                raise self._refused(name, shown(value)) from error
        if self.kind == "choice":
            if not isinstance(value, str) or value not in self.choices:
                raise SettingsError(
                    "{name} is {value}, but it takes one of {choices}.",
                    name=name,
                    value=shown(value),
                    choices=", ".join(self.choices),
                )
            return value
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _is_finite(value):
            raise self._refused(name, shown(value))
        # Exact for every whole number a parameter takes: all are below 2 ** 53.
        number = float(value)
        off_grid = self.kind == "integer" and not (number / self.step).is_integer()
        if off_grid or not self.minimum <= number <= self.maximum:
            raise self._refused(name, shown(value))
        return int(number) if self.kind == "integer" else number

    def _check_text(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or len(value) > self.maximum:
            given = Message("{count:,} characters long", count=len(value)) if isinstance(value, str) else shown(value)
            raise self._refused(name, given)
        # Lone surrogates (broken paste from elsewhere) cannot be tokenised; what they stood for is lost already.
        return value.encode("utf-8", "replace").decode("utf-8")

    def _refused(self, name: str, given: str) -> SettingsError:
        return SettingsError(
            "{name} is {given}, but it takes {range}.", name=name, given=given, range=self.range_text()
        )


_SIDE = Parameter(
    "integer",
    "",
    "First pass, pixels; left out, it follows the picture.",
    None,
    minimum=64,
    maximum=2048,
    step=64,
    slider=(256, 1024),
    optional=True,
)
PARAMETERS: dict[str, Parameter] = {
    "prompt": Parameter("text", "Prompt", "The light and the scene, e.g. 'sunset over sea'.", "", maximum=20_000),
    "added_prompt": Parameter("text", "Added prompt", "Appended to every prompt.", "best quality", maximum=20_000),
    "negative_prompt": Parameter(
        "text",
        "Negative prompt",
        "What to steer away from; has no effect at CFG 1.",
        "lowres, bad anatomy, bad hands, cropped, worst quality",
        maximum=20_000,
    ),
    "light": Parameter("choice", "Light", "Where the light comes from.", "none", {"fbc": "upload", "env": "upload"}),
    "width": dataclasses.replace(_SIDE, label="Width"),
    "height": dataclasses.replace(_SIDE, label="Height"),
    "num_images": Parameter(
        "integer",
        "Images",
        "How many pictures to make at once; the finish of original pixels makes one of them all.",
        1,
        minimum=1,
        maximum=12,
    ),
    "seed": Parameter(
        "integer",
        "Seed",
        "Same seed, same picture; left out, a random one.",
        12345,
        minimum=0,
        maximum=2**53 - 1,
        optional=True,
    ),
    "steps": Parameter("integer", "Steps", "Denoising steps of each pass.", 25, {"fbc": 20}, minimum=1, maximum=100),
    "sampler": Parameter(
        "choice",
        "Sampler",
        "How noise becomes a picture. The first is the reference's; LCM and TCD are for models distilled for them.",
        "dpmpp_sde_karras",
        choices={
            "dpmpp_sde_karras": "DPM++ SDE Karras",
            "dpmpp_2m_karras": "DPM++ 2M Karras",
            "unipc": "UniPC",
            "euler": "Euler",
            "euler_a": "Euler a",
            "lcm": "LCM",
            "tcd": "TCD",
        },
    ),
    "cfg": Parameter(
        "number",
        "CFG scale",
        "How strongly the prompt is followed; 1 is twice as fast.",
        2.0,
        {"fbc": 7.0},
        minimum=1.0,
        maximum=32.0,
        step=0.01,
    ),
    "lowres_denoise": Parameter(
        "number",
        "Lowres denoise",
        "First pass of fc with a light direction: 1 forgets the direction, less keeps more of it.",
        0.9,
        minimum=0.1,
        maximum=1.0,
        step=0.01,
    ),
    "highres_scale": Parameter(
        "number", "Highres scale", "How much larger the second pass is.", 1.5, minimum=1.0, maximum=3.0, step=0.01
    ),
    "highres_denoise": Parameter(
        "number",
        "Highres denoise",
        "How much the second pass may change.",
        0.5,
        minimum=0.1,
        maximum=1.0,
        step=0.01,
    ),
    "light_strength": Parameter(
        "number",
        "Light strength",
        "How strongly the light shows: 1 as the model draws it, 2 twice as far from even light.",
        1.0,
        minimum=0.0,
        maximum=6.0,
        step=0.05,
        slider=(0.0, 4.0),
    ),
    "backdrop_blur": Parameter(
        "number",
        "Backdrop blur",
        "Of a background that lights, where the subject hides it: a share of the shorter side. 0 is the reference's; "
        "more keeps a busy background from shining through.",
        0.0,
        minimum=0.0,
        maximum=0.5,
        step=0.005,
    ),
    "angle": Parameter(
        "number",
        "Angle",
        "For any angle: degrees from the right, counter-clockwise (90 top, 180 left, 270 bottom).",
        180.0,
        minimum=0.0,
        maximum=360.0,
        step=1,
    ),
    "light_colour": Parameter("colour", "Light's colour", "Of the light's bright side.", "#ffffff"),
    "shadow_colour": Parameter("colour", "Shadow's colour", "Of its dark side: a second light.", "#000000"),
    "falloff": Parameter(
        "number",
        "Falloff",
        "Above 1 the light is narrower, below 1 wider.",
        1.0,
        minimum=0.25,
        maximum=4.0,
        step=0.05,
    ),
    "spot_x": Parameter("number", "Spot x", "From the left.", 0.3, minimum=0.0, maximum=1.0, step=0.01),
    "spot_y": Parameter("number", "Spot y", "From the top.", 0.3, minimum=0.0, maximum=1.0, step=0.01),
    "spot_size": Parameter("number", "Spot size", "Its radius.", 0.3, minimum=0.02, maximum=2.0, step=0.01),
    "finish": Parameter(
        "choice",
        "Finish",
        "What the light is put on: the model's picture, that with your detail, or your file at its own size.",
        "model",
        choices={"model": "Model's picture", "detail": "Photo's detail", "native": "Original pixels"},
    ),
    "finish_strength": Parameter(
        "number",
        "Strength",
        "How much of the new light; 0 leaves the photo as it was.",
        1.0,
        minimum=0.0,
        maximum=3.0,
        step=0.01,
    ),
    "finish_background": Parameter(
        "choice",
        "Behind the subject",
        "The relighting's background, the photo's own, a picture of yours, or nothing.",
        "new",
        choices={"new": "New", "original": "Original", "own": "Own picture", "transparent": "Transparent"},
    ),
    "emphasis": Parameter(
        "choice",
        "Emphasis",
        "Whether brackets weigh words as in A1111: where the marks are plain, always, or never.",
        "marked",
        choices={"marked": "Where marked", "always": "Always", "never": "Never"},
    ),
    "clip_skip": Parameter(
        "integer",
        "Clip skip",
        "Which of the text encoder's layers is read, from the last; 1 is the reference's.",
        1,
        minimum=1,
        maximum=12,
    ),
}

SHAPING = ("angle", "light_colour", "shadow_colour", "falloff", "spot_x", "spot_y", "spot_size")
# What a workflow and a model's card have defaults of their own for.
OPEN = (
    "light",
    "steps",
    "sampler",
    "cfg",
    "lowres_denoise",
    "highres_denoise",
    "light_strength",
    "backdrop_blur",
    "finish",
)
FINISHING = ("finish", "finish_strength", "finish_background")

NORMAL_PARAMETERS: dict[str, Parameter] = {
    "exponent": Parameter(
        "number",
        "Relief",
        "The exponent of the height: 5 is the paper's, less is flatter, more is steeper.",
        5.0,
        minimum=0,
        maximum=20,
        step=0.5,
    ),
    "green": Parameter(
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
MIX_PARAMETERS: dict[str, Parameter] = {
    "strength": Parameter(
        "number", "Strength", "Of one light; 0 is off.", 1.0, minimum=0, maximum=4, step=0.01, slider=(0, 2)
    ),
    "exposure": Parameter(
        "number", "Exposure, stops", "Of the whole mix, in stops.", 0.0, minimum=-8, maximum=8, step=0.1, slider=(-3, 3)
    ),
}
SHADE_PARAMETERS: dict[str, Parameter] = {
    "angle": Parameter(
        "number",
        "Angle: 0 right, 90 top, 180 left, 270 bottom",
        "Where the light stands around the picture, degrees: 0 right, 90 top, 180 left, 270 bottom.",
        135.0,
        minimum=-360,
        maximum=360,
        slider=(0, 360),
    ),
    "elevation": Parameter(
        "number",
        "Height towards the camera, degrees",
        "How far it comes forward, degrees: 0 beside the subject, 90 at the camera, below 0 behind.",
        35.0,
        minimum=-90,
        maximum=90,
        slider=(-30, 90),
    ),
    "colour": Parameter("colour", "Colour", "The light's.", "#ffffff"),
    "ambient": Parameter("number", "Ambient", "Share of light from everywhere.", 0.2, minimum=0, maximum=1, step=0.01),
    "strength": Parameter(
        "number", "Strength", "0 leaves the picture as it is.", 1.0, minimum=0, maximum=1.5, step=0.01
    ),
}


def check_parameters(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> None:
    """Raise SettingsError naming the parameter, the value and the range where one of `values` does not fit."""
    for name, value in values.items():
        parameters[name].check(name, value)


_PART = r"(?:\d+\.?\d*|\.\d+)"


def hex_colour(text: str) -> str:
    """A colour as pickers and people write it -> "#rrggbb": "#fc8", "ffcc88", "rgba(255, 204.2, 136, 1)".

    Raises SettingsError for anything else. Alpha is left out: a light has none.
    """
    if not isinstance(text, str):
        raise SettingsError("{text} is no colour; write #RRGGBB.", text=quoted(text))
    if parts := re.fullmatch(rf"\s*rgba?\(({_PART}),\s*({_PART}),\s*({_PART})(?:,\s*{_PART})?\)\s*", text):
        return "#" + "".join(f"{round(min(255.0, float(part))):02x}" for part in parts.groups())
    digits = text.strip().removeprefix("#").lower()
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    if not re.fullmatch("[0-9a-f]{6}", digits):
        raise SettingsError("{text} is no colour; write #RRGGBB.", text=quoted(text))
    return f"#{digits}"


def channels_of(colour: str) -> tuple[int, int, int]:
    """ "#rrggbb" -> red, green, blue from 0 to 255."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue


def _is_finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def shown(value: Any) -> str:
    """A value as a message about it shows it."""
    return quoted(value, limit=60)  # messages go on with the range
