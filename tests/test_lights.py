"""Ramps: bright on the side the light comes from, with the reference's ends."""

from __future__ import annotations

import numpy as np
import pytest

from iclight.lights import light_map
from iclight.settings import LIGHTS


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
