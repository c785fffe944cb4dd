"""What `iclight doctor` looks at besides the engine: each a `Check` with its state, and what to do about it.

Nothing is downloaded and no model runs; the hub is asked for one small answer.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ..errors import WeightsError, plain
from ..weights import hub
from ..weights.catalogue import SD15, gigabytes
from ..weights.folders import models_root
from ..weights.manifest import cache_root
from .surroundings import PROXIES, mend_proxies

# Bytes that sd15 takes, reckoned from its parts and rounded up: 2.2 GB of weights in float16, a matting network and the
# second pass at 768 x 960; with --offload the UNet and that pass; in float32 on a CPU twice the weights, merged.
GPU_NEED, OFFLOAD_NEED, CPU_NEED = 6 << 30, 3 << 30, 8 << 30
# Bytes that results and uploads of a busy page may take.
ROOM = 2 << 30


@dataclass(frozen=True)
class Check:
    """One finding: "well", "note" (works, but ...) or "problem"; `advice` says what to do, "" where nothing."""

    name: str
    state: Literal["well", "note", "problem"]
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def surroundings(free: int | None, device_type: str) -> Iterator[Check]:
    """All checks; `free`: bytes of memory on the device, None where nobody can tell."""
    yield proxies()
    yield hub_answers()
    yield folder("models folder", models_root, SD15.size + SD15.offset_size, "ICLIGHT_MODELS")
    yield folder("cache folder", cache_root, 1 << 20, "ICLIGHT_CACHE")
    usual = os.environ.get("GRADIO_TEMP_DIR")
    yield folder("temporary folder", lambda: Path(usual or tempfile.gettempdir()), ROOM, "GRADIO_TEMP_DIR and TMPDIR")
    yield pictures()
    yield memory(free, device_type)


def proxies() -> Check:
    """The proxy variables, as this process may use them."""
    said: list[str] = []
    before = {name: os.environ.get(name) for name in (*PROXIES, "NO_PROXY", "no_proxy")}
    try:
        mend_proxies(said.append)
        held = [name for name in PROXIES if os.environ.get(name)]
    finally:
        for name, text in before.items():
            os.environ.pop(name, None)
            if text is not None:
                os.environ[name] = text
    if said:
        return Check("proxies", "note", " ".join(map(plain, said)), "Mend that variable, or unset it.")
    return Check("proxies", "well", ", ".join(held) or "none")  # names alone: addresses may hold passwords


def hub_answers() -> Check:
    """Whether the hub can be reached; only a note where not, since weights can be put here by hand."""
    try:
        hub.listing(SD15.offsets_repo, SD15.offsets_revision, models_root())
    except WeightsError as error:
        return Check("hub", "note", f"{hub.endpoint()} does not answer", str(error))
    return Check("hub", "well", f"{hub.endpoint()} answers")


def folder(name: str, where: Any, needed: int, variable: str) -> Check:
    """Whether a folder, or the one it would be made in, can be written, and has room."""
    try:
        place = there = Path(where())
    except WeightsError as error:
        return Check(name, "problem", str(error), f"Point {variable} at a folder that can be written.")
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        found = f"{plain(place)} cannot be written ({error.strerror})"
        return Check(name, "problem", found, f"Point {variable} at a folder that can be written.")
    found = f"{plain(place)}, {gigabytes(free)} free"
    if free < needed:
        return Check(name, "note", found, f"Make room for {gigabytes(needed)}, or point {variable} at a larger disk.")
    return Check(name, "well", found)


def pictures() -> Check:
    """The formats of pictures that can be read here."""
    from PIL import features

    from ..imaging.pillow_reader import FORMATS, formats_here

    held = formats_here()
    lacking = [name for name in FORMATS if name not in held and name != "MPO"]  # opened as JPEG
    lacking += [name for name in ("webp", "avif") if name.upper() in held and not features.check(name)]
    extras = [name for name, module in (("HEIC", "pi_heif"), ("camera raw", "rawpy")) if find_spec(module)]
    found = ", ".join([*held, *extras, "OpenEXR", "HDR"])
    if lacking:
        return Check("pictures", "note", found, f"For {', '.join(lacking)}, too: pip install --upgrade Pillow.")
    return Check("pictures", "well", found)


def memory(free: int | None, device_type: str) -> Check:
    """The device's memory against what sd15 needs there."""
    if free is None:
        return Check("memory", "note", "unknown", "Watch the first request; --offload and --model mini take less.")
    found, need = f"{free / 2**30:.1f} GiB free", GPU_NEED if device_type != "cpu" else CPU_NEED
    if free >= need:
        return Check("memory", "well", f"{found}, enough for sd15")
    if device_type != "cpu" and free >= OFFLOAD_NEED:
        return Check("memory", "note", found, f"sd15 takes about {need >> 30} GiB: start with --offload.")
    return Check("memory", "note", found, f"sd15 takes about {need >> 30} GiB here: free some, or use --model mini.")
