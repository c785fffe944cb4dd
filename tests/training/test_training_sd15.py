"""Training at the real shapes of Stable Diffusion 1.5, with random weights. Slow and large: `make test-slow`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SD15 = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
}


@pytest.mark.slow
@pytest.mark.parametrize("lora", [0, 16])
def test_one_step_at_the_size_of_sd15(tmp_path, lora):
    """One sample of 64 x 64 latents through 860 million parameters, whole and with LoRA; prints the peak memory."""
    base, data = tmp_path / "base", tmp_path / "latents"
    _write_base(base)
    _write_shard(data)
    options = ["--base", str(base), "--lora", str(lora), "--data", str(data), "--out", str(tmp_path / "run")]
    options += ["--steps", "1", "--batch", "1", "--log-every", "1", "--save-every", "9", "--ema-decay", "0"]
    subprocess.run([sys.executable, "-m", "training.train", *options], check=True, cwd=Path.cwd())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory, {'LoRA' if lora else 'whole'}: {peak:.1f} GiB")
    row = (tmp_path / "run" / "log.csv").read_text().splitlines()[1]
    assert row.startswith("1,")
    assert json.loads((tmp_path / "run" / "trained" / "trained.json").read_text())["prediction_type"] == "epsilon"


def _write_base(folder: Path) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from training.model import build_tokenizer

    tokenizer = build_tokenizer(folder / "tokenizer")
    UNet2DConditionModel(**SD15).save_pretrained(folder / "unet")
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")


def _write_shard(folder: Path) -> None:
    folder.mkdir()
    count, side = 2, 64
    shard = {
        "images": torch.randn(count, 5, 4, side, side),
        "backgrounds": torch.randn(count, 3, 4, side, side),
        "foregrounds": torch.randn(count, 4, 4, side, side),
        "matte": torch.ones(count, 1, side, side),
        "normal": torch.zeros(count, 3, side, side),
        "environments": torch.rand(count, 5, 3, 32, 32),
    }
    facts = [[("woman", "warm", "left")] * 5, [("photograph", "natural", "left")] * 5]
    torch.save({**{name: value.half() for name, value in shard.items()}, "facts": facts}, folder / "shard-0000.pt")
