"""Real photographs and panoramas to train on, out of packages whose licences allow it; nothing is scraped.

scikit-image and scikit-learn carry photographs (astronaut, coffee and chelsea are kept for testing, never trained on),
matplotlib a public-domain portrait, SciPy 1.9 a public-domain raccoon, and the npm package @pmndrs/assets eighteen
panoramas from Poly Haven (CC0). `python -m iclight.training.photographs` fetches the last two into build/photographs.
"""

from __future__ import annotations

import argparse
import base64
import bz2
import importlib.resources
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

FOLDER = Path("build/photographs")
HELD_OUT = ("astronaut.png", "coffee.png", "chelsea.png")
# Package, folder inside it, file names: photographs of things, surfaces and skies at many scales.
PACKAGED = {
    ("skimage", "data"): (
        "brick.png",
        "camera.png",
        "coins.png",
        "color.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "moon.png",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    ("sklearn", "datasets/images"): ("china.jpg", "flower.jpg"),
    ("matplotlib", "mpl-data/sample_data"): ("grace_hopper.jpg",),
}
# Panoramas that only evaluation sees.
HELD_OUT_PANORAMAS = ("studio", "sunset", "forest", "city")
RACCOON = "scipy==1.9.3"
PANORAMAS = "@pmndrs/assets@1.7.0"


def held_out() -> dict[str, Pixels]:
    """The three photographs that no training sees: name -> HxWx3 uint8."""
    return {Path(name).stem: _read(_package_file("skimage", "data") / name) for name in HELD_OUT}


def photographs(folder: Path = FOLDER, largest: int = 768) -> dict[str, Pixels]:
    """What may be trained on: name -> HxWx3 uint8 with no side above `largest`. Packages not installed are left out."""
    found = {}
    for (package, inside), names in PACKAGED.items():
        root = _package_file(package, inside)
        found.update({Path(name).stem: root / name for name in names if (root / name).is_file()})
    if (folder / "raccoon.png").is_file():
        found["raccoon"] = folder / "raccoon.png"
    if not found:
        raise ImageError("No photographs to train on: pip install scikit-image scikit-learn matplotlib.")
    return {name: _shrunk(_read(path), largest) for name, path in sorted(found.items())}


@lru_cache(maxsize=2)
def panoramas(folder: Path = FOLDER, held_out: bool = False) -> dict[str, Floats]:
    """Panoramas: name -> HxWx3 float32 linear radiance, or those kept for evaluation. Empty if not fetched."""
    paths = sorted((folder / "panoramas").glob("*.npy"))
    wanted = [path for path in paths if (path.stem in HELD_OUT_PANORAMAS) == held_out]
    # Whoever shrank them left values below nought around the sun.
    return {path.stem: np.load(path).astype(np.float32).clip(0, None) for path in wanted}


def fetch(folder: Path = FOLDER) -> None:
    """Fetch the raccoon and the panoramas from PyPI and npm into `folder`, once."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if not (folder / "raccoon.png").is_file():
            Image.fromarray(_raccoon(Path(scratch))).save(folder / "raccoon.png")
        if not any((folder / "panoramas").glob("*.npy")):
            (folder / "panoramas").mkdir(exist_ok=True)
            for name, radiance in _panoramas(Path(scratch)):
                np.save(folder / "panoramas" / f"{name}.npy", radiance.astype(np.float16))


def _raccoon(scratch: Path) -> Pixels:
    wheel_of = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *wheel_of, "-d", str(scratch), RACCOON]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(scratch.glob("scipy-*.whl"))) as wheel:
        data = bz2.decompress(wheel.read("scipy/misc/face.dat"))
    return np.frombuffer(data, np.uint8).reshape(768, 1024, 3)


def _panoramas(scratch: Path) -> Iterator[tuple[str, Floats]]:
    import OpenEXR  # these files use a compression that OpenCV does not read

    subprocess.run(["npm", "pack", "--silent", PANORAMAS], check=True, cwd=scratch, stdout=subprocess.DEVNULL)
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        for member in archive:
            if not member.name.endswith(".exr.js"):
                continue
            script = archive.extractfile(member)
            assert script is not None
            coded = re.search(rb"base64,([A-Za-z0-9+/=]+)", script.read())
            assert coded is not None
            path = scratch / "panorama.exr"
            path.write_bytes(base64.b64decode(coded[1]))
            with OpenEXR.File(str(path)) as file:
                yield Path(member.name).name.split(".")[0], file.channels()["RGB"].pixels.astype(np.float32)


def _package_file(package: str, inside: str) -> Path:
    try:
        return Path(str(importlib.resources.files(package))) / inside
    except ModuleNotFoundError:
        return Path("/nonexistent")


def _read(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _shrunk(pixels: Pixels, largest: int) -> Pixels:
    scale = largest / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    fetch(parser.parse_args().out)
