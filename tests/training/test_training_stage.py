"""The light stage: light adds exactly, comes from where it should, and is neither lost nor made."""

from __future__ import annotations

import math

import pytest
import torch
from training_helpers import solids

from training.metrics import SIGNS, asymmetry, geometry_correlation
from training.randomness import generator
from training.scenes import backdrops, shapes
from training.scenes.light_stage import mixer, sphere
from training.scenes.random_lights import (
    SIDES,
    dominant_side,
    exposed,
    key_light,
    lobe,
    mean_direction,
    random_light,
    received,
    several_lights,
    split,
)

SIDE = 48


def ball(make: shapes.Maker) -> shapes.Solid:
    one = torch.ones(make.batch, 3)
    eye = torch.eye(3).expand(make.batch, 3, 3)
    return shapes.Solid("object", [shapes.Slot("ellipsoid", 0 * one, 0.8 * one, eye)], torch.full((make.batch,), 40.0))


def environments(count: int) -> torch.Tensor:
    lights = [random_light(generator(8, number)).radiance for number in range(2 * count)]
    return torch.stack(lights).view(2, count, 3, 32, 32)


@pytest.mark.parametrize("family", list(shapes.FAMILIES), ids=lambda family: family.__name__)
def test_light_adds(family):
    """I(L1) + I(L2) = I(L1 + L2), to 1e-5."""
    scene = solids(family)
    first, second = environments(3), environments(3).flip(1)
    together = scene.lit(first + second)
    assert (scene.lit(first) + scene.lit(second) - together).abs().max() < 1e-5
    assert scene.lit(first).max() > 0.05


def test_a_split_environment_adds_up_to_the_whole():
    for number in range(8):
        random = generator(1, number)
        radiance = random_light(random).radiance
        first, second = split(radiance, random)
        assert (first + second - radiance).abs().max() < 1e-5
        assert (first >= 0).all() and (second >= 0).all()
        # Neither half is nothing: there would be nothing to merge.
        assert min(float(first.sum()), float(second.sum())) > 0.01 * float(radiance.sum())


def test_a_white_ball_under_radiance_one_is_white():
    scene = solids(ball, matt_white=True)
    shown = scene.lit(torch.ones(2, 1, 3, 32, 32))[:, 0]
    inner = (scene.matte > 0.99) & (scene.normal[:, 2:] > 0.5)
    assert float(shown.mean(1, keepdim=True)[inner].mean()) == pytest.approx(1, abs=0.06)


def test_no_light_is_lost_between_environment_and_lamps():
    lamps = sphere(32, generator(0, 0))
    assert float(mixer(lamps).sum()) == pytest.approx(4, rel=1e-4)  # 4 pi steradians in units of pi
    assert torch.allclose(lamps.norm(dim=1), torch.ones(32), atol=1e-5)


@pytest.mark.parametrize("side", list(SIGNS))
def test_light_comes_from_where_it_is_asked_for(side):
    """On the subject, on the wall behind it, and in the normals' own terms."""
    scene = solids(ball, matt_white=True)
    towards = torch.nn.functional.normalize(torch.tensor(SIDES[side]) + torch.tensor([0, 0, 0.3]), dim=0)
    light = (0.1 + lobe(towards, 8.0)).expand(2, 1, 3, 32, 32)
    axis, sign = SIGNS[side]
    assert float(asymmetry(scene.lit(light)[:, 0].clamp(0, 1), scene.matte)[:, axis].mul(sign).min()) > 0.1
    wall = backdrops.Backdrop(torch.full((3, SIDE, SIDE), 0.5), backdrops.spill(scene.lamps, 1.4))
    behind = wall.lit(scene.weights(light))[:, 0].clamp(0, 1)
    assert float(asymmetry(behind, torch.ones(2, 1, SIDE, SIDE))[:, axis].mul(sign).min()) > 0.1


def test_backdrops_add_up_too():
    lamps = sphere(32, generator(0, 0))
    for number in range(6):
        wall = backdrops.backdrop(lamps, 32, [], generator(4, number))
        first, second = torch.rand(2, 5, 32, 3, generator=generator(5, number))
        gap = wall.lit(first) + wall.lit(second) - wall.lit(first + second)
        assert gap.abs().max() < 1e-4 * wall.lit(first + second).max()


def test_shadows_fall_on_the_far_side():
    """A head in front of a trunk: under light from above, the neck below the chin is darker than without shadows."""
    scene = solids(shapes.person, matt_white=True)
    above = int((scene.lamps @ torch.tensor([0.0, 0.95, 0.3])).argmax())
    unshadowed = torch.einsum("c,bchw->bhw", scene.lamps[above], scene.normal).clamp(min=0)[:, None]
    lost = (unshadowed - scene.diffuse[:, above : above + 1]) * (scene.matte > 0.9)
    assert float(lost.max()) > 0.25  # somewhere, full light is gone
    assert float((scene.diffuse[:, above : above + 1] - unshadowed).max()) < 1e-4  # nowhere is there more


def test_normals_are_those_of_a_ball():
    scene = solids(ball, matt_white=True)
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    z = (0.64 - x**2 - y**2).clamp(min=0).sqrt()
    truth = torch.stack([x, y, z]) / 0.8
    inner = (x**2 + y**2).sqrt() < 0.7
    angle = torch.acos((scene.normal[0] * truth).sum(0).clamp(-1, 1))[inner]
    assert float(torch.rad2deg(angle).mean()) < 2


def test_the_geometry_check_tells_shading_from_a_pasted_ramp():
    scene = solids(shapes.person, matt_white=True)
    left = torch.nn.functional.normalize(torch.tensor([-1.0, 0.0, 0.35]), dim=0)
    even = torch.full((2, 3, SIDE, SIDE), 0.5) * scene.matte
    shaded = (scene.lit((0.1 + lobe(left, 8.0)).expand(2, 1, 3, 32, 32))[:, 0] * 0.6).clamp(0, 1) ** (1 / 2.2)
    ramp = torch.linspace(1, 0.1, SIDE).expand(2, 3, SIDE, SIDE)
    followed = geometry_correlation(shaded, even, scene.matte, scene.normal, left, sigma=1.0)
    pasted = geometry_correlation(even * ramp, even, scene.matte, scene.normal, left, sigma=1.0)
    assert float(followed.mean()) > 0.4
    assert abs(float(pasted.mean())) < 0.25


def test_exposure_is_what_was_asked_for():
    radiance = exposed(random_light(generator(2, 2)).radiance, 0.5)
    assert float(received(radiance)) == pytest.approx(0.5, rel=1e-4)
    assert float(lobe(torch.tensor([0.0, 0.0, 1.0]), 50.0).max()) > float(lobe(torch.tensor([0.0, 0, 1]), 2.0).max())
    assert math.isfinite(float(lobe(torch.tensor([0.0, 1.0, 0.0]), 300.0).max()))


def test_a_key_light_comes_from_its_side_and_several_from_no_side_alone():
    keys = [key_light(generator(3, number)) for number in range(40)]
    for light in keys:
        mean = mean_direction(light.radiance)
        assert light.side == dominant_side(light.radiance) or mean[2] > 0.4, "a little frontal, at most"
        assert float(mean @ torch.tensor(SIDES[light.side])) > 0.25
    several = [several_lights(generator(4, number)).radiance for number in range(40)]
    length = torch.stack([mean_direction(radiance).norm() for radiance in several])
    assert float(length.median()) < 0.45, "most leave their light spread"
    for radiance in (*several, *(light.radiance for light in keys)):
        assert 0.34 < float(received(radiance)) < 0.71


def test_the_same_seed_gives_the_same_scene():
    one, two, other = (solids(shapes.person, seed) for seed in (5, 5, 6))
    assert torch.equal(one.diffuse, two.diffuse) and torch.equal(one.surface.albedo, two.surface.albedo)
    assert not torch.equal(one.diffuse, other.diffuse)
