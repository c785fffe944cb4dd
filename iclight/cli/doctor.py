"""What this machine has, what would run on it, and how fast: measured, not guessed."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..diffusion import devices
from ..errors import IclightError, WeightsError
from ..relighter import Relighter
from ..settings import Settings
from ..weights.folders import models_root
from ..weights.resolve import resolve_matting
from .checks import surroundings

LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "gradio",
    "huggingface_hub",
    "numpy",
    "opencv-python-headless",
    "peft",
)
TRIAL_STEPS = 2


def examine(arguments: dict[str, Any]) -> dict[str, Any]:
    """A report on device, formats, memory, versions, surroundings (`checks`) and one short timed run.

    `arguments` are `Relighter.load`'s. Nothing is downloaded. What cannot be done is told under "problem" rather than
    raised.
    """
    report: dict[str, Any] = {
        "iclight": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: _version(name) for name in LIBRARIES},
        "models_folder": str(models_root()),
        "checks": [],
        "problem": None,
    }
    free, device_type = None, "cpu"
    try:
        placement = devices.choose(arguments["device"], arguments["dtype"], arguments["offload"])
        free, device_type = devices.free_memory(placement.device), placement.device.type
        report |= {
            "device": devices.describe_device(placement.device),
            "dtype": str(placement.dtype).removeprefix("torch."),
            "vae_dtype": str(placement.vae_dtype).removeprefix("torch."),
            "cpu_bfloat16": devices.cpu_multiplies_bfloat16(),
            "cuda_build": torch.version.cuda,
            "free_memory_gib": None if free is None else round(free / 2**30, 1),
            "matting": resolve_matting(arguments["matting"], download=False).name,
        }
        report |= _trial(arguments)
    except IclightError as error:
        report["problem"] = str(error)
    report["checks"] = [check.as_dict() for check in surroundings(free, device_type)]
    stopped = [f"{one['name']}: {one['found']}" for one in report["checks"] if one["state"] == "problem"]
    report["problem"] = report["problem"] or "; ".join(stopped) or None
    return report


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _trial(arguments: dict[str, Any]) -> dict[str, Any]:
    """Load what would run, relight a grey card in a few steps, and reckon the default request from that."""
    relighter, notice = _load_without_download(arguments)
    width, height = relighter.model.native_size
    card = np.full((height, width, 3), 127, np.uint8)
    settings = Settings.for_workflow(
        "fc", width=width, height=height, steps=TRIAL_STEPS, highres_scale=1.0, highres_denoise=1.0
    )
    relighter.relight(card, settings, matting="none")  # the first run pays for warming up
    marks: list[float] = []

    def on_step(_: object) -> None:
        marks.append(time.perf_counter())

    started = time.perf_counter()
    relighter.relight(card, settings, matting="none", on_step=on_step)
    total = time.perf_counter() - started
    step = min(b - a for a, b in zip(marks, marks[1:], strict=False))
    defaults = Settings.for_workflow("fc", **relighter.defaults)
    area = defaults.highres_scale**2
    around = max(total - 2 * TRIAL_STEPS * step, 0.0)  # matting, prompts, encoding and decoding, twice
    seconds = defaults.steps * step * (1 + area) + around * (1 + area) / 2
    return {
        "model": relighter.model.name,
        "speed": (relighter.loaded.identity or {})["speed"],
        "levers": list(relighter.acceleration.levers.pulled),
        "native_size": [width, height],
        "notice": notice or relighter.model.notice,
        "seconds_per_step": round(step, 3),
        "seconds_per_picture": round(seconds, 1),
    }


def _load_without_download(arguments: dict[str, Any]) -> tuple[Relighter, str]:
    import os

    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        return Relighter.load(workflow="fc", **arguments), ""
    except WeightsError as error:
        if arguments["model"] == "mini":
            raise
        return Relighter.load(workflow="fc", **{**arguments, "model": "mini"}), f"mini was timed instead: {error}"
    finally:
        os.environ.pop("HF_HUB_OFFLINE")
        if before is not None:
            os.environ["HF_HUB_OFFLINE"] = before


def in_words(report: dict[str, Any]) -> str:
    """The report for people."""
    libraries = ", ".join(f"{name} {version or 'missing'}" for name, version in report["libraries"].items())
    lines = [
        f"iclight {report['iclight']}, Python {report['python']}, {report['system']}",
        f"libraries   {libraries}",
        f"models in   {report['models_folder']}",
    ]
    if "device" in report:
        free = report["free_memory_gib"]
        lines += [
            f"device      {report['device']}, {report['dtype']}, VAE {report['vae_dtype']}",
            f"memory      {'unknown' if free is None else f'{free} GiB free'}",
            f"matting     {report['matting']}",
        ]
    if "model" in report:
        size = "x".join(str(side) for side in report["native_size"])
        levers = ", ".join(report["levers"]) or "no lever pulled"
        lines += [
            f"runs        {report['speed']}: {levers}",
            f"model       {report['model']}, {size} then 1.5 times that",
            f"speed       {report['seconds_per_step']} s a step, about {report['seconds_per_picture']} s a picture",
        ]
        if report["notice"]:
            lines.append(f"note        {report['notice']}")
    for check in report["checks"]:
        mark = {"well": "", "note": "(!) ", "problem": "(X) "}[check["state"]]
        lines.append(f"{check['name']:<18}{mark}{check['found']}")
        if check["advice"]:
            lines.append(f"{'':<18}-> {check['advice']}")
    lines.append(f"problem     {report['problem']}" if report["problem"] else "all well")
    return "\n".join(lines)
