"""Pack what a machine without a network needs for tools/gpu/check.sh or train.sh into one archive.

    python tools/gpu/pack.py train build/gpu-train-kit.tar.xz     # then there: tar xf, and tools/gpu/train.sh
    python tools/gpu/pack.py check build/gpu-check-kit.tar.xz --python 3.12

The code, for training models/mini, for checking the tests' data, and wheels of the packages that a machine with torch,
transformers and accelerate may still lack; those that are there already are left alone. For training the photographs
in build/photographs as well, if there are some, as JPEG pictures where nothing shows through. Refuses more than --most.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
KIT = "build/gpu-kit"  # where common.sh looks for it
WHEELS = ("diffusers",)
CODE = ("iclight", "briarmbg", "training", "tools", "pyproject.toml", "LICENSE")
NEEDED = {
    "check": (*CODE, "benchmarks", "tests", "models/mini/tokenizer", "models/matting"),
    "train": (*CODE, "models/mini", ":!iclight/studio", ":!iclight/cli"),
}
MIB = 2**20


def tracked(paths: tuple[str, ...]) -> list[str]:
    """Files of the repository, as they lie there, and new ones that git does not ignore."""
    call = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    found = subprocess.run(call, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return sorted({name for name in found.split("\0") if name and (ROOT / name).is_file()})


def wheels(folder: Path, python: str) -> list[Path]:
    """Wheels of `WHEELS` for that Python, fetched."""
    call = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    subprocess.run([*call, "--python-version", python, *WHEELS], check=True)
    return sorted(folder.glob("*.whl"))


def photographs() -> Iterator[tuple[str, bytes]]:
    """What `training.scenes.photographs` fetched: name under build/, content. Opaque pictures shrink to JPEG.

    They keep their names, which the reader asks for; it tells the format from the content.
    """
    root = ROOT / "build"
    for path in sorted((root / "photographs").rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.suffix == ".png":
            with Image.open(path, formats=("PNG",)) as picture:
                if picture.mode == "RGB":
                    packed = io.BytesIO()
                    picture.save(packed, "JPEG", quality=92)
                    content = packed.getvalue()
        yield str(path.relative_to(root)), content


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=NEEDED)
    parser.add_argument("out", type=Path, help="a .tar.xz file")
    parser.add_argument("--python", default="3.12", help="the other machine's Python (default 3.12)")
    parser.add_argument("--most", type=float, default=48, help="MiB that the archive may have (default 48)")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(options.out, "w:xz", preset=6) as archive, tempfile.TemporaryDirectory() as scratch:
        for name in tracked(NEEDED[options.what]):
            archive.add(ROOT / name, arcname=name)
        for wheel in wheels(Path(scratch), options.python):
            archive.add(wheel, arcname=f"{KIT}/wheels/{wheel.name}")
        if options.what == "train":
            for name, content in photographs():
                entry = tarfile.TarInfo(f"{KIT}/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    size = options.out.stat().st_size / MIB
    print(f"{options.out}: {size:.1f} MiB")
    if size > options.most:
        print(f"That is more than {options.most:g} MiB.", file=sys.stderr)
    return int(size > options.most)


if __name__ == "__main__":
    sys.exit(main())
