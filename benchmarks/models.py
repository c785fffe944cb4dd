"""Models with random weights: SD1.5's architecture at full size, or a tiny one of the same make.

Speed and memory do not depend on what the weights say, so nothing is downloaded and nothing needs to be on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from iclight.diffusion.devices import Placement
from iclight.diffusion.unet import INPUT_CHANNELS, LATENT_CHANNELS
from iclight.networks.autoencoder import Autoencoder
from iclight.networks.clip import TextConfig, TextEncoder, open_tokenizer
from iclight.networks.unet import UNet

# Any CLIP tokenizer will do: only the number of ids matters, and they are smaller than the text encoder's vocabulary.
TOKENIZER = Path(__file__).parent.parent / "models" / "mini" / "tokenizer"
SEED = 20240509


@dataclass(frozen=True)
class Size:
    """One size of model: what its three networks are built from."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]


UNET_BLOCKS = {
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
VAE_BLOCKS = {
    "latent_channels": LATENT_CHANNELS,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "scaling_factor": 0.18215,
}
SIZES = {
    "sd15": Size(
        unet={
            **UNET_BLOCKS,
            "sample_size": 64,
            "block_out_channels": [320, 640, 1280, 1280],
            "layers_per_block": 2,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        },
        vae={**VAE_BLOCKS, "sample_size": 512, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2},
        text={
            "vocab_size": 49408,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "projection_dim": 768,
            "bos_token_id": 49406,
            "eos_token_id": 49407,
        },
    ),
    "tiny": Size(
        unet={
            **UNET_BLOCKS,
            "sample_size": 64,
            "block_out_channels": [16, 16, 32, 32],
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "attention_head_dim": 4,
            "norm_num_groups": 8,
        },
        vae={
            **VAE_BLOCKS,
            "sample_size": 64,
            "block_out_channels": [8, 8, 16, 16],
            "layers_per_block": 1,
            "norm_num_groups": 4,
        },
        text={
            "vocab_size": 1024,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "projection_dim": 32,
        },
    ),
}


@dataclass(frozen=True)
class Networks:
    """One set of weights, in the libraries' networks or in the engine's own. `unet` is the widened relighting UNet."""

    tokenizer: Any  # CLIPTokenizer, TextTokenizer
    text_encoder: Any  # CLIPTextModel, TextEncoder
    vae: Any  # AutoencoderKL, Autoencoder
    unet: Any  # UNet2DConditionModel, UNet


def build(size: str, workflow: str, placement: Placement) -> Networks:
    """Random networks of a size for a workflow, in eval mode, placed. Same arguments, same weights."""
    torch.manual_seed(SEED)
    chosen = SIZES[size]
    vae = AutoencoderKL(**chosen.vae)
    text_encoder = CLIPTextModel(CLIPTextConfig(**chosen.text))
    unet = UNet2DConditionModel(**{**chosen.unet, "in_channels": INPUT_CHANNELS[workflow]})
    return Networks(
        tokenizer=CLIPTokenizer.from_pretrained(str(TOKENIZER), local_files_only=True),
        text_encoder=_ready(text_encoder, placement.device, placement.dtype),
        vae=_ready(vae, placement.device, placement.vae_dtype),
        unet=_ready(unet, placement.device, placement.dtype),
    )


def engines_own(networks: Networks) -> Networks:
    """The same weights, not copied, in the engine's own networks."""
    with torch.device("meta"):
        text_encoder = TextEncoder(TextConfig.of(networks.text_encoder.config.to_dict()))
        unet, vae = UNet(networks.unet.config), Autoencoder(networks.vae.config)
    pairs = ((text_encoder, networks.text_encoder), (unet, networks.unet), (vae, networks.vae))
    for ours, theirs in pairs:
        tensors = {name.removeprefix("text_model."): tensor for name, tensor in theirs.state_dict().items()}
        ours.load_state_dict(tensors, assign=True)
        ours.requires_grad_(False).eval()
    return Networks(open_tokenizer(TOKENIZER), text_encoder, vae, unet)


def _ready(module: Any, device: torch.device, dtype: torch.dtype) -> Any:
    return module.to(device, dtype).requires_grad_(False).eval()
