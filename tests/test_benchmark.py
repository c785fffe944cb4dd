"""The benchmark measures equal work on both sides, and writes down every stage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from golden_data import PICTURE, quick

from benchmarks import floor, overhead
from benchmarks.__main__ import main
from benchmarks.job import STAGES
from benchmarks.measure import Reading, Row, difference
from benchmarks.models import SIZES
from benchmarks.startup import run_python
from iclight.diffusion.devices import Placement
from iclight.imaging import images
from iclight.networks.blocks import Attention
from iclight.networks.unet import UNet

SMALL = ["--size", "tiny", "--width", "64", "--height", "64", "--repeat", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def one_thread():
    """Threads waiting for one another on a busy machine would take longer than work this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path, capsys):
    def run_and_read(*options: str):
        path = tmp_path / "bench.json"
        status = main([*SMALL, "--json", str(path), *options])
        return status, capsys.readouterr().out, json.loads(path.read_text())

    return run_and_read


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--workflow", "fc", "--light", "left"), marks=pytest.mark.slow),
        pytest.param(("--workflow", "fc", "--light", "none", "--cfg", "1"), marks=pytest.mark.slow),
        ("--workflow", "fbc", "--light", "upload", "--images", "2"),
    ],
    ids=["fc with a light", "fc without light or guidance", "fbc, two images"],
)
def test_both_sides_do_the_same_work_in_every_stage(run, options):
    status, out, content = run(*options)
    assert status == 0, out
    assert [row["stage"] for row in content["stages"]] == list(STAGES)
    if content["settings"]["num_images"] == 1:
        assert all(row["difference"] == 0 for row in content["stages"])
    for row in content["stages"]:
        assert row["difference"] <= 1e-2  # one grey level here and there, where two pictures are decoded one by one
        assert row["time_ratio"] > 0
        assert row["memory_ratio"] is None or row["memory_ratio"] > 0
        assert f"\n{row['stage']} " in out
    assert content["machine"]["threads"] == 1
    assert content["settings"]["width"] == 64


def test_stages_can_be_picked(run):
    _, out, content = run("--stages", "decode", "prompt")
    assert [row["stage"] for row in content["stages"]] == ["prompt", "decode"]
    assert "whole" not in out


def test_what_stock_pipelines_cannot_run_is_refused_in_words(capsys):
    assert main([*SMALL, "--steps", "1", "--workflow", "fc", "--light", "left"]) == 2
    assert "give more steps" in capsys.readouterr().err


@pytest.mark.slow
def test_a_request_around_the_model_is_measured_and_decodes_each_file_once(run, monkeypatch):
    decoded, real = [], images._read_file
    monkeypatch.setattr(images, "_read_file", lambda *given: [decoded.append(given), real(*given)][1])
    status, out, content = run("--stages", "request", "--megapixels", "0.02")
    assert status == 0 and not content["stages"] and "finish native, 173x115 delivered" in out
    for way in content["request"].values():
        assert way["ratio"] == pytest.approx(sum(way["parts"].values()) / sum(way["bare"].values()))
        assert min(*way["parts"].values(), *way["apart"].values()) > 0
    assert "finish" in content["request"]["native"]["apart"]
    assert len(decoded) == 2 * 2, "a photo and a mask, for each finish"


@pytest.mark.slow
def test_both_sides_load_the_same_unet(run):
    status, _, content = run("--stages", "load", "--workflow", "fbc")
    assert status == 0
    assert content["stages"][0]["stage"] == "load"
    assert content["unet_bytes"] > 0


def test_outputs_that_differ_are_seen():
    one = torch.ones(2, 3)
    assert difference([one], [one]) == 0
    assert difference([one * 1.5], [one]) == pytest.approx(0.5)
    assert difference([one], [one[:1]]) == math.inf
    assert math.isnan(difference([one * math.nan], [one]))


def test_memory_too_small_to_measure_has_no_ratio():
    row = Row("x", Reading(1.0, 100, 100), Reading(2.0, 2**30, 2**30), 0.0)
    assert row.time_ratio == 0.5
    assert row.memory_ratio is None


def test_a_matting_is_scored_by_its_overlap_and_its_edge():
    from benchmarks.matting import score

    truth = np.zeros((60, 80), np.float32)
    truth[20:40, 20:60] = 1
    pixels = np.zeros((60, 80, 3), np.uint8)
    assert score(lambda _: truth[..., None], pixels, truth)[:2] == (1, 0)
    half = np.pad(truth[:, 20:], ((0, 0), (0, 20)))[..., None]  # moved aside by half of its width
    assert score(lambda _: half, pixels, truth).overlap == pytest.approx(1 / 3)
    assert score(lambda _: half, pixels, truth).edge > 0.2


def test_the_bare_loop_is_all_the_denoising_of_its_request(golden_relighter):
    relighter = golden_relighter("fc")
    settings = quick(light="left", light_strength=2.0, cfg=2.0, steps=2, lowres_denoise=1.0, highres_denoise=1.0)
    with overhead.noted() as request:
        relighter.relight(PICTURE, settings, matting="grabcut")
    assert request.batches == {(4, 8, 8): 2, (2, 8, 8): 2}, "guidance, and in the first pass the even light"
    assert min(request.parts[name].wall for name in ("words", "VAE", "both passes", "matting", "finish")) > 0
    batches = []
    hook = relighter.unet.register_forward_hook(lambda unet, given, out: batches.append(len(out[0])))
    spent = overhead.bare_loop(request)
    hook.remove()
    assert batches == [4, 4, 2, 2] and min(spent.wall, spent.processor) > 0


@pytest.mark.slow
def test_a_request_to_a_running_page_is_measured_part_by_part(tmp_path):
    pytest.importorskip("gradio")
    path = tmp_path / "overhead.json"
    _, out = run_python("-m", "benchmarks.overhead", "--repeat", "1", "--device", "cpu", "--json", str(path))
    seconds = {name: spent["processor"] for name, spent in json.loads(path.read_text())["seconds"].items()}
    assert all(f"| {seconds[name]:.2f} |" in out for name in (overhead.BARE, overhead.REQUEST, overhead.COMMAND))
    parts = [seconds[name] for name in (*overhead.PARTS, overhead.REST)]
    assert min(parts) > 0 and sum(parts) == pytest.approx(seconds[overhead.REQUEST])


def test_a_steps_operations_are_those_of_its_layers():
    unet = UNet({**SIZES["tiny"].unet, "in_channels": 8}).eval()
    counted = []

    def count(layer, given, out):
        if isinstance(layer, Attention):
            query = given[0]
            length, width = query.shape[1], layer.to_q.out_features
            seen = (query if len(given) < 2 or given[1] is None else given[1]).shape[1]
            counted.append(2 * 2 * len(query) * length * seen * width)
        else:
            counted.append(2 * out.numel() * layer.weight[0].numel())

    for layer in unet.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear, Attention)):
            layer.register_forward_hook(count)
    placement = Placement(torch.device("cpu"), torch.float32, torch.float32)
    step = floor.measure_step("tiny", unet, (64, 32), 8, 2, placement, 1)
    runs = 2  # counted, and timed
    assert step.operations == sum(counted) / runs
    assert step.weights == 4 * sum(weight.numel() for weight in unet.parameters()) and step.seconds > 0


def test_a_floor_is_the_longer_of_its_operations_and_its_weights():
    step = floor.Step("tiny", 64, 64, 2, 10, 6, 8.0)
    assert step.floor(floor.Peaks(5, 6)) == 2 and step.floor(floor.Peaks(10, 2)) == 3
    growth = [floor.Growth("images", "1", 1, 2.0), floor.Growth("images", "4", 4, 6.0)]
    shown = floor.table(floor.Peaks(5, 6), [step], growth)
    assert "| 2.0000 | 8.0000 | 0.25 |" in shown and "| images 4 | 6.00 | 3.00 | 0.75 |" in shown


@pytest.mark.slow
def test_the_floor_and_the_growth_are_measured(run, monkeypatch):
    monkeypatch.setattr(floor, "PIXELS", ((64, 64), (64, 128)))
    monkeypatch.setattr(floor, "GROWN", {**floor.GROWN, "width": 64, "height": 64, "steps": 2})
    status, out, content = run("--stages", "floor")
    assert status == 0 and "| tiny, 64x64, 2 |" in out and "| lights 4 |" in out
    assert all(0 < step["reached"] < 1.5 for step in content["floor"]["steps"])
    assert [one["units"] for one in content["floor"]["growth"]] == [1, 2, *floor.IMAGES, 1, 2, 3, 4]
