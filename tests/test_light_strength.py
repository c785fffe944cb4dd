"""Light as strong as it is asked for, by the model that ships: in stops, on the subject, from its side."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from PIL import Image

from iclight import Settings
from iclight.imaging import crop
from iclight.imaging.colour import LINEAR
from iclight.normals import estimate_normals
from iclight.studio.tabs.examples import asset

SIZE = {"width": 128, "height": 128, "highres_scale": 1.0, "steps": 4, "seed": 1}


@cache
def cup() -> np.ndarray:
    """The coffee cup, with an ellipse for a matte."""
    picture = np.asarray(Image.open(asset("coffee.jpg")).convert("RGB").resize((128, 128)))
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    matte = ((np.hypot(x / 0.7, y / 0.85) < 1) * 255).astype(np.uint8)
    return np.dstack([picture, matte])


def relit(mini, workflow: str, strength: float, light: str, **more) -> np.ndarray:
    settings = Settings.for_workflow(workflow, light=light, light_strength=strength, **SIZE, **more)
    return mini(workflow).relight(cup(), settings).images[0]


def stops(left: np.ndarray, right: np.ndarray) -> float:
    """Light in stops: how much brighter the left half of the subject is than the right, lit from left against right."""
    gain = np.log2(LINEAR[left].mean(axis=2) + 0.004) - np.log2(LINEAR[right].mean(axis=2) + 0.004)
    inside = cup()[..., 3] > 0
    return float(gain[:, :64][inside[:, :64]].mean() - gain[:, 64:][inside[:, 64:]].mean())


@pytest.mark.parametrize("workflow", ["fc", "fbc", "env"])
def test_a_stronger_light_has_more_stops(mini, workflow):
    by_strength = {
        strength: stops(*(relit(mini, workflow, strength, light) for light in ("left", "right"))) for strength in (1, 2)
    }
    assert by_strength[2] > 1.4 * by_strength[1] > 0


@pytest.mark.parametrize("workflow", ["fbc", "env"])
def test_guided_light_leaves_the_background_alone(mini, workflow):
    outside = np.s_[:, :6]
    weak, strong = (relit(mini, workflow, strength, "left")[outside].astype(float) for strength in (1, 3))
    assert np.abs(weak - strong).mean() < 4


def test_several_pictures_are_strengthened_each_by_its_own(mini):
    settings = Settings.for_workflow("fc", light="left", light_strength=2, num_images=2, **SIZE)
    first, second = mini("fc").relight(cup(), settings).images
    alone = relit(mini, "fc", 2, "left")
    assert np.abs(first.astype(int) - second).mean() > 1
    assert first.shape == alone.shape


def test_steps_are_told_once_and_in_order(mini):
    told = []
    settings = Settings.for_workflow("fc", light="left", light_strength=2, **SIZE)
    mini("fc").relight(cup(), settings, on_step=lambda event: told.append((event.stage, event.step, event.steps)))
    low = [one for one in told if one[0] == "lowres"]
    assert [step for _, step, _ in low] == list(range(1, low[0][2] + 1))
    assert told[-1][0] == "highres"


def test_a_busy_background_does_not_shine_through_where_it_is_blurred(mini):
    """The correlation of the picture's fine detail, inside the subject, with the background's."""
    stripes = np.broadcast_to((np.arange(128) // 8 % 2 * 200 + 20).astype(np.uint8)[:, None, None], (128, 128, 3))

    def seen(blur: float) -> float:
        settings = Settings.for_workflow("fbc", light="upload", light_strength=2, backdrop_blur=blur, **SIZE)
        picture = mini("fbc").relight(cup(), settings, background=stripes).images[0]
        source = crop.resize_and_center_crop(cup()[..., :3], 128, 128)
        detail = (np.log2(LINEAR[picture] + 0.02) - np.log2(LINEAR[source] + 0.02)).mean(axis=2)[40:88, 40:88]
        pattern = stripes[40:88, 40:88, 0].astype(float)
        return abs(float(np.corrcoef((detail - detail.mean()).ravel(), (pattern - pattern.mean()).ravel())[0, 1]))

    assert seen(0.125) < 0.5 * seen(0.0)


def test_normals_do_not_ask_for_strength(mini):
    quick = Settings.for_workflow("fbc", light="left", **SIZE)
    one, two = (
        estimate_normals(mini("fbc"), cup(), quick.replace(light_strength=strength)).normal for strength in (1, 3)
    )
    np.testing.assert_array_equal(one, two)
