"""How long a slider of light takes, and what a model's light is like on the example photos.

    python -m benchmarks.light latency [--width 768 --height 960]
    python -m benchmarks.light additivity [--model mini]
    python -m benchmarks.light strength [--model mini --out build/light]
    python -m benchmarks.light steps [--model mini]

`latency`: mixing lights and shading by normals, live, at the size given; the best of several frames, on the wall clock
and on the processor's (a busy machine lengthens the first alone). The others run a model, `strength` and `steps` by the
settings of its card. `additivity`: how far the sum of its four sides is from its own ambient picture. `strength`: stops
between light from the left and from the right, and what is burnt or black; with a contact sheet for each workflow (a
row: photo and side; a column: strength). `steps`: how near pictures of few steps come to those of many.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from iclight.editing.mixing import LightMix, LightWeight
from iclight.editing.normal_maps import unit
from iclight.editing.shading import shade
from iclight.parameters import WORKFLOWS

if TYPE_CHECKING:
    from torch import Tensor

    from iclight import Relighter, Settings

FRAMES = 15
PHOTOS = ("astronaut.png", "cat.jpg", "coffee.jpg")
STRENGTHS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0)
STEPS = (6, 8, 9, 12, 25)
ENOUGH = 60  # steps after which nothing is left to gain


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


def strength(model: str, workflow: str, prompt: str, sheet: Path) -> list[list[str]]:
    """A row for each of STRENGTHS: stops by photo, then the shares of burnt and black pixels, in percent.

    The pictures go into `sheet`, as wide as 160 pixels each.
    """
    from torch.nn.functional import interpolate

    from training.evaluation.light import PHOTOS as SUBJECTS
    from training.evaluation.light import example, from_both_sides
    from training.metrics import black, burnt, light_stops
    from training.sheets import save_sheet

    relighter, card = _by_card(model, workflow, prompt)
    lines: dict[tuple[str, str], list[Tensor]] = {}
    rows = []
    for value in STRENGTHS:
        stops, lost = [], []
        for name in SUBJECTS:
            left, right, matte = from_both_sides(relighter, example(name), card.replace(light_strength=value))
            stops.append(f"{float(light_stops(left, right, matte)):.2f}")
            for side, relit in (("left", left), ("right", right)):
                lost.append([100 * float(measure(relit, matte)) for measure in (burnt, black)])
                small = interpolate(relit, (160 * relit.shape[2] // relit.shape[3], 160), mode="area")
                lines.setdefault((name, side), []).append(small[0])
        rows.append([f"{value:g}", *stops, *(f"{share:.1f}" for share in np.mean(lost, axis=0))])
    save_sheet(list(lines.values()), sheet)
    return rows


def steps(model: str, workflow: str, prompt: str) -> list[list[str]]:
    """A row for each of STEPS: PSNR inside the matte by photo, light from the left, against ENOUGH steps."""
    from training.evaluation.light import PHOTOS as SUBJECTS
    from training.evaluation.light import example, relight
    from training.metrics import psnr_inside

    relighter, card = _by_card(model, workflow, prompt)
    card = card.replace(light="left")
    enough = {name: relight(relighter, example(name), card.replace(steps=ENOUGH)) for name in SUBJECTS}
    rows = []
    for count in STEPS:
        few = {name: relight(relighter, example(name), card.replace(steps=count))[0] for name in SUBJECTS}
        rows.append([str(count), *(f"{float(psnr_inside(few[name], *enough[name])):.1f}" for name in SUBJECTS)])
    return rows


def _by_card(model: str, workflow: str, prompt: str) -> tuple[Relighter, Settings]:
    from iclight import Relighter, Settings

    relighter = Relighter.load(model, workflow, matting="none")
    return relighter, Settings.for_workflow(workflow, prompt=prompt, **{**relighter.defaults, "finish": "model"})


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.light", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("latency", "additivity", "strength", "steps"))
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--height", type=int, default=960)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--workflows", nargs="+", default=WORKFLOWS, choices=WORKFLOWS, help="of strength and steps")
    parser.add_argument("--prompt", default="best quality", help="of strength and steps")
    parser.add_argument("--out", type=Path, default=Path("build/light"), help="folder of the contact sheets")
    options = parser.parse_args()
    if options.what == "latency":
        _head("frame", "ms, wall clock", "ms, processor")
        for name, wall, processor in latency(options.width, options.height):
            _line(f"{name}, {options.width}x{options.height}", f"{wall:.0f}", f"{processor:.0f}")
    elif options.what == "additivity":
        _head("photo", "sum of the sides against the ambient picture")
        for name, residual in additivity(options.model):
            _line(name, f"{100 * residual:.0f} %")
    elif options.what == "strength":
        _head("workflow, strength", "astronaut", "coffee cup", "cat", "burnt, %", "black, %")
        for workflow in options.workflows:
            for value, *cells in strength(
                options.model, workflow, options.prompt, options.out / f"strength-{workflow}.jpg"
            ):
                _line(f"{workflow}, {value}", *cells)
    else:
        _head(f"workflow, steps (PSNR against {ENOUGH})", "astronaut", "coffee cup", "cat")
        for workflow in options.workflows:
            for value, *cells in steps(options.model, workflow, options.prompt):
                _line(f"{workflow}, {value}", *cells)


def _head(*names: str) -> None:
    _line(*names)
    print("| --- |" + " ---: |" * (len(names) - 1))


def _line(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
