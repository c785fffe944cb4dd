"""Ways to the same picture in less time, by the model that ships: samplers with few steps, and levers one by one.

What a way costs is counted in seconds of the processor, which a busy machine does not blur; how near it comes, in PSNR.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iclight import Relighter, Settings
from iclight.diffusion.acceleration import Levers
from iclight.imaging.images import read_image
from iclight.parameters import PARAMETERS, WORKFLOWS
from iclight.studio.tabs.examples import asset

Pixels = Any  # NumPy's uint8
PHOTO = "coffee.jpg"
STEPS = (4, 6, 8, 12)
REFERENCE_STEPS = 60
# Each lever that a CPU has, alone.
LEVERS: Mapping[str, Levers] = {
    "exact": Levers(),
    "remember": Levers(remember=True),
    "channels_last": Levers(channels_last=True),
    "fused_projections": Levers(fused_projections=True),
    "attention math": Levers(attention="math"),
    "compiled": Levers(compiled=True),
}


@dataclass(frozen=True)
class Way:
    """One way to a picture: processor seconds of a request, and dB to the picture that counts as right."""

    name: str
    seconds: float
    psnr: float


def psnr(one: Pixels, other: Pixels) -> float:
    """Of two HxWx3 uint8 pictures, in dB; infinite for equal ones."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def request_for(relighter: Relighter, **changes: Any) -> tuple[Pixels, Settings]:
    """The example photo and the model's own defaults, with the model's picture for an answer."""
    own = {**relighter.defaults, "prompt": "sunshine from window", "light": "left", "finish": "model", "seed": 12345}
    return read_image(asset(PHOTO))[0], Settings.for_workflow(relighter.workflow, **{**own, **changes})


def timed(relighter: Relighter, **changes: Any) -> tuple[Pixels, float]:
    """The picture of a request with `changes`, and its processor seconds; cut out as the relighter was loaded to."""
    photo, settings = request_for(relighter, **changes)
    started = time.process_time()
    picture = relighter.relight(photo, settings).images[0]
    return picture, time.process_time() - started


def compare_samplers(
    steps: Sequence[int] = STEPS, reference_steps: int = REFERENCE_STEPS, **changes: Any
) -> dict[str, dict[str, list[Way]]]:
    """Workflow -> sampler -> a way for each of `steps`, against the default sampler's `reference_steps`."""
    result: dict[str, dict[str, list[Way]]] = {}
    for workflow in WORKFLOWS:
        relighter = Relighter.load("mini", workflow, matting="none", device="cpu", speed=Levers(remember=True))
        right, _ = timed(relighter, steps=reference_steps, **changes)
        # The same sampler from another seed: nearer than this is no nearer.
        other, seconds = timed(relighter, steps=reference_steps, **{**changes, "seed": 1})
        ways = result[workflow] = {"another seed": [Way(str(reference_steps), seconds, psnr(other, right))]}
        for sampler in PARAMETERS["sampler"].choices:
            runs = {count: timed(relighter, steps=count, sampler=sampler, **changes) for count in steps}
            ways[sampler] = [Way(str(count), taken, psnr(picture, right)) for count, (picture, taken) in runs.items()]
    return result


def compare_levers(
    names: Sequence[str] = tuple(LEVERS), repeat: int = 3, dtype: str = "float32", **changes: Any
) -> list[Way]:
    """A way for each lever, warm: the least of `repeat` requests taken in turns; dB to what "exact" draws."""
    names = ("exact", *(name for name in names if name != "exact"))
    relighters = {
        name: Relighter.load("mini", "fc", matting="u2netp", device="cpu", dtype=dtype, speed=LEVERS[name])
        for name in names
    }
    runs: dict[str, list[tuple[Pixels, float]]] = {name: [] for name in names}
    for _ in range(repeat + 1):  # the first warms up
        for name, relighter in relighters.items():
            runs[name].append(timed(relighter, **changes))
    right = runs["exact"][-1][0]
    return [Way(name, min(taken for _, taken in found[1:]), psnr(found[-1][0], right)) for name, found in runs.items()]


def samplers_table(compared: Mapping[str, Mapping[str, Sequence[Way]]]) -> str:
    """Markdown: dB by workflow, sampler and steps, with the processor's seconds in brackets."""
    lines = []
    for workflow, ways in compared.items():
        (seed,), *_ = ways.values()
        columns = next(list(found) for name, found in ways.items() if name != "another seed")
        lines += [
            f"{workflow}: another seed of the default, {seed.name} steps, is {seed.psnr:.1f} dB away "
            f"({seed.seconds:.1f} s)",
            "",
            f"| sampler | {' | '.join(f'{way.name} steps' for way in columns)} |",
            f"| --- |{' ---: |' * len(columns)}",
        ]
        for name, found in ways.items():
            if name != "another seed":
                lines.append(f"| {name} | {' | '.join(f'{way.psnr:.1f} ({way.seconds:.1f} s)' for way in found)} |")
        lines.append("")
    return "\n".join(lines)


def levers_table(ways: Sequence[Way]) -> str:
    """Markdown: a lever's processor seconds, as a share of those of "exact", and its dB."""
    base = ways[0].seconds
    rows = [f"| {way.name} | {way.seconds:.2f} | {way.seconds / base:.2f} | {way.psnr:.0f} |" for way in ways]
    return "\n".join(["| lever | seconds | of exact | dB to exact |", "| --- | ---: | ---: | ---: |", *rows])
