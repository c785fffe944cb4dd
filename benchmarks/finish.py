"""The finish by figures: nearer the truth than what a model returned, and camera files in bounded memory.

    python -m benchmarks.finish truth [--objects 16] [--side 384] [--factor 2]
    python -m benchmarks.finish memory [--megapixels 12 48]

`truth`: light-stage objects that no training sees, photographed under one light; the true picture under another light,
made smaller and spoiled as models spoil pictures, stands for the relighting. No model runs. `memory`: `finished` in a
process of its own for each size; what it held at its peak over the picture and its matte, its result included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from iclight.editing import finish
from iclight.imaging import crop
from training import metrics
from training.evaluation.heldout import HeldOut, stage_objects

Pixels = NDArray[np.uint8]
# 4:3 pictures of so many megapixels.
SIZES = {12: (4000, 3000), 48: (8000, 6000)}
SAMPLES = 4
ROOT = Path(__file__).parents[1]


def spoiled(pixels: Pixels, smear: float, blotches: float, size: float, random: np.random.Generator) -> Pixels:
    """A picture blurred by `smear` pixels, with blotches of `blotches` levels (standard deviation), `size` pixels."""
    soft = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), smear)
    noise = cv2.GaussianBlur(random.normal(0, 1, pixels.shape).astype(np.float32), (0, 0), size)
    return (soft + noise * (blotches / noise.std())).clip(0, 255).astype(np.uint8)


# What stands for a model: (smear, blotches, their size, samples), in the small picture's pixels and in levels of 255.
SPOILERS: dict[str, tuple[float, float, float, int]] = {
    "sharp and clean": (0.3, 0.0, 1.0, 1),
    "smeared": (1.2, 3.0, 2.0, 1),
    "smeared, blotchy": (2.0, 8.0, 4.0, 1),
    f"smeared, blotchy, {SAMPLES} samples": (2.0, 8.0, 4.0, SAMPLES),
}


def against_truth(objects: HeldOut, factor: int) -> Iterator[tuple[str, str, float, float]]:
    """(what stands for the model, finish, PSNR in dB, SSIM), inside the matte at the photograph's size."""
    sources, truths = _pixels(objects.source), _pixels(objects.truth)
    mattes = list(objects.matte.permute(0, 2, 3, 1).contiguous().numpy())
    side = sources[0].shape[0]
    random = np.random.default_rng(0)
    yield "none", "photograph unchanged", *_scores(sources, objects)
    for name, (smear, blotches, size, samples) in SPOILERS.items():
        small = [crop.resize(truth, side // factor, side // factor) for truth in truths]
        made = [[spoiled(one, smear, blotches, size, random) for _ in range(samples)] for one in small]
        finishes: dict[str, Callable[[list[Pixels], Pixels, NDArray[np.float32]], Pixels]] = {
            "model": lambda relit, _, __: crop.resize(relit[0], side, side),
            "detail": lambda relit, source, matte: crop.resize(
                finish.transfer_detail(relit[0], source, matte), side, side
            ),
            "native": lambda relit, source, matte: finish.finished(relit, source, matte, background="original")[0][0],
        }
        for kind, work in finishes.items():
            pictures = [work(*given) for given in zip(made, sources, mattes, strict=True)]
            yield name, kind, *_scores(pictures, objects)


def _pixels(pictures: torch.Tensor) -> list[Pixels]:
    return list((pictures.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy())


def _scores(pictures: list[Pixels], objects: HeldOut) -> tuple[float, float]:
    shown = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    psnr = metrics.psnr_inside(shown, objects.truth, objects.matte)
    return float(psnr.mean()), float(metrics.ssim_inside(shown, objects.truth, objects.matte).nanmean())


PROBE = """
import sys, time, numpy as np
from benchmarks.measure import ResidentPeak
from iclight.editing import finish; from iclight.imaging import crop
width, height, background = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
source = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
matte = np.zeros((height, width, 1), np.float32)
matte[height // 8 : -height // 8, width // 8 : -width // 8] = 1
relit = [crop.resize(source[: height // 4, : width // 4], 640, 480) for _ in range(2)]
finish.finished(relit, source[1000:1300, 1000:1400], matte[1000:1300, 1000:1400], "native")  # libraries warm up
started = time.perf_counter()
with ResidentPeak() as held:
    (made,), light = finish.finished(relit, source, matte, "native", 1.0, background)
assert made.shape[:2] == source.shape[:2] and light.gain.shape == (480, 640, 3)
print(held.peak / 2**20, time.perf_counter() - started)
"""


def memory(width: int, height: int, background: str) -> tuple[float, float]:
    """MiB at the peak of a native finish over what its inputs hold, the result included; and seconds."""
    call = [sys.executable, "-c", PROBE, str(width), str(height), background]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=ROOT)
    mib, seconds = map(float, done.stdout.split())
    return mib, seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finish", description=__doc__)
    parser.add_argument("what", choices=("truth", "memory"))
    parser.add_argument("--objects", type=int, default=16, help="a multiple of 4")
    parser.add_argument("--side", type=int, default=384, help="the photographs' pixels")
    parser.add_argument("--seed", type=int, default=700_001, help="of the objects; not those the finish was tuned on")
    parser.add_argument("--factor", type=int, default=2, help="how much smaller the model's picture is")
    parser.add_argument("--megapixels", type=int, nargs="+", choices=SIZES, default=list(SIZES))
    options = parser.parse_args()
    if options.what == "truth":
        objects = stage_objects(options.objects, options.side, options.seed)
        print(f"{options.objects} objects at {options.side} px, the model's picture {options.factor} times smaller")
        print("| the model's picture | finish | PSNR | SSIM |\n| --- | --- | ---: | ---: |")
        for name, kind, psnr, ssim in against_truth(objects, options.factor):
            print(f"| {name} | {kind} | {psnr:.2f} | {ssim:.3f} |", flush=True)
        return
    print("| picture | background | peak, MiB | result, MiB | seconds |\n| --- | --- | ---: | ---: | ---: |")
    for megapixels in options.megapixels:
        width, height = SIZES[megapixels]
        for background, channels in (("original", 3), ("new", 3), ("transparent", 4)):
            mib, seconds = memory(width, height, background)
            result = channels * width * height / 2**20
            print(f"| {width}x{height} | {background} | {mib:.0f} | {result:.0f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
