"""Random draws: all of them from generators of a seed, a step and a process, so that a run can be gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


def generator(seed: int, step: int, process: int = 0) -> torch.Generator:
    """Randomness of one step of one process: the same whenever it is asked for."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 131 + process)


def on_device(random: torch.Generator, device: torch.device) -> torch.Generator:
    """`random` itself on the CPU; on another device one there that goes on from it, for large draws."""
    if device.type == "cpu":
        return random
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (1,), generator=random)))


def choose(options: Sequence[T], random: torch.Generator) -> T:
    return options[int(torch.randint(len(options), (1,), generator=random))]


def uniform(low: float, high: float, random: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=random))
