"""The command line as tests call it: in this process, with the golden model, small and quick."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from golden_data import BACKGROUND, GOLDEN, PICTURE
from PIL import Image

from iclight.cli.main import main

__all__ = ["BACKGROUND", "MODEL", "PICTURE", "QUICK", "pixels", "run", "write_photo"]

MODEL = ["--model", str(GOLDEN / "model"), "--device", "cpu", "--dtype", "float32"]
QUICK = ["--width", "64", "--height", "64", "--steps", "2", "--highres-scale", "1", *MODEL]


def run(*arguments: object) -> int:
    """The exit status of `iclight` with these arguments."""
    return main([str(argument) for argument in arguments])


def pixels(path: str | os.PathLike[str]) -> np.ndarray:
    return np.array(Image.open(path))


def write_photo(folder: Path) -> Path:
    """A photo without alpha, in `folder`."""
    Image.open(PICTURE).convert("RGB").save(folder / "photo.png")
    return folder / "photo.png"
