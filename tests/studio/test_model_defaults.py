"""What is left open on the page is as the model's card says; what was chosen stays."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from golden_data import GOLDEN

from iclight.parameters import OPEN, PARAMETERS
from iclight.recipes import read_recipe
from iclight.studio.service.actions import Actions, settings_of
from iclight.studio.service.model_pool import ModelPool
from iclight.studio.service.storage import Storage
from iclight.studio.tabs.form import defaults_of, opened
from iclight.studio.tabs.mix import MixTab
from iclight.studio.tabs.normals import NormalsTab

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


@pytest.mark.parametrize("tab", [MixTab, NormalsTab])
def test_the_first_request_is_lit_as_all_others_whoever_asks_before_the_model_is_loaded(tab, tmp_path):
    shutil.copytree(GOLDEN / "model", tmp_path / "model")
    card = {"defaults": {"fc": {"steps": 2}, "fbc": {"steps": 2}}}
    (tmp_path / "model" / "iclight.json").write_text(json.dumps(card))
    engine = ModelPool("fc", {"model": str(tmp_path / "model"), "device": "cpu", "matting": "none"})
    work = Actions(engine, lambda function: function, Storage(tmp_path / "files"))
    values = {"image": str(GOLDEN / "cases" / "foreground.png"), "width": 64, "height": 64, "highres_scale": 1.0}
    request = SimpleNamespace(session_hash="s", client=SimpleNamespace(host="here"), headers={})
    room = tab(work, lambda function: function)
    if isinstance(room, MixTab):
        room.lights(request, **values)
        steps = room._of(request).made.settings.steps
    else:
        steps = read_recipe(room.normals(request, **values)[0][0][0]).settings.steps
    assert steps == 2
