"""The light stage and the loop on CUDA: what a CPU makes, to rounding, and a run that learns and goes on."""

from __future__ import annotations

import csv
import os

import pytest
import torch
from training_helpers import solids, tiny, weights

from training.randomness import generator
from training.scenes import shapes
from training.scenes.random_lights import random_light
from training.train import train

# A CPU in the GPU's place, to try the tests themselves.
ON = os.environ.get("ICLIGHT_GPU_TESTS_ON", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ON == "cuda" and not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("family", list(shapes.FAMILIES), ids=lambda family: family.__name__)
def test_a_gpu_renders_what_a_cpu_renders(family):
    scene, other = (solids(family, side=64, reach=3.0, device=device) for device in (ON, "cpu"))
    assert scene.diffuse.device.type == ON
    assert torch.equal(scene.lamps.cpu(), other.lamps)
    lights = torch.stack([random_light(generator(8, number)).radiance for number in range(2)])[None].expand(
        2, -1, -1, -1, -1
    )
    there, here = scene.lit(lights.to(ON)).cpu(), other.lit(lights)
    # A ray that just touches an edge may pass on one of them: few pixels, not many.
    assert float((there - here).abs().mean()) < 1e-3 * float(here.abs().mean())
    one, two = lights[:, :1].to(ON), lights[:, 1:].to(ON)
    torch.testing.assert_close(scene.lit(one) + scene.lit(two), scene.lit(one + two), rtol=1e-5, atol=1e-5)
    moved = scene.to("cpu").lit(lights)
    torch.testing.assert_close(moved, there, rtol=1e-4, atol=1e-4)


def test_a_run_on_a_gpu_learns_and_goes_on(shards, tmp_path):
    """Batches drawn ahead by two processes, noise drawn on the device, stopped and gone on from."""
    config = tiny(shards, steps=48, learning_rate=3e-3, save_every=12, log_every=12, workers=2, mixed_precision="bf16")
    assert train(config, tmp_path, until=24) is None
    parts = train(config, tmp_path)
    assert parts is not None
    assert weights(parts).device.type == ON
    assert weights(parts).isfinite().all()
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [int(row["step"]) for row in rows] == [12, 24, 36, 48]
    for band in ("form", "light"):
        assert float(rows[-1][band]) < 0.75 * float(rows[0][band])
