"""The env workflow's conditioner: an environment map -> three tokens that the UNet reads after the words.

IC-Light (ICLR 2025) conditions on a 32 x 32 x 3 map by a small multi-layer perceptron, 3072 -> ... -> 2304 with Leaky
ReLU, whose output is three tokens of the text encoder's width (3 x 768 = 2304).
"""

from __future__ import annotations

import torch
from torch import nn

from .environment import SIDE

TOKENS = 3
# Radiance spans orders of magnitude; log1p(4 x) is near linear for dim light and keeps a bare sun within reach.
COMPRESSION = 4.0
SLOPE = 0.2


class EnvironmentTokens(nn.Module):
    """Bx3x32x32 linear radiance, non-negative -> Bx3xwidth tokens, normalised like the text encoder's own output."""

    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__()
        self.width = width
        hidden = TOKENS * width if hidden is None else hidden
        self.inner = nn.Linear(3 * SIDE * SIDE, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.outer = nn.Linear(hidden, TOKENS * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        compressed = torch.log1p(COMPRESSION * maps.float().flatten(1))  # in float32: half stops at 65504
        features = nn.functional.leaky_relu(self.inner(compressed.to(self.inner.weight.dtype)), SLOPE)
        features = nn.functional.leaky_relu(self.middle(features), SLOPE)
        tokens: torch.Tensor = self.norm(self.outer(features).unflatten(1, (TOKENS, self.width)))
        return tokens
