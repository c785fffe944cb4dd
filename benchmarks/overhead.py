"""What a newcomer waits for, as a multiple of the bare denoising loop: the whole command, and a warm request.

    python -m benchmarks.overhead [--model mini] [--repeat 3] [--json PATH]

All by the settings of the model's card. The bare loop is `sampler.denoise` for both passes on latents that are there
already: no matting, no prompts, no VAE, no finish, and no more of the light than the model draws.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from iclight import Relighter, Settings
from iclight.diffusion.sampler import Guidance, NoisePredictor, denoise
from iclight.imaging.crop import highres_size
from iclight.prompts import encode_prompt_pair
from iclight.studio.tabs.examples import asset

PHOTO = asset("astronaut.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    relighter = Relighter.load(options.model, workflow="fc", matting="u2netp")
    asked = Settings.for_workflow("fc", **{**relighter.defaults, "light": "left"})
    settings = relighter.relight(PHOTO, asked).settings  # warms up, too

    works: dict[str, Callable[[], object]] = {
        "bare denoising loop": lambda: bare_loop(relighter, settings),
        "warm request": lambda: relighter.relight(PHOTO, settings),
        "iclight relight": lambda: command(options.model),
    }
    # Taken in turns, so that a busy moment hits all three alike; the least of the repeats counts.
    seconds = {name: min(times) for name, times in _in_turns(works, options.repeat).items()}
    bare = seconds["bare denoising loop"]
    print(
        f"{relighter.model.name} on {relighter.placement}, {settings.width}x{settings.height}, {settings.steps} steps"
    )
    for name, value in seconds.items():
        print(f"{name:<22}{value:7.1f} s   {value / bare:5.2f} x")
    if options.json:
        options.json.write_text(json.dumps({"seconds": seconds, "settings": settings.to_dict()}, indent=2) + "\n")
    return 0


def _in_turns(works: dict[str, Callable[[], object]], repeat: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeat):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    return times


@torch.inference_mode()
def bare_loop(relighter: Relighter, settings: Settings) -> None:
    """Both passes' denoising, nothing else."""
    vae = relighter.vae
    pair = encode_prompt_pair(
        relighter.tokenizer, relighter.text_encoder, settings.positive_prompt, settings.negative_prompt
    )
    guidance = Guidance(*pair, settings.cfg)
    small = settings.width or 0, settings.height or 0
    for size, strength in (
        (small, settings.lowres_denoise),
        (highres_size(*small, settings.highres_scale), settings.highres_denoise),
    ):
        shape = (1, vae.channels, size[1] // vae.factor, size[0] // vae.factor)
        generator = torch.Generator(relighter.placement.noise_device).manual_seed(0)
        latents = torch.randn(shape, generator=generator, device=generator.device)
        predict = NoisePredictor(relighter.unet, guidance, latents)
        denoise(predict, settings.steps, strength, latents, shape, generator)


def command(model: str) -> None:
    """The command line from start to finish: Python, imports, loading, matting, relighting, saving."""
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-m", "iclight", "relight", PHOTO, "-o", f"{folder}/out.png", "--light", "left"]
        subprocess.run([*call, "--model", model, "--matting", "u2netp", "--quiet"], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
