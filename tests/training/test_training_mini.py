"""The command that makes mini, at toy size: every step of it runs, it learns, and what comes out relights."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_short_run_of_the_shipped_command_learns(tmp_path):
    environment = {**os.environ, "BIN": str(Path(sys.executable).parent), "WORK": str(tmp_path), "JOBS": "1"}
    subprocess.run([str(ROOT / "tools" / "train_mini.sh"), "--quick"], check=True, env=environment)
    work = tmp_path / "quick"
    rows = list(csv.DictReader((work / "mini-64" / "log.csv").open()))
    for band in ("detail", "form"):
        assert float(rows[-1][band]) < 0.85 * float(rows[0][band]), band
    assert list((work / "mini-64").glob("sheet-*.jpg"))

    from iclight import Relighter, Settings

    for workflow in ("fc", "fbc", "env"):
        relighter = Relighter.load(str(work / "mini"), workflow, matting="none", device="cpu")
        settings = Settings.for_workflow(workflow, light="left", width=128, height=128, steps=4, highres_scale=1.0)
        made = relighter.relight(np.full((128, 128, 3), 140, np.uint8), settings).images[0]
        assert made.shape == (128, 128, 3) and made.std() > 1
