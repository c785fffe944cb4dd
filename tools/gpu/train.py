"""Train models/mini on, for as long as a clock allows: render, encode, train three workflows at once, export, measure.

    python -m tools.gpu.train --seconds 420            # on one GPU; tools/gpu/train.sh sees to the rest
    python -m tools.gpu.train --seconds 110 --tiny     # toy size, on two cores

Importing torch and waking a GPU take long on a fresh machine, so all processes that will be needed start at once, and
wait with everything imported until they are asked (`jobs`). Until a share of the time is over all cores render, the GPU
encodes what they have rendered, and the model that training starts from is measured; how long that took is what the end
is given. Then some steps are timed, with all three workflows running, and so many are asked for as fit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from .jobs import MIB, START, VAE, WORKFLOWS, Size, export, make_data, pack, size_of

# What a fresh reading of the clock, a slower minute or a full disk may cost: steps are planned for this share.
CAREFUL = 0.93
FINISHING = 25.0  # seconds beside the evaluation: saving, exporting, packing, and one run that has to be cut short
# Foreseen steps over planned ones, between which a plan is left as it is; and the seconds that another one costs.
LATE, EARLY, RESTARTING = 0.94, 1.25, 15.0
STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:.0f} s] {text}", file=sys.stderr, flush=True)


class Helper:
    """A process of `jobs` that is asked by lines of JSON, one answer each, and logs to a file."""

    def __init__(self, work: Path, name: str, *arguments: str) -> None:
        self.name, self.folder, self.number = name, work / "helpers", 0
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob(f"{name}-*.json"):
            old.unlink()
        with (self.folder / f"{name}.log").open("a") as log:
            # A session of its own, so that the processes that draw its batches end with it.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.gpu.jobs", *arguments],
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

    def seconds(self, until: float) -> float | None:
        """How long the last question took; None if it is not answered until then."""
        path = self.folder / f"{self.name}-{self.number}.json"
        while not path.is_file():
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > until:
                return None
            time.sleep(0.1)
        return float(json.loads(path.read_text())["seconds"])

    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text()[-3000:]

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()


Helpers = dict[str, Helper]


class Training:
    """The three runs, all at once: timed, planned, corrected, and cut short where one is late."""

    def __init__(self, work: Path, size: Size, data: Path, seed: int, helpers: Helpers) -> None:
        self.work, self.size, self.helpers = work, size, helpers
        shared = {
            "data": [str(data)],
            "init_from": str(START),
            "vae": str(VAE),
            "batch": size.batch,
            "workers": size.workers,
            "sheet_every": 10**9,
            **size.options,
        }
        self.options = {name: {**shared, "seed": seed + place} for place, name in enumerate(WORKFLOWS)}
        self.plans: dict[str, int] = {}  # steps

    def run(self, end: float) -> None:
        """Train until about `end` (by `time.monotonic`)."""
        self._time_steps(end)
        for name in WORKFLOWS:
            self._go_on(name)
        # A workflow that started later than the others was timed alone for a while. Before the learning rate begins to
        # fall, all of them running, it can still be told better.
        time.sleep(max(0.0, 0.33 * (end - time.monotonic())))
        for name in WORKFLOWS:
            self._correct(name, end)
        for name in WORKFLOWS:
            if self.helpers[name].seconds(end + 3) is None:
                self._cut_short(name)

    def _time_steps(self, end: float) -> None:
        timed = self.size.timed
        options = {"steps": 10**6, "save_every": timed, "log_every": max(1, timed // 3)}
        for name in WORKFLOWS:
            self.helpers[name].ask(options={**self.options[name], **options}, out=str(self.work / name), until=timed)
        spent = {name: self.helpers[name].seconds(end) for name in WORKFLOWS}
        for name, seconds in spent.items():
            if seconds is None:
                raise SystemExit(f"{name} did not do {timed} steps in time:\n{self.helpers[name].log()}")
            speed = self._speeds(name)[-1]
            start = max(0.0, seconds - timed / speed)
            room = max(0.0, end - time.monotonic() - 0.8 * start)
            self.plans[name] = timed + max(1, int(room * speed * CAREFUL))
            say(f"{name}: {speed:.2f} steps a second after {start:.0f} s of starting; {self.plans[name]} steps in all")

    def _go_on(self, name: str) -> None:
        """Have a run go on as planned, with checkpoints often enough to end at any of them."""
        steps = self.plans[name]
        often = {"steps": steps, "save_every": max(1, steps // 12), "log_every": max(1, steps // 40)}
        self.helpers[name].ask(options={**self.options[name], **often}, out=str(self.work / name))

    def _correct(self, name: str, end: float) -> None:
        """Plan a run anew if it is off by much."""
        speeds = self._speeds(name)
        if len(speeds) < 6 or self.helpers[name].seconds(0) is not None:  # none since it was timed; over
            return
        speed = sorted(speeds[-3:])[1]
        step = int((self.work / name / "log.csv").read_text().splitlines()[-1].split(",")[0])
        if LATE < (step + speed * (end - time.monotonic()) * CAREFUL) / self.plans[name] < EARLY:
            return
        room = max(0.0, end - time.monotonic() - RESTARTING)
        self.plans[name] = self._newest(name) + max(1, int(room * speed * CAREFUL))
        say(f"{name}: {speed:.2f} steps a second among the others; {self.plans[name]} steps in all")
        self._restart(name, name)
        self._go_on(name)

    def _cut_short(self, name: str) -> None:
        """A run that is late ends at its newest checkpoint."""
        self._restart(name, f"{name}-late")
        steps = self.plans[name] = self._newest(name)
        say(f"{name} is late: it ends at its checkpoint of step {steps}")
        self.helpers[name].ask(options={**self.options[name], "steps": steps}, out=str(self.work / name))
        if self.helpers[name].seconds(time.monotonic() + 60) is None:
            raise SystemExit(f"{name} cannot be ended:\n{self.helpers[name].log()}")

    def _restart(self, name: str, label: str) -> None:
        self.helpers[name].end()
        self.helpers[name] = Helper(self.work, label, "trainer", name)

    def _speeds(self, name: str) -> list[float]:
        """Steps a second, line by line of the run's log."""
        head, *lines = (self.work / name / "log.csv").read_text().splitlines()
        place = head.split(",").index("rows_per_second")
        return [float(line.split(",")[place]) / self.size.batch for line in lines]

    def _newest(self, name: str) -> int:
        """The step of a run's newest whole checkpoint."""
        return max(int(path.parent.name.split("-")[1]) for path in (self.work / name).glob("checkpoint-*/whole.json"))


def slowest(evaluators: list[Helper], until: float) -> float | None:
    """Seconds of the evaluator that took longest; None if one was not done in time."""
    seconds = [one.seconds(until) for one in evaluators]
    return max(s for s in seconds if s is not None) if None not in seconds else None


def figures(work: Path, out: Path) -> str:
    """One table of all that was measured: a column per set of objects and model."""
    from training.evaluation.report import Groups, as_markdown, joined

    columns: dict[str, Groups] = {}
    for name in ("before", "after"):
        parts = [json.loads(path.read_text()) for path in sorted((work / name).glob("part-*.json"))]
        columns |= {f"{objects}, {name}": groups for objects, groups in joined(parts).items()}
    ordered = {column: columns[column] for column in sorted(columns, key=lambda column: column.split(",")[0])}
    (out / "figures.json").write_text(json.dumps(ordered, indent=1) + "\n")
    return as_markdown(ordered) if ordered else "Nothing was measured.\n"


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    cores, end = os.cpu_count() or 1, STARTED + options.seconds
    size, work, out = size_of(options.tiny, cores, options.learning_rate), options.work, options.out
    shutil.rmtree(work, ignore_errors=True)  # a run of its own: nothing is gone on from
    out.mkdir(parents=True, exist_ok=True)
    helpers = {name: Helper(work, name, "trainer", name) for name in WORKFLOWS}
    tiny = ["--tiny"] if options.tiny else []
    evaluators = [
        Helper(work, f"evaluator-{k}", "evaluator", f"{k}/{size.evaluators}", *tiny) for k in range(size.evaluators)
    ]
    try:
        for one in evaluators:
            one.ask(model=str(START), out=str(work / "before"))
        say(f"rendering on {cores} cores")
        data, objects = make_data(work, size, options.seed, STARTED + size.rendering * options.seconds)
        say(f"{objects} objects are encoded")
        # What this took beside the renderers is what it takes at the end, at most.
        before = slowest(evaluators, STARTED + 0.4 * options.seconds)
        reserve = FINISHING + (before if before is not None else 0.2 * options.seconds)
        reserve = min(reserve, 0.45 * options.seconds)
        say(f"training until {options.seconds - reserve:.0f} s")
        training = Training(work, size, data, options.seed, helpers)
        training.run(end - reserve)
        model = export(work)
        say("the model is exported")
        for one in evaluators:
            one.ask(model=str(model), out=str(work / "after"))
        after = slowest(evaluators, end - 4)
        parts = pack(model, out, options.part_size)
        table = figures(work, out)
        for sheet in ("sheet-0.jpg", "sheet-photographs.jpg"):
            if (work / "after" / sheet).is_file():
                shutil.copy(work / "after" / sheet, out / sheet)
    finally:
        for one in (*helpers.values(), *evaluators):
            one.end()
    packed = sum(part.stat().st_size for part in parts) / MIB
    measured = " | ".join("out of time" if seconds is None else f"{seconds:.0f}" for seconds in (before, after))
    lines = [
        "| what | | |",
        "| --- | ---: | ---: |",
        f"| objects rendered, pixels | {objects} | {size.side} |",
        *(f"| {name}: steps, rows | {steps} | {steps * size.batch:,} |" for name, steps in training.plans.items()),
        f"| the model, MiB packed, files | {packed:.1f} | {len(parts)} |",
        f"| evaluation, s before and after | {measured} |",
        f"| all of it, s of s | {time.monotonic() - STARTED:.0f} | {options.seconds} |",
    ]
    text = "\n".join(lines) + "\n\n" + table
    (out / "train.md").write_text(text)
    print(text)
    if after is None:
        raise SystemExit("The evaluation was not done in time; the model is.")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=420, help="all of it, by the clock (default 420)")
    parser.add_argument("--tiny", action="store_true", help="toy size, for a CPU")
    parser.add_argument("--learning-rate", type=float, default=7e-4, help="at its peak")
    parser.add_argument("--seed", type=int, default=101, help="of the objects and the batches; a new one for a new run")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="tables, sheets and the packed model")
    parser.add_argument("--work", type=Path, default=Path("build/gpu-train"), help="emptied first")
    parser.add_argument("--part-size", type=int, default=15, help="MiB of a part of the packed model")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
