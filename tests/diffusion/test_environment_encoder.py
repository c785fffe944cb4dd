"""The env workflow's conditioner: three tokens for a map, of the paper's size, bounded whatever the light."""

from __future__ import annotations

import pytest
import torch

from iclight.diffusion.environment_encoder import EnvironmentEncoder
from iclight.imaging.environment import preset


def tokens(width=8, hidden=None) -> EnvironmentEncoder:
    torch.manual_seed(5)
    return EnvironmentEncoder(width, hidden).eval()


def as_batch(*lights: str) -> torch.Tensor:
    return torch.stack([torch.from_numpy(preset(light)).movedim(-1, 0) for light in lights])


def test_sizes_are_the_papers_at_sd15s_width():
    """3072 -> 2304 = 3 tokens x 768 (IC-Light, ICLR 2025)."""
    with torch.device("meta"):
        made = EnvironmentEncoder(768)
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    assert shapes["inner.weight"] == (2304, 3072)
    assert shapes["middle.weight"] == (2304, 2304)
    assert shapes["outer.weight"] == (2304, 2304)
    assert shapes["norm.weight"] == (768,)
    assert len(shapes) == 8
    assert made(torch.zeros(2, 3, 32, 32, device="meta")).shape == (2, 3, 768)


def test_what_comes_out_is_the_formula():
    made, maps = tokens(), as_batch("left", "top")
    x = torch.log1p(4 * maps).reshape(2, -1)
    for layer in (made.inner, made.middle):
        x = torch.nn.functional.leaky_relu(layer(x), 0.2)
    expected = torch.nn.functional.layer_norm(made.outer(x).reshape(2, 3, 8), (8,))
    assert torch.allclose(made(maps), expected, atol=1e-6)


def test_other_light_other_tokens_and_a_map_does_not_see_its_batch():
    made = tokens()
    left, right = made(as_batch("left", "right"))
    assert not torch.allclose(left, right, atol=1e-3)
    assert torch.allclose(left, made(as_batch("left"))[0], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_bare_sun_stays_within_reach_in_every_format(dtype):
    made, maps = tokens().to(dtype), torch.zeros(1, 3, 32, 32)
    maps[..., 4, 4] = 3e7
    out = made(maps)
    assert out.dtype == dtype
    assert out.isfinite().all()
    assert out.abs().max() < 10
