"""The env workflow's conditioner: an environment map -> three tokens that the UNet reads after the words.

IC-Light (ICLR 2025) conditions on a 32 x 32 x 3 map by a small multi-layer perceptron, 3072 -> ... -> 2304 with Leaky
ReLU, whose output is three tokens of the text encoder's width (3 x 768 = 2304).
"""

from __future__ import annotations

import torch
from torch import nn

from ..errors import ModelError
from ..imaging.environment import SIDE, Floats
from .tensors import SelectedSource, TensorSource, check_names

TOKENS = 3
# How the tokens' tensors are called in an env offset file, beside those of the UNet.
PREFIX = "environment."
# Radiance spans orders of magnitude; log1p(4 x) is near linear for dim light and keeps a bare sun within reach.
COMPRESSION = 4.0
SLOPE = 0.2


class EnvironmentEncoder(nn.Module):
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
        features = nn.functional.leaky_relu(self.inner(compressed(maps).to(self.inner.weight.dtype)), SLOPE)
        features = nn.functional.leaky_relu(self.middle(features), SLOPE)
        tokens: torch.Tensor = self.norm(self.outer(features).unflatten(1, (TOKENS, self.width)))
        return tokens

    def of(self, environment: Floats) -> torch.Tensor:
        """The tokens of one 32x32x3 map: 1x3xwidth, where the weights are."""
        maps = torch.from_numpy(environment).movedim(-1, 0)[None]
        return self(maps.to(self.inner.weight.device))


def compressed(maps: torch.Tensor) -> torch.Tensor:
    """Bx3x32x32 radiance -> Bx3072 numbers as the first layer takes them; in float32, for half stops at 65504."""
    return torch.log1p(COMPRESSION * maps.float().flatten(1))


def load_environment_encoder(
    offset: TensorSource, width: int, dtype: torch.dtype, device: torch.device | None = None
) -> EnvironmentEncoder:
    """The conditioner out of an env offset file, in eval mode; `width` is the text encoder's.

    Names and shapes are checked before anything is read. Raises ModelError naming the file.
    """
    ours = {name.removeprefix(PREFIX): name for name in offset.shapes if name.startswith(PREFIX)}
    part = SelectedSource(offset, ours)
    part.label = f"The environment part of {offset.label}"
    shape = part.shapes.get("inner.weight", ())
    if len(shape) != 2:
        raise ModelError(
            "{offset} is not an env offset: it holds no {prefix}inner.weight of two dimensions.",
            offset=offset.label,
            prefix=PREFIX,
        )
    with torch.device("meta"):
        tokens = EnvironmentEncoder(width, shape[0])
    expected = {name: tuple(tensor.shape) for name, tensor in tokens.state_dict().items()}
    check_names(part, expected, f"tokens of width {width}")
    read = {name: part.read(name).to(device=device, dtype=dtype) for name in expected}
    tokens.load_state_dict(read, strict=True, assign=True)
    return tokens.requires_grad_(False).eval()
