"""How well the mattings cut out, against mattes that are known.

    python -m benchmarks.matting [--objects 60] [--side 384] [--mattings u2netp grabcut]

Rendered things before walls and photographs, which no training sees, with their exact mattes; and the three example
photos with outlines drawn by hand. For each matting: the overlap (IoU of alpha above one half), the mean error of alpha
within seven pixels of the true outline, and the seconds that a picture takes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import mean, median
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from iclight.imaging.grabcut import grabcut_matte
from iclight.matting import estimate_matte, estimate_saliency, load_matting_network
from iclight.weights.catalogue import MATTINGS
from iclight.weights.resolve import resolve_matting
from training.evaluation.heldout import real_mattes, stage_objects

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Matte = Callable[[Pixels], Floats]
NEAR = 7  # pixels to either side of the outline


class Score(NamedTuple):
    """Of one matte: overlap in [0, 1], error at the outline in [0, 1], seconds."""

    overlap: float
    edge: float
    seconds: float


def matting(name: str) -> Matte:
    """The matting as the engine runs it on a CPU. Raises WeightsError where its weights are not on this disk."""
    path = resolve_matting(name, download=False).path
    if path is None:
        return grabcut_matte
    network = load_matting_network(path)
    if name == "u2netp":
        return lambda pixels: estimate_saliency(network, pixels)
    return lambda pixels: estimate_matte(network, pixels, unit_range=name == "ormbg")


def score(cut: Matte, pixels: Pixels, truth: Floats) -> Score:
    """One picture's matte (HxWx3 uint8) against the true one (HxW in [0, 1])."""
    started = time.perf_counter()
    alpha = cut(pixels)[..., 0]
    seconds = time.perf_counter() - started
    one, other = alpha > 0.5, truth > 0.5
    reach = np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)
    outline = cv2.dilate(other.astype(np.uint8), reach) != cv2.erode(other.astype(np.uint8), reach)
    return Score((one & other).sum() / (one | other).sum(), np.abs(alpha - truth)[outline].mean(), seconds)


def rendered(count: int, side: int) -> Iterator[tuple[Pixels, Floats]]:
    """Things that no training sees, with their mattes."""
    objects = stage_objects(count, side)
    for source, matte in zip(objects.source, objects.matte, strict=True):
        pixels = (source.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
        yield np.ascontiguousarray(pixels), matte[0].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.matting", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=60, help="a multiple of 4")
    parser.add_argument("--side", type=int, default=384, help="the rendered pictures' pixels")
    known = [name for name in MATTINGS if name != "none"]
    parser.add_argument("--mattings", nargs="+", choices=known, default=["u2netp", "grabcut"])
    options = parser.parse_args()
    ways = {name: matting(name) for name in options.mattings}
    things = list(rendered(options.objects, options.side))
    photos = {name: (pixels, truth.astype(np.float32)) for name, (pixels, truth) in real_mattes().items()}
    print("| pictures | matting | IoU, mean | IoU, median | error at the outline | seconds |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    groups = {f"{len(things)} rendered": things, **{name: [photo] for name, photo in photos.items()}}
    for group, pictures in groups.items():
        for name, cut in ways.items():
            scores = [score(cut, *picture) for picture in pictures]
            overlap, edge, seconds = zip(*scores, strict=True)
            figures = f"{mean(overlap):.3f} | {median(overlap):.3f} | {mean(edge):.3f} | {median(seconds):.2f}"
            print(f"| {group} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
