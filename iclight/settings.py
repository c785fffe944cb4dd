"""One request: every setting with its default, checked on creation.

What each accepts, and what faces say of it, stands in `parameters`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .errors import Message, SettingsError, Words, plain, quoted
from .parameters import FINISHING, LIGHT_INPUTS, LIGHTS, PARAMETERS, WORKFLOWS, shown

# What a request's inputs are called: by argument, by the errors about them, by those about a recipe's.
INPUTS = {
    "image": "picture",
    "background": "background",
    "light_map": "light map",
    "environment": "environment map",
    "mask": "mask",
    "behind": "picture to put behind the subject",
}


@dataclass(frozen=True)
class LightShape:
    """What a light looks like besides its name; the defaults are the reference's plain ramps.

    `angle` in degrees for "angle", counter-clockwise from the right. `colour` and `shadow`: sRGB "#rrggbb" of the
    bright and of the dark end. `falloff`: exponent of the brightness; above 1 the light is narrower, below 1 wider.
    `spot`: x, y from the top left and radius for "spot", as shares of width, height and the shorter side.
    """

    angle: float = 180.0
    colour: str = "#ffffff"
    shadow: str = "#000000"
    falloff: float = 1.0
    spot: tuple[float, float, float] = (0.3, 0.3, 0.3)


@dataclass(frozen=True)
class Settings:
    """Everything one relighting asks for; immutable, checked on creation.

    Defaults are the fc workflow's; `Settings.for_workflow` gives those of any. Width and height are pixels of the
    first pass (multiples of 64); None means: follow the picture at the model's native area. A seed of None means: draw
    one, and report it in the result's settings.

    Raises SettingsError, naming the parameter, the value and the range.
    """

    prompt: str = PARAMETERS["prompt"].default
    added_prompt: str = PARAMETERS["added_prompt"].default
    negative_prompt: str = PARAMETERS["negative_prompt"].default
    light: str = PARAMETERS["light"].default
    width: int | None = PARAMETERS["width"].default
    height: int | None = PARAMETERS["height"].default
    num_images: int = PARAMETERS["num_images"].default
    seed: int | None = PARAMETERS["seed"].default
    steps: int = PARAMETERS["steps"].default
    sampler: str = PARAMETERS["sampler"].default
    cfg: float = PARAMETERS["cfg"].default
    lowres_denoise: float = PARAMETERS["lowres_denoise"].default
    highres_scale: float = PARAMETERS["highres_scale"].default
    highres_denoise: float = PARAMETERS["highres_denoise"].default
    light_strength: float = PARAMETERS["light_strength"].default
    backdrop_blur: float = PARAMETERS["backdrop_blur"].default
    angle: float = PARAMETERS["angle"].default
    light_colour: str = PARAMETERS["light_colour"].default
    shadow_colour: str = PARAMETERS["shadow_colour"].default
    falloff: float = PARAMETERS["falloff"].default
    spot_x: float = PARAMETERS["spot_x"].default
    spot_y: float = PARAMETERS["spot_y"].default
    spot_size: float = PARAMETERS["spot_size"].default
    finish: str = PARAMETERS["finish"].default
    finish_strength: float = PARAMETERS["finish_strength"].default
    finish_background: str = PARAMETERS["finish_background"].default
    emphasis: str = PARAMETERS["emphasis"].default
    clip_skip: int = PARAMETERS["clip_skip"].default
    workflow: str = "fc"

    def __post_init__(self) -> None:
        check_workflow(self.workflow)
        _check_light(self.light, self.workflow)
        for name, parameter in PARAMETERS.items():
            if name != "light":
                object.__setattr__(self, name, parameter.check(name, getattr(self, name)))

    @classmethod
    def for_workflow(cls, workflow: str, **changes: Any) -> Settings:
        """The workflow's defaults ("fc", "fbc" or "env") with `changes` on top."""
        check_workflow(workflow)
        unknown = sorted(set(changes) - set(PARAMETERS))
        if unknown:
            raise SettingsError(
                "There is no setting named {unknown}; there are {names}.",
                unknown=plain(", ".join(unknown)),
                names=", ".join(PARAMETERS),
            )
        defaults = {name: parameter.default_for(workflow) for name, parameter in PARAMETERS.items()}
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
        return any(getattr(self, name) != PARAMETERS[name].default for name in FINISHING)

    @property
    def light_shape(self) -> LightShape:
        spot = (self.spot_x, self.spot_y, self.spot_size)
        return LightShape(self.angle, self.light_colour, self.shadow_colour, self.falloff, spot)

    @property
    def positive_prompt(self) -> str:
        return f"{self.prompt}, {self.added_prompt}"

    @property
    def light_input(self) -> str | None:
        """The input the light is taken from, one of `LIGHT_INPUTS`; None for a light of its own."""
        return LIGHT_INPUTS.get(self.workflow) if self.light.startswith("upload") else None

    def looks_at(self, name: str) -> bool:
        """Whether a request of these settings looks at an input of that name, one of `INPUTS`, where it is given."""
        if name in LIGHT_INPUTS.values():
            return name == self.light_input
        return name != "behind" or self.finish_background == "own"


def check_workflow(workflow: Any) -> None:
    """Raise SettingsError unless it is one of `WORKFLOWS`."""
    if workflow not in WORKFLOWS:
        raise SettingsError(
            "workflow is {workflow}, but it takes one of {workflows}.",
            workflow=shown(workflow),
            workflows=", ".join(WORKFLOWS),
        )


def workflow_for(asked: str | None, light: str | None, given: Collection[str]) -> str:
    """The workflow asked for, else the one whose input is among the `given` (names of `INPUTS`), else the first that
    knows the light, else fc."""
    if asked:
        return asked
    by_input = (workflow for workflow, name in LIGHT_INPUTS.items() if name in given)
    knowing = (workflow for workflow in WORKFLOWS if light in LIGHTS[workflow])
    return next(by_input, next(knowing, "fc"))


def implied_by(given: Collection[str]) -> dict[str, str]:
    """The settings that inputs (names of `INPUTS`) ask for by being given, where nothing else is said."""
    implied = {"behind": ("finish_background", "own"), "light_map": ("light", "upload")}
    return dict(pair for name, pair in implied.items() if name in given)


def check_lights(settings: Settings, given: Collection[str]) -> None:
    """Raise SettingsError for a light's input among the `given` (names of `INPUTS`) that would not be looked at."""
    for workflow, name in LIGHT_INPUTS.items():
        if name not in given or settings.light_input == name:
            continue
        if settings.workflow != workflow:
            raise SettingsError(
                "--{name} belongs to the {workflow} workflow, but {asked} was asked for.",
                name=name,
                workflow=workflow,
                asked=settings.workflow,
            )
        raise SettingsError(
            "light is {light!r}, which does not look at --{name}: leave one of them out, or use --light {lights: or }.",
            light=settings.light,
            name=name,
            lights=Words(light for light in LIGHTS[workflow] if light.startswith("upload")),
        )


def _check_light(light: Any, workflow: str) -> None:
    if isinstance(light, str) and light in LIGHTS[workflow]:
        return
    owners = Words(
        Message("the {workflow} workflow", workflow=other)
        for other in WORKFLOWS
        if isinstance(light, str) and light in LIGHTS[other]
    )
    raise SettingsError(
        "light is {light}, but the {workflow} workflow takes one of {lights}.{owners}",
        light=shown(light),
        workflow=workflow,
        lights=", ".join(LIGHTS[workflow]),
        owners=Message(" ({light} belongs to {owners: and }.)", light=quoted(light), owners=owners) if owners else "",
    )
