"""A command imports what it needs: importing is most of what a first picture costs beside the networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from iclight.studio.tabs.examples import asset

# Each costs from a quarter of what importing torch costs to twice that.
HEAVY = ["diffusers", "transformers", "peft", "accelerate", "torch._dynamo", "sympy", "scipy", "gradio", "tifffile"]
PROBE = f"""
import json, sys
from iclight.cli.main import main
status = main(sys.argv[1:])
print(json.dumps([status, "torch" in sys.modules, [name for name in {HEAVY} if name in sys.modules]]))
"""


def test_relighting_a_photo_with_mini_imports_nothing_heavy_but_torch(tmp_path):
    options = ["--model", "mini", "--device", "cpu", "--steps", "1", "--width", "64", "--height", "64", "--quiet"]
    call = [sys.executable, "-c", PROBE, "relight", asset("coffee.jpg"), "-o", str(tmp_path / "out.png"), *options]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert json.loads(done.stdout.splitlines()[-1]) == [0, True, []]
    assert (tmp_path / "out.png").is_file()
