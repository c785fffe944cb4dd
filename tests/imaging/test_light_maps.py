"""Ramps: bright on the side the light comes from, with the reference's ends."""

from __future__ import annotations

import numpy as np
import pytest

from iclight.imaging.light_maps import blur_hidden, brightness, light_map
from iclight.parameters import LIGHTS
from iclight.settings import LightShape


@pytest.mark.parametrize("workflow", ["fc", "fbc"])
@pytest.mark.parametrize("light", ["left", "right", "top", "bottom"])
def test_a_ramp_is_bright_where_the_light_is(workflow, light):
    ramp = light_map(light, workflow, 96, 64)
    assert ramp is not None
    assert ramp.shape == (64, 96, 3)
    assert ramp.dtype == np.uint8
    first, last = {"left": (ramp[:, 0], ramp[:, -1]), "top": (ramp[0], ramp[-1])}.get(
        light, (ramp[:, -1], ramp[:, 0]) if light == "right" else (ramp[-1], ramp[0])
    )
    assert (int(first.min()), int(last.max())) == ((255, 0) if workflow == "fc" else (224, 32))
    assert np.array_equal(ramp[..., 0], ramp[..., 2])


def test_values_are_truncated_not_rounded():
    ramp = light_map("right", "fc", 64, 64)
    assert ramp is not None
    assert np.array_equal(ramp[0, :, 0], np.linspace(0, 255, 64).astype(np.uint8))


def test_ambient_is_a_constant_grey_and_uploads_have_no_picture():
    ambient = light_map("ambient", "fbc", 64, 64)
    assert ambient is not None
    assert set(np.unique(ambient)) == {64}
    for workflow, light in (("fc", "none"), ("fbc", "upload"), ("fbc", "upload-flipped"), ("env", "left")):
        assert light in LIGHTS[workflow]
        assert light_map(light, workflow, 64, 64) is None


@pytest.mark.parametrize("workflow", ["fc", "fbc"])
@pytest.mark.parametrize(
    ("light", "angle"), [("right", 0), ("top", 90), ("left", 180), ("bottom", 270), ("right", 360)]
)
def test_the_named_sides_are_angles(workflow, light, angle):
    named, turned = light_map(light, workflow, 96, 64), light_map("angle", workflow, 96, 64, LightShape(angle=angle))
    assert named is not None and turned is not None
    np.testing.assert_allclose(named.astype(int), turned.astype(int), atol=1)


@pytest.mark.parametrize("angle", [30, 200, 315])
def test_any_angle_is_bright_at_its_corner_and_dark_at_the_other(angle):
    share = brightness("angle", 80, 80, LightShape(angle=angle))
    assert share is not None
    y, x = np.unravel_index(share.argmax(), share.shape)
    towards = np.degrees(np.arctan2(39.5 - y, x - 39.5)) % 360
    assert abs(towards - angle) <= 45, "the brightest place is the corner nearest to the light"
    assert share.max() == pytest.approx(1) and share.min() == pytest.approx(0)


def test_front_is_bright_in_the_middle_rim_around_it_and_a_spot_where_it_is_put():
    front, rim = (brightness(light, 80, 60) for light in ("front", "rim"))
    assert front is not None and rim is not None
    assert front[30, 40] > 0.95 and front[0, 0] < 0.05
    np.testing.assert_allclose(front + rim, 1)
    spot = brightness("spot", 80, 60, LightShape(spot=(0.75, 0.25, 0.2)))
    assert spot is not None
    assert np.unravel_index(spot.argmax(), spot.shape) == (15, 59)


def test_falloff_narrows_and_widens_and_leaves_the_ends():
    narrow, plain, wide = (brightness("left", 64, 64, LightShape(falloff=power)) for power in (2.0, 1.0, 0.5))
    assert narrow is not None and plain is not None and wide is not None
    assert (narrow[:, 1:-1] < plain[:, 1:-1]).all() and (plain[:, 1:-1] < wide[:, 1:-1]).all()
    assert narrow[0, 0] == plain[0, 0] == wide[0, 0] == 1


@pytest.mark.parametrize(("workflow", "bright", "dark"), [("fc", 255, 0), ("fbc", 224, 32)])
def test_two_colours_stand_at_the_two_ends(workflow, bright, dark):
    ramp = light_map("left", workflow, 64, 64, LightShape(colour="#ff0000", shadow="#0000ff"))
    assert ramp is not None
    assert ramp[0, 0].tolist() == [bright, 0, 0]
    assert ramp[0, -1].tolist() == [dark, 0, bright]


def test_a_coloured_ambient_is_that_colour_at_the_ambient_grey():
    ambient = light_map("ambient", "fbc", 8, 8, LightShape(colour="#ff8000"))
    assert ambient is not None
    assert ambient[0, 0].tolist() == pytest.approx([64, 32, 0], abs=1)


def test_a_background_is_blurred_where_the_subject_hides_it_and_nowhere_else():
    backdrop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    matte = np.zeros((64, 64, 1), np.float32)
    matte[16:48, 16:48] = 1
    blurred = blur_hidden(backdrop, matte, 0.125)
    np.testing.assert_array_equal(blurred[matte[..., 0] == 0], backdrop[matte[..., 0] == 0])
    assert blurred[16:48, 16:48].std() < 0.2 * backdrop[16:48, 16:48].std()
    assert blur_hidden(backdrop, matte, 0.0) is backdrop
