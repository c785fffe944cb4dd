"""What a newcomer waits for, as a multiple of the bare denoising loop: a request to a running page, the whole command.

    python -m benchmarks.overhead [--model mini] [--speed exact] [--repeat 3] [--json PATH]

All by the settings of the model's card. The bare loop is what the request's model ran, run again: the same calls of
`sampler.denoise`, with the even light that a light's strength is measured against, and nothing around them.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from iclight import Relighter, prompts, recipes
from iclight.cli.serve import run_page
from iclight.diffusion import devices, sampler
from iclight.diffusion.vae import VAE
from iclight.studio.tabs.examples import asset

from .startup import run_python

PHOTO = asset("astronaut.png")
LIGHT = "left"
BARE, REQUEST, REST, COMMAND = "bare denoising loop", "a request to a running page", "the rest", "iclight relight"
# A request's parts and where they are told apart; none is inside another.
PARTS: dict[str, list[tuple[Any, str]]] = {
    "words": [(prompts, "encode_prompt_pair")],
    "matting": [(Relighter, "prepare")],
    "VAE": [(VAE, "encode"), (VAE, "decode")],
    "both passes": [(sampler, "denoise")],
    "finish": [(Relighter, "finish")],
    "PNG": [(recipes, "png_bytes")],
}


@dataclass(frozen=True)
class Spent:
    """Seconds on the wall, and of the processor in all of this process's threads."""

    wall: float
    processor: float

    @classmethod
    def now(cls) -> Spent:
        """Since some moment of the past; what a GPU was told to do is done."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.processor + other.processor)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall - other.wall, self.processor - other.processor)


@dataclass
class Request:
    """What is noted of one request: its parts' time, its denoising, and the UNet's batches (samples, h, w)."""

    parts: dict[str, Spent] = field(default_factory=dict)
    passes: list[Callable[[], Any]] = field(default_factory=list)
    batches: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    relighter: Relighter | None = None


@contextlib.contextmanager
def noted() -> Iterator[Request]:
    """Note the request that runs meanwhile, in whichever thread."""
    request = Request(dict.fromkeys(PARTS, Spent(0, 0)))

    def timed(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if name == "matting":
                request.relighter = given[0]
            if name == "both passes":
                bound = inspect.signature(real).bind(*given, **named)
                bound.arguments["on_step"] = None
                request.passes.append(partial(real, *bound.args, **bound.kwargs))
            started = Spent.now()
            try:
                return real(*given, **named)
            finally:
                request.parts[name] += Spent.now() - started

        return call

    predict = sampler.NoisePredictor._predict

    def counted(self: Any, sample: torch.Tensor, *rest: Any) -> torch.Tensor:
        height, width = sample.shape[2:]
        request.batches[len(sample), height, width] += 1
        return predict(self, sample, *rest)

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(sampler.NoisePredictor, "_predict", counted))
        for name, places in PARTS.items():
            for owner, attribute in places:
                patches.enter_context(mock.patch.object(owner, attribute, timed(name, getattr(owner, attribute))))
        yield request


@torch.inference_mode()
def bare_loop(request: Request) -> Spent:
    """A request's denoising once more, nothing else."""
    assert request.relighter is not None
    loaded = request.relighter.loaded
    with (
        request.relighter.exclusive(),
        devices.exact_float32(loaded.placement),
        loaded.acceleration.running(),
        devices.resident(loaded.unet, loaded.placement),
    ):
        started = Spent.now()
        for denoise in request.passes:
            denoise()
        return Spent.now() - started


def ask(url: str, folder: str, values: Mapping[str, Any]) -> tuple[Spent, Request]:
    """One request with `values` to the page at `url`, the client's own time included."""
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False, download_files=folder)
    with noted() as request:
        started = Spent.now()
        client.predict(handle_file(PHOTO), light=LIGHT, **values, api_name="/relight")
        whole = Spent.now() - started
    client.close()
    request.parts[REST] = whole
    for name in PARTS:
        request.parts[REST] -= request.parts[name]
    return whole, request


def command(options: argparse.Namespace) -> Spent:
    """The command line from start to finish: Python, imports, loading, matting, relighting, saving."""
    with tempfile.TemporaryDirectory() as folder:
        call = ["-m", "iclight", "relight", PHOTO, "-o", f"{folder}/out.png", "--light", LIGHT, "--quiet"]
        started = time.perf_counter()
        processor, _ = run_python(*call, *_engine(options))
        return Spent(time.perf_counter() - started, processor)


def _engine(options: argparse.Namespace) -> list[str]:
    return ["--model", options.model, "--matting", "u2netp", "--device", options.device, "--speed", options.speed]


def measure(url: str, options: argparse.Namespace) -> tuple[dict[str, Spent], Request]:
    """Every row, taken in turns, so that a busy moment hits all alike; the least of the repeats counts."""
    runs: list[dict[str, Spent]] = []
    with tempfile.TemporaryDirectory() as folder:
        _, first = ask(url, folder, {})  # loads what is loaded on first use
        assert first.relighter is not None
        shown = first.relighter.defaults  # what a visitor finds on the page
        for _ in range(options.repeat):
            whole, request = ask(url, folder, shown)
            runs.append({BARE: bare_loop(request), REQUEST: whole, **request.parts, COMMAND: command(options)})
    rows = {
        name: Spent(min(run[name].wall for run in runs), min(run[name].processor for run in runs)) for name in runs[0]
    }
    return rows, request


def table(rows: dict[str, Spent], is_cuda: bool) -> str:
    """Markdown. The multiples are of the processor's seconds; with a GPU at work, of those on the wall."""
    unit = "wall" if is_cuda else "processor"
    bare = getattr(rows[BARE], unit)
    lines = ["| | seconds | of the processor | times the bare loop |", "| --- | ---: | ---: | ---: |"]
    for name, spent in rows.items():
        shown = f"of it {name}" if name in {*PARTS, REST} else name
        lines.append(f"| {shown} | {spent.wall:.2f} | {spent.processor:.2f} | {getattr(spent, unit) / bare:.2f} |")
    return "\n".join(lines)


def _report(url: str, options: argparse.Namespace) -> None:
    rows, request = measure(url, options)
    assert request.relighter is not None
    placement = request.relighter.placement
    batches = [f"{times} of {count} x {h}x{w}" for (count, h, w), times in request.batches.items()]
    print(f"{request.relighter.model.name} on {placement}, {PHOTO.rpartition('/')[2]}, light {LIGHT}.")
    print(f"Calls of the UNet, guidance and even light among their samples: {', '.join(batches)} latents\n")
    print(table(rows, placement.device.type == "cuda"))
    if options.json:
        content = {"seconds": {name: asdict(spent) for name, spent in rows.items()}, "unet_calls": batches}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--speed", default="exact")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    host = "127.0.0.1"
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    failed = []

    def visit() -> None:
        try:
            url = f"http://{host}:{port}/"
            while True:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(url, timeout=5).read()
                    break
                time.sleep(0.1)
            _report(url, options)
        except Exception:
            failed.append(traceback.format_exc())
        os.kill(os.getpid(), signal.SIGTERM)  # the page leaves as it does when a service is stopped

    threading.Thread(target=visit, daemon=True).start()
    status = run_page("fc", ["--host", host, "--port", str(port), *_engine(options)])
    print(*failed, sep="\n", end="", file=sys.stderr)
    return 1 if failed else status


if __name__ == "__main__":
    sys.exit(main())
