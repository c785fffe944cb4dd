"""The golden cases: where they lie, and the full-size matting weights that the recipe in their README makes."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from iclight import Settings
from iclight.diffusion.environment_encoder import PREFIX, EnvironmentEncoder

GOLDEN = Path(__file__).parent / "data" / "golden"
PICTURE = str(GOLDEN / "cases" / "foreground.png")
BACKGROUND = str(GOLDEN / "cases" / "background.png")
QUICK = {"width": 64, "height": 64, "steps": 1, "highres_scale": 1.0}


def quick(workflow: str = "fc", **changes: Any) -> Settings:
    """Settings of one small step in each pass."""
    return Settings.for_workflow(workflow, **{**QUICK, **changes})


def golden_matting_shapes() -> dict[str, tuple[int, ...]]:
    """The published matting weights: name -> shape, all 798."""
    return {name: tuple(shape) for name, shape in json.loads((GOLDEN / "briarmbg_keys.json").read_text()).items()}


def golden_matting_state_dict() -> dict[str, torch.Tensor]:
    """Random weights under the published names, the same on every machine. 44 M numbers, about two seconds."""
    return {name: _recipe(name, shape) for name, shape in golden_matting_shapes().items()}


def _recipe(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    x = np.random.default_rng([7, zlib.crc32(name.encode())]).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        x = np.abs(x) * 0.5 + 0.5
    elif len(shape) >= 2:
        x = x * ((3.0 if name.startswith("side") else 1.0) / math.sqrt(math.prod(shape[1:])))
    elif name.endswith("weight"):
        x = 1 + 0.1 * x
    else:
        x = 0.05 * x
    return torch.from_numpy(np.asarray(x, np.float32))


def write_env_offset(path: Path, width: int = 32, hidden: int | None = None) -> None:
    """The golden fc offset as an env file, with random tokens of its text encoder's width, loud enough to be seen."""
    torch.manual_seed(11)
    tokens = EnvironmentEncoder(width, hidden)
    torch.nn.init.constant_(tokens.norm.weight, 4.0)
    part = {f"{PREFIX}{name}": tensor for name, tensor in tokens.state_dict().items()}
    save_file({**load_file(GOLDEN / "model" / "iclight_sd15_fc.safetensors"), **part}, path)
