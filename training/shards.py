"""Shards on disk: dictionaries of tensors by object, and their "facts", a list; shared out among processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Shard = dict[str, Any]


def join(shards: Sequence[Shard]) -> Shard:
    """One shard of all the objects."""
    whole: Shard = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0] if name != "facts"}
    return whole | {"facts": [facts for shard in shards for facts in shard["facts"]]}


def save(shard: Shard, path: Path) -> None:
    """Whole or not at all, so that a killed process leaves nothing half-written."""
    partial = path.with_suffix(".part")
    torch.save(shard, partial)
    partial.replace(path)


def share(items: Sequence[T], part: str) -> Sequence[T]:
    """A process's share of the items; `part` is its number and how many there are, such as "0/2"."""
    number, count = (int(text) for text in part.split("/"))
    return items[number::count]
