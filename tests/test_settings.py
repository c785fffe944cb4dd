"""One request's knobs: what they accept, and what they say when they do not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from iclight import Settings, SettingsError
from iclight.parameters import LIGHTS, PARAMETERS, WORKFLOWS

NUMBERS = [name for name, knob in PARAMETERS.items() if knob.kind in ("integer", "number")]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -5, 1e30, "25", "many", [], True, b"3", 1 + 2j])
def test_a_number_out_of_range_is_refused_by_name_value_and_range(name, value):
    with pytest.raises(SettingsError) as caught:
        Settings(**{name: value})
    message = str(caught.value)
    assert name in message
    assert "from" in message
    assert "to" in message
    assert repr(value)[:20] in message


@pytest.mark.parametrize("name", NUMBERS)
def test_both_ends_of_a_range_are_accepted(name):
    knob = PARAMETERS[name]
    for value in (knob.minimum, knob.maximum):
        assert getattr(Settings(**{name: value}), name) == value


def test_whole_numbers_may_come_as_floats_or_numpy_but_fractions_may_not():
    assert Settings(steps=12.0).steps == 12
    assert isinstance(Settings(steps=np.int64(12)).steps, int)
    with pytest.raises(SettingsError, match=r"steps is 12\.5"):
        Settings(steps=12.5)
    with pytest.raises(SettingsError, match="in steps of 64"):
        Settings(width=500)


@pytest.mark.parametrize("value", [None, 3, b"bytes", "x" * 20_001])
def test_a_prompt_is_text_of_bounded_length(value):
    with pytest.raises(SettingsError, match="prompt is"):
        Settings(prompt=value)


def test_a_message_stays_short_whatever_was_passed():
    with pytest.raises(SettingsError) as caught:
        Settings(steps="9" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_an_unknown_light_is_refused_with_the_known_ones(workflow):
    with pytest.raises(SettingsError) as caught:
        Settings.for_workflow(workflow, light="sideways")
    assert "'sideways'" in str(caught.value)
    assert all(light in str(caught.value) for light in LIGHTS[workflow])


def test_a_light_of_the_other_workflow_is_pointed_out():
    with pytest.raises(SettingsError, match="belongs to the fbc workflow and the env workflow"):
        Settings.for_workflow("fc", light="ambient")
    with pytest.raises(SettingsError, match=r"belongs to the env workflow\.\)"):
        Settings.for_workflow("fbc", light="back")


def test_defaults_are_the_references():
    fc, fbc = Settings.for_workflow("fc"), Settings.for_workflow("fbc")
    assert (fc.steps, fc.cfg, fc.lowres_denoise, fc.highres_scale, fc.highres_denoise) == (25, 2.0, 0.9, 1.5, 0.5)
    assert (fbc.steps, fbc.cfg, fbc.highres_scale, fbc.highres_denoise) == (20, 7.0, 1.5, 0.5)
    assert fc.seed == fbc.seed == 12345
    assert fc.added_prompt == "best quality"
    assert fc.negative_prompt == "lowres, bad anatomy, bad hands, cropped, worst quality"
    assert Settings() == fc


def test_env_starts_where_fc_does_with_an_uploaded_light():
    env = Settings.for_workflow("env")
    assert env.light == "upload"
    assert env.replace(workflow="fc", light="none") == Settings.for_workflow("fc")
    assert tuple(LIGHTS["env"]) == ("upload", "left", "right", "top", "bottom", "front", "back", "ambient", "angle")


def test_settings_know_which_input_the_light_comes_from():
    expected = {("fc", "none"): None, ("fbc", "upload"): "background", ("fbc", "upload-flipped"): "background"}
    expected |= {
        ("fc", "upload"): "light_map",
        ("fbc", "left"): None,
        ("env", "upload"): "environment",
        ("env", "ambient"): None,
    }
    for (workflow, light), name in expected.items():
        assert Settings.for_workflow(workflow, light=light).light_input == name


def test_settings_are_immutable_and_survive_json():
    settings = Settings.for_workflow("fbc", prompt="日落 🌅", light="ambient", seed=None, width=512)
    with pytest.raises(AttributeError):
        settings.steps = 3  # type: ignore[misc]
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_unknown_names_and_workflows_are_refused():
    with pytest.raises(SettingsError, match="no setting named brightness"):
        Settings.for_workflow("fc", brightness=3)
    with pytest.raises(SettingsError, match="workflow is 'env2'"):
        Settings.for_workflow("env2")


def test_a_broken_surrogate_in_a_prompt_does_no_harm():
    assert Settings(prompt="light \ud83d").prompt == "light ?"


def test_numbers_of_any_length_are_refused_in_few_words():
    for value in (10**400, -(10**400), 10**5000):
        with pytest.raises(SettingsError) as caught:
            Settings(seed=value)
        assert len(str(caught.value)) < 200
