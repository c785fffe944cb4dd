"""Command-line options shared by the command and the pages: every setting from its knob, and what picks the engine."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Container, Mapping
from typing import Any

from .catalogue import MATTING_CHOICES
from .settings import KNOBS, LIGHTS, WORKFLOWS, Knob, Settings

ENGINE_OPTIONS = ("model", "offset", "lora", "matting", "device", "dtype", "offload")


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """--model, --offset, --lora, --matting, --device, --dtype, --offload."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--model",
        default="auto",
        help="auto, mini, sd15, a folder or hub id in diffusers layout, or an SD1.5 .safetensors checkpoint",
    )
    group.add_argument("--offset", help="an IC-Light offset: a path, 'fcon', or owner/name/file on the hub")
    group.add_argument(
        "--lora", action="append", default=[], metavar="PATH[:SCALE]", help="a LoRA file for the UNet; repeatable"
    )
    group.add_argument(
        "--matting",
        default="auto",
        choices=MATTING_CHOICES,
        help="who cuts the subject out when the picture has no alpha (rmbg's weights are non-commercial)",
    )
    group.add_argument("--device", default="auto", help="auto, cuda, cuda:N, mps or cpu")
    group.add_argument("--dtype", default="auto", help="auto, float32, float16 or bfloat16")
    group.add_argument("--offload", action="store_true", help="keep parts off the GPU while idle, for small GPUs")


def engine_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The options as keyword arguments for `Relighter.load`."""
    return {name: getattr(options, name) for name in ENGINE_OPTIONS}


def add_setting_options(parser: argparse.ArgumentParser, without: Container[str] = ()) -> None:
    """One option for every knob. Values stay text here: `settings_from` checks them and words the errors."""
    group = parser.add_argument_group("settings")
    for name, knob in KNOBS.items():
        if name in without:
            continue
        group.add_argument(f"--{name.replace('_', '-')}", metavar=_metavar(name, knob), help=_help(name, knob))


def add_knobs(parser: argparse.ArgumentParser, knobs: Mapping[str, Knob], kept_as: Mapping[str, str] = {}) -> None:
    """One option for each of a command's own knobs, with its default; `kept_as` names attributes that differ."""
    for name, knob in knobs.items():
        kind: dict[str, Any] = {"choices": tuple(knob.choices)} if knob.choices else {"metavar": _metavar(name, knob)}
        if knob.kind == "number":
            kind["type"] = float
        text = _help(name, knob)
        parser.add_argument(f"--{name}", dest=kept_as.get(name, name), default=knob.default, help=text, **kind)


def _metavar(name: str, knob: Knob) -> str:
    return {"text": "TEXT", "choice": name.upper(), "colour": "#RRGGBB"}.get(knob.kind, "N")


def _help(name: str, knob: Knob) -> str:
    text = knob.help.rstrip(".")
    if knob.choices:
        return f"{text}: {', '.join(knob.choices)} (default {knob.default})"
    if knob.kind == "choice":
        return f"{text}: " + "; ".join(f"{', '.join(LIGHTS[workflow])} ({workflow})" for workflow in WORKFLOWS)
    if knob.kind != "text":
        text += f"; {knob.range_text().removesuffix(', or left out')}"
    if knob.default is not None:
        others = "".join(f", {workflow} {value!r}" for workflow, value in knob.differing.items())
        text += f" (default {knob.default!r}{others})"
    if name == "seed":
        text += "; 'random' draws one"
    return text.replace("%", "%%")


def settings_from(options: argparse.Namespace, workflow: str, base: Settings | None = None) -> Settings:
    """Settings of a workflow from parsed options; with `base`, only what was given on the command line changes it.

    Raises SettingsError naming the knob, the value and the range.
    """
    given = {name: getattr(options, name) for name in KNOBS if getattr(options, name, None) is not None}
    changes = {name: _parse(name, text) for name, text in given.items()}
    if base is None:
        return Settings.for_workflow(workflow, **changes)
    return dataclasses.replace(base, **changes)


def _parse(name: str, text: str) -> Any:
    knob = KNOBS[name]
    if knob.kind in ("text", "choice"):
        return text
    if name == "seed" and text == "random":
        return None
    try:
        return int(text) if knob.kind == "integer" and len(text) < 100 else float(text)
    except ValueError:
        try:
            return float(text)  # "2.5" for a whole number: the knob's check says what it takes
        except ValueError:
            return text
