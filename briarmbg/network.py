"""BriaRMBG, an IS-Net: a picture goes down six nested U-blocks and up five, and six mattes come out.

The names of the modules are those of the published weights (briaai/RMBG-1.4), so that these load as they are.
Paper: Qin et al., "Highly Accurate Dichotomous Image Segmentation", 2022; the U-blocks are U²-Net's (2020).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBNReLU(nn.Module):
    """3x3 convolution, batch norm, ReLU; the size stays."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)), inplace=not torch.is_grad_enabled())


class RSU(nn.Module):
    """Residual U-block of `depth` levels: a small U-Net over the input convolution's output, added to it.

    `pooled`: each level halves the size and the bottom is dilated by 2 (RSU7 to RSU4). Not pooled: the size stays and
    the dilation doubles from level to level instead (RSU4F), for maps that are small already.
    """

    def __init__(self, depth: int, in_channels: int, mid_channels: int, out_channels: int, pooled: bool = True) -> None:
        super().__init__()
        self.depth, self.pooled = depth, pooled
        self.rebnconvin = ConvBNReLU(in_channels, out_channels)
        for level in range(1, depth + 1):
            dilation = (2 if level == depth else 1) if pooled else 2 ** (level - 1)
            block = ConvBNReLU(out_channels if level == 1 else mid_channels, mid_channels, dilation)
            self.add_module(f"rebnconv{level}", block)
        for level in range(depth - 1, 0, -1):
            dilation = 1 if pooled else 2 ** (level - 1)
            block = ConvBNReLU(2 * mid_channels, out_channels if level == 1 else mid_channels, dilation)
            self.add_module(f"rebnconv{level}d", block)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.rebnconvin(x)
        skips: list[Tensor] = []
        x = entered
        for level in range(1, self.depth):
            if self.pooled and level > 1:
                x = halve(x)
            x = self.get_submodule(f"rebnconv{level}")(x)
            skips.append(x)
        x = self.get_submodule(f"rebnconv{self.depth}")(x)
        for level in range(self.depth - 1, 0, -1):
            skip = skips.pop()
            x = self.get_submodule(f"rebnconv{level}d")(torch.cat((resize_like(x, skip), skip), dim=1))
        return x + entered


class BriaRMBG(nn.Module):
    """The matting network. `width`, a multiple of 4, scales every layer: 64 is the published 44.1 M parameters."""

    def __init__(self, in_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ValueError(f"width is {width}, but it must be a positive multiple of 4.")
        w = width
        self.conv_in = nn.Conv2d(in_channels, w, 3, stride=2, padding=1)
        self.stage1 = RSU(7, w, w // 2, w)
        self.stage2 = RSU(6, w, w // 2, 2 * w)
        self.stage3 = RSU(5, 2 * w, w, 4 * w)
        self.stage4 = RSU(4, 4 * w, 2 * w, 8 * w)
        self.stage5 = RSU(4, 8 * w, 4 * w, 8 * w, pooled=False)
        self.stage6 = RSU(4, 8 * w, 4 * w, 8 * w, pooled=False)
        self.stage5d = RSU(4, 16 * w, 4 * w, 8 * w, pooled=False)
        self.stage4d = RSU(4, 16 * w, 2 * w, 4 * w)
        self.stage3d = RSU(5, 8 * w, w, 2 * w)
        self.stage2d = RSU(6, 4 * w, w // 2, w)
        self.stage1d = RSU(7, 2 * w, w // 4, w)
        for level, channels in enumerate((w, w, 2 * w, 4 * w, 8 * w, 8 * w), start=1):
            self.add_module(f"side{level}", nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Bx3xHxW floats in about [-1, 1], sides of at least 64 -> (mattes, features), both from fine to coarse.

        `mattes` are six Bx1xHxW in [0, 1], the first is the one to use: `network(x)[0][0]`. `features` are the maps
        they were read from, which training may supervise as well.
        """
        down = [self.stage1(self.conv_in(x))]
        for level in range(2, 7):
            down.append(self.get_submodule(f"stage{level}")(halve(down[-1])))
        features = [down.pop()]
        for level in range(5, 0, -1):
            skip = down.pop()
            both = torch.cat((resize_like(features[0], skip), skip), dim=1)
            features.insert(0, self.get_submodule(f"stage{level}d")(both))
        mattes = [
            torch.sigmoid(resize_like(self.get_submodule(f"side{level}")(feature), x))
            for level, feature in enumerate(features, start=1)
        ]
        return mattes, features


def halve(x: Tensor) -> Tensor:
    """2x2 max-pooling that keeps the last row and column of odd sizes."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def resize_like(x: Tensor, target: Tensor) -> Tensor:
    """Bilinear resize to the target's height and width."""
    return F.interpolate(x, size=target.shape[2:], mode="bilinear", align_corners=False)
