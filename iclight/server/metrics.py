"""Counts for Prometheus: requests, turns, seconds of each stage, memory. Its text format, written by hand."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from .. import __version__
from .turns import Turns


class Stages:
    """A stopwatch: `lap(name)` counts what has passed since the last lap as the stage's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


class Metrics:
    """What has happened since the server began. Safe from any thread."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._requests: Counter[tuple[str, int]] = Counter()
        self._pictures = 0
        self._seconds: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def answered(self, route: str, status: int) -> None:
        with self._lock:
            self._requests[route, status] += 1

    def lit(self, pictures: int, seconds: Mapping[str, float]) -> None:
        """A request came to its end: how many pictures, and the seconds of its stages."""
        with self._lock:
            self._pictures += pictures
            for stage, passed in seconds.items():
                self._seconds[stage] += passed  # type: ignore[assignment]  # a Counter of floats
                self._counts[stage] += 1

    def text(self, model: str) -> str:
        """Everything, in Prometheus's text format 0.0.4. `model`: the loaded one's name, "" before it is loaded."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines(model))

    def _lines(self, model: str) -> Iterator[str]:
        yield "# TYPE iclight_info gauge"
        yield f'iclight_info{{version="{__version__}",model="{_escaped(model)}"}} 1'
        yield "# HELP iclight_requests_total Requests of programs that were answered."
        yield "# TYPE iclight_requests_total counter"
        for (route, status), count in sorted(self._requests.items()):
            yield f'iclight_requests_total{{route="{route}",status="{status}"}} {count}'
        yield "# TYPE iclight_pictures_total counter"
        yield f"iclight_pictures_total {self._pictures}"
        yield "# HELP iclight_waiting Requests that wait for the model: programs', and one of the page's."
        yield "# TYPE iclight_waiting gauge"
        yield f"iclight_waiting {self._turns.waiting}"
        yield "# TYPE iclight_running gauge"
        yield f"iclight_running {int(self._turns.busy)}"
        yield "# TYPE iclight_stage_seconds summary"
        for stage, count in sorted(self._counts.items()):
            yield f'iclight_stage_seconds_sum{{stage="{stage}"}} {self._seconds[stage]:.6f}'
            yield f'iclight_stage_seconds_count{{stage="{stage}"}} {count}'
        for name, value in memory():
            yield f"# TYPE {name} gauge"
            yield f"{name} {value}"


def memory() -> Iterator[tuple[str, int]]:
    """What is known of the process's memory, in bytes: where the system tells, and where there is a GPU in use."""
    status = Path("/proc/self/status")
    if status.is_file():
        resident = next((line for line in status.read_text().splitlines() if line.startswith("VmRSS:")), "")
        if resident:
            yield "process_resident_memory_bytes", int(resident.split()[1]) << 10
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        yield "iclight_cuda_memory_bytes", torch.cuda.memory_allocated()
        yield "iclight_cuda_memory_peak_bytes", torch.cuda.max_memory_allocated()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
