"""Contact sheets: pictures side by side, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from .data.batches import Sources
from .data.captions import QUALITY
from .data.latents import BACKGROUNDS, SOURCES
from .model import RelightingModel
from .sampling import decode, sample
from .tokenizer import Words


def save_sheet(rows: Sequence[Sequence[Tensor]], path: Path, gap: int = 2) -> None:
    """Rows of 3xHxW pictures in [0, 1] (rows may differ in height) -> one JPEG or PNG on white."""
    lines = []
    for row in rows:
        spaced = [torch.nn.functional.pad(picture.cpu(), (gap,) * 4, value=1.0) for picture in row]
        lines.append(torch.cat(spaced, 2))
    width = max(line.shape[2] for line in lines)
    lines = [torch.nn.functional.pad(line, (0, width - line.shape[2], 0, 0), value=1.0) for line in lines]
    sheet = torch.cat(lines, 1).permute(1, 2, 0).clamp(0, 1).mul(255).round().numpy().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, quality=90)


def training_sheet(
    model: RelightingModel,
    words: Words,
    sources: Sources,
    path: Path,
    vae: AutoencoderKL | None,
    count: int = 6,
    steps: int = 15,
) -> None:
    """Objects of the training set: source, truth, then what the model makes of it as fbc and as env.

    `model`, `words`: in training, and its captions' token ids; `vae`: to look with; nothing is drawn without one.
    `sources`: where the objects are from; `count`: how many.
    `path`: of the picture; `steps`: of the sampler.
    """
    if vae is None:
        return
    model.eval()
    device = next(model.parameters()).device
    every = max(1, len(sources.objects) // count)
    items = sources.objects[::every][:count]
    tensors = {name: value[items].float().to(device) for name, value in sources.tensors.items()}
    foreground = tensors["foregrounds"][:, SOURCES.index(3)]
    truth, background = tensors["images"][:, 0], tensors["backgrounds"][:, BACKGROUNDS.index(0)]
    captions = [QUALITY] * len(items)
    nothing = torch.zeros_like(background)
    by_background = sample(model, words, torch.cat([foreground, background], 1), captions, steps=steps)
    around = tensors["environments"][:, 0]
    by_environment = sample(model, words, torch.cat([foreground, nothing], 1), captions, around, steps=steps)
    columns = [decode(vae.to(device), z) for z in (foreground, truth, by_background, by_environment)]
    save_sheet(list(zip(*columns, strict=True)), path)
    model.train()
