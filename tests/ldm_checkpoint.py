"""A tiny SD1.5-shaped model, as a diffusers folder and as the single-file checkpoint people trade.

The single-file naming is the original latent-diffusion code's; the map below goes from diffusers' names to it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from golden_data import GOLDEN
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

UNET = {
    "block_out_channels": [32, 32, 64, 64],
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "layers_per_block": 2,
    "sample_size": 8,
}
VAE = {
    "block_out_channels": [32, 32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 64,
}
VAE_FILE = "diffusion_pytorch_model.safetensors"
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def unet_key(name: str) -> str:
    """A diffusers UNet name in the original naming."""
    fixed = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    for ours, theirs in fixed.items():
        if name.startswith(ours + "."):
            return theirs + name[len(ours) :]
    if found := re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions)\.(\d)\.(.*)", name):
        side, block, kind, index, rest = found.groups()
        if side == "down":
            place = f"input_blocks.{3 * int(block) + int(index) + 1}"
        else:
            place = f"output_blocks.{3 * int(block) + int(index)}"
        return f"{place}.0.{_resnet(rest)}" if kind == "resnets" else f"{place}.1.{rest}"
    if found := re.match(r"down_blocks\.(\d)\.downsamplers\.0\.conv\.(.*)", name):
        return f"input_blocks.{3 * (int(found[1]) + 1)}.0.op.{found[2]}"
    if found := re.match(r"up_blocks\.(\d)\.upsamplers\.0\.(.*)", name):
        return f"output_blocks.{3 * int(found[1]) + 2}.{1 if found[1] == '0' else 2}.{found[2]}"
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        if found[1] == "resnets":
            return f"middle_block.{2 * int(found[2])}.{_resnet(found[3])}"
        return f"middle_block.1.{found[3]}"
    raise KeyError(name)


def _resnet(rest: str) -> str:
    head, tail = rest.split(".", 1)
    return f"{RESNET[head]}.{tail}"


def vae_key(name: str) -> str:
    """A diffusers VAE name in the original naming."""
    name = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2", name)
    name = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", name)
    name = re.sub(
        r"decoder\.up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"decoder.up.{3 - int(m[1])}.block.{m[2]}", name
    )
    name = re.sub(r"decoder\.up_blocks\.(\d)\.upsamplers\.0", lambda m: f"decoder.up.{3 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_norm_out", "norm_out")
    name = name.replace("conv_shortcut", "nin_shortcut").replace("group_norm", "norm").replace("to_out.0", "proj_out")
    return re.sub(r"to_([qkv])\.", r"\1.", name)


def make(folder: Path) -> tuple[Path, Path]:
    """(diffusers folder with an fc offset, single-file checkpoint) holding the same random weights in float16."""
    torch.manual_seed(0)
    model = folder / "tiny"
    unet, vae = UNet2DConditionModel(**UNET).half(), AutoencoderKL(**VAE).half()
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            vocab_size=5000,
            bos_token_id=0,
            eos_token_id=1,
        )
    ).half()
    unet.save_pretrained(model / "unet")
    vae.save_pretrained(model / "vae")
    text.save_pretrained(model / "text_encoder")
    DPMSolverMultistepScheduler().save_pretrained(model / "scheduler")
    shutil.copytree(GOLDEN / "model" / "tokenizer", model / "tokenizer")
    shutil.copy(GOLDEN / "model" / "model_index.json", model)

    offset = {name: 0.01 * torch.randn(tensor.shape).half() for name, tensor in unet.state_dict().items()}
    offset["conv_in.weight"] = 0.05 * torch.randn(32, 8, 3, 3).half()
    save_file(offset, model / "iclight_sd15_fc.safetensors")

    single = {f"model.diffusion_model.{unet_key(n)}": t for n, t in unet.state_dict().items()}
    for name, tensor in vae.state_dict().items():
        key = vae_key(name)
        is_attention = ".attn_1." in key and tensor.ndim == 2
        single[f"first_stage_model.{key}"] = tensor[..., None, None] if is_attention else tensor
    for name, tensor in text.state_dict().items():
        if not name.endswith("position_ids"):
            plain = name.removeprefix("text_model.")
            single[f"cond_stage_model.transformer.text_model.{plain}"] = tensor
    path = folder / "traded.safetensors"
    save_file({name: tensor.clone().contiguous() for name, tensor in single.items()}, path)
    return model, path
