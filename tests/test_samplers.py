"""Every sampler relights with the model that ships and with the golden one, and the calm ones end in one picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iclight import Settings
from iclight.diffusion.progress import StepEvent
from iclight.parameters import PARAMETERS
from iclight.studio.tabs.examples import asset

SAMPLERS = tuple(PARAMETERS["sampler"].choices)
SIZE = {"width": 128, "height": 128, "highres_scale": 1.0, "seed": 1}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def cup() -> np.ndarray:
    return np.asarray(Image.open(asset("coffee.jpg")).convert("RGB").resize((128, 128)))


def relit(relighter, sampler: str, steps: int, on_step=None, **changes) -> np.ndarray:
    settings = Settings.for_workflow(
        relighter.workflow, **{"light": "left", **SIZE, "steps": steps, "sampler": sampler, **changes}
    )
    return relighter.relight(cup(), settings, on_step=on_step).images[0]


@pytest.mark.slow
def test_eight_steps_of_any_sampler_are_near_what_the_default_draws(mini):
    drawn = relit(mini("fc"), "dpmpp_sde_karras", 8)
    distances = {name: psnr(relit(mini("fc"), name, 8), drawn) for name in SAMPLERS if name != "dpmpp_sde_karras"}
    assert min(distances.values()) > 22, distances


@pytest.mark.slow
def test_samplers_that_add_no_noise_end_in_the_same_picture(mini):
    first, *others = (relit(mini("fc"), name, 20) for name in ("dpmpp_2m_karras", "unipc", "euler"))
    assert min(psnr(first, other) for other in others) > 30


@pytest.mark.parametrize("workflow", ["fc", "fbc"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_previews_what_it_draws_and_repeats_it(golden_relighter, sampler, workflow):
    events: list[StepEvent] = []
    relighter = golden_relighter(workflow)
    once, again = (relit(relighter, sampler, 3, events.append, width=64, height=64, cfg=2.0) for _ in range(2))
    assert np.array_equal(once, again)
    assert all(np.isfinite(event.clean.numpy()).all() and event.preview().shape == (8, 8, 3) for event in events)


@pytest.mark.parametrize("sampler", ["euler_a", pytest.param("tcd", marks=pytest.mark.slow)])
def test_a_light_is_strengthened_whatever_the_sampler(mini, sampler):
    """fbc guides the light in each step, where predictions are the sampler's."""
    sides = []
    for strength in (1.0, 3.0):
        left, right = (
            relit(mini("fbc"), sampler, 4, light=light, light_strength=strength).astype(float)
            for light in ("left", "right")
        )
        sides.append((left - right)[:, :64].mean() - (left - right)[:, 64:].mean())
    assert sides[1] > 1.2 * sides[0] > 0
