"""Make a virtual environment with everything in it: python tools/setup.py .venv [--extra test] [--floor]

On Linux, PyTorch from the package index is a CUDA build of several gigabytes. A machine without an NVIDIA GPU is
spared that: first a CPU build that pip was pointed to is taken, then uv picks the right build for the machine, and
only if both fail the index's own build is used. Uses the standard library only.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

TORCH = "torch>=2.8"
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description="Set up a virtual environment for iclight.")
    parser.add_argument("venv", type=Path)
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml, e.g. test")
    parser.add_argument("--floor", action="store_true", help="install the oldest supported versions")
    options = parser.parse_args()
    if sys.version_info < (3, 10):  # noqa: UP036 - this file runs before anything has checked
        print(f"iclight needs Python 3.10 or newer; this is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    started = time.monotonic()
    python = make_venv(options.venv)
    if python is None:
        return 1
    has_gpu = shutil.which("nvidia-smi") is not None or os.path.exists("/proc/driver/nvidia/version")
    print("Setting up; this takes a minute or two, a few more on a slow line.", flush=True)
    try:
        if options.floor:
            run(python, "-m", "pip", "install", "--quiet", *floors())
        elif not has_torch(python):
            install_torch(python, has_gpu)
        # The oldest transformers and any current Gradio cannot be in one environment: the floor has no pages.
        extras = [*options.extra] if options.floor else ["app", *options.extra]
        target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
        run(python, "-m", "pip", "install", "--quiet", "--editable", target)
    except subprocess.CalledProcessError as error:
        print(f"Setting up failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    for name in ("", *options.extra):
        (options.venv / (f".ready-{name}" if name else ".ready")).touch()
    print(f"Ready in {time.monotonic() - started:.0f} s.", flush=True)
    return 0


def make_venv(folder: Path) -> Path | None:
    """The environment's Python; made if it is not there."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, check=False)
        if made.returncode:
            print(f"Could not make {folder}: {made.stdout}{made.stderr}", file=sys.stderr)
            print("On Debian and Ubuntu: apt install python3-venv", file=sys.stderr)
            return None
    return python


def has_torch(python: Path) -> bool:
    found = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([str(python), "-c", found], check=False).returncode == 0


def install_torch(python: Path, has_gpu: bool) -> None:
    """The build of PyTorch that fits the machine."""
    if sys.platform == "linux" and not has_gpu:
        version = cpu_build_at_hand()
        if version:
            print(f"PyTorch {version}", flush=True)
            run(python, "-m", "pip", "install", "--quiet", f"torch=={version}")
            return
    if sys.platform == "linux":
        backend = "auto" if has_gpu else "cpu"
        print(f"PyTorch for {'this GPU' if has_gpu else 'the CPU'}", flush=True)
        uv = [str(python), "-m", "uv", "pip", "install", "--quiet", "--python", str(python), "--torch-backend", backend]
        try:
            run(python, "-m", "pip", "install", "--quiet", "uv")
            subprocess.run([*uv, TORCH], check=True)
            return
        except subprocess.CalledProcessError:
            print("That build could not be fetched; taking the general one, of several GB.", flush=True)
    run(python, "-m", "pip", "install", "--quiet", TORCH)


def cpu_build_at_hand() -> str | None:
    """The newest CPU build of PyTorch for this Python in the folders that PIP_FIND_LINKS names, if any."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    names = [
        os.path.basename(path)
        for folder in os.environ.get("PIP_FIND_LINKS", "").split()
        for path in glob.glob(os.path.join(folder.removeprefix("file://"), f"torch-*+cpu-{tag}-*.whl"))
    ]
    versions = [re.match(r"torch-([^-]+)-", name) for name in names]
    return max(
        (match.group(1) for match in versions if match),
        key=lambda version: [int(part) for part in re.findall(r"\d+", version)],
        default=None,
    )


def floors() -> list[str]:
    """Every dependency's lower bound as an exact requirement, out of pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    return [
        f"{name}~={version}.0" if version.count(".") == 1 else f"{name}=={version}"
        for name, version in re.findall(r'"([\w-]+)>=([\d.]+)"', block)
    ]


def run(python: Path, *arguments: str) -> None:
    subprocess.run([str(python), *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
