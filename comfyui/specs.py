"""The nodes as data, from which V1 and V3 classes are made: what each takes and gives, in ComfyUI's types.

Ranges, defaults and words are those of `iclight.parameters`, so that no node states its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from iclight.parameters import (
    LIGHTS,
    MIX_PARAMETERS,
    NORMAL_PARAMETERS,
    PARAMETERS,
    SHADE_PARAMETERS,
    SPEEDS,
    WORKFLOWS,
    Parameter,
)
from iclight.weights.catalogue import MATTING_CHOICES

from . import operations

CATEGORY = "iclight"
MODEL, SETTINGS, STACK, ENVIRONMENT = "ICLIGHT_MODEL", "ICLIGHT_SETTINGS", "ICLIGHT_LIGHTS", "ICLIGHT_ENVIRONMENT"
# What every node that lights says for itself, beside the settings.
OWN = ("prompt", "light", "seed", "num_images")
DESK = ("left", "right", "top", "bottom", "ambient")


@dataclass(frozen=True)
class Slot:
    """An input. `kind`: ComfyUI's type. `options`: of its widget, or `choices` of a list. `tip`: what it is for."""

    name: str
    kind: str
    tip: str = ""
    optional: bool = False
    choices: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Node:
    """`outputs`: (type, name) in the order that `run` gives them; `run` takes the inputs by name."""

    id: str
    title: str
    about: str
    run: Callable[..., tuple[Any, ...]]
    inputs: tuple[Slot, ...]
    outputs: tuple[tuple[str, str], ...]


def slot_of(name: str, parameter: Parameter) -> Slot:
    """A parameter's widget. What may be left open is 0 where the parameter takes no 0."""
    if parameter.kind == "choice":
        choices = tuple(parameter.choices)
        return Slot(name, "COMBO", parameter.help, choices=choices, options=(("default", parameter.default),))
    if parameter.kind in ("text", "colour"):
        multiline = (("multiline", True),) if "prompt" in name else ()
        return Slot(name, "STRING", parameter.help, options=(("default", parameter.default), *multiline))
    least, most = parameter.minimum, parameter.maximum
    assert math.isfinite(least) and math.isfinite(most)
    if parameter.kind == "integer":
        step = int(parameter.step)
        default = parameter.default or 0
        start = 0 if parameter.optional else int(least)
        return _number(name, "INT", parameter.help, default, start, int(most), step)
    return _number(name, "FLOAT", parameter.help, parameter.default, float(least), float(most), parameter.step)


def _number(name: str, kind: str, tip: str, default: Any, least: Any, most: Any, step: Any) -> Slot:
    return Slot(name, kind, tip, options=(("default", default), ("min", least), ("max", most), ("step", step)))


def _given(name: str, kind: str, tip: str, optional: bool = True) -> Slot:
    return Slot(name, kind, tip, optional)


_LIGHTS = (operations.AUTO, *dict.fromkeys(light for lights in LIGHTS.values() for light in lights))
_MODEL = _given("model", MODEL, "From iclight: load.", False)
_IMAGE = _given("image", "IMAGE", "What is lit. An alpha channel, if there is one, is its matte.", False)
_MASK = _given("mask", "MASK", "Where the subject is; without it the model's matting cuts it out.")
_SETTINGS = _given("settings", SETTINGS, "Instead of the model's own defaults.")
_PROMPT = slot_of("prompt", PARAMETERS["prompt"])
_SEED = Slot(
    "seed", "INT", PARAMETERS["seed"].help,
    options=(("default", 12345), ("min", 0), ("max", 2**53 - 1), ("control_after_generate", True)),
)  # fmt: skip
_WEIGHTS = tuple(
    slot
    for name in DESK
    for slot in (
        slot_of(name, MIX_PARAMETERS["strength"]),
        Slot(f"{name}_colour", "STRING", "Its colour.", options=(("default", "#ffffff"),)),
    )
)


def _choice(name: str, choices: tuple[str, ...], tip: str) -> Slot:
    return Slot(name, "COMBO", tip, choices=choices, options=(("default", choices[0]),))


def _words(name: str, default: str, tip: str) -> Slot:
    return Slot(name, "STRING", tip, options=(("default", default),))


NODES = (
    Node(
        "ICLightLoad",
        "iclight: load",
        "A relighting model, for words and directions (fc), for backgrounds (fbc) or environment maps (env).",
        operations.load,
        (
            _words("model", "auto", "auto, mini, sd15, a folder, a hub id, or an SD1.5 checkpoint."),
            _choice("workflow", WORKFLOWS, "What lights: words (fc), a background (fbc), an environment map (env)."),
            _words("offset", "", "An IC-Light offset: a path or a hub file; empty for the model's own."),
            _choice("matting", MATTING_CHOICES, "Who cuts the subject out where there is no mask."),
            _choice("device", ("auto", "cuda", "mps", "cpu"), "Where it runs."),
            _choice("dtype", ("auto", "float32", "float16", "bfloat16"), "In which format."),
            _choice("speed", SPEEDS, "exact computes what the reference computes; the others the same faster."),
        ),
        ((MODEL, "model"),),
    ),
    Node(
        "ICLightSettings",
        "iclight: settings",
        "Every parameter, in place of the model's own defaults.",
        operations.settings,
        tuple(slot_of(name, one) for name, one in PARAMETERS.items() if name not in OWN),
        ((SETTINGS, "settings"),),
    ),
    Node(
        "ICLightRelight",
        "iclight: relight",
        "Lights each picture of a batch by words and a direction, a background or an environment map.",
        operations.relight,
        (
            _MODEL,
            _IMAGE,
            _PROMPT,
            Slot("light", "COMBO", "auto: the workflow's own, or what is connected.", choices=_LIGHTS,
                 options=(("default", operations.AUTO),)),
            _SEED,
            _MASK,
            _given("background", "IMAGE", "fbc: the background that lights. fc: a light map, bright where light comes "
                   "from."),
            _given("environment", ENVIRONMENT, "env: the map that lights."),
            _SETTINGS,
        ),
        (("IMAGE", "image"), ("IMAGE", "foreground"), ("MASK", "mask")),
    ),
    Node(
        "ICLightFinish",
        "iclight: light on the photo's own pixels",
        "Measures what a relighting did to a photo, whichever model made it, and does it to the photo at its own size.",
        operations.finish,
        (
            _given("photo", "IMAGE", "The original, of any size.", False),
            _given("relit", "IMAGE", "Its relighting, or several of them.", False),
            slot_of("strength", PARAMETERS["finish_strength"]),
            _given("mask", "MASK", "Where the light holds; without it, everywhere."),
        ),
        (("IMAGE", "image"),),
    ),
    Node(
        "ICLightLights",
        "iclight: one picture per light",
        "The material of a mixing desk: a relighting for each of left, right, top, bottom and, but for fc, ambient.",
        operations.lights,
        (_MODEL, _IMAGE, _PROMPT, _SEED, _MASK, _SETTINGS),
        ((STACK, "lights"), ("IMAGE", "images")),
    ),
    Node(
        "ICLightMix",
        "iclight: mix lights",
        "Adds lights up as light adds up; no model runs.",
        operations.mix,
        (_given("lights", STACK, "From iclight: one picture per light.", False), *_WEIGHTS,
         slot_of("exposure", MIX_PARAMETERS["exposure"])),
        (("IMAGE", "as drawn"), ("IMAGE", "on the photo")),
    ),
    Node(
        "ICLightNormals",
        "iclight: normals",
        "Surface normals from four relightings; the model is for fbc.",
        operations.normals,
        (_MODEL, _IMAGE, _PROMPT, _SEED, slot_of("exponent", NORMAL_PARAMETERS["exponent"]),
         slot_of("green", NORMAL_PARAMETERS["green"]), _MASK, _SETTINGS),
        (("IMAGE", "normals"), ("MASK", "mask")),
    ),
    Node(
        "ICLightShade",
        "iclight: shade by normals",
        "Puts a light anywhere around the subject; no model runs.",
        operations.shade_picture,
        (_given("image", "IMAGE", "What is lit.", False), _given("normals", "IMAGE", "Its normal map.", False),
         slot_of("green", NORMAL_PARAMETERS["green"]),
         *(slot_of(name, one) for name, one in SHADE_PARAMETERS.items()),
         _given("mask", "MASK", "Where the light holds; without it, everywhere.")),
        (("IMAGE", "image"),),
    ),
    Node(
        "ICLightEnvironment",
        "iclight: environment map",
        "A panorama that lights workflow env: .hdr and .exr by path, or any picture.",
        operations.environment,
        (_words("path", "", "A file on this machine; empty where a picture is connected."),
         _given("image", "IMAGE", "A panorama of 8 bits.")),
        ((ENVIRONMENT, "environment"), ("IMAGE", "preview")),
    ),
)  # fmt: skip
