"""Encode rendered shards once, so that training never runs the autoencoder.

    python -m training.data.latents build/stage build/latents --vae build/autoencoder/final

Latents of a shard: "images" Nx5x4xhxw, "backgrounds" and "foregrounds" likewise (those of `BACKGROUNDS` and `SOURCES`
alone), "matte" Nx1xhxw, "normal" Nx3xhxw, all float16; "environments" and "facts" are carried over.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm.auto import tqdm

from ..checkpoints import precision
from ..shards import Shard, save, share

# Which of an object's five pictures may be a source, and which have their background encoded.
SOURCES = (1, 2, 3, 4)
BACKGROUNDS = (0, 3, 4)
BATCH, BATCH_ON_CUDA = 16, 512  # pictures encoded at once
SHRINKS = ("images", "backgrounds", "foregrounds", "matte")  # of bytes


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """...x3xHxW uint8 -> ...x4xhxw latents (their means), float16, scaled as the engine's VAE scales them."""
    flat = pictures.flatten(0, -4)
    parts = []
    for part in flat.split(BATCH_ON_CUDA if vae.device.type == "cuda" else BATCH):
        pixels = (part.to(vae.device).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(vae.device.type, torch.bfloat16, enabled=precision() == "bf16"):
            parts.append(vae.encode(pixels).latent_dist.mean.float().cpu() * vae.config.scaling_factor)
    latents = torch.cat(parts).half()
    return latents.view(*pictures.shape[:-3], *latents.shape[1:])


def encode_shard(vae: AutoencoderKL, shard: Shard, shrink: int = 1) -> Shard:
    """One shard's latents, of its pictures `shrink` times smaller."""
    shard = {name: _shrunk(value, shrink) if name in SHRINKS else value for name, value in shard.items()}
    latents = {
        "images": encode(vae, shard["images"]),
        "backgrounds": encode(vae, shard["backgrounds"][:, list(BACKGROUNDS)]),
        "foregrounds": encode(vae, shard["foregrounds"][:, list(SOURCES)]),
    }
    latents["matte"] = F.interpolate(shard["matte"].float() / 255, latents["images"].shape[-2:], mode="area").half()
    latents["normal"] = F.interpolate(shard["normal"].float() / 127, latents["images"].shape[-2:], mode="area").half()
    return {**latents, "environments": shard["environments"], "facts": shard["facts"]}


def _shrunk(pictures: Tensor, shrink: int) -> Tensor:
    if shrink == 1:
        return pictures
    small = F.avg_pool2d(pictures.flatten(0, -4).float(), shrink).round().to(torch.uint8)
    return small.view(*pictures.shape[:-2], *small.shape[-2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--vae", type=Path, default=Path("build/autoencoder/final"))
    parser.add_argument("--shrink", type=int, default=1, help="encode the pictures this many times smaller")
    parser.add_argument("--most", type=int, help="encode at most this many shards")
    parser.add_argument("--part", default="0/1", help="this process's share of the shards: number/count")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    vae = AutoencoderKL.from_pretrained(options.vae).eval().to(memory_format=torch.channels_last)
    vae = vae.to("cuda" if torch.cuda.is_available() else "cpu")
    paths = sorted(options.shards.glob("shard-*.pt"))[: options.most]
    for path in tqdm(share(paths, options.part), mininterval=10):
        if not (target := options.out / path.name).is_file():
            save(encode_shard(vae, torch.load(path, weights_only=False), options.shrink), target)


if __name__ == "__main__":
    main()
