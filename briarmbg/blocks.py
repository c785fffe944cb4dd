"""What both networks are built of: the residual U-block (RSU) and the U of such blocks that U²-Net nests them in.

The names of the modules are those of the published weights, so that these load as they are.
Papers: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection", 2020; "Highly Accurate
Dichotomous Image Segmentation" (IS-Net), 2022.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBNReLU(nn.Module):
    """3x3 convolution, batch norm, ReLU; the size stays. Not `normed`: the norm is folded into the convolution."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1, normed: bool = True) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(out_channels) if normed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)), inplace=not torch.is_grad_enabled())


class RSU(nn.Module):
    """Residual U-block of `depth` levels: a small U-Net over the input convolution's output, added to it.

    `pooled`: each level halves the size and the bottom is dilated by 2 (RSU7 to RSU4). Not pooled: the size stays and
    the dilation doubles from level to level instead (RSU4F), for maps that are small already. `normed`: as in
    `ConvBNReLU`.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        pooled: bool = True,
        normed: bool = True,
    ) -> None:
        super().__init__()
        self.depth, self.pooled = depth, pooled
        self.rebnconvin = ConvBNReLU(in_channels, out_channels, normed=normed)
        for level in range(1, depth + 1):
            dilation = (2 if level == depth else 1) if pooled else 2 ** (level - 1)
            block = ConvBNReLU(out_channels if level == 1 else mid_channels, mid_channels, dilation, normed)
            self.add_module(f"rebnconv{level}", block)
        for level in range(depth - 1, 0, -1):
            dilation = 1 if pooled else 2 ** (level - 1)
            block = ConvBNReLU(2 * mid_channels, out_channels if level == 1 else mid_channels, dilation, normed)
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


class NestedU(nn.Module):
    """A U whose every level is an RSU: `stage1` to `stage6` down, `stage5d` to `stage1d` up, `side1` to `side6` out."""

    def features(self, x: Tensor) -> list[Tensor]:
        """The first stage's input -> six feature maps, from fine to coarse, each half the size of the one before."""
        down = [self.get_submodule("stage1")(x)]
        for level in range(2, 7):
            down.append(self.get_submodule(f"stage{level}")(halve(down[-1])))
        features = [down.pop()]
        for level in range(5, 0, -1):
            skip = down.pop()
            both = torch.cat((resize_like(features[0], skip), skip), dim=1)
            features.insert(0, self.get_submodule(f"stage{level}d")(both))
        return features

    def logits(self, features: list[Tensor], like: Tensor) -> list[Tensor]:
        """What each side reads from its feature map: six Bx1xHxW logits of the size of `like`."""
        sides = (self.get_submodule(f"side{level}") for level in range(1, 7))
        return [resize_like(side(feature), like) for side, feature in zip(sides, features, strict=True)]


def halve(x: Tensor) -> Tensor:
    """2x2 max-pooling that keeps the last row and column of odd sizes."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def resize_like(x: Tensor, target: Tensor) -> Tensor:
    """Bilinear resize to the target's height and width."""
    return F.interpolate(x, size=target.shape[2:], mode="bilinear", align_corners=False)
