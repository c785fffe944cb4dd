"""What a newcomer's first picture costs beside the networks: a whole command, part by part, beside importing torch.

    make bench ARGS="--stages startup"

Each run is a fresh process, and both sides are seconds of the processor, which a busy machine does not blur.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "iclight" / "studio" / "assets" / "coffee.jpg"
# Parts that are networks at work: what a faster start cannot spare anyone.
NETWORKS = ("matting", "both passes")


def measure_startup(repeat: int) -> dict[str, float]:
    """Processor seconds of importing torch, of `iclight relight` whole, and of its parts; the least of `repeat`."""
    runs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "out.png")
        for _ in range(repeat):
            command = ["-m", "iclight", "relight", str(PHOTO), "-o", target, "--model", "mini", "--device", "cpu"]
            torch, _ = run_python("-c", "import torch")
            whole, _ = run_python(*command, "--quiet")
            _, parts = run_python("-c", f"from benchmarks.startup import parts; parts({target!r})")
            runs.append({"import torch": torch, "iclight relight": whole, **json.loads(parts)})
    return {name: min(run[name] for run in runs) for name in runs[0]}


def run_python(*arguments: str) -> tuple[float, str]:
    """Processor seconds of a Python process, and what it printed."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed")
    return used.ru_utime + used.ru_stime, printed


def parts(target: str) -> None:
    """In a fresh process: the parts of one request, printed as JSON."""
    seconds: dict[str, float] = {"Python itself": time.process_time()}

    @contextmanager
    def part(name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        seconds[name] = seconds.get(name, 0) + time.process_time() - started

    with part("torch"):
        import torch  # noqa: F401
    with part("other imports"):
        from iclight import Relighter, Settings
        from iclight.cli.outputs import save_pictures
        from iclight.request import decode_inputs
    with part("reading the photo"):
        inputs = decode_inputs({"image": str(PHOTO)})
    with part("loading mini"):
        relighter = Relighter.load("mini", device="cpu")
    settings = Settings.for_workflow("fc", **{**relighter.defaults, "seed": 1})
    with part("checks"):
        request = relighter.open(settings=settings, **inputs)
    with part("loading the matting"):
        relighter.matting_network(relighter.resolve_matting())
    with part("matting"):
        prepared = relighter.prepare(request.picture.rgb)
    with part("both passes"):
        rendering = relighter.draw(request, prepared)
    with part("finish"):
        result = relighter.finish(request, prepared, rendering)
    with part("the PNG"):
        save_pictures(result, inputs, Path(target))
    print(json.dumps(seconds))


def table(seconds: dict[str, float]) -> str:
    """Markdown: all of it as multiples of importing torch, the networks apart."""
    unit = seconds["import torch"]
    beside = seconds["iclight relight"] - sum(seconds.get(name, 0) for name in NETWORKS)
    rows = {**seconds, "iclight relight, beside the networks": beside}
    lines = ["| what | seconds of the processor | of importing torch |", "| --- | ---: | ---: |"]
    return "\n".join([*lines, *(f"| {name} | {value:.2f} | {value / unit:.2f} |" for name, value in rows.items())])
