"""`iclight batch`: many pictures with one loading, from files, folders, patterns or manifests; here or on Ray."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MESSAGE_LIMIT, SettingsError, plain, quoted
from ..parameters import PARAMETERS
from ..settings import INPUTS
from .options import add_input_options, changes_in, engine_arguments
from .terminal import tally_over, until_interrupted

if TYPE_CHECKING:
    from ..batch.log import Log, ParquetLog, Summary
    from ..batch.plan import Common, Plan
    from ..batch.rows import Record

# What `iclight relight` leaves open when it hands several pictures over.
BATCH_DEFAULTS: dict[str, Any] = {
    "log": None,
    "prompts": None,
    "prompts_seed": 0,
    "workers": None,
    "devices": "",
    "dry_run": False,
    "strict": False,
    "ray": None,
}
# Kinds of errors that are told at the end; the log has all.
TOLD = 5
PROMPTS_BYTES = 64 << 20


def add_batch(commands: Any) -> argparse.ArgumentParser:
    """The parser of `iclight batch`."""
    batch: argparse.ArgumentParser = commands.add_parser(
        "batch",
        help="relight many pictures with one loading",
        description="Relight many pictures with one loading. What is there already by its recipe is not made again.",
    )
    batch.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help="pictures, folders, patterns such as 'photos/*.jpg', addresses such as s3://bucket/photo.jpg, or a "
        "manifest: .csv, .jsonl or .parquet with a column input (or image), and if you like output, mask, background, "
        "environment, light_map, behind, workflow, matting, and any setting below, as prompt or light; its paths are "
        "seen from its own folder",
    )
    batch.add_argument("-o", "--output", metavar="FOLDER", help="where the pictures go; folders keep their shape")
    batch.add_argument(
        "--log",
        metavar="FILE",
        help="what became of each row (default FOLDER/results.jsonl, on Ray parts in FOLDER/results)",
    )
    batch.add_argument("--prompts", metavar="FILE", help="a prompt a line; each row without its own draws one")
    batch.add_argument(
        "--prompts-seed", type=int, default=0, metavar="N", help="which prompt falls to which row (default 0)"
    )
    batch.add_argument(
        "--workers", type=int, metavar="N", help="worker processes (default 1; with --ray one for each GPU)"
    )
    batch.add_argument(
        "--devices", default="", metavar="LIST", help="a worker process for each device, as in cuda:0,cuda:1"
    )
    batch.add_argument("--dry-run", action="store_true", help="say what would be written, and what is wrong; no more")
    batch.add_argument("--strict", action="store_true", help="run nothing if any row is wrong")
    batch.add_argument(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="run on a Ray cluster: at ADDRESS, the one this machine belongs to, or one of this machine alone",
    )
    add_input_options(batch)
    batch.set_defaults(run=run_batch, mask=None)
    return batch


def run_batch(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight batch`, and `iclight relight` of several pictures: plan, run, log, count."""
    from ..batch.log import Summary
    from ..batch.plan import make_plan
    from ..batch.sources import gather
    from ..batch.tables import is_table

    workers, devices = _check_workers(options)
    if options.output is None and not any(map(is_table, options.inputs)):
        raise SettingsError("Say where the results go: -o FOLDER.")
    if options.output and options.output.lower().endswith(".png"):
        raise SettingsError(f"output is {quoted(options.output)}, but several pictures take a folder.")
    common = _common(options)
    plan = make_plan(gather(options.inputs, options.output), common)
    if options.dry_run:
        return _dry_run(options, plan)
    if options.strict and plan.failures:
        _raise_first(plan)
    log = _log(options)
    summary = Summary(len(plan.rows) + len(plan.failures))
    quiet = options.quiet or options.json
    try:
        with (
            until_interrupted(signal.SIGTERM) as stop,
            tally_over(summary.total, quiet) as advance,
        ):

            def on_record(record: Record) -> None:
                log.add(record)
                summary.add(record)
                advance(summary.pictures_per_minute)

            for record in plan.failures:
                on_record(record)
            _run(options, plan, on_record, stop.is_set, workers, devices)
    finally:
        log.close()
    if not quiet:
        _tell(summary, log.path)
    done = summary.counts["written"] + summary.counts["there"]
    options.status = 0 if done == summary.total else 130 if stop.is_set() else 1
    return {**summary.as_dict(), "log": log.path}


def _dry_run(options: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Tell a plan; the exit status says whether all of it could run."""
    if not options.json:
        for row in plan.rows:
            print(plain(f"{row.inputs['image']} -> {row.output}", MESSAGE_LIMIT))
        for record in plan.failures:
            print(f"row {record['row']}, {record['input']}: {record['error']}", file=sys.stderr)
    options.status = 1 if plan.failures else 0
    rows = [{"row": row.index, "input": row.inputs["image"], "output": row.output} for row in plan.rows]
    return {"rows": rows, "failed": plan.failures}


def _log(options: argparse.Namespace) -> Log | ParquetLog:
    from ..batch.log import Log, ParquetLog
    from ..batch.storage import beside, is_remote

    if options.ray is not None:  # parts of another run stay apart
        return ParquetLog(options.log or beside(options.output or "", time.strftime("results/%Y%m%dT%H%M%S")))
    folder = "" if options.output is None or is_remote(options.output) else options.output
    return Log(options.log or os.path.join(folder, "results.jsonl"))


def _run(
    options: argparse.Namespace, plan: Plan, on_record: Any, stop: Any, workers: int | None, devices: list[str]
) -> None:
    from ..batch.run import run_plan

    if options.ray is not None:
        from ..batch.on_ray import run_on_ray

        for record in run_on_ray(plan, engine_arguments(options), options.ray, workers, stop):
            on_record(record)
        return
    told: set[str] = set()

    def say(text: str) -> None:
        if not options.quiet and text not in told:
            told.add(text)
            print(plain(text, MESSAGE_LIMIT), file=sys.stderr)

    run_plan(plan, engine_arguments(options), on_record, stop, workers or 1, devices, say)


def _check_workers(options: argparse.Namespace) -> tuple[int | None, list[str]]:
    devices = [one.strip() for one in options.devices.split(",") if one.strip()]
    if options.workers is not None and not 1 <= options.workers <= 1024:
        raise SettingsError(f"--workers is {options.workers}, but it takes a whole number from 1 to 1024.")
    if devices and (options.workers is not None or options.ray is not None):
        raise SettingsError("--devices runs a worker on each device of this machine: leave --workers and --ray out.")
    return options.workers, devices


def _common(options: argparse.Namespace) -> Common:
    from ..batch.plan import Common

    inputs = {name: getattr(options, name) for name in INPUTS if name != "image" and getattr(options, name)}
    prompts = _prompts(options.prompts) if options.prompts else []
    return Common(options.output, changes_in(options), inputs, options.workflow, prompts, options.prompts_seed)


def _prompts(path: str) -> list[str]:
    """A prompt a line. Raises SettingsError where there is none, or one is too long."""
    from ..weights.files import read_regular

    text = read_regular(path, "The list of prompts", PROMPTS_BYTES, SettingsError).decode("utf-8-sig", "replace")
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise SettingsError(f"There is no prompt in {quoted(path)}.")
    return [PARAMETERS["prompt"].check("prompt", prompt) for prompt in prompts]


def _raise_first(plan: Plan) -> None:
    first = "; ".join(f"row {one['row']}: {one['error']}" for one in plan.failures[:TOLD])
    count = len(plan.failures)
    raise SettingsError(f"{count} of {count + len(plan.rows)} rows cannot be done ({first}). Nothing was run.")


def _tell(summary: Summary, log: str) -> None:
    counts = summary.counts
    said = [f"{counts['written']} written", f"{counts['there']} there already", f"{counts['failed']} failed"]
    if summary.left:
        said.append(f"{summary.left} left: run the same command again to go on")
    print(f"{', '.join(said)}; {summary.pictures_per_minute:.1f} pictures a minute", file=sys.stderr)
    for error, count in summary.errors.most_common(TOLD):
        print(f"  {count} x {error}", file=sys.stderr)
    if len(summary.errors) > TOLD:
        print(f"  and {len(summary.errors) - TOLD} other errors", file=sys.stderr)
    print(f"{Path(log)} says what became of each", file=sys.stderr)
