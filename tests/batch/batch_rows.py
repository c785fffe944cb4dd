"""Small photos, and an engine that is quick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from golden_data import GOLDEN
from PIL import Image

ENGINE = {
    "model": str(GOLDEN / "model"),
    "device": "cpu",
    "dtype": "float32",
    "matting": "none",
}


def write_picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (96, 80, 3), np.uint8)).save(path)
    return path
