"""The command: read the options, measure stage after stage, print the table, say whether both sides agree."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch

from iclight.diffusion import devices, sampler
from iclight.errors import IclightError
from iclight.settings import Settings

from . import floor, report, request, speeds, startup
from .job import STAGES, make_job
from .loading import compare_loading
from .measure import Row, compare
from .models import SIZES, build
from .ours import Ours
from .stock import Stock

# In float32 only the order of additions may differ: this engine decodes pictures one by one, the reference together.
# Where that comes before 8-bit pixels, truncation makes a whole grey level of it.
TOLERANCE = 1e-4
THROUGH_PIXELS = dict.fromkeys(("enlarge", "decode", "whole"), 1e-2)
PROMPT = "a portrait in a garden, sunshine from window"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when both sides' numbers agree (or half precision keeps that from being asked)."""
    options = _options(arguments)
    diffusers.utils.logging.set_verbosity_error()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        settings = _settings(options)
        placement = devices.choose(options.device, options.dtype)
    except IclightError as error:
        print(error, file=sys.stderr)
        return 2
    rows, model_bytes = _measure(options, settings, placement)
    facts = report.machine(placement)
    around = None
    if "request" in options.stages:
        _say(f"a request of {options.megapixels:g} megapixels, around the model")
        around = request.measure_requests(options.megapixels, options.repeat)
        print(f"\n{options.megapixels:g} megapixels around the model ({facts['cpu']}), seconds of the processor")
        print(request.table(around))
    if rows:
        print(f"\n{options.size}, {facts['device']} ({facts['cpu']}), {facts['dtype']}, torch {facts['torch']}")
        print(report.table(rows))
    if model_bytes:
        load = next(row for row in rows if row.stage == "load")
        multiples = [side.peak / model_bytes for side in (load.ours, load.stock)]
        print(f"Loading held {multiples[0]:.2f} (ours) and {multiples[1]:.2f} (stock) times the finished UNet's size.")
    compared, levers, started = None, None, None
    if "startup" in options.stages:
        _say("a command from the start")
        started = startup.measure_startup(options.repeat)
        print(f"\nA first picture with mini ({facts['cpu']})")
        print(startup.table(started))
    if "samplers" in options.stages:
        _say("samplers and steps, with mini")
        compared = speeds.compare_samplers()
        print(f"\ndB to {speeds.REFERENCE_STEPS} steps of the default, seconds of the processor ({facts['cpu']})")
        print(speeds.samplers_table(compared))
    if "levers" in options.stages:
        _say("levers, with mini")
        levers = speeds.compare_levers(repeat=options.repeat, dtype=facts["dtype"])
        print(f"\nLevers one by one ({facts['cpu']}), {facts['dtype']}, seconds of the processor")
        print(speeds.levers_table(levers))
    reached = None
    if "floor" in options.stages:
        _say("floor and growth")
        steps = floor.measure_steps(options.size, settings, placement, options.repeat)
        growth = list(floor.measure_growth(placement, options.repeat))
        reached = floor.measure_peaks(placement), steps, growth
        print(f"\nFloor and growth, {facts['device']} ({facts['cpu']}), {facts['dtype']}, {facts['threads']} threads")
        print(floor.table(*reached))
    if options.json:
        content = {
            "size": options.size,
            "repeat": options.repeat,
            "machine": facts,
            "settings": settings.to_dict(),
            "unet_bytes": model_bytes,
            "stages": [report.as_dict(row) for row in rows],
            "samplers": compared,
            "levers": levers,
            "startup": started,
            "floor": None if reached is None else floor.as_dict(*reached),
            "request": None if around is None else request.as_dict(around),
        }
        options.json.write_text(json.dumps(content, indent=2, default=dataclasses.asdict) + "\n", encoding="utf-8")
    return _verdict(rows, placement)


def _measure(
    options: argparse.Namespace, settings: Settings, placement: devices.Placement
) -> tuple[list[Row], int | None]:
    rows, model_bytes = [], None
    if "load" in options.stages:  # first, while this process holds no model yet
        _say("load")
        row, model_bytes = compare_loading(options.size, settings.workflow, placement, options.repeat)
        rows.append(row)
    stages = [name for name in STAGES if name in options.stages]
    if stages:
        _say(f"building the {options.size} model")
        networks = build(options.size, settings.workflow, placement)
        job = make_job(settings, networks, placement)
        ours, stock = Ours(networks, job), Stock(networks, job)
        with torch.inference_mode():
            for name in stages:
                _say(STAGES[name])
                work = (getattr(ours, name), getattr(stock, name))
                rows.append(compare(name, *work, placement.device, options.repeat))
                _say(f"  {rows[-1].time_ratio:.3f} of the stock pipelines' time")
    return rows, model_bytes


def _verdict(rows: Sequence[Row], placement: devices.Placement) -> int:
    if not rows:
        return 0
    if placement.dtype != torch.float32 or placement.vae_dtype != torch.float32:
        print("In half precision the stock side keeps its latents in half too, so differences are only reported.")
        return 0
    apart = [row for row in rows if not row.difference <= THROUGH_PIXELS.get(row.stage, TOLERANCE)]
    for row in apart:
        print(f"The two sides disagree in {row.stage}: {row.difference:.1e}", file=sys.stderr)
    return 1 if apart else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _settings(options: argparse.Namespace) -> Settings:
    light = options.light or ("left" if options.workflow == "fc" else "upload")
    settings = Settings.for_workflow(
        options.workflow,
        prompt=PROMPT,
        light=light,
        width=options.width,
        height=options.height,
        num_images=options.images,
        steps=options.steps,
        cfg=options.cfg,
        highres_scale=options.highres_scale,
        highres_denoise=options.highres_denoise,
        seed=12345,
    )
    for strength in (settings.lowres_denoise, settings.highres_denoise):
        requested = sampler.plan(settings.steps, strength).requested
        if int(requested * strength) < 1:
            raise IclightError(
                f"The stock pipelines cannot run {settings.steps} step(s) at {strength}; give more steps."
            )
    return settings


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="This engine beside stock pipelines.")
    parser.add_argument("--size", choices=SIZES, default="sd15", help="the random model's size (default sd15)")
    parser.add_argument("--workflow", choices=("fc", "fbc"), default="fc")
    parser.add_argument("--light", help="default: left for fc, upload for fbc")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--highres-scale", type=float, default=1.5)
    parser.add_argument("--highres-denoise", type=float, default=0.5)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, auto")
    parser.add_argument("--dtype", default="float32", help="float32 (default), bfloat16, float16 or auto")
    parser.add_argument("--repeat", type=int, default=2, help="turns per side; the best of them counts (default 2)")
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=("load", "startup", "request", "samplers", "levers", "floor", *STAGES),
        default=list(STAGES),
        help="default: all but load, which writes 4 GB of temporary files, startup: a command from nothing, "
        "request: all that is not the model, "
        "samplers and levers: ways to mini's picture in less time, "
        "floor: a step of the UNet beside what the machine can do, and how requests grow",
    )
    parser.add_argument("--megapixels", type=float, default=24, help="of the photo of the stage request (default 24)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything there as well")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat takes 1 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
