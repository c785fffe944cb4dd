"""Each lever draws mini's picture within what docs/speed.md promises, and "exact" the engine's own to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.speeds import LEVERS, psnr, request_for, samplers_table, timed
from benchmarks.speeds import compare_levers as compare
from benchmarks.speeds import compare_samplers as samplers
from briarmbg import BriaRMBG
from iclight import Relighter
from iclight.diffusion.acceleration import REMEMBERED, Levers, Memory, accelerate, levers_for
from iclight.diffusion.devices import Placement
from iclight.errors import SettingsError
from iclight.imaging.images import read_image
from iclight.matting import load_matting_network
from iclight.parameters import SPEEDS
from iclight.studio.tabs.examples import asset
from iclight.weights.resolve import resolve_matting

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = {"width": 128, "height": 128, "highres_scale": 1.0, "steps": 4}
# dB to "exact", in float32: what docs/speed.md promises.
PROMISED = {"remember": np.inf, "channels_last": 50, "fused_projections": 50, "attention math": 50, "compiled": 50}


def loaded(speed, workflow="fc", **options) -> Relighter:
    return Relighter.load("mini", workflow, matting="none", device="cpu", dtype="float32", speed=speed, **options)


@pytest.fixture(scope="module")
def exact():
    return timed(loaded("exact"), **SMALL)[0]


def test_every_lever_has_a_promise():
    assert PROMISED.keys() == LEVERS.keys() - {"exact"}
    text = (Path(__file__).parents[2] / "docs" / "speed.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in LEVERS)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "compiled")) for n in PROMISED])
def test_a_lever_draws_the_same_picture_within_its_promise(name, exact):
    relighter = loaded(LEVERS[name])
    assert relighter.acceleration.levers == LEVERS[name] and not relighter.acceleration.notices
    for _ in range(2):  # the second time from memory, where there is one
        assert psnr(timed(relighter, **SMALL)[0], exact) >= PROMISED[name]


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_speed_draws_the_same_picture(speed, exact, mini):
    picture = timed(loaded(speed), **SMALL)[0]
    assert psnr(picture, exact) >= (np.inf if speed == "exact" else 50)
    assert np.array_equal(timed(mini("fc"), **SMALL)[0], exact), "exact is what is loaded where nothing is said"


@pytest.mark.parametrize("workflow", ["fc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fbc", "env"))])
def test_what_is_remembered_is_only_what_was_asked_before(workflow, mini, monkeypatch):
    relighter = loaded(Levers(remember=True), workflow)
    encoded, encode = [], relighter.vae.encode
    monkeypatch.setattr(relighter.vae, "encode", lambda pictures: [encoded.append(1), encode(pictures)][1])
    counts = []
    tiny = {**SMALL, "width": 64, "height": 64, "steps": 1}
    for changes in ({}, {"seed": 7}, {"light": "right", "prompt": "moonlight"}, {"width": 128, "clip_skip": 2}):
        before = len(encoded)
        ours, plain = (timed(one, **{**tiny, **changes})[0] for one in (relighter, mini(workflow)))
        counts.append(len(encoded) - before)
        assert np.array_equal(ours, plain)
    assert counts[1] == 1 < counts[0], "another seed encodes nothing but its own first pass"


@pytest.mark.parametrize("matting", ["u2netp", "rmbg"])
def test_a_photo_is_cut_out_once_for_all_its_lights(matting):
    torch.manual_seed(0)
    network = load_matting_network(resolve_matting(matting).path) if matting == "u2netp" else BriaRMBG(width=4).eval()
    asked, forgetful, relighter = [], loaded("exact"), loaded(Levers(remember=True))
    for one in (forgetful, relighter):
        one.use_matting_network(matting, network)
    photo = read_image(asset("coffee.jpg"))[0][:192, :160]
    tiny = {**SMALL, "width": 64, "height": 64, "steps": 1}
    settings = request_for(relighter, **tiny)[1]
    network.register_forward_hook(lambda *_: asked.append(1))
    times = []
    for pixels, light in ((photo, "left"), (photo, "right"), (photo[:, ::-1].copy(), "right"), (photo, "top")):
        plain = forgetful.relight(pixels, settings.replace(light=light), matting=matting)
        asked.clear()
        ours = relighter.relight(pixels, settings.replace(light=light), matting=matting)
        times.append(len(asked))
        assert np.array_equal(ours.alpha, plain.alpha) and np.array_equal(ours.images[0], plain.images[0])
    assert times == [1, 0, 1, 0]


def test_memory_forgets_the_oldest():
    memory = Memory()
    for key in range(REMEMBERED + 1):
        memory(key, lambda key=key: key)
    assert memory(1, lambda: "anew") == 1
    assert memory(0, lambda: "anew") == "anew"


def test_exact_pulls_nothing_and_every_speed_has_levers_on_every_device():
    for device in (CPU, CUDA, torch.device("mps")):
        placement = Placement(device, torch.float32, torch.float32)
        assert levers_for("exact", placement) == Levers()
        fast, most = (set(levers_for(speed, placement).pulled) for speed in ("fast", "max"))
        assert {"remember"} <= fast <= most


def test_a_speed_that_does_not_exist_is_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr("iclight.loading.resolve_model", None)
    with pytest.raises(SettingsError, match="speed is 'ludicrous', but it takes one of exact, fast, max"):
        loaded("ludicrous")
    with pytest.raises(SettingsError, match="attention is 'sage'"):
        Levers(attention="sage")


def test_levers_that_do_not_apply_say_so_and_leave_the_rest():
    asked = Levers(remember=True, attention="cudnn", tuned_convolutions=True, compiled=True)
    relighter = loaded(asked, offload=True)  # on a CPU there is nothing to offload to
    assert set(relighter.acceleration.levers.pulled) >= {"remember"}
    notices = " ".join(map(str, relighter.acceleration.notices))
    assert "attention is left out on cpu" in notices and "tuned_convolutions is left out on cpu" in notices
    assert "attention" in str(relighter.model.notice)
    moved = accelerate(asked, relighter.unet, CUDA, offload=True)
    assert "compiled is left out on cuda" in " ".join(map(str, moved.notices))


def test_a_recipe_remembers_the_speed(mini):
    assert loaded("fast").identity()["speed"] == "fast"
    assert mini("fc").identity()["speed"] == "exact"
    assert loaded(Levers(remember=True)).identity()["speed"] == "remember"


def test_workflows_of_other_speeds_share_what_no_lever_changes():
    first = loaded("exact")
    second = loaded("max", "fbc", share=first)
    assert second.vae is first.vae and second.text_encoder is first.text_encoder
    assert np.array_equal(timed(first, **SMALL)[0], timed(loaded("exact"), **SMALL)[0])


@pytest.mark.slow
def test_the_bench_compares_levers_and_samplers(monkeypatch):
    ways = compare(("exact", "remember"), repeat=1, **SMALL)
    assert [way.name for way in ways] == ["exact", "remember"] and ways[1].psnr == np.inf
    assert min(way.seconds for way in ways) > 0
    monkeypatch.setattr("benchmarks.speeds.WORKFLOWS", ("fc",))
    compared = samplers((2,), 3, width=64, height=64, highres_scale=1.0)
    assert 5 < compared["fc"]["dpmpp_sde_karras"][0].psnr < np.inf
    assert samplers_table(compared).count("\n| ") == 9


def test_requests_of_the_bench_are_the_models_own(mini):
    _, settings = request_for(mini("fbc"))
    assert settings.steps == mini("fbc").defaults["steps"] and settings.finish == "model"
