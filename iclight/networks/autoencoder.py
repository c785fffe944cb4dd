"""Stable Diffusion's autoencoder (Rombach et al. 2022): pictures to latents, latents to pictures; whole, or in tiles.

autoencoder = Autoencoder(config)  # diffusers' config.json of an AutoencoderKL
autoencoder.decode(autoencoder.encode(pixels))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Attention, Downsample, Resnet, Upsample, channels_in, check_config

_ONLY: dict[str, Any] = {"act_fn": "silu"}
_EPS = 1e-6
# The share of a tile that lies under its neighbours'.
OVERLAP = 0.25


class Autoencoder(nn.Module):
    """Widths and layers come from an `AutoencoderKL`'s config; ValueError where it is of another kind.

    `tiled`: work in tiles of the size it was trained at wherever a side is longer. `scaling_factor`: what the UNet sees
    are latents times this.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        check_config(config, _ONLY)
        self.config = dict(config)
        widths = channels_in(config, (64,))
        for side, kind in (("down", "DownEncoderBlock2D"), ("up", "UpDecoderBlock2D")):
            if tuple(config.get(f"{side}_block_types", (kind,))) != (kind,) * len(widths):
                raise ValueError(f"{side}_block_types are not {len(widths)} of {kind}")
        latents = config.get("latent_channels", 4)
        options = (config.get("layers_per_block", 1), config.get("norm_num_groups", 32))
        attends = bool(config.get("mid_block_add_attention", True))
        self.latent_channels: int = latents
        self.scaling_factor: float = config.get("scaling_factor", 0.18215)
        self.widths = widths
        self.factor = 2 ** (len(widths) - 1)
        side = config.get("sample_size", 32)
        self.tile: int = side[0] if isinstance(side, (list, tuple)) else side
        self.tiled = False
        self.encoder = Encoder(config.get("in_channels", 3), 2 * latents, widths, *options, attends)
        self.decoder = Decoder(latents, config.get("out_channels", 3), widths, *options, attends)
        self.quant_conv = nn.Conv2d(2 * latents, 2 * latents, 1) if config.get("use_quant_conv", True) else None
        self.post_quant_conv = nn.Conv2d(latents, latents, 1) if config.get("use_post_quant_conv", True) else None

    def forward(self, pixels: Tensor) -> Tensor:
        """N x 3 x H x W about [-1, 1] -> the same, through latents."""
        return self.decode(self.encode(pixels))

    def encode(self, pixels: Tensor) -> Tensor:
        """N x 3 x H x W about [-1, 1] -> N x 4 x h x w, the posterior's mode."""

        def whole(part: Tensor) -> Tensor:
            moments = self.encoder(part)
            return moments if self.quant_conv is None else self.quant_conv(moments)

        if self.tiled and max(pixels.shape[2:]) > self.tile:
            moments = _in_tiles(whole, pixels, self.tile, self.tile // self.factor)
        else:
            moments = whole(pixels)
        return moments.chunk(2, dim=1)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """N x 4 x h x w -> N x 3 x H x W about [-1, 1]."""

        def whole(part: Tensor) -> Tensor:
            pixels: Tensor = self.decoder(part if self.post_quant_conv is None else self.post_quant_conv(part))
            return pixels

        side = self.tile // self.factor
        if self.tiled and max(latents.shape[2:]) > side:
            return _in_tiles(whole, latents, side, self.tile)
        return whole(latents)


class Encoder(nn.Module):
    """Pixels -> the posterior's mean and logarithmic variance."""

    def __init__(
        self, inside: int, outside: int, widths: tuple[int, ...], layers: int, groups: int, attends: bool
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inside, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        before = widths[0]
        for k, width in enumerate(widths):
            self.down_blocks.append(_Block(before, width, layers, groups, down=k < len(widths) - 1))
            before = width
        self.mid_block = _Mid(widths[-1], groups, attends)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], _EPS)
        self.conv_out = nn.Conv2d(widths[-1], outside, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        moments: Tensor = self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))
        return moments


class Decoder(nn.Module):
    """Latents -> pixels."""

    def __init__(
        self, inside: int, outside: int, widths: tuple[int, ...], layers: int, groups: int, attends: bool
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inside, widths[-1], 3, padding=1)
        self.mid_block = _Mid(widths[-1], groups, attends)
        self.up_blocks = nn.ModuleList()
        before = widths[-1]
        for k, width in enumerate(widths[::-1]):
            self.up_blocks.append(_Block(before, width, layers + 1, groups, up=k < len(widths) - 1))
            before = width
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], _EPS)
        self.conv_out = nn.Conv2d(widths[0], outside, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        pixels: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return pixels


class _Block(nn.Module):
    def __init__(
        self, inside: int, outside: int, layers: int, groups: int, down: bool = False, up: bool = False
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            [Resnet(inside if k == 0 else outside, outside, groups, _EPS) for k in range(layers)]
        )
        self.downsamplers = nn.ModuleList([Downsample(outside, padding=0)]) if down else None
        self.upsamplers = nn.ModuleList([Upsample(outside)]) if up else None

    def forward(self, x: Tensor) -> Tensor:
        for module in (*self.resnets, *(self.downsamplers or ()), *(self.upsamplers or ())):
            x = module(x)
        return x


class _Mid(nn.Module):
    def __init__(self, channels: int, groups: int, attends: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([_PlaceAttention(channels, groups)]) if attends else None
        self.resnets = nn.ModuleList([Resnet(channels, channels, groups, _EPS) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        if self.attentions is not None:
            x = self.attentions[0](x)
        mixed: Tensor = self.resnets[1](x)
        return mixed


class _PlaceAttention(Attention):
    """Every place attends to every other, with one head."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(channels, 1, bias=True)
        self.group_norm = nn.GroupNorm(groups, channels, _EPS)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        flat = self.group_norm(x.flatten(2)).transpose(1, 2)
        return super().forward(flat).transpose(1, 2).reshape(x.shape) + x


def _in_tiles(work: Callable[[Tensor], Tensor], whole: Tensor, side: int, result_side: int) -> Tensor:
    """Work on overlapping tiles of `side`, which come back with `result_side`, blended into one another."""
    stride, blend = int(side * (1 - OVERLAP)), int(result_side * OVERLAP)
    kept = result_side - blend
    rows = [
        [work(whole[:, :, y : y + side, x : x + side]) for x in range(0, whole.shape[3], stride)]
        for y in range(0, whole.shape[2], stride)
    ]
    joined = []
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            if y > 0:
                _blend(rows[y - 1][x], tile, blend, dim=2)
            if x > 0:
                _blend(row[x - 1], tile, blend, dim=3)
        joined.append(torch.cat([tile[:, :, :kept, :kept] for tile in row], dim=3))
    return torch.cat(joined, dim=2)


def _blend(before: Tensor, tile: Tensor, extent: int, dim: int) -> None:
    """Fade, in place, from the end of the tile before into the beginning of this one."""
    extent = min(before.shape[dim], tile.shape[dim], extent)
    if extent == 0:
        return
    share = torch.arange(extent, dtype=tile.dtype, device=tile.device) / extent
    share = share.reshape([-1, 1] if dim == 2 else [1, -1])
    edge = tile.narrow(dim, 0, extent)
    edge.copy_(before.narrow(dim, before.shape[dim] - extent, extent) * (1 - share) + edge * share)
