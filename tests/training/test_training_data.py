"""Shards: what is in them, that they are reproducible, and that degraded photographs keep their content."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from iclight.imaging.colour import to_linear
from training.autoencoder import build_autoencoder, whiten
from training.data.latents import BACKGROUNDS, SOURCES, encode_shard
from training.randomness import generator
from training.scenes import in_the_wild as wild
from training.scenes.random_lights import random_light
from training.scenes.render import PICTURES, light_objects, make_shard, photographs_lit

SIDE = 32


@pytest.mark.parametrize("make", [light_objects, photographs_lit])
def test_a_batch_holds_what_the_sources_need(make, assets):
    batch = make(SIDE, assets, generator(1, 1))
    count = len(batch["matte"])
    for name in ("images", "backgrounds", "foregrounds"):
        assert batch[name].shape == (count, len(PICTURES), 3, SIDE, SIDE) and batch[name].dtype == torch.uint8
    assert batch["matte"].shape == (count, 1, SIDE, SIDE)
    assert batch["environments"].shape == (count, len(PICTURES), 3, 32, 32)
    assert torch.isfinite(batch["environments"]).all() and (batch["environments"] >= 0).all()
    assert [len(facts) for facts in batch["facts"]] == [len(PICTURES)] * count


def test_the_first_picture_is_the_sum_of_the_next_two(assets):
    """In linear light, before the clipping at white; within what eight bits can say."""
    for number in range(4):
        batch = light_objects(SIDE, assets, generator(2, number))
        whole, first, second = (to_linear(batch["images"][:, k].float() / 255) for k in range(3))
        dark = whole < 0.95
        assert ((first + second - whole).abs()[dark]).max() < 0.02


def test_off_the_subject_a_picture_is_its_background(assets):
    batch = light_objects(SIDE, assets, generator(2, 7))
    off = (batch["matte"] == 0)[:, None].expand_as(batch["images"])
    assert torch.equal(batch["images"][off], batch["backgrounds"][off])
    assert ((batch["foregrounds"].float() - 127)[off].abs() < 90).all()


def test_subjects_are_as_dark_as_coal_and_as_bright_as_chalk(assets):
    levels = []
    for number in range(16):
        batch = light_objects(32, assets, generator(30, number))
        light, matte = to_linear(batch["images"][:, 3].float() / 255), batch["matte"].float() / 255
        levels += ((light * matte).sum((1, 2, 3)) / (3 * matte.sum((1, 2, 3)))).tolist()
    levels.sort()
    assert levels[3] < 0.06 and levels[-4] > 0.3, levels


def test_shards_depend_on_seed_and_number_alone(assets):
    one, two, other = (make_shard(number, 8, SIDE, 0.5, 3, assets) for number in (5, 5, 6))
    assert torch.equal(one["images"], two["images"]) and one["facts"] == two["facts"]
    assert not torch.equal(one["images"], other["images"])


def test_shards_are_encoded_as_the_sources_read_them(assets):
    shard = make_shard(0, 4, SIDE, 0.0, 1, assets)
    vae = build_autoencoder().eval()
    latents = encode_shard(vae, shard)
    assert latents["images"].shape == (4, 5, 4, SIDE // 2, SIDE // 2)
    assert latents["backgrounds"].shape[1] == len(BACKGROUNDS)
    assert latents["foregrounds"].shape[1] == len(SOURCES)
    assert latents["matte"].shape == (4, 1, SIDE // 2, SIDE // 2)


def test_the_autoencoder_starts_as_a_linear_one_and_is_whitened():
    vae = build_autoencoder().eval()
    coarse = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    smooth = F.interpolate(coarse, (32, 32), mode="bicubic")
    with torch.no_grad():
        decoded = vae.decode(vae.encode(smooth).latent_dist.mean).sample
        assert (decoded - smooth).abs().mean() < 0.2 < smooth.abs().mean()
        whiten(vae, smooth)
        latents = vae.encode(smooth).latent_dist.mean
        assert latents.mean((0, 2, 3)).abs().max() < 1e-3
        assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3)
        assert torch.allclose(vae.decode(latents).sample, decoded, atol=1e-3)


@pytest.mark.parametrize("name", sorted(wild.EXTRACTIONS))
def test_extractions_keep_the_content(name):
    """Whatever is done to the light, edges stay where they were."""
    picture = torch.zeros(3, 40, 40) + 0.2
    picture[:, 10:30, 10:30] = torch.tensor([0.7, 0.4, 0.3])[:, None, None]
    flat = wild.EXTRACTIONS[name](picture, generator(0, 0))
    assert torch.isfinite(flat).all() and (flat >= 0).all()
    assert (flat[:, 20, 20] - flat[:, 20, 4]).abs().max() > 0.02


def test_degrading_touches_the_subject_alone(assets):
    picture = F.interpolate(assets.pictures[0][None], (40, 40))[0]
    matte = torch.zeros(1, 40, 40)
    matte[:, 10:30, 10:30] = 1
    normal = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, 40, 40)
    changed = 0
    for number in range(12):
        other = wild.degraded(picture, matte, normal, generator(4, number))
        off = (matte == 0).expand(3, -1, -1)
        assert torch.equal(other[off], picture[off])
        assert torch.isfinite(other).all() and other.min() >= 0 and other.max() <= 1
        changed += bool((other - picture)[:, 10:30, 10:30].abs().mean() > 0.03)
    assert changed >= 10


def test_panoramas_light_and_are_seen(assets):
    lights = [random_light(generator(9, number), assets.panoramas) for number in range(40)]
    used = [light for light in lights if light.panorama]
    assert 4 <= len(used) <= 20
    assert {light.side for light in used} & {"left", "right", "top", "back", "front"}
