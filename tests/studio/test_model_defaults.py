"""What is left open on the page is as the model's card says; what was chosen stays."""

from __future__ import annotations

import pytest

from iclight.parameters import PARAMETERS
from iclight.studio.service.actions import settings_of
from iclight.studio.service.model_pool import ModelPool
from iclight.studio.tabs.form import OPEN, defaults_of, opened

REFERENCE = {name: PARAMETERS[name].default_for("fc") for name in OPEN}


@pytest.fixture(scope="module")
def engine() -> ModelPool:
    """A pool that has loaded mini."""
    pool = ModelPool("fc", {"model": "mini", "device": "cpu"})
    assert defaults_of(pool, "fc") == REFERENCE
    pool.get()
    return pool


def test_the_card_of_the_loaded_model_says_what_inputs_begin_with(engine):
    usual = defaults_of(engine, "fc")
    assert (usual["steps"], usual["light"], usual["cfg"]) == (9, "none", 2.0)
    assert usual["light_strength"] > 1
    assert defaults_of(engine, "fbc")["backdrop_blur"] > 0


def test_what_stands_at_earlier_defaults_follows_and_what_was_chosen_stays(engine):
    now = {**REFERENCE, "steps": 40}
    values = dict(zip(OPEN, opened("fc", defaults_of(engine, "fc"), REFERENCE, now), strict=True))
    assert values["steps"] == 40
    assert values["light_strength"] == defaults_of(engine, "fc")["light_strength"]


def test_requests_that_leave_settings_open_get_the_models(engine):
    left_open = settings_of("fc", {"prompt": "cat", "steps": None}, engine.defaults("fc"))
    assert left_open.steps == 9
    assert settings_of("fc", {"steps": 30}, engine.defaults("fc")).steps == 30
    assert settings_of("fc", {}).steps == 25
