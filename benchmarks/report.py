"""What was measured, for people (an aligned table) and for machines (JSON)."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Sequence
from typing import Any

import diffusers
import torch
import transformers

from iclight.diffusion.devices import Placement, describe_device

from .measure import Row

HEADINGS = ("stage", "ours s", "stock s", "ratio", "ours MiB", "stock MiB", "ratio", "difference")
MIB = 2**20


def table(rows: Sequence[Row]) -> str:
    """Ratios are ours / stock: below 1 this engine is the faster, or the leaner."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(text.rjust(width) if column else text.ljust(width) for column, (text, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in cells)
    )


def _cells(row: Row) -> tuple[str, ...]:
    memory = row.memory_ratio
    return (
        row.stage,
        f"{row.ours.seconds:.3f}",
        f"{row.stock.seconds:.3f}",
        f"{row.time_ratio:.3f}",
        f"{row.ours.peak / MIB:.0f}",
        f"{row.stock.peak / MIB:.0f}",
        "-" if memory is None else f"{memory:.3f}",
        f"{row.difference:.1e}",
    )


def machine(placement: Placement) -> dict[str, Any]:
    """What the numbers were taken on."""
    return {
        "device": describe_device(placement.device),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "dtype": str(placement.dtype).removeprefix("torch."),
        "vae_dtype": str(placement.vae_dtype).removeprefix("torch."),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
        return names[0] if names else platform.processor()
    except OSError:
        return platform.processor()


def as_dict(row: Row) -> dict[str, Any]:
    """One row as plain data; peaks in bytes."""
    return {**dataclasses.asdict(row), "time_ratio": row.time_ratio, "memory_ratio": row.memory_ratio}
