"""What runs for train.py: rendering, encoding, training one workflow, measuring, exporting, packing; all at two sizes.

    python -m tools.gpu.jobs trainer fc | evaluator 0/2 [--tiny]

As a process it imports what it needs, then waits for lines of JSON, and answers each by a file that the line names.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

WORKFLOWS = ("fc", "fbc", "env")
START = Path("models/mini")
VAE = START / "vae"
MIB = 2**20


@dataclass(frozen=True)
class Size:
    """How large everything is. Sides are in pixels, `options` those of all three runs (`training.config.Config`)."""

    side: int
    objects: int  # of a shard
    batch: int
    timed: int  # steps that are timed before the rest is asked for
    rendering: float  # share of the time that is for rendering
    held_out: int  # objects to measure on
    evaluators: int  # processes
    workers: int  # processes that draw each workflow's batches
    options: dict[str, Any]


def size_of(tiny: bool, cores: int, learning_rate: float) -> Size:
    if tiny:
        options = {"mixed_precision": "no", "learning_rate": 1e-4, "warmup": 2, "ema_decay": 0.9}
        return Size(64, 8, 4, 3, 0.15, 4, 1, 0, options)
    options = {"learning_rate": learning_rate, "decay": 0.6, "warmup": 100, "ema_decay": 0.998}
    return Size(128, 32, 128, 60, 0.26, 64, max(1, min(8, cores // 2)), max(1, (cores - 3) // 3), options)


def questions() -> Iterator[dict[str, Any]]:
    """Questions, line by line; how many seconds each took is the answer."""
    for line in sys.stdin:
        question, began = json.loads(line), time.monotonic()
        yield question
        path = Path(question["answer"])
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps({"seconds": time.monotonic() - began}))
        partial.replace(path)


def trainer(workflow: str) -> None:
    """Train one workflow as far as it is asked."""
    from training.config import make_config, read_config
    from training.train import train

    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")
    for question in questions():
        config = make_config(question["options"], read_config(f"mini-{workflow}"))
        train(config, Path(question["out"]), until=question.get("until"))


def evaluator(number: int, parts: int, tiny: bool) -> None:
    """Measure models on this part's share of the objects."""
    from training.evaluation import bench, evaluate, heldout, report
    from training.sheets import save_sheet

    class Bench(bench.Bench):
        def relight(self, *arguments: Any, **options: Any) -> torch.Tensor:
            return super().relight(*arguments, **{**options, **({"steps": 2} if tiny else {})})

    size = size_of(tiny, os.cpu_count() or 1, 0.0)
    objects = heldout.stage_objects(size.held_out, size.side, share=(number, parts))
    for question in questions():
        out = Path(question["out"])
        out.mkdir(parents=True, exist_ok=True)
        model = Bench(question["model"], "auto", "float32" if tiny else "auto")
        groups, rows = evaluate.evaluate(model, objects)
        counts, sets = {"light stage": len(objects.matte)}, {"light stage": groups}
        save_sheet(rows, out / f"sheet-{number}.jpg")
        if number == 0 and not tiny:
            photos = heldout.photographed(192)
            counts["photographs"] = len(photos.matte)
            sets["photographs"], rows = evaluate.evaluate_photographs(model, photos)
            save_sheet(rows, out / "sheet-photographs.jpg")
        report.write(out, number, parts, {"objects": counts, "figures": sets, "whole": True})


def render(folder: Path, part: int, parts: int, size: Size, seed: int, until: float) -> None:
    """Shard after shard as long as another one fits; one always does."""
    from training.scenes.render import Assets, make_shard
    from training.shards import save

    torch.set_num_threads(1)
    assets, number, seconds = Assets(), part, 0.0
    while number == part or time.monotonic() + seconds < until:
        began = time.monotonic()
        save(make_shard(number, size.objects, size.side, 0.12, seed, assets), folder / f"shard-{number:04d}.pt")
        number, seconds = number + parts, time.monotonic() - began


def make_data(work: Path, size: Size, seed: int, until: float) -> tuple[Path, int]:
    """The folder of encoded shards, and how many objects they hold. Shards are encoded as they come, then deleted.

    `seed`: of the objects; `until`: when no further shard is begun, by `time.monotonic`.
    """
    stage, latents = work / "stage", work / "latents"
    for folder in (stage, latents):
        folder.mkdir(parents=True, exist_ok=True)
    cores = os.cpu_count() or 1
    fork = multiprocessing.get_context("fork")  # while this process has no GPU open: what is imported, all have
    renderers = [fork.Process(target=render, args=(stage, k, cores, size, seed, until)) for k in range(cores)]
    for one in renderers:
        one.start()
    from diffusers import AutoencoderKL

    from training.data.latents import encode_shard

    vae = AutoencoderKL.from_pretrained(VAE, torch_dtype=torch.float32).eval().to(memory_format=torch.channels_last)
    vae = vae.to("cuda" if torch.cuda.is_available() else "cpu")
    count = 0
    while True:
        rendering = any(one.is_alive() for one in renderers)
        paths = sorted(stage.glob("shard-*.pt"))
        for path in paths:
            torch.save(encode_shard(vae, torch.load(path, weights_only=False)), latents / path.name)
            path.unlink()
            count += 1
        if not rendering and not paths:
            break
        time.sleep(0.1)
    if any(one.exitcode for one in renderers):
        print("Some renderers failed; going on with what the others rendered.", file=sys.stderr, flush=True)
    if not count:
        raise SystemExit("Nothing was rendered, so there is nothing to train on.")
    return latents, count * size.objects


@torch.no_grad()
def export(work: Path) -> Path:
    """The three runs as a model folder."""
    from diffusers import AutoencoderKL

    from training.base import load
    from training.export import export_new

    runs = {name: load(work / name / "trained", None, name) for name in WORKFLOWS}
    card = json.loads((START / "iclight.json").read_text())
    facts = {name: value for name, value in card.items() if name not in ("name", "offsets")}
    own = {name: runs[name] for name in ("fc", "fbc")}
    export_new(runs["env"], AutoencoderKL.from_pretrained(VAE), work / "model", "mini", facts, own)
    return work / "model"


def pack(model: Path, out: Path, most: int) -> list[Path]:
    """The model as model.tar.gz in parts of at most `most` MiB: cat them together, in order, to unpack."""
    whole = out / "model.tar.gz"
    with tarfile.open(whole, "w:gz", compresslevel=1) as archive:
        archive.add(model, arcname="model")
    parts: list[Path] = []
    with whole.open("rb") as file:
        while piece := file.read(most * MIB):
            parts.append(out / f"model.tar.gz.{len(parts)}")
            parts[-1].write_bytes(piece)
    whole.unlink()
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("role", choices=("trainer", "evaluator"))
    parser.add_argument("what", help="a workflow; or a part of the objects, number/count")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if options.role == "trainer":
        trainer(options.what)
    else:
        number, parts = map(int, options.what.split("/"))
        evaluator(number, parts, options.tiny)


if __name__ == "__main__":
    main()
