"""Small photos, and an engine that is quick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from golden_data import GOLDEN
from PIL import Image

from iclight.batch.plan import Common, Plan, make_plan
from iclight.batch.sources import gather

ENGINE = {
    "model": str(GOLDEN / "model"),
    "device": "cpu",
    "dtype": "float32",
    "matting": "none",
}
SMALL = {"width": 64, "height": 64, "steps": 2, "highres_scale": 1.0}


def write_picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (96, 80, 3), np.uint8)).save(path)
    return path


def plan_of(photos: Path, out: Path) -> Plan:
    """The folder's photos, small, with their results in `out`."""
    return make_plan(gather([str(photos)], str(out)), Common(str(out), SMALL))
