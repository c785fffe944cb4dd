"""Options that the command and the pages share: every setting from its parameter, and what picks the engine."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Container, Mapping
from typing import Any

from ..parameters import LIGHTS, PARAMETERS, SPEEDS, WORKFLOWS, Parameter
from ..settings import Settings
from ..weights.catalogue import MATTING_CHOICES
from .surroundings import port_number

ENGINE_OPTIONS = ("model", "offset", "vae", "lora", "embedding", "matting", "device", "dtype", "offload", "speed")


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """--model, --offset, --vae, --lora, --embedding, --matting, --device, --dtype, --offload, --speed."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--model",
        default="auto",
        help="auto, mini, sd15, a folder or hub id in diffusers layout, or an SD1.5 .safetensors checkpoint",
    )
    group.add_argument("--offset", help="an IC-Light offset: a path, 'fcon', or owner/name/file on the hub")
    group.add_argument("--vae", help="another VAE than the model's own: a file, a folder, or a hub id or file")
    group.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="PATH[:SCALE]",
        help="a LoRA file for UNet and text encoder, here or on the hub (owner/name/file); repeatable",
    )
    group.add_argument(
        "--embedding",
        action="append",
        default=[],
        metavar="FILE[:NAME]",
        help="a textual inversion that prompts call by NAME (the file's own name where none is given); repeatable",
    )
    group.add_argument(
        "--matting",
        default="auto",
        choices=MATTING_CHOICES,
        help="who cuts the subject out when the picture has no alpha; auto: rmbg if it is installed (its weights are "
        "non-commercial), else u2netp, which ships",
    )
    group.add_argument("--device", default="auto", help="auto, cuda, cuda:N, mps or cpu")
    group.add_argument("--dtype", default="auto", help="auto, float32, float16 or bfloat16")
    group.add_argument("--offload", action="store_true", help="keep parts off the GPU while idle, for small GPUs")
    group.add_argument(
        "--speed",
        choices=SPEEDS,
        help="exact computes what the reference computes; fast and max the same faster, up to rounding (default exact)",
    )


def engine_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The options as keyword arguments for `Relighter.load`."""
    return {**{name: getattr(options, name) for name in ENGINE_OPTIONS}, "speed": options.speed or SPEEDS[0]}


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """--background, --environment, --light-map, --behind, and --workflow, which follows from them."""
    parser.add_argument("--background", metavar="BG", help="a background picture: runs the fbc workflow")
    parser.add_argument(
        "--environment",
        metavar="MAP",
        help="a panorama, .hdr, .exr or an ordinary picture: runs the env workflow",
    )
    parser.add_argument(
        "--light-map",
        metavar="PICTURE",
        help="a light you painted, for the fc workflow: bright where light comes from (any size; its middle is used)",
    )
    parser.add_argument(
        "--behind", metavar="PICTURE", help="a picture to put behind the subject (as --finish-background own does)"
    )
    parser.add_argument(
        "--workflow", choices=WORKFLOWS, help="follows from --background, --environment and --light where it can"
    )


def add_server_options(parser: argparse.ArgumentParser, port: str) -> Any:
    """--host, --port, --allow-host, --api-key, in a group of their own. `port`: the default one, in words."""
    group = parser.add_argument_group("server")
    group.add_argument("--host", help="address to listen on (default 127.0.0.1: this machine only)")
    group.add_argument("--port", type=port_number, help=f"port (default: {port})")
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which the server is reached, besides --host: what a proxy or the network calls this machine "
        "(*.example.com for all below it); repeatable",
    )
    group.add_argument(
        "--api-key",
        metavar="KEY",
        help="what programs must show to use /v1/...; better kept in the environment, as ICLIGHT_API_KEY",
    )
    return group


def add_setting_options(parser: argparse.ArgumentParser, without: Container[str] = ()) -> None:
    """One option for every parameter. Values stay text here: `settings_from` checks them and words the errors."""
    group = parser.add_argument_group(
        "settings", "Defaults are the reference's; a model's iclight.json may state others, as mini's does."
    )
    for name, parameter in PARAMETERS.items():
        if name in without:
            continue
        group.add_argument(
            f"--{name.replace('_', '-')}", metavar=_metavar(name, parameter), help=_help(name, parameter)
        )


def add_parameters(
    parser: argparse.ArgumentParser, parameters: Mapping[str, Parameter], kept_as: Mapping[str, str] = {}
) -> None:
    """One option for each of a command's own parameters, with its default; `kept_as` names attributes that differ."""
    for name, parameter in parameters.items():
        kind: dict[str, Any] = (
            {"choices": tuple(parameter.choices)} if parameter.choices else {"metavar": _metavar(name, parameter)}
        )
        if parameter.kind == "number":
            kind["type"] = float
        text = _help(name, parameter)
        parser.add_argument(f"--{name}", dest=kept_as.get(name, name), default=parameter.default, help=text, **kind)


def _metavar(name: str, parameter: Parameter) -> str:
    return {"text": "TEXT", "choice": name.upper(), "colour": "#RRGGBB"}.get(parameter.kind, "N")


def _help(name: str, parameter: Parameter) -> str:
    text = parameter.help.rstrip(".")
    if parameter.choices:
        return f"{text}: {', '.join(parameter.choices)} (default {parameter.default})"
    if parameter.kind == "choice":
        return f"{text}: " + "; ".join(f"{', '.join(LIGHTS[workflow])} ({workflow})" for workflow in WORKFLOWS)
    if parameter.kind != "text":
        text += f"; {parameter.range_text().removesuffix(', or left out')}"
    if parameter.default is not None:
        others = "".join(f", {workflow} {value!r}" for workflow, value in parameter.differing.items())
        text += f" (default {parameter.default!r}{others})"
    if name == "seed":
        text += "; 'random' draws one"
    return text.replace("%", "%%")


def changes_in(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given on the command line, not checked yet."""
    given = {name: getattr(options, name) for name in PARAMETERS if getattr(options, name, None) is not None}
    return {name: PARAMETERS[name].parse(text) for name, text in given.items()}


def settings_from(
    options: argparse.Namespace, workflow: str, base: Settings | None = None, defaults: Mapping[str, Any] = {}
) -> Settings:
    """Settings of a workflow from parsed options; with `base`, only what was given on the command line changes it.

    `defaults`: the loaded model's own, for what was left open.

    Raises SettingsError naming the parameter, the value and the range.
    """
    changes = changes_in(options)
    if base is None:
        return Settings.for_workflow(workflow, **{**defaults, **changes})
    return dataclasses.replace(base, **changes)
