"""What a click fills in: quick words, moods, examples; and what is left open."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gradio")

from iclight.errors import SettingsError
from iclight.parameters import PARAMETERS
from iclight.settings import Settings
from iclight.studio.service.actions import settings_of, workflow_of
from iclight.studio.tabs.examples import BACKGROUNDS, EXAMPLES, asset, pick_lighting, pick_subject
from iclight.studio.tabs.form import OPEN, opened
from iclight.studio.tabs.presets import choose
from iclight.studio.ui.moods import DECIDES, MOODS


def test_quick_lists_do_what_the_references_do():
    assert pick_subject("handsome man, detailed face", "anything") == "handsome man, detailed face"
    kept = pick_lighting("neon light, city", "beautiful woman, detailed face, sunset over sea, more")
    assert kept == "beautiful woman, detailed face, neon light, city"
    assert pick_lighting("golden time", "") == "golden time"


def test_a_mood_adds_its_words_to_a_request_and_no_other_mood_is_taken():
    assert settings_of("fc", {"prompt": "my dog, ", "mood": "neon"}).prompt == "my dog, neon light, city"
    assert settings_of("env", {"mood": "noon"}).prompt == "natural lighting, clear sky"
    assert settings_of("fbc", {"prompt": "my dog", "mood": None}).prompt == "my dog"
    for odd in ("sunny", ["noon"], 7):
        with pytest.raises(SettingsError, match="it takes one of window, golden-hour"):
            settings_of("fc", {"mood": odd})


def test_every_example_is_there():
    files = {name for example in EXAMPLES for name in (example.image, example.file) if name}
    for name in {*files, *BACKGROUNDS}:
        assert Path(asset(name)).is_file()


def test_what_is_left_open_is_the_default_of_the_workflow_that_is_asked_for():
    assert settings_of("fbc", dict.fromkeys(PARAMETERS)) == Settings.for_workflow("fbc", seed=None)
    with pytest.raises(SettingsError, match="workflow is 'fcc', but it takes one of fc, fbc, env"):
        workflow_of({"workflow": "fcc"}, "fc")


def test_a_mood_chooses_the_light_where_lights_are_drawn_and_gives_back_what_it_replaced():
    before = ["spot", 10.0, "#112233", "#000000", 1.0, 0.5, 0.5, 0.5]
    kept, *lit = choose("fc", "campfire", None, *before)
    assert kept == before and dict(zip(DECIDES, lit, strict=True)) == MOODS["campfire"].light
    kept, *lit = choose("fc", "noon", kept, *lit)
    assert kept == before and lit[0] == "top"
    assert choose("fc", None, kept, *lit) == [None, *before]
    for workflow in ("fbc", "env"):
        assert not any(isinstance(one, str) for one in choose(workflow, "noon", None, *before)), "words alone"


def test_another_workflow_brings_its_defaults_where_the_form_stands_at_the_ones_before():
    usual = {workflow: {name: PARAMETERS[name].default_for(workflow) for name in OPEN} for workflow in ("fc", "fbc")}
    usual["env"] = {name: PARAMETERS[name].default_for("env") for name in OPEN}

    def after(workflow, **chosen):
        light, *rest = opened(workflow, usual[workflow], usual["fc"], {**usual["fc"], **chosen})
        return {"light": light.value, **dict(zip(OPEN[1:], rest, strict=True))}

    switched = after("fbc", cfg=3.5)
    assert (switched["light"], switched["steps"], switched["cfg"]) == ("upload", 20, 3.5)
    assert after("env", light="rim")["light"] == "upload", "an environment has no rim"
    assert after("env", light="left")["light"] == "left"
