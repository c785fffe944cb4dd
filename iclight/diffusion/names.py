"""What the same tensors are called by different programs: diffusers' names, and those of the original code (ldm).

Single-file checkpoints, ComfyUI's offsets and many LoRA files carry ldm's names; the tables are made from a model's own
names, so they hold for any number of blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
# Attention of a VAE: diffusers' names now, theirs before 0.15, ldm's.
_VAE_ATTENTION = {
    "group_norm": ("group_norm", "norm"),
    "to_q": ("query", "q"),
    "to_k": ("key", "k"),
    "to_v": ("value", "v"),
    "to_out.0": ("proj_attn", "proj_out"),
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def ldm_unet(names: Iterable[str]) -> dict[str, str]:
    """diffusers' name -> ldm's, for the tensors or layers of a UNet; names that ldm has no word for are left out."""
    names = list(names)
    blocks = [match for name in names if (match := _BLOCK.match(name))]
    resnets = {int(match[4]) for match in blocks if match[1] == "down" and match[3] == "resnets"}
    in_block = max(resnets, default=1) + 1
    attend = {int(match[2]) for match in blocks if match[1] == "up" and match[3] == "attentions"}
    return {name: ldm for name in names if (ldm := _ldm_unet(name, in_block, attend))}


def _ldm_unet(name: str, in_block: int, attend: set[int]) -> str | None:
    for ours, theirs in _UNET.items():
        if name == ours or name.startswith(ours + "."):
            return theirs + name[len(ours) :]
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name):
        index = int(match[2])
        return (
            f"middle_block.{2 * index}.{_resnet(match[3])}"
            if match[1] == "resnets"
            else f"middle_block.{2 * index + 1}.{match[3]}"
        )
    if not (match := _BLOCK.fullmatch(name)):
        return None
    side, kind, rest = match[1], match[3], match[5]
    block, index = int(match[2]), int(match[4])
    # ldm counts on: a block's layers, then its resampling (down: a place of its own; up: in its last layer's).
    first = 1 + block * (in_block + 1) if side == "down" else block * (in_block + 1)
    where = f"{'input' if side == 'down' else 'output'}_blocks.{first + index}"
    if kind == "resnets":
        return f"{where}.0.{_resnet(rest)}"
    if kind == "attentions":
        return f"{where}.1.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{first + in_block}.0.op{rest.removeprefix('conv')}"
    return f"output_blocks.{first + in_block}.{1 + (block in attend)}.{rest}"


def _resnet(rest: str) -> str:
    head, dot, tail = rest.partition(".")
    return _RESNET.get(head, head) + dot + tail


def vae_names(name: str, blocks: int) -> Iterator[str]:
    """What a VAE's tensor may be called: diffusers' own name, its older one, ldm's (`blocks` at each side)."""
    yield name
    attention = re.fullmatch(r"(.+)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", name)
    if attention:
        side, layer, kind = attention.groups()
        for other in (layer, *_VAE_ATTENTION.get(layer, ())):
            yield f"{side}.mid_block.attentions.0.{other}.{kind}"
            yield f"{side}.mid.attn_1.{other}.{kind}"
        return
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{blocks - 1 - int(m[1])}.block.{m[2]}", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    yield name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def text_name(name: str) -> str:
    """A CLIP text encoder's tensor as the newest library calls it: without the `text_model.` of earlier ones."""
    return name.removeprefix("text_model.")
