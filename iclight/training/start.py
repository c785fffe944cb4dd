"""How mini's UNet begins: not from nothing, but from pasting the foreground over the background.

The best guess at the velocity that is linear in what the network sees is

    v = p(t) x_t - q(t) x,    x = foreground + background,
    p(t) = sqrt(a (1 - a)) (1 - r) / (1 - a + a r),    q(t) = sqrt(1 - a) / (1 - a + a r),

where r is the variance of what the guess x at the clean latents leaves open. An untrained UNet is made to compute just
that; what it learns is the light.

Signals travel as pairs (+s, -s), since silu(s) - silu(-s) = s. Beside them stand constants +-ANCHOR, much larger than
they are: these pin the deviation of the group, so that group norm hardly bends them. Timesteps multiply in the last
block (scale_shift), whose scales are fitted to p(t) and q(t) by least squares.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from .loss import alphas_cumulative

LATENTS = 4
GROUPS = 8
ANCHOR = 12.0
OPEN = 0.35  # r: what pasting leaves open of latents of variance 1


@torch.no_grad()
def paste_start(unet: UNet2DConditionModel) -> None:
    """Set the weights; needs 12 input channels, a first level of 48 channels or more, and scale_shift."""
    width = unet.conv_in.out_channels
    wide, narrow = 2 * width // GROUPS, width // GROUPS
    if narrow < 6 or unet.conv_in.in_channels != 3 * LATENTS:
        raise ValueError(
            f"The first level has {width} channels and takes {unet.conv_in.in_channels}; it needs 48 and 12."
        )
    parts: list[Any] = list(unet.modules())
    for module in parts:
        if type(module).__name__ == "ResnetBlock2D":
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
        if type(module).__name__ == "Transformer2DModel":
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)
    entering = _enter(unet.conv_in, wide)
    last: Any = unet.up_blocks[-1].resnets[-1]
    # The last block reads its own level's features first, then those of the first convolution.
    skipped = [(plus + width, minus + width) for plus, minus in entering]
    # Whoever reads the anchors without a norm before it would see nothing else.
    anchors = torch.tensor([number * wide + k for number in range(LATENTS) for k in (6, 7)])
    for sampler in unet.down_blocks[0].downsamplers:
        sampler.conv.weight[:, anchors] = 0
    for block in unet.up_blocks[-1].resnets:
        seen = anchors + block.conv1.in_channels - width
        block.conv_shortcut.weight[:, seen] = 0
        block.conv1.weight[:, seen] = 0
    spread = math.sqrt((2 * 3 * 0.9 + 2 * ANCHOR**2 + 0.1 * (wide - 8)) / wide)
    hidden = _gather(last.conv1, skipped, spread, narrow)
    _fit_scales(unet, last, hidden)
    leaving = [(narrow * k, narrow * k + 1) for k in range(LATENTS)]
    held = math.sqrt((2 * 2 * 1.2 + 2 * ANCHOR**2) / narrow)
    last.conv_shortcut.weight[: LATENTS * narrow] *= 0.3
    for k, (plus, minus) in enumerate(leaving):
        for target, sign in ((plus, 1.0), (minus, -1.0)):
            _write(last.conv_shortcut, target, {})
            for place in (k, LATENTS + k):  # what was gathered of x_t, and of the paste
                up, down = hidden[place]
                last.conv2.weight[target, up, 1, 1] = sign * held
                last.conv2.weight[target, down, 1, 1] = -sign * held
        _write(last.conv_shortcut, plus + 2, {}, ANCHOR)
        _write(last.conv_shortcut, plus + 3, {}, -ANCHOR)
    deviation = math.sqrt((2 * 1.0 + 2 * ANCHOR**2 + 0.1 * (narrow - 4)) / narrow)
    unet.conv_out.weight *= 0.1
    unet.conv_out.bias.zero_()
    for k, (plus, minus) in enumerate(leaving):
        unet.conv_out.weight[k, : narrow * LATENTS] = 0
        unet.conv_out.weight[k, plus, 1, 1], unet.conv_out.weight[k, minus, 1, 1] = deviation, -deviation


Place = tuple[int, int]  # the channels of +s and -s


def _enter(conv: Any, group: int) -> list[Place]:
    """First convolution: the pairs' places of x_t, foreground, background (4 each), three to a group, with anchors."""
    conv.weight *= 0.3
    places = [_place(signal, 3, group) for signal in range(3 * LATENTS)]
    for signal, (plus, minus) in enumerate(places):
        _write(conv, plus, {signal: 1.0})
        _write(conv, minus, {signal: -1.0})
    _anchor(conv, group, 6)
    return places


def _gather(conv: Any, signals: list[Place], spread: float, group: int) -> list[Place]:
    """Last block's first convolution: x_t (4 pairs), then foreground + background (4 pairs), two to a group."""
    places = [_place(number, 2, group) for number in range(2 * LATENTS)]
    for number, (plus, minus) in enumerate(places):
        latent = number % LATENTS
        read = [latent] if number < LATENTS else [LATENTS + latent, 2 * LATENTS + latent]
        taps = {signals[one][k]: (spread, -spread)[k] for one in read for k in (0, 1)}
        _write(conv, plus, taps)
        _write(conv, minus, {channel: -weight for channel, weight in taps.items()})
    _anchor(conv, group, 4)
    return places


def _place(number: int, each: int, group: int) -> Place:
    """Where the pair of signal `number` stands when every group of `group` channels holds `each` of them."""
    plus = (number // each) * group + 2 * (number % each)
    return plus, plus + 1


def _write(conv: Any, target: int, taps: dict[int, float], constant: float = 0.0) -> None:
    """Make one output channel a weighted sum of input channels, pixel by pixel, plus a constant."""
    conv.weight[target] = 0
    conv.bias[target] = constant
    for channel, weight in taps.items():
        conv.weight[target, channel, conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = weight


def _anchor(conv: Any, group: int, first: int) -> None:
    for number in range(LATENTS):
        _write(conv, number * group + first, {}, ANCHOR)
        _write(conv, number * group + first + 1, {}, -ANCHOR)


def _fit_scales(unet: UNet2DConditionModel, block: Any, hidden: list[tuple[int, int]]) -> None:
    """1 + scale(t) = p(t) for x_t, -q(t) for the paste."""
    alphas = alphas_cumulative().double()
    timesteps = torch.arange(len(alphas))
    paste = (1 - alphas).sqrt() / (1 - alphas + alphas * OPEN)
    wanted = {0: paste * alphas.sqrt() * (1 - OPEN), 1: -paste}
    features = nn.functional.silu(unet.time_embedding(unet.time_proj(timesteps))).double()
    basis = torch.cat([features, torch.ones(len(features), 1, dtype=torch.double)], 1)
    for number, pair in enumerate(hidden):
        solution = _ridge(basis, wanted[number // LATENTS] - 1)
        half = block.time_emb_proj.out_features // 2
        for place in pair:
            block.time_emb_proj.weight[place] = solution[:-1].float()
            block.time_emb_proj.bias[place] = solution[-1].float()
            block.time_emb_proj.weight[half + place] = 0
            block.time_emb_proj.bias[half + place] = 0


def _ridge(basis: Tensor, target: Tensor) -> Tensor:
    square = basis.T @ basis + 1e-6 * len(basis) * torch.eye(basis.shape[1], dtype=basis.dtype)
    return torch.linalg.solve(square, basis.T @ target)
