"""The table that check.sh prints last: python -m tools.gpu.report FOLDER PARTS

FOLDER holds JUnit files of the tests and JSON files of the benchmarks; PARTS, a line per part: name, exit status,
seconds. Exits with 1 unless every part was run and passed.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

Row = tuple[str, str, str]
# `timeout` says so, or that it had to kill.
TIMED_OUT = ("124", "137")


def of_tests(path: Path) -> Iterator[Row]:
    """A row per test, followed by one per figure that it measured."""
    for case in ET.parse(path).iter("testcase"):
        if not case.get("name"):  # what was running when time was up
            continue
        skipped, broken = case.find("skipped"), case.find("failure") is not None or case.find("error") is not None
        how = "FAILED" if broken else "skipped" if skipped is not None else "passed"
        yield f"{case.get('name')}".removeprefix("test_").replace("_", " "), how, f"{float(case.get('time', 0)):.1f} s"
        for one in case.iter("property"):
            yield f"  {one.get('name')}", "", str(one.get("value"))


def of_benchmark(path: Path) -> Iterator[Row]:
    """A row per stage: this engine's time, and memory, over the stock pipelines'."""
    content = json.loads(path.read_text(encoding="utf-8"))
    machine = content["machine"]
    yield f"  on {machine['device']}, {machine['dtype']}, VAE {machine['vae_dtype']}", "", ""
    for stage in content["stages"]:
        memory = stage["memory_ratio"]
        told = "-" if memory is None else f"{memory:.2f}"
        yield (
            f"  {stage['stage']}: {stage['ours']['seconds']:.3f} s, stock {stage['stock']['seconds']:.3f} s",
            f"{stage['time_ratio']:.2f}",
            f"memory {told}, apart {stage['difference']:.0e}",
        )


def rows(folder: Path, parts: Path) -> Iterator[Row]:
    for line in parts.read_text(encoding="utf-8").splitlines():
        name, status, seconds = line.split("\t")
        how = {"0": "passed", "not run": "NOT RUN"}.get(status, f"FAILED ({status})")
        if status in TIMED_OUT:
            how = "OUT OF TIME"
        yield name.upper(), how, f"{seconds} s"
        if (junit := folder / f"{name}.xml").is_file():
            yield from of_tests(junit)
        if (measured := folder / f"{name}.json").is_file():
            yield from of_benchmark(measured)


def main() -> int:
    folder, parts = map(Path, sys.argv[1:3])
    made = [("what", "passed, or ratio", "seconds, or value"), *rows(folder, parts)]
    widths = [max(len(row[column]) for row in made) for column in range(3)]
    for row in made:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    bad = [name for name, how, _ in made[1:] if name.isupper() and how != "passed"]
    print(f"\nNot passed: {', '.join(bad)}" if bad else "\nEverything passed.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
