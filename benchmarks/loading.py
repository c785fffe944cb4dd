"""Loading: base UNet and offset from disk, merged and ready, in a fresh process per side and repeat.

A process of its own, because an allocator's history blurs what the next load needs. Mapped files count as resident
while their pages are touched; the reading says how much of the peak was not that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from iclight.diffusion.devices import DTYPES, Placement
from iclight.diffusion.tensors import SafetensorsSource
from iclight.diffusion.unet import INPUT_CHANNELS, load_unet

from .measure import Reading, Row, best, measure
from .models import SEED, SIZES

BASE_FILE = "diffusion_pytorch_model.safetensors"
OFFSET_FILE = "offset.safetensors"


def write_files(folder: Path, size: str, workflow: str) -> None:
    """A base UNet in diffusers layout and an offset for it, random, both float16 as they are published."""
    torch.manual_seed(SEED)
    unet: Any = UNet2DConditionModel(**SIZES[size].unet)
    unet = unet.half()
    folder.mkdir(parents=True, exist_ok=True)
    unet.save_config(str(folder))
    base = unet.state_dict()
    save_file(base, folder / BASE_FILE)
    shapes = {name: list(tensor.shape) for name, tensor in base.items()}
    shapes["conv_in.weight"][1] = INPUT_CHANNELS[workflow]
    save_file(
        {name: torch.randn(shape).mul_(0.01).half() for name, shape in shapes.items()},
        folder / OFFSET_FILE,
    )


def load_ours(folder: Path, workflow: str, placement: Placement) -> Any:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    base, offset = SafetensorsSource(folder / BASE_FILE), SafetensorsSource(folder / OFFSET_FILE)
    return load_unet(base, config, offset, workflow, placement.dtype, placement.device)


def load_stock(folder: Path, workflow: str, placement: Placement) -> Any:
    """As the reference loads: all of the base, a wider first layer, all of the offset, all of their sums."""
    unet: Any = UNet2DConditionModel.from_pretrained(str(folder), local_files_only=True)
    with torch.no_grad():
        first = unet.conv_in
        wide = torch.nn.Conv2d(
            INPUT_CHANNELS[workflow], first.out_channels, first.kernel_size, first.stride, first.padding
        )
        wide.weight.zero_()
        wide.weight[:, :4].copy_(first.weight)
        wide.bias = first.bias
        unet.conv_in = wide
    offset = load_file(folder / OFFSET_FILE)
    origin = unet.state_dict()
    merged = {name: origin[name] + offset[name] for name in origin}
    unet.load_state_dict(merged, strict=True)
    del offset, origin, merged
    return unet.to(placement.device, placement.dtype)


LOADERS = {"ours": load_ours, "stock": load_stock}


def compare_loading(size: str, workflow: str, placement: Placement, repeat: int) -> tuple[Row, int]:
    """The loading row, its memory that of the host, and the finished model's bytes. Needs 4 GB of disk for SD1.5."""
    readings: dict[str, list[Reading]] = {"ours": [], "stock": []}
    answers: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="iclight-bench-") as name:
        folder = Path(name)
        write_files(folder / "tiny", "tiny", workflow)
        write_files(folder / "base", size, workflow)
        sides = list(LOADERS)
        for _ in range(repeat):
            for side in sides:
                answer = answers[side] = _in_fresh_process(side, folder, workflow, placement)
                readings[side].append(Reading(answer["seconds"], answer["peak"], answer["anonymous"]))
            sides.reverse()
    ours, stock = (answers[side]["fingerprint"] for side in ("ours", "stock"))
    gap = abs(ours - stock) / max(abs(stock), 1e-30)
    return Row("load", best(readings["ours"]), best(readings["stock"]), gap), answers["ours"]["bytes"]


def _in_fresh_process(side: str, folder: Path, workflow: str, placement: Placement) -> dict[str, Any]:
    dtype = str(placement.dtype).removeprefix("torch.")
    command = [sys.executable, "-m", "benchmarks.loading", side, str(folder), workflow, str(placement.device), dtype]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    if done.returncode:
        raise RuntimeError(f"loading on the side of {side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main(side: str, folder: Path, workflow: str, device: str, dtype: str) -> None:
    """Measure one load in this process and print it as JSON."""
    placement = Placement(torch.device(device), DTYPES[dtype], DTYPES[dtype])
    load = LOADERS[side]
    load(folder / "tiny", workflow, placement)  # imports, and on CUDA the context, are not what is measured
    # Measured as on a CPU whatever the device: what loading needs of the host is what users run out of.
    reading, unet = measure(lambda: load(folder / "base", workflow, placement), torch.device("cpu"))
    tensors = unet.state_dict().values()
    print(
        json.dumps(
            {
                "seconds": reading.seconds,
                "peak": reading.peak,
                "anonymous": reading.anonymous,
                "bytes": sum(tensor.nbytes for tensor in tensors),
                "fingerprint": sum(float(tensor.double().norm()) for tensor in tensors),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:6])
