"""One request of many as a row, and what became of it as a record: plain values that travel between processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import IclightError, Message, first_line

# What became of a row, one of STATUSES under "status"; every record has every one of FIELDS.
Record = dict[str, Any]
OnRecord = Callable[[Record], None]
STATUSES = ("written", "there", "failed")
FIELDS = (
    "row",
    "input",
    "outputs",
    "status",
    "recipe",
    "workflow",
    "seed",
    "light_stops",
    "matting",
    "matte_doubts",
    "seconds",
    "read_seconds",
    "light_seconds",
    "write_seconds",
    "error",
    "key",
)


@dataclass(frozen=True)
class Row:
    """A request that has been checked as far as it can be without a model or its pictures' pixels.

    `index`: its place among all that was given, from 0. `inputs`: names of `INPUTS` -> paths or addresses. `output`:
    where its (first) picture goes. `settings`: what was asked for; the rest is the model's card's and the workflow's.
    `matting`: None for the engine's.
    """

    index: int
    inputs: dict[str, str]
    output: str
    workflow: str
    settings: dict[str, Any] = field(default_factory=dict)
    matting: str | None = None


def outputs_of(output: str, count: int) -> list[str]:
    """The names of a request's pictures: OUT.png, or OUT-1.png, OUT-2.png, ... for several."""
    if count == 1:
        return [output]
    stem, suffix = os.path.splitext(output)
    return [f"{stem}-{index + 1}{suffix}" for index in range(count)]


def record_of(index: int, source: str, status: str, **values: Any) -> Record:
    """A record with all `FIELDS`; those not among `values` are None."""
    record = dict.fromkeys(FIELDS) | {"row": index, "input": source, "outputs": [], "status": status} | values
    assert len(record) == len(FIELDS) and status in STATUSES
    return record


def failure_of(index: int, source: str, error: BaseException) -> Record:
    """The record of a row that could not be done: the error's message, and its template as the key."""
    if isinstance(error, IclightError):
        return record_of(index, source, "failed", error=str(error.message), key=error.key)
    name = type(error).__name__
    said = Message("{kind}: {reason}", kind=name, reason=first_line(error))
    return record_of(index, source, "failed", error=str(said), key=name)
