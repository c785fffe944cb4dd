"""BriaRMBG, an IS-Net: a picture goes down six nested U-blocks and up five, and six mattes come out.

The names of the modules are those of the published weights (briaai/RMBG-1.4), so that these load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import RSU, NestedU


class BriaRMBG(NestedU):
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
        features = self.features(self.conv_in(x))
        return [torch.sigmoid(logits) for logits in self.logits(features, x)], features
