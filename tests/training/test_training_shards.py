"""Shards out of path-traced things: exact lights, the sources' format, and mirrored as a whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iclight.errors import IclightError
from iclight.imaging.colour import to_linear
from iclight.imaging.environment import directions
from training.data.captions import MOOD_WORDS, SIDE_WORDS, SUBJECT_WORDS, caption
from training.data.latents import BACKGROUNDS, SOURCES
from training.randomness import generator
from training.scenes.random_lights import dominant_side, received, side_light, solid_angle_weights
from training.scenes.render import PICTURES
from training.scenes.traced import pathtraced
from training.scenes.traced import shards as traced_shards
from training.scenes.traced.pathtraced import LIGHTS, TracedScene, environments, mix_environments

SIZE = 24


def ball(seed: int = 3) -> TracedScene:
    """A white ball, lit by its normals as the path tracer would light it, without shadows."""
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(axis, -axis)
    inside = (x**2 + y**2 < 0.8).astype(np.float32)
    normal = np.stack([x, y, np.sqrt((0.8 - x**2 - y**2).clip(0))]).astype(np.float32)
    normal = normal / np.linalg.norm(normal, axis=0).clip(1e-3) * inside
    towards = np.array([(0, 0, 0) if light is None else light for light in LIGHTS.values()], np.float32)
    grey = np.einsum("kc,chw->khw", towards, normal).clip(0) + inside * (towards == 0).all(1)[:, None, None]
    lit = np.repeat(grey[:, None], 3, axis=1)
    return TracedScene(seed, lit.astype(np.float16), environments(), inside[None].astype(np.float16), normal)


def test_an_object_holds_what_the_sources_need(assets):
    one = traced_shards.light_thing(ball(), SIZE, assets, generator(1, 1))
    for name in ("images", "backgrounds", "foregrounds"):
        assert one[name].shape == (1, len(PICTURES), 3, SIZE, SIZE) and one[name].dtype == torch.uint8
    assert one["matte"].shape == (1, 1, SIZE, SIZE) and one["normal"].shape == (1, 3, SIZE, SIZE)
    assert one["environments"].shape == (1, len(PICTURES), 3, 32, 32)
    assert max((*SOURCES, *BACKGROUNDS)) < len(PICTURES) == len(one["facts"][0])
    for subject, mood, side in one["facts"][0]:
        assert subject in SUBJECT_WORDS and mood in ("", *MOOD_WORDS) and side in SIDE_WORDS


def test_no_word_of_a_mood_is_said_of_a_loose_mixture(assets, monkeypatch):
    monkeypatch.setattr(traced_shards, "LOOSE", 1.0)
    facts = traced_shards.light_thing(ball(), SIZE, assets, generator(1, 2))["facts"][0]
    said = " ".join(caption(*facts[0], "fc", generator(7, number)) for number in range(60))
    assert not any(words in said for moods in MOOD_WORDS.values() for words in moods if words != "light")
    monkeypatch.setattr(traced_shards, "LOOSE", 0.0)
    facts = traced_shards.light_thing(ball(), SIZE, assets, generator(1, 2))["facts"][0]
    assert all(mood in MOOD_WORDS for _, mood, _ in facts)


def test_the_first_light_is_the_sum_of_its_halves(assets):
    for number in range(4):
        one = traced_shards.light_thing(ball(), SIZE, assets, generator(2, number))
        whole, first, second = (to_linear(one["images"][0, k].float() / 255) for k in range(3))
        assert (first + second - whole)[whole < 0.95].abs().max() < 0.02
        whole, first, second = one["environments"][0, :3].float()
        torch.testing.assert_close(first + second, whole, rtol=5e-3, atol=1e-3)


def test_picture_normals_and_environment_are_mirrored_together(assets):
    """The side that the environment lights more is the brighter one, mirrored or not."""
    agree = []
    columns = torch.linspace(-1, 1, SIZE)
    for number in range(24):
        one = traced_shards.light_thing(ball(), SIZE, assets, generator(3, number))
        normal, matte = one["normal"][0].float(), one["matte"][0, 0].float() / 255
        assert (normal[0] * columns)[matte > 0.9].min() >= 0
        picture = to_linear(one["images"][0, 4].float() / 255).mean(0) * matte
        around = one["environments"][0, 4].float().mean(0) * solid_angle_weights()
        sideways = float((around * _sideways()).sum() / around.sum())
        if abs(sideways) > 0.15:
            agree.append(float((picture * columns).sum()) * sideways > 0)
    assert len(agree) > 5 and all(agree)


def _sideways() -> torch.Tensor:
    return torch.from_numpy(directions(32, 32)[..., 0].copy())


@pytest.mark.parametrize("side", ["left", "top", "right"])
def test_a_fitted_mixture_lights_like_what_it_stands_for(side):
    wanted = side_light(side, generator(4, 0)).radiance
    weights = traced_shards.fitted_weights(wanted, torch.from_numpy(environments()))
    assert weights.shape == (len(LIGHTS), 3) and (weights >= 0).all()
    made = torch.from_numpy(mix_environments(weights.numpy()))
    assert float(received(made)) == pytest.approx(float(received(wanted)), rel=0.15)
    assert dominant_side(made) == side


def test_shards_are_reproducible_and_split_among_processes(tmp_path, assets, monkeypatch):
    monkeypatch.setattr(traced_shards, "Assets", lambda: assets)
    (tmp_path / "traced").mkdir()
    for seed in (5, 6):
        pathtraced.save(tmp_path / "traced" / f"{seed:06d}.safetensors", ball(seed))
    common = [str(tmp_path / "traced")]
    options = ["--rounds", "2", "--objects", "3", "--side", str(SIZE)]
    traced_shards.main([*common, str(tmp_path / "one"), *options])
    for part in ("0/2", "1/2"):
        traced_shards.main([*common, str(tmp_path / "two"), *options, "--part", part])
    names = [path.name for path in sorted((tmp_path / "one").iterdir())]
    assert names == ["shard-0000.pt", "shard-0001.pt"]
    for name in names:
        one, two = (torch.load(tmp_path / where / name, weights_only=False) for where in ("one", "two"))
        assert torch.equal(one["images"], two["images"]) and one["facts"] == two["facts"]


def test_a_folder_without_things_is_said_so(tmp_path):
    with pytest.raises(IclightError, match=r"no path-traced things.*pathtraced"):
        traced_shards.main([str(tmp_path), str(tmp_path / "out")])
