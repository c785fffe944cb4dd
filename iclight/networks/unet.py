"""The UNet of Stable Diffusion 1.5's kind: latents, a timestep and words in, the noise (or what it predicts) out.

    with torch.device("meta"):
        unet = UNet(config)  # diffusers' config.json of a UNet2DConditionModel

Reads top-down: UNet -> DownBlock -> MidBlock -> UpBlock. What a layer on the way down gives, one on the way up reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Downsample, Resnet, Transformer, TransformerBlock, Upsample, channels_in, check_config

# What SD1.5's family has in one form.
_ONLY: dict[str, Any] = {
    "act_fn": "silu",
    "attention_type": "default",
    "center_input_sample": False,
    "class_embed_type": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "num_class_embeds": None,
    "only_cross_attention": False,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "reverse_transformer_layers_per_block": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
}
_DOWN = {"DownBlock2D": False, "CrossAttnDownBlock2D": True}
_UP = {"UpBlock2D": False, "CrossAttnUpBlock2D": True}


class UNet(nn.Module):
    """Widths, blocks and heads come from a `UNet2DConditionModel`'s config; ValueError where it is of another kind."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        check_config(config, _ONLY)
        self.config = dict(config)
        widths = channels_in(config, (320, 640, 1280, 1280))
        time = 4 * widths[0]
        layers, groups = config.get("layers_per_block", 2), config.get("norm_num_groups", 32)
        context, eps = config.get("cross_attention_dim", 1280), config.get("norm_eps", 1e-5)
        # diffusers' `attention_head_dim` has always been the number of heads here.
        heads = _per_block(config.get("num_attention_heads") or config.get("attention_head_dim", 8), len(widths))
        depths = _per_block(config.get("transformer_layers_per_block", 1), len(widths))
        kind = config.get("resnet_time_scale_shift", "default")
        if kind not in ("default", "scale_shift"):
            raise ValueError(f"resnet_time_scale_shift is {kind!r}")
        shape = _Shape(groups, eps, time, kind == "scale_shift", context, bool(config.get("use_linear_projection")))
        downs = _kinds(config.get("down_block_types", ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)), _DOWN, widths)
        ups = _kinds(config.get("up_block_types", ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3), _UP, widths)

        self.conv_in = nn.Conv2d(config.get("in_channels", 4), widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], time)
        self.add_embedding = _added(config, context, time)
        self.down_blocks = nn.ModuleList()
        padding, inside = config.get("downsample_padding", 1), widths[0]
        for k, (width, attends) in enumerate(zip(widths, downs, strict=True)):
            attention = (heads[k], depths[k]) if attends else None
            last = k == len(widths) - 1
            self.down_blocks.append(DownBlock(inside, width, layers, shape, attention, None if last else padding))
            inside = width
        self.mid_block = MidBlock(widths[-1], shape, (heads[-1], depths[-1]))
        self.up_blocks = nn.ModuleList()
        for k, (width, attends) in enumerate(zip(widths[::-1], ups, strict=True)):
            skip = widths[::-1][min(k + 1, len(widths) - 1)]
            attention = (heads[::-1][k], depths[::-1][k]) if attends else None
            last = k == len(widths) - 1
            self.up_blocks.append(UpBlock(inside, width, skip, layers + 1, shape, attention, not last))
            inside = width
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps)
        self.conv_out = nn.Conv2d(widths[0], config.get("out_channels", 4), 3, padding=1)

    @property
    def device(self) -> torch.device:
        return self.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.conv_in.weight.dtype

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """N x C x h x w latents, a timestep, N x L x dim words -> (N x 4 x h x w,). Called as diffusers' UNet is, so
        that either serves where the other does."""
        words = encoder_hidden_states
        waves = sinusoids(timestep.expand(len(sample)), self.conv_in.out_channels)
        time = self.time_embedding(waves.to(sample.dtype))
        if self.add_embedding is not None:
            time = time + self.add_embedding(words)
        x = self.conv_in(sample)
        skips = [x]
        for block in self.down_blocks:
            x, more = block(x, time, words)
            skips += more
        x = self.mid_block(x, time, words)
        for block in self.up_blocks:
            assert isinstance(block, UpBlock)
            own, skips = skips[-len(block.resnets) :], skips[: -len(block.resnets)]
            # Sizes that are odd somewhere on the way down do not double back to themselves.
            size = skips[-1].shape[2:] if skips else None
            x = block(x, time, words, own, size)
        return (self.conv_out(F.silu(self.conv_norm_out(x))),)

    def fuse_projections(self) -> None:
        """See `Attention.fuse`."""
        for block in self.transformer_blocks():
            block.attn1.fuse()
            block.attn2.fuse()

    def transformer_blocks(self) -> list[TransformerBlock]:
        """What repeats: compiled one by one, all share one result for each width."""
        return [module for module in self.modules() if isinstance(module, TransformerBlock)]


def sinusoids(timesteps: Tensor, width: int) -> Tensor:
    """N timesteps -> N x width float32, cosines then sines (Vaswani et al. 2017)."""
    half = width // 2
    exponent = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
    angles = timesteps[:, None].float() * torch.exp(exponent)[None, :]
    waves = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
    return F.pad(waves, (0, 1)) if width % 2 else waves


class TimeEmbedding(nn.Module):
    """Sinusoids of a timestep -> what the resnets read."""

    def __init__(self, width: int, time: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, time)
        self.linear_2 = nn.Linear(time, time)

    def forward(self, waves: Tensor) -> Tensor:
        embedding: Tensor = self.linear_2(F.silu(self.linear_1(waves)))
        return embedding


class TextEmbedding(nn.Module):
    """All words as one vector beside the timestep's (`addition_embed_type: "text"`)."""

    def __init__(self, context: int, time: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(context)
        self.pool = AttentionPool(context, heads)
        self.proj = nn.Linear(context, time)
        self.norm2 = nn.LayerNorm(time)

    def forward(self, words: Tensor) -> Tensor:
        embedding: Tensor = self.norm2(self.proj(self.pool(self.norm1(words))))
        return embedding


class AttentionPool(nn.Module):
    """B x L x dim -> B x dim: what the words' mean attends to (as DeepFloyd IF pools its text)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(1, dim))
        self.k_proj, self.q_proj, self.v_proj = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, words: Tensor) -> Tensor:
        mean = words.mean(dim=1, keepdim=True) + self.positional_embedding.to(words.dtype)
        words = torch.cat([mean, words], dim=1)
        parts = (self.q_proj(mean), self.k_proj(words), self.v_proj(words))
        query, key, value = (one.unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1).flatten(0, 1) for one in parts)
        scale = 1 / math.sqrt(math.sqrt(query.shape[1]))  # of each, not of the product: float16 overflows less
        weight = torch.einsum("bct,bcs->bts", query * scale, key * scale)
        weight = torch.softmax(weight.float(), dim=-1).type(weight.dtype)
        return torch.einsum("bts,bcs->bct", weight, value).reshape(len(words), -1)


@dataclass(frozen=True)
class _Shape:
    """What all blocks of one UNet share."""

    groups: int
    eps: float
    time: int
    scales: bool
    context: int
    linear: bool

    def resnet(self, inside: int, outside: int) -> Resnet:
        return Resnet(inside, outside, self.groups, self.eps, self.time, self.scales)

    def transformers(self, channels: int, attention: tuple[int, int] | None, count: int) -> nn.ModuleList | None:
        """`attention`: heads and depth."""
        if attention is None:
            return None
        heads, depth = attention
        if not isinstance(heads, int) or heads < 1 or channels % heads:
            raise ValueError(f"{channels} channels are not {heads!r} heads")
        return nn.ModuleList(
            [Transformer(channels, heads, self.context, self.groups, depth, self.linear) for _ in range(count)]
        )


class DownBlock(nn.Module):
    """Layers of one size, then half of it. `padding`: of the halving; None where the block does not halve."""

    def __init__(
        self,
        inside: int,
        outside: int,
        layers: int,
        shape: _Shape,
        attention: tuple[int, int] | None,
        padding: int | None,
    ) -> None:
        super().__init__()
        self.attentions = shape.transformers(outside, attention, layers)
        self.resnets = nn.ModuleList([shape.resnet(inside if k == 0 else outside, outside) for k in range(layers)])
        self.downsamplers = None if padding is None else nn.ModuleList([Downsample(outside, padding)])

    def forward(self, x: Tensor, time: Tensor, words: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for k, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            if self.attentions is not None:
                x = self.attentions[k](x, words)
            skips.append(x)
        if self.downsamplers is not None:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class MidBlock(nn.Module):
    """The smallest size: resnet, attention, resnet."""

    def __init__(self, channels: int, shape: _Shape, attention: tuple[int, int]) -> None:
        super().__init__()
        self.attentions = shape.transformers(channels, attention, 1)
        self.resnets = nn.ModuleList([shape.resnet(channels, channels) for _ in range(2)])

    def forward(self, x: Tensor, time: Tensor, words: Tensor) -> Tensor:
        assert self.attentions is not None
        x = self.attentions[0](self.resnets[0](x, time), words)
        grown: Tensor = self.resnets[1](x, time)
        return grown


class UpBlock(nn.Module):
    """Layers of one size that read what the way down left (`skip`: the last one's channels), then twice that size."""

    def __init__(
        self,
        inside: int,
        outside: int,
        skip: int,
        layers: int,
        shape: _Shape,
        attention: tuple[int, int] | None,
        doubles: bool,
    ) -> None:
        super().__init__()
        self.attentions = shape.transformers(outside, attention, layers)
        self.resnets = nn.ModuleList()
        for k in range(layers):
            before, beside = inside if k == 0 else outside, skip if k == layers - 1 else outside
            self.resnets.append(shape.resnet(before + beside, outside))
        self.upsamplers = nn.ModuleList([Upsample(outside)]) if doubles else None

    def forward(
        self, x: Tensor, time: Tensor, words: Tensor, skips: Sequence[Tensor], size: torch.Size | None
    ) -> Tensor:
        for k, (resnet, skip) in enumerate(zip(self.resnets, reversed(skips), strict=True)):
            x = resnet(torch.cat([x, skip], dim=1), time)
            if self.attentions is not None:
                x = self.attentions[k](x, words)
        if self.upsamplers is None:
            return x
        grown: Tensor = self.upsamplers[0](x, size)
        return grown


def _added(config: Mapping[str, Any], context: int, time: int) -> TextEmbedding | None:
    kind = config.get("addition_embed_type")
    if kind is None:
        return None
    if kind != "text":
        raise ValueError(f"addition_embed_type is {kind!r}")
    return TextEmbedding(context, time, config.get("addition_embed_type_num_heads", 64))


def _per_block(value: Any, blocks: int) -> tuple[int, ...]:
    """A number for all blocks, or one for each."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * blocks
    if len(values) != blocks:
        raise ValueError(f"{values} are not {blocks} blocks")
    return values


def _kinds(names: Sequence[str], known: Mapping[str, bool], widths: Sequence[int]) -> list[bool]:
    """Whether each block attends, by the name of its kind."""
    unknown = [name for name in names if name not in known]
    if unknown or len(names) != len(widths):
        raise ValueError(f"{names} are not {len(widths)} of {', '.join(known)}")
    return [known[name] for name in names]
