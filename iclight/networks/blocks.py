"""What UNet and autoencoder are built of: resnets, attention, transformers, halving and doubling.

Attributes are named as diffusers names them, since the names of a file's tensors follow from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Resnet(nn.Module):
    """Two convolutions and a shortcut; `time` channels of the step's embedding move (and scale) what lies between."""

    def __init__(
        self, inside: int, outside: int, groups: int, eps: float, time: int | None = None, scales: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inside, eps)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.scales = scales
        if time is not None:
            self.time_emb_proj = nn.Linear(time, 2 * outside if scales else outside)
        self.norm2 = nn.GroupNorm(groups, outside, eps)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inside, outside, 1) if inside != outside else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        step = None if time is None else self.time_emb_proj(F.silu(time))[:, :, None, None]
        if step is not None and self.scales:
            scale, shift = step.chunk(2, dim=1)
            hidden = self.norm2(hidden) * (1 + scale) + shift
        else:
            hidden = self.norm2(hidden if step is None else hidden + step)
        hidden = self.conv2(F.silu(hidden))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + hidden


class Attention(nn.Module):
    """B x L x dim attends to B x M x context (itself where there is none)."""

    def __init__(self, dim: int, heads: int, context: int | None = None, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.crosses = context is not None
        self.to_q = nn.Linear(dim, dim, bias=bias)
        self.to_k = nn.Linear(context or dim, dim, bias=bias)
        self.to_v = nn.Linear(context or dim, dim, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.fused: nn.Linear | None = None

    def fuse(self) -> None:
        """One product for all that is made of the same input, for memory of a copy of the weights."""
        parts = [self.to_k, self.to_v] if self.crosses else [self.to_q, self.to_k, self.to_v]
        fused = nn.Linear(1, 1, bias=parts[0].bias is not None, device="meta")
        fused.weight = nn.Parameter(torch.cat([one.weight for one in parts]), requires_grad=False)
        if parts[0].bias is not None:
            fused.bias = nn.Parameter(torch.cat([one.bias for one in parts]), requires_grad=False)
        self.fused = fused

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        source = x if context is None else context
        if self.fused is None:
            query, key, value = self.to_q(x), self.to_k(source), self.to_v(source)
        elif self.crosses:
            query, (key, value) = self.to_q(x), self.fused(source).chunk(2, dim=-1)
        else:
            query, key, value = self.fused(source).chunk(3, dim=-1)
        query, key, value = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.to_out[0](attended.transpose(1, 2).flatten(2))
        return projected


class GEGLU(nn.Module):
    """A linear layer gated by GELU (Shazeer 2020)."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        hidden, gate = self.proj(x).chunk(2, dim=-1)
        return hidden * F.gelu(gate)


class FeedForward(nn.Module):
    """B x L x dim -> the same, four times as wide within. (Its second place is a dropout's, which has no weights.)"""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.net(x)
        return hidden


class TransformerBlock(nn.Module):
    """Attention to itself, attention to the words, feed-forward."""

    def __init__(self, dim: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, heads, context)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), words) + x
        return self.ff(self.norm3(x)) + x


class Transformer(nn.Module):
    """B x C x h x w, each place a token of `depth` blocks. `linear`: the projections are, instead of convolutions."""

    def __init__(self, channels: int, heads: int, context: int, groups: int, depth: int, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, heads, context) for _ in range(depth)])
        self.proj_out = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        hidden = self.norm(x)
        if not self.linear:
            hidden = self.proj_in(hidden)
        hidden = hidden.permute(0, 2, 3, 1)
        shape = hidden.shape
        hidden = hidden.reshape(shape[0], -1, shape[3])
        if self.linear:
            hidden = self.proj_in(hidden)
        for block in self.transformer_blocks:
            hidden = block(hidden, words)
        if self.linear:
            hidden = self.proj_out(hidden)
        hidden = hidden.reshape(shape).permute(0, 3, 1, 2).contiguous()
        if not self.linear:
            hidden = self.proj_out(hidden)
        return hidden + x


class Downsample(nn.Module):
    """Half the size; without padding, one row and column of zeros stand at the far sides (autoencoders)."""

    def __init__(self, channels: int, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.conv(x if self.padding else F.pad(x, (0, 1, 0, 1)))
        return halved


class Upsample(nn.Module):
    """Twice the size, or `size` where that is not the half's double."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: torch.Size | None = None) -> Tensor:
        if size is None:
            larger = F.interpolate(x, scale_factor=2.0, mode="nearest")
        else:
            larger = F.interpolate(x, size=size, mode="nearest")
        grown: Tensor = self.conv(larger)
        return grown


def check_config(config: Mapping[str, Any], only: Mapping[str, Any]) -> None:
    """Raise ValueError where a config asks for a thing that `only` has in one form."""
    for name, value in only.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name} is {config[name]!r}, but only {value!r} is known here")


def channels_in(config: Mapping[str, Any], default: tuple[int, ...]) -> tuple[int, ...]:
    """A config's `block_out_channels`. Raises ValueError for anything but positive whole numbers."""
    channels = tuple(config.get("block_out_channels", default))
    if not channels or any(not isinstance(one, int) or one < 1 for one in channels):
        raise ValueError(f"block_out_channels is {channels!r}")
    return channels
