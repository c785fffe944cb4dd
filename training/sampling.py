"""Draw pictures from a model in training, with the engine's own sampler, many objects at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from iclight.diffusion import sampler

from .checkpoints import precision
from .data.captions import NEGATIVE
from .model import RelightingModel
from .tokenizer import Words


@torch.no_grad()
def sample(
    model: RelightingModel,
    words: Words,
    condition: Tensor,
    captions: Sequence[str],
    environments: Tensor | None = None,
    steps: int = 25,
    scale: float = 2.0,
    seed: int = 0,
    batch: int = 16,
) -> Tensor:
    """Bx4xhxw latents; same classes and steps as the engine's first pass.

    `model`, `words`: a model in training, and its captions' token ids.
    `condition`: Bx8xhxw, latents of foreground and background; `captions`: B.
    `environments`: Bx3x32x32 radiance, for environment tokens.
    `steps`: of the sampler; `scale`: of guidance.
    `seed`: each `batch` of rows draws its noise from it.
    """
    latents = []
    for first in range(0, len(condition), batch):
        part = slice(first, first + batch)
        count = len(condition[part])
        cond = model.text_encoder(words(captions[part])).last_hidden_state
        uncond = model.text_encoder(words([NEGATIVE] * count)).last_hidden_state
        if environments is not None:
            around = model.tokens(environments[part])
            cond, uncond = torch.cat([cond, around], 1), torch.cat([uncond, around], 1)
        guidance = sampler.Guidance(cond, uncond, scale)
        predict = sampler.NoisePredictor(model.unet, guidance, condition[part], model.prediction_type)
        shape = (count, 4, *condition.shape[2:])
        random = torch.Generator().manual_seed(seed)
        with torch.autocast(condition.device.type, torch.bfloat16, enabled=precision() == "bf16"):
            latents.append(sampler.denoise(predict, steps, None, None, shape, random))
    return torch.cat(latents)


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor, batch: int = 16) -> Tensor:
    """Bx4xhxw latents -> Bx3xHxW sRGB in [0, 1]."""
    pictures = []
    for part in latents.split(batch):
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=precision() == "bf16"):
            decoded = vae.decode(part.float() / vae.config.scaling_factor).sample
        pictures.append((decoded.float() / 2 + 0.5).clamp(0, 1))
    return torch.cat(pictures)
