"""One request: every knob with its range, its default for each workflow, and the words that explain it.

The pages' sliders, the command line's options and the checks are all made from `KNOBS`; nothing else in the
project states a range or a default.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from .errors import SettingsError, plain, quoted
from .tints import hex_colour

if TYPE_CHECKING:
    from .lights import Shape

Workflow = Literal["fc", "fbc", "env"]
WORKFLOWS: tuple[str, ...] = get_args(Workflow)

# A light's name, then the words the reference's pages use for it.
LIGHTS: dict[str, dict[str, str]] = {
    "fc": {
        "none": "None",
        "left": "Left Light",
        "right": "Right Light",
        "top": "Top Light",
        "bottom": "Bottom Light",
        "angle": "Any Angle",
        "front": "Front Light",
        "rim": "Rim Light",
        "spot": "Spot",
        "upload": "Use Light Map",
    },
    "fbc": {
        "upload": "Use Background Image",
        "upload-flipped": "Use Flipped Background Image",
        "left": "Left Light",
        "right": "Right Light",
        "top": "Top Light",
        "bottom": "Bottom Light",
        "ambient": "Ambient",
        "angle": "Any Angle",
        "front": "Front Light",
        "rim": "Rim Light",
        "spot": "Spot",
    },
    "env": {
        "upload": "Use Environment Map",
        "left": "Left Light",
        "right": "Right Light",
        "top": "Top Light",
        "bottom": "Bottom Light",
        "front": "Front Light",
        "back": "Back Light",
        "ambient": "Ambient",
        "angle": "Any Angle",
    },
}

# The input that an uploaded light comes from.
LIGHT_INPUTS = {"fc": "light_map", "fbc": "background", "env": "environment"}

# The lights that normals are estimated from, in the order the reference shows them.
NORMAL_LIGHTS = ("left", "right", "bottom", "top")


@dataclass(frozen=True)
class Knob:
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

    def range_text(self) -> str:
        """The accepted range, in words."""
        if self.kind == "colour":
            return "a colour, #RRGGBB"
        if self.kind == "text":
            return f"text of at most {self.maximum:,.0f} characters"
        whole = "a whole number" if self.kind == "integer" else "a number"
        text = f"{whole} from {self.minimum:g} to {self.maximum:,.0f}"
        if self.kind == "number":
            text = f"{whole} from {self.minimum:g} to {self.maximum:g}"
        if self.kind == "integer" and self.step != 1:
            text += f" in steps of {self.step:g}"
        return text + (", or left out" if self.optional else "")

    def check(self, name: str, value: Any) -> Any:
        """`value` as this knob's plain Python type; raises SettingsError naming knob, value and range."""
        if value is None and self.optional:
            return None
        if self.kind == "text":
            return self._check_text(name, value)
        if self.kind == "colour":
            try:
                return hex_colour(value)
            except (ValueError, TypeError) as error:  # TypeError: no text
                raise SettingsError(f"{name} is {_shown(value)}, but it takes {self.range_text()}.") from error
        if self.kind == "choice":
            if not isinstance(value, str) or value not in self.choices:
                raise SettingsError(f"{name} is {_shown(value)}, but it takes one of {', '.join(self.choices)}.")
            return value
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _is_finite(value):
            raise SettingsError(f"{name} is {_shown(value)}, but it takes {self.range_text()}.")
        # Exact for every whole number a knob takes: all are below 2 ** 53.
        number = float(value)
        off_grid = self.kind == "integer" and not (number / self.step).is_integer()
        if off_grid or not self.minimum <= number <= self.maximum:
            raise SettingsError(f"{name} is {_shown(value)}, but it takes {self.range_text()}.")
        return int(number) if self.kind == "integer" else number

    def _check_text(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or len(value) > self.maximum:
            shown = f"{len(value):,} characters long" if isinstance(value, str) else _shown(value)
            raise SettingsError(f"{name} is {shown}, but it takes {self.range_text()}.")
        # Lone surrogates (broken paste from elsewhere) cannot be tokenised; what they stood for is lost already.
        return value.encode("utf-8", "replace").decode("utf-8")


KNOBS: dict[str, Knob] = {
    "prompt": Knob("text", "Prompt", "The light and the scene, e.g. 'sunset over sea'.", "", maximum=20_000),
    "added_prompt": Knob("text", "Added prompt", "Appended to every prompt.", "best quality", maximum=20_000),
    "negative_prompt": Knob(
        "text",
        "Negative prompt",
        "What to steer away from; has no effect at CFG 1.",
        "lowres, bad anatomy, bad hands, cropped, worst quality",
        maximum=20_000,
    ),
    "light": Knob("choice", "Light", "Where the light comes from.", "none", {"fbc": "upload", "env": "upload"}),
    "width": Knob(
        "integer",
        "Width",
        "First pass, pixels; left out, it follows the picture.",
        None,
        minimum=64,
        maximum=2048,
        step=64,
        slider=(256, 1024),
        optional=True,
    ),
    "height": Knob(
        "integer",
        "Height",
        "First pass, pixels; left out, it follows the picture.",
        None,
        minimum=64,
        maximum=2048,
        step=64,
        slider=(256, 1024),
        optional=True,
    ),
    "num_images": Knob("integer", "Images", "How many pictures to make at once.", 1, minimum=1, maximum=12),
    "seed": Knob(
        "integer",
        "Seed",
        "Same seed, same picture; left out, a random one.",
        12345,
        minimum=0,
        maximum=2**53 - 1,
        optional=True,
    ),
    "steps": Knob("integer", "Steps", "Denoising steps of each pass.", 25, {"fbc": 20}, minimum=1, maximum=100),
    "cfg": Knob(
        "number",
        "CFG scale",
        "How strongly the prompt is followed; 1 is twice as fast.",
        2.0,
        {"fbc": 7.0},
        minimum=1.0,
        maximum=32.0,
        step=0.01,
    ),
    "lowres_denoise": Knob(
        "number",
        "Lowres denoise",
        "First pass of fc with a light direction: 1 forgets the direction, less keeps more of it.",
        0.9,
        minimum=0.1,
        maximum=1.0,
        step=0.01,
    ),
    "highres_scale": Knob(
        "number", "Highres scale", "How much larger the second pass is.", 1.5, minimum=1.0, maximum=3.0, step=0.01
    ),
    "highres_denoise": Knob(
        "number",
        "Highres denoise",
        "How much the second pass may change.",
        0.5,
        minimum=0.1,
        maximum=1.0,
        step=0.01,
    ),
    "angle": Knob(
        "number",
        "Angle",
        "For any angle: degrees from the right, counter-clockwise (90 top, 180 left, 270 bottom).",
        180.0,
        minimum=0.0,
        maximum=360.0,
        step=1,
    ),
    "light_colour": Knob("colour", "Light's colour", "Of the light's bright side.", "#ffffff"),
    "shadow_colour": Knob("colour", "Shadow's colour", "Of its dark side: a second light.", "#000000"),
    "falloff": Knob(
        "number",
        "Falloff",
        "Above 1 the light is narrower, below 1 wider.",
        1.0,
        minimum=0.25,
        maximum=4.0,
        step=0.05,
    ),
    "spot_x": Knob("number", "Spot x", "From the left.", 0.3, minimum=0.0, maximum=1.0, step=0.01),
    "spot_y": Knob("number", "Spot y", "From the top.", 0.3, minimum=0.0, maximum=1.0, step=0.01),
    "spot_size": Knob("number", "Spot size", "Its radius.", 0.3, minimum=0.02, maximum=2.0, step=0.01),
    "finish": Knob(
        "choice",
        "Finish",
        "What the light is put on: the model's picture, that with your detail, or your file at its own size.",
        "model",
        choices={"model": "Model's picture", "detail": "Photo's detail", "native": "Original pixels"},
    ),
    "finish_strength": Knob(
        "number",
        "Strength",
        "How much of the new light; 0 leaves the photo as it was.",
        1.0,
        minimum=0.0,
        maximum=1.5,
        step=0.01,
    ),
    "finish_background": Knob(
        "choice",
        "Behind the subject",
        "The relighting's background, the photo's own, a picture of yours, or nothing.",
        "new",
        choices={"new": "New", "original": "Original", "own": "Own picture", "transparent": "Transparent"},
    ),
}

SHAPING = ("angle", "light_colour", "shadow_colour", "falloff", "spot_x", "spot_y", "spot_size")
FINISHING = ("finish", "finish_strength", "finish_background")


@dataclass(frozen=True)
class Settings:
    """Everything one relighting asks for; immutable, checked on creation.

    Defaults are the fc workflow's; `Settings.for_workflow` gives those of any. Width and height are pixels of the
    first pass (multiples of 64); None means: follow the picture at the model's native area. A seed of None means: draw
    one, and report it in the result's settings.

    Raises SettingsError, naming the knob, the value and the range.
    """

    prompt: str = KNOBS["prompt"].default
    added_prompt: str = KNOBS["added_prompt"].default
    negative_prompt: str = KNOBS["negative_prompt"].default
    light: str = KNOBS["light"].default
    width: int | None = KNOBS["width"].default
    height: int | None = KNOBS["height"].default
    num_images: int = KNOBS["num_images"].default
    seed: int | None = KNOBS["seed"].default
    steps: int = KNOBS["steps"].default
    cfg: float = KNOBS["cfg"].default
    lowres_denoise: float = KNOBS["lowres_denoise"].default
    highres_scale: float = KNOBS["highres_scale"].default
    highres_denoise: float = KNOBS["highres_denoise"].default
    angle: float = KNOBS["angle"].default
    light_colour: str = KNOBS["light_colour"].default
    shadow_colour: str = KNOBS["shadow_colour"].default
    falloff: float = KNOBS["falloff"].default
    spot_x: float = KNOBS["spot_x"].default
    spot_y: float = KNOBS["spot_y"].default
    spot_size: float = KNOBS["spot_size"].default
    finish: str = KNOBS["finish"].default
    finish_strength: float = KNOBS["finish_strength"].default
    finish_background: str = KNOBS["finish_background"].default
    workflow: str = "fc"

    def __post_init__(self) -> None:
        check_workflow(self.workflow)
        _check_light(self.light, self.workflow)
        for name, knob in KNOBS.items():
            if name != "light":
                object.__setattr__(self, name, knob.check(name, getattr(self, name)))

    @classmethod
    def for_workflow(cls, workflow: str, **changes: Any) -> Settings:
        """The workflow's defaults ("fc", "fbc" or "env") with `changes` on top."""
        check_workflow(workflow)
        unknown = sorted(set(changes) - set(KNOBS))
        if unknown:
            raise SettingsError(f"There is no setting named {plain(', '.join(unknown))}; there are {', '.join(KNOBS)}.")
        defaults = {name: knob.default_for(workflow) for name, knob in KNOBS.items()}
        return cls(**{**defaults, **changes, "workflow": workflow})

    def replace(self, **changes: Any) -> Settings:
        """A copy with `changes`, checked again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` takes them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """The inverse of `to_dict`; raises SettingsError for names or values it does not know."""
        values = dict(values)
        return cls.for_workflow(values.pop("workflow", "fc"), **values)

    @property
    def finishes(self) -> bool:
        """Is anything done to what the model drew?"""
        return any(getattr(self, name) != KNOBS[name].default for name in FINISHING)

    @property
    def light_shape(self) -> Shape:
        from .lights import Shape  # here, because this module loads without NumPy

        spot = (self.spot_x, self.spot_y, self.spot_size)
        return Shape(self.angle, self.light_colour, self.shadow_colour, self.falloff, spot)

    @property
    def positive_prompt(self) -> str:
        return f"{self.prompt}, {self.added_prompt}"

    @property
    def light_input(self) -> str | None:
        """The input the light is taken from, one of `LIGHT_INPUTS`; None for a light of its own."""
        return LIGHT_INPUTS.get(self.workflow) if self.light.startswith("upload") else None


def check_workflow(workflow: Any) -> None:
    """Raise SettingsError unless it is one of `WORKFLOWS`."""
    if workflow not in WORKFLOWS:
        raise SettingsError(f"workflow is {_shown(workflow)}, but it takes one of {', '.join(WORKFLOWS)}.")


def _check_light(light: Any, workflow: str) -> None:
    if isinstance(light, str) and light in LIGHTS[workflow]:
        return
    text = f"light is {_shown(light)}, but the {workflow} workflow takes one of {', '.join(LIGHTS[workflow])}."
    owners = [f"the {other} workflow" for other in WORKFLOWS if isinstance(light, str) and light in LIGHTS[other]]
    if owners:
        text += f" ({quoted(light)} belongs to {' and '.join(owners)}.)"
    raise SettingsError(text)


def _is_finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def _shown(value: Any) -> str:
    return quoted(value, limit=60)  # messages go on with the range
