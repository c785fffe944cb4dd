"""How long a slider takes: mixing lights and shading by normals, live.

    python -m benchmarks.light latency [--width 768 --height 960]
    python -m benchmarks.light additivity [--model mini]

`latency`: the live functions at the size given; the best of several frames, on the wall clock and on the processor's (a
busy machine lengthens the first alone). `additivity` runs a model: how far the sum of its four sides is from its own
ambient picture, for each example photo.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from iclight.editing.mixing import LightMix, LightWeight
from iclight.editing.normal_maps import unit
from iclight.editing.shading import shade

FRAMES = 15
PHOTOS = ("astronaut.png", "cat.jpg", "coffee.jpg")


def latency(width: int, height: int) -> list[tuple[str, float, float]]:
    """(what, wall milliseconds, processor milliseconds) of one frame."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    normal = unit(random.normal((0, 0, 2), 1, (height, width, 3)))
    matte = np.ones((height, width, 1), np.float32)
    stack = LightMix(
        {name: np.roll(picture, k, 1) for k, name in enumerate(("left", "right", "top", "bottom", "ambient"))}
    )
    white = {name: LightWeight(0.5) for name in stack.pictures}
    coloured = {name: LightWeight(0.5, (1.0, 0.9, 0.7)) for name in stack.pictures}
    works: dict[str, Callable[[], object]] = {
        "mix, five white lights": lambda: stack.mix(white),
        "mix, five coloured lights": lambda: stack.mix(coloured),
        "shade, white light": lambda: shade(picture, normal, matte, 135, 35),
        "shade, coloured light": lambda: shade(picture, normal, matte, 135, 35, "#ffc080"),
    }
    return [(name, *_best(work)) for name, work in works.items()]


def _best(work: Callable[[], object]) -> tuple[float, float]:
    work()
    taken = []
    for _ in range(FRAMES):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - wall, time.process_time() - processor))
    return 1000 * min(one for one, _ in taken), 1000 * min(other for _, other in taken)


def additivity(model: str) -> list[tuple[str, float]]:
    """(photo, residual): |c * (left + right + top + bottom) - ambient| / ambient inside the matte."""
    from iclight import Relighter
    from iclight.olat import relight_olat
    from iclight.studio.tabs.examples import asset

    relighter = Relighter.load(model, "fbc", matting="grabcut")
    found = []
    for name in PHOTOS:
        residual = relight_olat(relighter, asset(name)).residual
        assert residual is not None
        found.append((name, residual))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.light", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("latency", "additivity"))
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--height", type=int, default=960)
    parser.add_argument("--model", default="mini")
    options = parser.parse_args()
    if options.what == "latency":
        print("| frame | ms, wall clock | ms, processor |\n| --- | ---: | ---: |")
        for name, wall, processor in latency(options.width, options.height):
            print(f"| {name}, {options.width}x{options.height} | {wall:.0f} | {processor:.0f} |")
        return
    print("| photo | sum of the sides against the ambient picture |\n| --- | ---: |")
    for name, residual in additivity(options.model):
        print(f"| {name} | {100 * residual:.0f} % |")


if __name__ == "__main__":
    main()
