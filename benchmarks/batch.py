"""What `iclight batch` gains over the same requests one by one, and whether its memory stays flat.

    python -m benchmarks.batch [--photos 50] [--width 128 --height 192] [--steps N] [--megapixels 2]
        [--workers 1 2 4] [--json PATH]

Photos are crops of the examples, enlarged to camera files' size. The single requests run in this process, model loaded,
before and after the batches, so that a change of the machine's load shows; rates leave the loading and the first fifth
of the pictures out. Memory is that of this process and its workers together.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iclight.batch.plan import Common, Plan, make_plan
from iclight.batch.rows import OnRecord, Record
from iclight.batch.run import run_plan
from iclight.batch.sources import gather
from iclight.batch.worker import Worker
from iclight.studio.tabs.examples import asset

EXAMPLES = ("astronaut.png", "coffee.jpg", "cat.jpg")
STAGES = ("read_seconds", "light_seconds", "write_seconds")
SEED = 20260601


@dataclass(frozen=True)
class Run:
    """One way over all photos: pictures a minute, the processor's seconds a picture (with loading, where it is done in
    that time), seconds to the first one, MB held at the 5th and at the last, and seconds a picture by stage."""

    way: str
    pictures_per_minute: float
    processor_seconds: float
    first_seconds: float
    megabytes: tuple[float, float]
    stages: dict[str, float]


def main() -> int:
    options = _options()
    engine = {"model": options.model, "device": options.device, "matting": "u2netp"}
    settings: dict[str, Any] = {"width": options.width, "height": options.height, "light": "left"}
    if options.steps:
        settings["steps"] = options.steps
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos", options.photos, options.megapixels)

        def plan_for(out: str) -> Plan:
            given = gather([str(folder / "photos")], str(folder / out))
            return make_plan(given, Common(str(folder / out), settings))

        worker = Worker(engine)
        worker.relighter("fc")

        def one_by_one(out: str) -> Run:
            rows = plan_for(out).rows[: max(10, options.photos // 3)]

            def work(report: OnRecord) -> None:
                for row in rows:
                    report(worker.run(row))

            return _timed(f"one by one, {out}", work)

        def batch(workers: int) -> Run:
            plan = plan_for(f"workers-{workers}")
            way = f"batch, {workers} worker{'s' if workers > 1 else ''}"
            return _timed(way, lambda report: run_plan(plan, engine, report, workers=workers))

        runs = [one_by_one("before"), *map(batch, options.workers), one_by_one("after")]
    print(table(runs))
    if options.json:
        content = {"options": vars(options) | {"json": None}, "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=50)
    parser.add_argument("--megapixels", type=float, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--steps", type=int, help="of each pass (default: the model's card's)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def write_photos(folder: Path, count: int, megapixels: float) -> None:
    """JPEGs of about that many pixels: crops of the examples, the same on every machine."""
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    for index in range(count):
        picture = Image.open(asset(EXAMPLES[index % len(EXAMPLES)]), formats=("PNG", "JPEG")).convert("RGB")
        share = rng.uniform(0.7, 1.0)
        width, height = (int(side * share) for side in picture.size)
        left, top = (
            int(rng.uniform(0, whole - part)) for whole, part in zip(picture.size, (width, height), strict=True)
        )
        scale = (megapixels * 1e6 / (width * height)) ** 0.5
        crop = picture.crop((left, top, left + width, top + height))
        crop.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS).save(
            folder / f"{index:04d}.jpg", quality=92
        )


def _timed(way: str, work: Callable[[OnRecord], object]) -> Run:
    marks: list[float] = []
    held: list[float] = []
    records: list[Record] = []

    def report(record: Record) -> None:
        assert record["status"] == "written", record
        marks.append(time.perf_counter())
        held.append(_megabytes())
        records.append(record)

    started, before = time.perf_counter(), sum(os.times()[:4])
    work(report)
    spent = (sum(os.times()[:4]) - before) / len(marks)
    warm = len(marks) // 5
    rate = 60 * (len(marks) - 1 - warm) / (marks[-1] - marks[warm])
    stages = {name: float(np.mean([record[name] for record in records])) for name in STAGES}
    print(f"{way}: {rate:.1f} pictures a minute", file=sys.stderr, flush=True)
    return Run(way, rate, spent, marks[0] - started, (held[4], held[-1]), stages)


def _megabytes() -> float:
    """Resident memory of this process and its children, by /proc; what they share counts for each."""
    own = os.getpid()
    total = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (int(entry.name) == own or _parent(entry) == own):
                total += int((entry / "statm").read_text().split()[1])
        except OSError:
            continue
    return total * os.sysconf("SC_PAGE_SIZE") / 1e6


def _parent(process: Path) -> int:
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def table(runs: Sequence[Run]) -> str:
    """For people; the ratio is to the mean of both runs one by one."""
    bare = np.mean([run.pictures_per_minute for run in runs if run.way.startswith("one by one")])
    heads = ("way", "pictures a minute", "ratio", "processor, s", "MB at the 5th, the last", "read, light, write, s")
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for run in runs:
        stages = ", ".join(f"{run.stages[name]:.2f}" for name in STAGES)
        memory = ", ".join(f"{value:.0f}" for value in run.megabytes)
        rate = f"{run.pictures_per_minute:.1f} | {run.pictures_per_minute / bare:.2f}"
        lines.append(f"| {run.way} | {rate} | {run.processor_seconds:.2f} | {memory} | {stages} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
