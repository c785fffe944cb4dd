"""Seconds and peak memory of a piece of work, and two sides taking turns at the same piece.

On a CPU memory is the process's resident set, sampled while the work runs; on CUDA it is what the allocator handed
out. Either way only what came on top of the moment before counts: weights that were there already do not.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

Outputs = Sequence[torch.Tensor]
Work = Callable[[], Outputs]
INTERVAL = 0.002
# Below this the resident set tells more about the allocator than about the work.
SMALLEST_PEAK = 2**20


@dataclass(frozen=True)
class Reading:
    """What one piece of work took. `peak` and `anonymous`: bytes over the baseline, the latter without mapped files."""

    seconds: float
    peak: int
    anonymous: int


@dataclass(frozen=True)
class Row:
    """One stage on both sides: the best of the repeats. `difference`: relative L2 between the two sides' outputs."""

    stage: str
    ours: Reading
    stock: Reading
    difference: float

    @property
    def time_ratio(self) -> float:
        return self.ours.seconds / self.stock.seconds

    @property
    def memory_ratio(self) -> float | None:
        """None where there was too little to tell."""
        if min(self.ours.peak, self.stock.peak) < SMALLEST_PEAK:
            return None
        return self.ours.peak / self.stock.peak


class ResidentPeak:
    """The most memory this process held while the block ran, over what it held before, by sampling."""

    def __enter__(self) -> ResidentPeak:
        self.peak = self.anonymous = 0
        self._stop = threading.Event()
        self._base = resident_bytes()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sample()
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._sample()

    def _sample(self) -> None:
        total, anonymous = resident_bytes()
        self.peak = max(self.peak, total - self._base[0])
        self.anonymous = max(self.anonymous, anonymous - self._base[1])


def resident_bytes() -> tuple[int, int]:
    """This process's resident set: all of it, and without mapped files. Zeros where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            _, resident, mapped, *_ = (int(pages) for pages in statm.read().split())
    except OSError:
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return resident * page, (resident - mapped) * page


def clean_up(device: torch.device) -> None:
    """Return what is free to the system; otherwise one side would work in memory the other one left behind."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if trim is not None:
            trim(0)


def measure(work: Callable[[], Any], device: torch.device) -> tuple[Reading, Any]:
    """Run `work` once from a clean slate; its reading and what it returned."""
    clean_up(device)
    is_cuda = device.type == "cuda"
    if is_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with ResidentPeak() as resident:
        started = time.perf_counter()
        result = work()
        if is_cuda:
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
    if is_cuda:
        peak = torch.cuda.max_memory_allocated(device) - before
        return Reading(seconds, peak, peak), result
    return Reading(seconds, resident.peak, resident.anonymous), result


def compare(stage: str, ours: Work, stock: Work, device: torch.device, repeat: int) -> Row:
    """Both sides `repeat` times each, taking turns at going first."""
    readings: dict[str, list[Reading]] = {"ours": [], "stock": []}
    outputs: dict[str, Outputs] = {}
    sides = [("ours", ours), ("stock", stock)]
    for _ in range(repeat):
        for name, work in sides:
            reading, outputs[name] = measure(work, device)
            readings[name].append(reading)
        sides.reverse()
    return Row(stage, best(readings["ours"]), best(readings["stock"]), difference(outputs["ours"], outputs["stock"]))


def best(readings: Sequence[Reading]) -> Reading:
    """The least of each: everything that disturbs a measurement makes it larger."""
    return Reading(
        min(reading.seconds for reading in readings),
        min(reading.peak for reading in readings),
        min(reading.anonymous for reading in readings),
    )


def difference(ours: Outputs, stock: Outputs) -> float:
    """The largest relative L2 distance between outputs of the same place; infinite if their shapes differ."""
    if [x.shape for x in ours] != [x.shape for x in stock]:
        return math.inf
    pairs = [(x.double().cpu(), y.double().cpu()) for x, y in zip(ours, stock, strict=True)]
    return max(float((x - y).norm() / y.norm().clamp_min(1e-30)) for x, y in pairs)
