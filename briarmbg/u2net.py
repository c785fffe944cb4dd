"""U²-Net's small variant (U²-NetP): nested U-blocks of 16 channels, whose six mattes a convolution makes one of.

The weights that ship were published with their batch norms folded into the convolutions, and so is this network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import RSU, NestedU

SIDE = 320  # pixels of the square that it was trained on


class U2NetP(NestedU):
    """The published small network, 1.1 M parameters. It is for inference: there are no batch norms to train."""

    def __init__(self, in_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        mid = width // 4
        for level, depth in enumerate((7, 6, 5, 4, 4, 4), start=1):
            into = in_channels if level == 1 else width
            self.add_module(f"stage{level}", RSU(depth, into, mid, width, pooled=level < 5, normed=False))
        for level, depth in ((5, 4), (4, 4), (3, 5), (2, 6), (1, 7)):
            self.add_module(f"stage{level}d", RSU(depth, 2 * width, mid, width, pooled=level < 5, normed=False))
        for level in range(1, 7):
            self.add_module(f"side{level}", nn.Conv2d(width, 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Bx3xHxW floats, ImageNet's mean and deviation taken out -> Bx1xHxW in [0, 1]: how salient each pixel is."""
        return torch.sigmoid(self.outconv(torch.cat(self.logits(self.features(x), x), dim=1)))
