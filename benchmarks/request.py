"""A camera's photo on its way around the model: everything that is not the model, beside one decode and one encode.

    make bench ARGS="--stages request"

The request is a real one, from the files to the PNG with its recipe; only the two passes are left out. Beside it stands
what nobody can leave out: Pillow decoding the same files and encoding the picture that is delivered. Both sides are
seconds of the processor, which a busy machine does not blur.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from PIL import Image

from iclight import Relighter, Settings
from iclight.cli.outputs import save_pictures
from iclight.editing.finish import finished
from iclight.imaging import crop
from iclight.request import decode_inputs
from iclight.results import Rendering

Pixels = Any  # NumPy's uint8
SEED = 20240509
ASPECT = 3, 2
# The finish by which the picture has the model's size, and the one by which it has the photo's.
FINISHES = ("model", "native")
FORMATS = ("JPEG", "PNG")


@dataclass(frozen=True)
class Way:
    """One request's processor seconds: of its parts, of what is stated apart, of Pillow's decode and encode."""

    finish: str
    delivered: tuple[int, int]
    parts: dict[str, float]
    apart: dict[str, float]
    bare: dict[str, float]

    @property
    def ratio(self) -> float:
        """The parts together, over the bare decode and encode."""
        return sum(self.parts.values()) / sum(self.bare.values())


class AroundTheModel(Relighter):
    """A relighter whose passes cost nothing but the crops that they would be shown."""

    apart: dict[str, float]

    def render(self, foreground: Pixels, settings: Settings, *_: Any) -> Rendering:  # type: ignore[override]
        small = settings.width or 0, settings.height or 0
        sizes = small, crop.highres_size(*small, settings.highres_scale)
        shown: Pixels
        self.apart["crops for both passes"], (_, shown) = _timed(
            lambda: [crop.resize_and_center_crop(foreground, *size) for size in sizes]
        )
        decoded = torch.from_numpy(shown).permute(2, 0, 1)[None].float() / 127.5 - 1
        return Rendering(decoded, {}, None)


def write_files(folder: Path, megapixels: float) -> dict[str, str]:
    """A photo (JPEG: gradients under noise) and a soft matte (PNG) of its size; the same on every machine."""
    scale = (megapixels * 1e6 / (ASPECT[0] * ASPECT[1])) ** 0.5
    width, height = (max(8, round(side * scale)) for side in ASPECT)
    across: Pixels
    down: Pixels
    across, down = np.meshgrid(np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32))
    grain = np.random.default_rng(SEED).normal(0, 6, (height, width)).astype(np.float32)
    photo: Any = np.stack([across, down, 1 - across], axis=2) * 200 + 20 + grain[..., None]
    Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / "photo.jpg", quality=92)
    inside: Pixels = (np.hypot(across - 0.5, down - 0.5) < 0.3).astype(np.uint8) * 255
    Image.fromarray(cv2.GaussianBlur(inside, (0, 0), 5)).save(folder / "mask.png")
    return {"image": str(folder / "photo.jpg"), "mask": str(folder / "mask.png")}


def measure_requests(megapixels: float, repeat: int) -> list[Way]:
    """A `Way` for each of `FINISHES`; each part is the least of `repeat`."""
    relighter = AroundTheModel(Relighter.load("mini", matting="none", device="cpu").loaded, "none")
    with tempfile.TemporaryDirectory() as name:
        files = write_files(Path(name), megapixels)
        ways = [_measured(relighter, files, finish, repeat) for finish in FINISHES]
        photo = np.asarray(Image.open(files["image"], formats=FORMATS))
        relighter.prepare(photo, matting="u2netp")  # the network is loaded once
        ways[0].apart["U²-Net, without a mask"], _ = _timed(lambda: relighter.prepare(photo, matting="u2netp"))
        return ways


def _measured(relighter: AroundTheModel, files: dict[str, str], finish: str, repeat: int) -> Way:
    settings = Settings.for_workflow("fc", light="left", seed=1, finish=finish)
    target = Path(files["image"]).with_name(f"{finish}.png")
    runs, bare, apart = [], [], []
    for _ in range(repeat):
        runs.append(_request(relighter, files, settings, target))
        apart.append(relighter.apart)
        delivered = Image.open(target, formats=("PNG",))
        delivered.load()
        decode, _ = _timed(lambda: [np.asarray(Image.open(path, formats=FORMATS)) for path in files.values()])
        encode, _ = _timed(partial(delivered.save, target, "PNG", compress_level=4))
        bare.append({"decode": decode, "encode": encode})
    return Way(finish, delivered.size, _least(runs), _least(apart), _least(bare))


def _request(relighter: AroundTheModel, files: dict[str, str], settings: Settings, target: Path) -> dict[str, float]:
    """One request as the command line runs it; seconds of its parts."""
    apart = relighter.apart = {}

    def finish(*given: Any) -> Any:
        apart["finish"], result = _timed(lambda: finished(*given))
        return result

    decode, inputs = _timed(lambda: decode_inputs(files))
    with mock.patch("iclight.relighter.finished", finish):
        light, result = _timed(lambda: relighter.relight(settings=settings, **inputs))
    write, _ = _timed(lambda: save_pictures(result, inputs, target))
    return {
        "decode, check": decode,
        "matte, foreground": light - sum(apart.values()),
        "fingerprint, PNG": write,
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The processor's seconds, and what came of them."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def _least(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: min(run[name] for run in runs) for name in runs[0]}


def table(ways: list[Way]) -> str:
    """For people: seconds, and times the bare decode and encode."""
    lines = []
    for way in ways:
        bare = sum(way.bare.values())
        rows = {**way.parts, "together": sum(way.parts.values())}
        rows |= {f"apart: {name}": seconds for name, seconds in way.apart.items()}
        lines.append(f"finish {way.finish}, {way.delivered[0]}x{way.delivered[1]} delivered")
        lines += [f"  bare {name:<26}{seconds:8.3f} s" for name, seconds in way.bare.items()]
        lines += [f"  {name:<31}{seconds:8.3f} s{seconds / bare:8.2f} x" for name, seconds in rows.items()]
    return "\n".join(lines)


def as_dict(ways: list[Way]) -> dict[str, Any]:
    """For machines."""
    return {way.finish: {**vars(way), "ratio": way.ratio} for way in ways}
