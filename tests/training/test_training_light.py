"""Light in stops, what is burnt or black, what shines through; and whole requests measured by them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from iclight import Settings
from iclight.imaging.colour import to_linear, to_srgb
from training import metrics
from training.evaluation import light
from training.evaluation.bench import Bench
from training.evaluation.evaluate import evaluate_light
from training.evaluation.heldout import stage_objects
from training.evaluation.report import as_markdown

SIDE = 64


def subject() -> tuple[torch.Tensor, torch.Tensor]:
    """A picture of unrelated places, and a matte that is not in its middle."""
    picture = 0.2 + 0.3 * torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    matte = torch.zeros(1, 1, SIDE, SIDE)
    matte[..., 8:56, 4:36] = 1
    return picture, matte


def lit(picture: torch.Tensor, stops: float) -> torch.Tensor:
    """Brighter by so many stops left of the subject's middle than right of it."""
    gain = torch.full((SIDE,), -stops / 2)
    gain[:20] = stops / 2
    return to_srgb(to_linear(picture) * torch.exp2(gain))


@pytest.mark.parametrize("stops", [0.0, 0.5, 1.0])
def test_stops_are_those_between_the_halves_whatever_the_subject(stops):
    picture, matte = subject()
    for exposure in (1.0, 1.5):
        brighter = to_srgb(to_linear(lit(picture, stops)) * exposure)
        measured = float(metrics.light_stops(brighter, lit(picture, -stops), matte))
        assert measured == pytest.approx(2 * stops, rel=0.05, abs=0.02)


def test_burnt_and_black_are_shares_of_the_subject_alone():
    picture, matte = subject()
    picture[..., 8:20, 4:36] = 254 / 255
    picture[..., 20:26, 4:36] = 1 / 255
    picture[:, 0, 26:32, 4:36] = 1.0  # red is not burnt
    picture[..., 40:] = 1.0
    assert float(metrics.burnt(picture, matte)) == pytest.approx(12 / 48)
    assert float(metrics.black(picture, matte)) == pytest.approx(6 / 48)


def test_a_background_shines_through_as_far_as_it_is_in_the_gain():
    picture, matte = subject()
    bars = torch.full((1, 3, SIDE, SIDE), 0.2)
    bars[..., ::2, :] = 0.8
    print_through = to_srgb(to_linear(picture) * torch.exp2(bars))
    assert float(metrics.shine_through(print_through, picture, bars, matte)) > 0.9
    assert abs(float(metrics.shine_through(lit(picture, 1.0), picture, bars, matte))) < 0.05


class Model(Bench):
    """The model that ships, already loaded for a workflow."""

    def __init__(self, relighter) -> None:
        self._only = relighter

    def relighter(self, workflow: str):
        assert workflow == self._only.workflow
        return self._only


@pytest.fixture
def quick(monkeypatch):
    """Two steps at the least size, so that what is measured is how, not how well."""
    plain = Settings.for_workflow
    least = {"width": 64, "height": 64, "steps": 2, "highres_scale": 1.0}
    monkeypatch.setattr(light.Settings, "for_workflow", lambda workflow, **more: plain(workflow, **{**more, **least}))
    monkeypatch.setattr(light, "SEEDS", (12345, 1))
    monkeypatch.setattr(light, "BUSY", ("window.jpg",))
    monkeypatch.setattr(light, "PHOTOS", {"cat": "cat.jpg"})


@pytest.mark.slow
@pytest.mark.parametrize("workflow", ["fbc", pytest.param("env", marks=pytest.mark.slow)])
def test_a_card_is_measured_beside_the_workflows_own_settings(mini, quick, workflow, tmp_path):
    bench, objects = Model(mini(workflow)), {"light stage": stage_objects(4, SIDE).first(2)}
    table = evaluate_light(bench, [workflow], objects, tmp_path)
    sets = json.loads((tmp_path / f"light-{workflow}.json").read_text())
    assert list(sets) == ["light stage", "cat"]
    plain, card = (sets["light stage"][f"{workflow}, {name}"] for name in ("strength 1", "model card"))
    assert card["stops, median"] > 1.2 * plain["stops, median"] > 0
    assert card["truth's stops, median"] == plain["truth's stops, median"] > 0
    assert card["PSNR"] != plain["PSNR"] and card["PSNR, source unchanged"] == plain["PSNR, source unchanged"]
    photo = sets["cat"][f"{workflow}, model card"]
    assert photo["stops, least"] <= photo["stops, mean"] <= photo["stops, most"]
    assert ("shine-through, backdrop blur 0" in photo) == (workflow == "fbc")
    assert f"| {workflow}, model card: stops, mean |  | " in table and table == (tmp_path / "light.md").read_text()


def test_a_line_of_some_sets_only_is_left_open_in_the_others():
    table = as_markdown({"stage": {"fc": {"stops": 1.0}}, "cat": {"fc": {"stops": 2.0, "spread": 12.0}}})
    assert "| fc: stops | 1.000 | 2.000 |\n| fc: spread |  | 12.0 |" in table


def test_photographs_bring_the_matte_that_ships():
    picture = light.example("cat")
    assert picture.shape[2] == 4 and picture.dtype == np.uint8
    assert 0.2 < (picture[..., 3] > 127).mean() < 0.95
