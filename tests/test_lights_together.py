"""Lights of one seed in one batch: each picture is the one that its light draws alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_data import PICTURE

from iclight import Settings
from iclight.parameters import PARAMETERS
from iclight.passes import TOGETHER

SMALL = {"width": 64, "height": 64, "steps": 3, "highres_scale": 1.5, "seed": 5, "light_strength": 1.0, "prompt": "sun"}
ENVIRONMENT = np.full((2, 32, 32, 3), 0.1, np.float32)
ENVIRONMENT[0, :, :16], ENVIRONMENT[1, :, 16:] = 5.0, 5.0
OWN = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 1, 3))
LIGHTS = {
    "fc": [("left", None, None), ("none", None, None), ("right", None, None), ("upload", OWN, None)],
    "fbc": [(light, None, None) for light in ("left", "right", "bottom", "top", "ambient")] + [("upload", OWN, None)],
    "env": [("upload", None, one) for one in ENVIRONMENT],
}


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().mean())


def prepared(relighter, **changes) -> tuple[np.ndarray, Settings]:
    first = LIGHTS[relighter.workflow][0][0]
    settings = Settings.for_workflow(relighter.workflow, **{**SMALL, "light": first, **changes})
    picture, own, settings = relighter.open_request(PICTURE, settings, None, None)
    return relighter.prepare(picture.rgb, own, "none").foreground, settings


@pytest.mark.parametrize("workflow", LIGHTS)
def test_lights_drawn_together_are_those_drawn_one_by_one(golden_relighter, mini, workflow):
    relighter, runs = (mini if workflow == "env" else golden_relighter)(workflow), LIGHTS[workflow]
    foreground, settings = prepared(relighter)
    together = relighter.passes.render_each(foreground, settings, runs)
    alone = [
        relighter.passes.render(foreground, settings.replace(light=light), background, None, environment).decoded
        for light, background, environment in runs
    ]
    for one, other in zip(together, alone, strict=True):
        assert apart(one, other) < 1e-3
    assert min(apart(one, alone[0]) for one in alone[1:]) > 1e-2, "other lights are other pictures"


@pytest.mark.parametrize("sampler", PARAMETERS["sampler"].choices)
def test_every_samplers_noise_is_each_lights_own(golden_relighter, sampler):
    relighter = golden_relighter("fc")
    foreground, settings = prepared(relighter, sampler=sampler)
    together = relighter.passes.render_each(foreground, settings, LIGHTS["fc"][::2])
    for one, (light, *_) in zip(together, LIGHTS["fc"][::2], strict=True):
        alone = relighter.passes.render(foreground, settings.replace(light=light)).decoded
        assert apart(one, alone) < 1e-3


def test_a_batch_holds_so_many_lights_and_tells_how_far_it_is(golden_relighter, monkeypatch):
    relighter, shares, batches = golden_relighter("fbc"), [], []
    real = relighter.unet.forward
    monkeypatch.setattr(
        relighter.unet, "forward", lambda x, *rest, **more: batches.append(len(x)) or real(x, *rest, **more)
    )
    foreground, settings = prepared(relighter, cfg=2.0)
    relighter.passes.render_each(foreground, settings, LIGHTS["fbc"], lambda event: shares.append(event.overall))
    assert set(batches) == {2 * TOGETHER, 2 * (len(LIGHTS["fbc"]) - TOGETHER)}
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
