"""Train models/mini on, for as long as a clock allows: render, encode, train three workflows at once, export, measure.

    python -m tools.gpu.train --seconds 420            # on one GPU; tools/gpu/train.sh sees to the rest
    python -m tools.gpu.train --seconds 110 --tiny     # toy size, on two cores

Importing torch and waking a GPU take long on a fresh machine, so all processes that will be needed start at once, and
wait with everything imported until they are asked. Until a share of the time is over all cores render, the GPU encodes
what they have made, and the model that training begins from is measured; how long that took is what the end is given.
Then some steps are timed, with all three workflows running, and so many are asked for as fit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

WORKFLOWS = ("fc", "fbc", "env")
BEGIN = Path("models/mini")
VAE = BEGIN / "vae"
# What a fresh reading of the clock, a slower minute or a full disk may cost: steps are planned for this share.
CAREFUL = 0.93
FINISHING = 25.0  # seconds beside the evaluation: saving, exporting, packing, and one run that has to be cut short
MIB = 2**20
# Foreseen steps over planned ones, between which a plan is left as it is; and the seconds that another one costs.
LATE, EARLY, RESTARTING = 0.94, 1.25, 15.0


@dataclass(frozen=True)
class Size:
    """How large everything is. `timed`: steps that are timed before the rest is asked for."""

    side: int
    objects: int
    batch: int
    timed: int
    rendering: float  # share of the time that is for rendering
    held_out: int
    evaluators: int
    workers: int
    options: dict[str, Any]


def size_of(tiny: bool, cores: int, rate: float) -> Size:
    if tiny:
        plain = {"mixed_precision": "no", "rate": 1e-4, "warmup": 2, "average": 0.9}
        return Size(64, 8, 4, 3, 0.15, 4, 1, 0, plain)
    learnt = {"rate": rate, "decay": 0.6, "warmup": 100, "average": 0.998}
    return Size(128, 32, 128, 60, 0.26, 64, max(1, min(8, cores // 2)), max(1, (cores - 3) // 3), learnt)


# --- processes that wait with everything imported -----------------------------------------------------------------


class Helper:
    """A process of this file that is asked by lines of JSON, one answer each, and logs to a file."""

    def __init__(self, work: Path, name: str, *arguments: str) -> None:
        self.name, self.folder, self.number = name, work / "helpers", 0
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob(f"{name}-*.json"):
            old.unlink()
        with (self.folder / f"{name}.log").open("a") as log:
            # A session of its own, so that the processes that draw its batches end with it.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.gpu.train", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def ask(self, **what: Any) -> None:
        self.number += 1
        assert self.process.stdin is not None
        answer = str(self.folder / f"{self.name}-{self.number}.json")
        self.process.stdin.write(json.dumps({**what, "answer": answer}) + "\n")
        self.process.stdin.flush()

    def answer(self, until: float) -> dict[str, Any] | None:
        """What it says to the last question; None if it says nothing until then."""
        path = self.folder / f"{self.name}-{self.number}.json"
        while not path.is_file():
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > until:
                return None
            time.sleep(0.1)
        said: dict[str, Any] = json.loads(path.read_text())
        return said

    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text()[-3000:]

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()


def asked() -> Iterator[dict[str, Any]]:
    """Questions, line by line; the answer is whatever a question's dictionary holds under "said" in the end."""
    for line in sys.stdin:
        question = json.loads(line)
        yield question
        path = Path(question["answer"])
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(question["said"]))
        partial.replace(path)


def be_trainer(workflow: str) -> None:
    """Train one workflow as far as it is asked; says the seconds that took."""
    from training.config import read_config
    from training.train import train

    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")
    for question in asked():
        begun = time.monotonic()
        options: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in question["options"].items()
        }
        train(replace(read_config(f"mini-{workflow}"), **options), Path(question["out"]), until=question.get("until"))
        question["said"] = {"seconds": time.monotonic() - begun}


def be_evaluator(number: int, parts: int, tiny: bool) -> None:
    """Measure models on this part's share of the objects; says the seconds that took."""
    from training.evaluation import evaluate as evaluation
    from training.sheets import save_sheet

    class Bench(evaluation.Bench):
        def relight(self, *arguments: Any, **options: Any) -> torch.Tensor:
            return super().relight(*arguments, **{**options, **({"steps": 2} if tiny else {})})

    size = size_of(tiny, os.cpu_count() or 1, 0.0)
    objects = evaluation.stage_objects(size.held_out, size.side, share=(number, parts))
    for question in asked():
        begun, out = time.monotonic(), Path(question["out"])
        out.mkdir(parents=True, exist_ok=True)
        bench = Bench(question["model"], "auto", "float32" if tiny else "auto")
        figures, rows = evaluation.evaluate(bench, objects)
        found: evaluation.Part = {
            "objects": {"light stage": len(objects.matte)},
            "figures": {"light stage": figures},
            "whole": True,
        }
        save_sheet(rows, out / f"sheet-{number}.jpg")
        if number == 0 and not tiny:
            photos = evaluation.photographed(192)
            found["objects"]["photographs"] = len(photos.matte)
            found["figures"]["photographs"], rows = evaluation.evaluate_photographs(bench, photos)
            save_sheet(rows, out / "sheet-photographs.jpg")
        evaluation.write(out, number, parts, found)
        question["said"] = {"seconds": time.monotonic() - begun}


# --- data ---------------------------------------------------------------------------------------------------------


def render(folder: Path, part: int, parts: int, size: Size, seed: int, until: float) -> None:
    """Shard after shard as long as another one fits; one always does."""
    from training.scenes.render import Assets, make_shard

    torch.set_num_threads(1)
    shelf, number, took = Assets(), part, 0.0
    while number == part or time.monotonic() + took < until:
        begun = time.monotonic()
        shard = make_shard(number, size.objects, size.side, 0.12, seed, shelf)
        partial = folder / f"shard-{number:04d}.part"
        torch.save(shard, partial)
        partial.replace(partial.with_suffix(".pt"))
        number, took = number + parts, time.monotonic() - begun


def make_data(work: Path, size: Size, seed: int, until: float) -> tuple[Path, int]:
    """The folder of encoded shards, and how many objects they hold. Shards are encoded as they come, then deleted."""
    stage, latents = work / "stage", work / "latents"
    for folder in (stage, latents):
        folder.mkdir(parents=True, exist_ok=True)
    cores = os.cpu_count() or 1
    fork = multiprocessing.get_context("fork")  # while this process has no GPU open: what is imported, all have
    renderers = [fork.Process(target=render, args=(stage, k, cores, size, seed, until)) for k in range(cores)]
    for one in renderers:
        one.start()
    from diffusers import AutoencoderKL

    from training.data.latents import encode_shard

    vae = AutoencoderKL.from_pretrained(VAE, torch_dtype=torch.float32).eval().to(memory_format=torch.channels_last)
    vae = vae.to("cuda" if torch.cuda.is_available() else "cpu")
    count = 0
    while True:
        rendering = any(one.is_alive() for one in renderers)
        paths = sorted(stage.glob("shard-*.pt"))
        for path in paths:
            torch.save(encode_shard(vae, torch.load(path, weights_only=False)), latents / path.name)
            path.unlink()
            count += 1
        if not rendering and not paths:
            break
        time.sleep(0.1)
    if any(one.exitcode for one in renderers):
        say("Some renderers failed; going on with what the others made.")
    if not count:
        raise SystemExit("Nothing was rendered, so there is nothing to train on.")
    return latents, count * size.objects


# --- the whole ----------------------------------------------------------------------------------------------------

BEGUN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGUN:.0f} s] {text}", file=sys.stderr, flush=True)


def train_all(work: Path, size: Size, data: Path, seed: int, helpers: dict[str, Helper], end: float) -> list[str]:
    """All workflows at once until about `end`; lines of what was done, for the table."""
    shared = {
        "data": [str(data)],
        "begin": str(BEGIN),
        "vae": str(VAE),
        "batch": size.batch,
        "workers": size.workers,
        "sheet_every": 10**9,
        **size.options,
    }
    each = {name: {**shared, "seed": seed + place} for place, name in enumerate(WORKFLOWS)}
    timing = {"steps": 10**6, "save_every": size.timed, "log_every": max(1, size.timed // 3)}
    for name in WORKFLOWS:
        helpers[name].ask(options={**each[name], **timing}, out=str(work / name), until=size.timed)
    plans, report = {}, []
    took = {name: helpers[name].answer(end) for name in WORKFLOWS}
    for name in WORKFLOWS:
        if (found := took[name]) is None:
            raise SystemExit(f"{name} has not made {size.timed} steps in the time there is:\n{helpers[name].log()}")
        head, *_, last = (work / name / "log.csv").read_text().splitlines()
        row = dict(zip(head.split(","), last.split(","), strict=True))
        speed = float(row["rows_per_second"]) / size.batch
        start = max(0.0, found["seconds"] - size.timed / speed)
        room = max(0.0, end - time.monotonic() - 0.8 * start)
        plans[name] = size.timed + max(1, int(room * speed * CAREFUL))
        say(f"{name}: {speed:.2f} steps a second after {start:.0f} s of starting; {plans[name]} steps in all")
    for name, steps in plans.items():
        go_on(helpers[name], each[name], steps, work / name)
    # A workflow that started later than the others was timed alone for a while. Before the rate begins to fall, all of
    # them running, it can still be told better.
    time.sleep(max(0.0, 0.33 * (end - time.monotonic())))
    for name in WORKFLOWS:
        speed, at = recent_speed(work / name, size.batch), newest_checkpoint(work / name)
        if not speed or helpers[name].answer(0) is not None:
            continue
        step = int((work / name / "log.csv").read_text().splitlines()[-1].split(",")[0])
        off = (step + speed * (end - time.monotonic()) * CAREFUL) / plans[name]
        if LATE < off < EARLY:
            continue
        room = max(0.0, end - time.monotonic() - RESTARTING)
        plans[name] = at + max(1, int(room * speed * CAREFUL))
        say(f"{name}: {speed:.2f} steps a second among the others; {plans[name]} steps in all")
        helpers[name].end()
        helpers[name] = Helper(work, name, "--be", "trainer", name)
        go_on(helpers[name], each[name], plans[name], work / name)
    for name, steps in plans.items():
        if helpers[name].answer(end + 3) is None:
            steps = cut_short(work, name, each[name], helpers)
        report.append(f"| {name}: steps, rows | {steps} | {steps * size.batch:,} |")
    return report


def go_on(helper: Helper, options: dict[str, Any], steps: int, out: Path) -> None:
    """Have a run go on to so many steps, with checkpoints often enough to end at any of them."""
    often = {"steps": steps, "save_every": max(1, steps // 12), "log_every": max(1, steps // 40)}
    helper.ask(options={**options, **often}, out=str(out))


def recent_speed(folder: Path, batch: int) -> float:
    """Steps a second, the middle of the last three that a run has noted; 0 if it has noted fewer since it was timed."""
    head, *lines = (folder / "log.csv").read_text().splitlines()
    place = head.split(",").index("rows_per_second")
    noted = [float(line.split(",")[place]) / batch for line in lines]
    return sorted(noted[-3:])[1] if len(noted) >= 6 else 0.0


def newest_checkpoint(folder: Path) -> int:
    """The step of a run's newest whole checkpoint."""
    return max(int(path.parent.name.split("-")[1]) for path in folder.glob("checkpoint-*/whole.json"))


def cut_short(work: Path, name: str, options: dict[str, Any], helpers: dict[str, Helper]) -> int:
    """A run that is late ends at its newest checkpoint: its steps."""
    helpers[name].end()
    steps = newest_checkpoint(work / name)
    say(f"{name} is late: it ends at its checkpoint of step {steps}")
    helpers[name] = Helper(work, f"{name}-late", "--be", "trainer", name)
    helpers[name].ask(options={**options, "steps": steps}, out=str(work / name))
    if helpers[name].answer(time.monotonic() + 60) is None:
        raise SystemExit(f"{name} cannot be ended:\n{helpers[name].log()}")
    return steps


@torch.no_grad()
def export(work: Path) -> Path:
    """The three runs as a model folder."""
    from diffusers import AutoencoderKL

    from training.base import load
    from training.export import export_new

    runs = {name: load(work / name / "trained", None, name) for name in WORKFLOWS}
    known = json.loads((BEGIN / "iclight.json").read_text())
    facts = {name: value for name, value in known.items() if name not in ("name", "offsets")}
    own = {name: runs[name] for name in ("fc", "fbc")}
    export_new(runs["env"], AutoencoderKL.from_pretrained(VAE), work / "model", "mini", facts, own)
    return work / "model"


def measure(out: Path, model: Path, evaluators: list[Helper], until: float) -> float | None:
    """Have a model measured by all evaluators; the seconds of the slowest, None if it was not done in time."""
    ask_evaluators(out, model, evaluators)
    return wait_for_evaluators(evaluators, until)


def ask_evaluators(out: Path, model: Path, evaluators: list[Helper]) -> None:
    for one in evaluators:
        one.ask(model=str(model), out=str(out))


def wait_for_evaluators(evaluators: list[Helper], until: float) -> float | None:
    answers = [one.answer(until) for one in evaluators]
    return max((answer["seconds"] for answer in answers if answer), default=None) if all(answers) else None


def figures(folders: dict[str, Path], out: Path) -> str:
    """One table of all that was measured: a column per set of objects and model."""
    from training.evaluation.evaluate import as_markdown, joined

    columns = {}
    for name, folder in folders.items():
        for objects, groups in joined([json.loads(p.read_text()) for p in sorted(folder.glob("part-*.json"))]).items():
            columns[f"{objects}, {name}"] = groups
    order = sorted(columns, key=lambda column: column.split(",")[0])
    ordered = {column: columns[column] for column in order}
    (out / "figures.json").write_text(json.dumps(ordered, indent=1) + "\n")
    return as_markdown(ordered) if ordered else "Nothing was measured.\n"


def pack(model: Path, out: Path, most: int) -> list[Path]:
    """The model as model.tar.gz in parts of at most `most` MiB: cat them together, in order, to unpack."""
    whole = out / "model.tar.gz"
    with tarfile.open(whole, "w:gz", compresslevel=1) as archive:
        archive.add(model, arcname="model")
    parts: list[Path] = []
    with whole.open("rb") as file:
        while piece := file.read(most * MIB):
            parts.append(out / f"model.tar.gz.{len(parts)}")
            parts[-1].write_bytes(piece)
    whole.unlink()
    return parts


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    cores, end = os.cpu_count() or 1, BEGUN + options.seconds
    size, work, out = size_of(options.tiny, cores, options.rate), options.work, options.out
    shutil.rmtree(work, ignore_errors=True)  # a run of its own: nothing is gone on from
    out.mkdir(parents=True, exist_ok=True)
    helpers = {name: Helper(work, name, "--be", "trainer", name) for name in WORKFLOWS}
    tiny = ["--tiny"] if options.tiny else []
    evaluators = [
        Helper(work, f"evaluator-{k}", "--be", "evaluator", f"{k}/{size.evaluators}", *tiny)
        for k in range(size.evaluators)
    ]
    try:
        ask_evaluators(work / "before", BEGIN, evaluators)
        say(f"rendering on {cores} cores")
        data, objects = make_data(work, size, options.seed, BEGUN + size.rendering * options.seconds)
        say(f"{objects} objects are encoded")
        # What this took beside the renderers is what it takes at the end, at most.
        before = wait_for_evaluators(evaluators, BEGUN + 0.4 * options.seconds)
        reserve = FINISHING + (before if before is not None else 0.2 * options.seconds)
        reserve = min(reserve, 0.45 * options.seconds)
        say(f"training until {options.seconds - reserve:.0f} s")
        steps = train_all(work, size, data, options.seed, helpers, end - reserve)
        model = export(work)
        say("the model is exported")
        after = measure(work / "after", model, evaluators, end - 4)
        parts = pack(model, out, options.part_size)
        folders = {"before": work / "before", "after": work / "after"}
        table = figures({name: folder for name, folder in folders.items() if folder.is_dir()}, out)
        for sheet in ("sheet-0.jpg", "sheet-photographs.jpg"):
            if (work / "after" / sheet).is_file():
                shutil.copy(work / "after" / sheet, out / sheet)
    finally:
        for one in (*helpers.values(), *evaluators):
            one.end()
    packed = sum(part.stat().st_size for part in parts) / MIB
    told = [
        "| what | | |",
        "| --- | ---: | ---: |",
        f"| objects rendered, pixels | {objects} | {size.side} |",
        *steps,
        f"| the model, MiB packed, files | {packed:.1f} | {len(parts)} |",
        f"| evaluation, s before and after | {_shown(before)} | {_shown(after)} |",
        f"| all of it, s of s | {time.monotonic() - BEGUN:.0f} | {options.seconds} |",
    ]
    text = "\n".join(told) + "\n\n" + table
    (out / "train.md").write_text(text)
    print(text)
    if after is None:
        raise SystemExit("The evaluation was not done in time; the model is.")


def _shown(seconds: float | None) -> str:
    return "out of time" if seconds is None else f"{seconds:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=420, help="all of it, by the clock (default 420)")
    parser.add_argument("--tiny", action="store_true", help="toy size, for a CPU")
    parser.add_argument("--rate", type=float, default=7e-4, help="the learning rate at its peak")
    parser.add_argument("--seed", type=int, default=101, help="of the objects and the batches; a new one for a new run")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="tables, sheets and the packed model")
    parser.add_argument("--work", type=Path, default=Path("build/gpu-train"), help="emptied first")
    parser.add_argument("--part-size", type=int, default=15, help="MiB of a part of the packed model")
    parser.add_argument("--be", nargs=2, metavar=("ROLE", "WHAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.be:
        run(options)
    elif options.be[0] == "trainer":
        be_trainer(options.be[1])
    else:
        number, parts = map(int, options.be[1].split("/"))
        be_evaluator(number, parts, options.tiny)


if __name__ == "__main__":
    main()
