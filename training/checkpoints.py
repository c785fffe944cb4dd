"""A training run's folder: checkpoints that resume to the same result, a CSV log, an average of the weights.

Every batch is drawn from (seed, step, process), so a run that was killed and goes on sees what it would have seen.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from iclight.diffusion.devices import cpu_multiplies_bfloat16

PRECISIONS = ("auto", "no", "bf16", "fp16")


class Run:
    """`folder/log.csv` and `folder/checkpoint-<step>`; the newest two checkpoints are kept."""

    def __init__(self, folder: Path, accelerator: Accelerator, keep: int = 2, tensorboard: bool = False) -> None:
        self.folder = folder
        self.accelerator = accelerator
        self.keep = keep
        self.started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self._columns: list[str] = []
        self._board = _summary_writer(folder) if tensorboard and accelerator.is_main_process else None

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        whole = [path for path in self.folder.glob("checkpoint-*") if (path / "whole.json").is_file()]
        return sorted(whole, key=lambda path: int(path.name.split("-")[1]))

    def save(self, step: int) -> None:
        """Everything the run needs to go on: weights, optimiser, averages, random states, step."""
        target = self.folder / f"checkpoint-{step}"
        if self.accelerator.is_main_process:
            shutil.rmtree(target, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(target), safe_serialization=False)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            # Written last: a checkpoint without it was cut off, and is not gone on from.
            partial = target / "whole.part"
            partial.write_text(json.dumps({"step": step}))
            partial.replace(target / "whole.json")
            for old in self.checkpoints()[: -self.keep]:
                shutil.rmtree(old)

    def resume(self) -> int:
        """Load the newest checkpoint; its step, 0 if there is none."""
        if not self.checkpoints():
            return 0
        newest = self.checkpoints()[-1]
        self.accelerator.load_state(str(newest))
        step = int(json.loads((newest / "whole.json").read_text())["step"])
        self._forget_after(step)
        return step

    def log(self, step: int, **values: float) -> None:
        """One line of the log; the first line's names are the columns."""
        if not self.accelerator.is_main_process:
            return
        path = self.folder / "log.csv"
        row = {"step": step, "seconds": round(time.monotonic() - self.started, 1), **values}
        if not self._columns:
            if path.is_file() and path.stat().st_size:
                with path.open(newline="") as file:
                    self._columns = next(csv.reader(file))
            else:
                self._columns = list(row)
                path.write_text(",".join(self._columns) + "\n")
        with path.open("a", newline="") as file:
            cells = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
            csv.DictWriter(file, self._columns, extrasaction="ignore").writerow(cells)
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def _forget_after(self, step: int) -> None:
        """Drop log lines later than the checkpoint gone on from: they will be written again."""
        path = self.folder / "log.csv"
        if self.accelerator.is_main_process and path.is_file():
            head, *lines = path.read_text().splitlines()
            past = [line for line in lines if int(line.split(",")[0]) <= step]
            path.write_text("\n".join([head, *past]) + "\n")


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed; the log is log.csv alone. (pip install tensorboard)", file=sys.stderr)
        return None
    return SummaryWriter(str(folder / "tensorboard"))


class EMA:
    """Exponential moving average of parameters, warmed up: decay min(limit, (1 + n) / (10 + n)); 0 keeps none."""

    def __init__(self, parameters: Iterable[nn.Parameter], limit: float = 0.999) -> None:
        self.parameters = list(parameters) if limit > 0 else []
        self.limit = limit
        self.count = 0
        self.shadow = [p.detach().clone().float() for p in self.parameters]

    def to(self, device: torch.device) -> None:
        self.shadow = [tensor.to(device) for tensor in self.shadow]

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        if not self.parameters:
            return
        decay = min(self.limit, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.shadow, [p.detach().float() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters with their average; call again to change back."""
        for parameter, shadow in zip(self.parameters, self.shadow, strict=True):
            current = parameter.detach().clone()
            parameter.copy_(shadow)
            shadow.copy_(current)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "shadow": [tensor.clone() for tensor in self.shadow]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]
        for mine, theirs in zip(self.shadow, state["shadow"], strict=True):
            mine.copy_(theirs)


def precision(wanted: str = "auto") -> str:
    """accelerate's name of the format to compute in; "auto": bfloat16 where the device multiplies it, else float32.

    A processor without such instructions emulates them, ten times slower than float32.
    """
    if wanted != "auto":
        return wanted
    return "bf16" if torch.cuda.is_available() or cpu_multiplies_bfloat16() else "no"


def warmup_stable_decay(
    step: int, steps: int, peak: float, warmup: int = 100, decay: float = 0.3, floor: float = 0.02
) -> float:
    """Learning rate at a step: linear up, level, then linear down.

    `step` of `steps`; `warmup`: how many rise to `peak`.
    `decay`: the last share of the steps, over which it falls to the share `floor` of its peak.
    A run on the level part can be made longer at will: its checkpoints do not know where it ends.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (steps - step) / max(1.0, decay * steps)
    return peak * (floor + (1 - floor) * min(1.0, left))


def set_lr(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group.get("scale", 1.0)
