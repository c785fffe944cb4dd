"""The measures, and the held-out objects they are taken on."""

from __future__ import annotations

import pytest
import torch

from iclight.errors import SettingsError
from iclight.imaging import light_maps as lights
from iclight.imaging.colour import to_linear, to_srgb
from training import metrics
from training.evaluation.bench import Bench
from training.evaluation.diagnostics import drift, evenly_spaced, measure
from training.evaluation.evaluate import evaluate_photographs, from_four_sides
from training.evaluation.heldout import SEED, photographed, stage_objects
from training.evaluation.report import as_markdown, write

SIDE = 48


@pytest.fixture(scope="module")
def objects():
    return stage_objects(8, SIDE)


def ones() -> torch.Tensor:
    return torch.ones(2, 1, SIDE, SIDE)


@pytest.mark.parametrize("side", list(metrics.SIGNS))
def test_the_brighter_side_is_found(side):
    axis, sign = metrics.SIGNS[side]
    ramp = torch.linspace(-1, 1, SIDE) * sign * 0.3 + 0.5
    picture = (ramp[None, :] if axis == 0 else ramp[:, None]).expand(2, 3, SIDE, SIDE)
    assert (metrics.towards(side, picture, ones()) > 0.1).all()
    assert (metrics.towards(side, torch.full_like(picture, 0.4), ones()).abs() < 1e-3).all()


def test_psnr_looks_inside_the_matte_alone():
    picture, matte = torch.rand(2, 3, SIDE, SIDE), torch.zeros(2, 1, SIDE, SIDE)
    matte[..., 8:40, 8:40] = 1
    spoilt = picture.clone()
    spoilt[..., :8, :] = 0
    assert (metrics.psnr_inside(spoilt, picture, matte) > 90).all()
    off = metrics.psnr_inside((picture * 0 + 0.5), picture * 0 + 0.6, matte)
    assert off.tolist() == pytest.approx([20, 20], abs=1e-3)


def test_ssim_agrees_with_scikit_image():
    structural = pytest.importorskip("skimage.metrics").structural_similarity
    one = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    two = (one + 0.2 * torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    _, full = structural(one[0].numpy(), two[0].numpy(), channel_axis=0, data_range=1.0, full=True)
    assert float(metrics.ssim_inside(one, two, ones()[:1])) == pytest.approx(full[:, 3:-3, 3:-3].mean(), abs=1e-4)


def test_mean_matching_matches_the_mean(objects):
    matched = metrics.mean_matched(objects.source, objects.truth, objects.matte)
    have, want = ((to_linear(x) * objects.matte).sum((2, 3)) for x in (matched, objects.truth))
    shown = to_linear(matched).amax((1, 2, 3)) < 0.999  # where nothing was clipped
    assert torch.allclose(have[shown], want[shown], rtol=0.02, atol=0.5)
    better = metrics.psnr_inside(matched, objects.truth, objects.matte)
    assert float((better - metrics.psnr_inside(objects.source, objects.truth, objects.matte)).mean()) > 0


def test_correlations_are_one_with_oneself_and_blind_to_brightness(objects):
    darker = to_srgb(to_linear(objects.source) * 0.6)
    assert float(metrics.chroma_correlation(objects.source, objects.source, objects.matte).nanmean()) > 0.999
    assert float(metrics.detail_correlation(darker, objects.source, objects.matte).nanmean()) > 0.95
    noise = torch.rand(objects.source.shape, generator=torch.Generator().manual_seed(0))
    assert abs(float(metrics.detail_correlation(noise, objects.source, objects.matte).nanmean())) < 0.2


def test_additivity_error_is_nought_for_light_that_adds(objects):
    whole = to_linear(objects.truth) * 0.9
    one, two = to_srgb(0.3 * whole), to_srgb(0.7 * whole)
    assert metrics.additivity_error(one, two, to_srgb(whole), objects.matte).max() < 1e-3
    assert metrics.additivity_error(one, one, to_srgb(whole), objects.matte).min() > 0.3


def test_angles():
    up = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, SIDE, SIDE)
    front = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(2, 3, SIDE, SIDE)
    assert metrics.angular_error(up, front, ones()).tolist() == pytest.approx([90, 90], abs=0.1)
    assert metrics.angular_error(up, up, ones()).max() < 0.1


def test_truth_passes_the_checks_that_models_must_pass(objects):
    """Lit from a side, the objects' own pictures are brighter there, and follow the shape more than a ramp does."""
    right = [metrics.towards(side, picture, objects.matte) > 0 for side, picture in objects.sides.items()]
    assert float(torch.stack(right).float().mean()) > 0.75
    assert torch.isfinite(objects.truth).all() and (objects.matte.sum((1, 2, 3)) > 50).all()
    assert torch.allclose(objects.halves[0] + objects.halves[1], objects.environment, atol=1e-4)


def test_held_out_objects_come_from_seeds_of_their_own(objects):
    again = stage_objects(4, SIDE, SEED)
    assert torch.equal(again.truth, objects.first(4).truth)
    assert not torch.equal(stage_objects(4, SIDE, 1).truth, again.truth)


def test_tables_can_be_read():
    table = as_markdown({"a": {"fc": {"direction": 97.25}}, "b": {"fc": {"direction": 0.5}}})
    assert "| fc: direction | 97.2 | 0.500 |" in table


@pytest.mark.slow
def test_drift_ends_at_the_picture_that_sampling_makes(objects):
    few = objects.first(2)
    bench = Bench("mini", "cpu", "float32")
    found = drift(bench, "env", few, ("left",))
    assert list(found) == ["step 1", "step 4", "step 8", "step 11", "step 15", "step 18", "step 22", "step 25", "truth"]
    assert found["step 25"] == pytest.approx(measure(bench.relight("env", few.foreground, light="left"), "left", few))
    assert found["truth"] == pytest.approx(measure(few.sides["left"], "left", few)) and found["truth"][2] > 60
    assert evenly_spaced(3) == [0, 1, 2] and evenly_spaced(1) == [0]


class Painted(Bench):
    """Lays a light's ramp over the foreground, so strong that it is seen on any subject; it needs no model."""

    def __init__(self, share: float) -> None:
        self.share = share

    def relight(self, workflow, foreground, background=None, light=None, **more):  # type: ignore[override]
        ramp = torch.from_numpy(lights.light_map(light, "fbc", *foreground.shape[3:1:-1])).permute(2, 0, 1) / 255
        return to_srgb(to_linear(foreground) * (1 - self.share + self.share * ramp**3))


def test_a_light_may_be_told_by_the_change_where_the_subject_hides_it(objects):
    few = objects.first(4)
    strong, weak = (from_four_sides(Painted(k), "fc", few.source, few.foreground, few.matte) for k in (1.0, 0.05))
    more = "brighter there than of the other side, all"
    assert strong[0]["direction, all"] > 90 and strong[0][more] == 100
    assert weak[0]["direction, all"] < 80 and weak[0][more] == 100
    assert list(strong[1]) == list(metrics.SIGNS) and strong[0]["detail correlation"] > 0.8


def test_photographs_are_judged_by_what_needs_no_truth():
    pytest.importorskip("skimage")
    photos = photographed(64)
    assert photos.source.shape == photos.foreground.shape == (3, 3, 64, 64)
    assert ((photos.foreground - 127 / 255)[(photos.matte == 0).expand_as(photos.source)].abs() < 1e-6).all()
    assert (photos.matte.mean((1, 2, 3)) > 0.1).all() and (photos.matte.mean((1, 2, 3)) < 0.95).all()
    figures, rows = evaluate_photographs(Painted(1.0), photos)
    assert set(figures) == {"fc", "fbc", "env"} and figures["env"]["brighter there than of the other side, all"] == 100
    assert len(rows) == 3 and len(rows[0]) == 13


def test_parts_are_the_whole_shared_out(objects):
    parts = [stage_objects(8, SIDE, share=(number, 2)) for number in (0, 1)]
    assert torch.equal(torch.cat([part.truth for part in parts]), objects.truth)
    with pytest.raises(SettingsError, match="leave none for part 1/2"):
        stage_objects(4, SIDE, share=(1, 2))


def test_the_table_comes_with_the_last_part_each_weighed_by_its_objects(tmp_path):
    def part(count: int, direction: float, whole: bool, **more):
        figures = {"stage": {"fc": {"direction": direction}, **more}}
        return {"objects": {"stage": count}, "figures": figures, "whole": whole}

    assert write(tmp_path, 0, 2, part(12, 60.0, True, vae={"PSNR": 33.0})) is None
    assert write(tmp_path, 1, 2, part(4, 100.0, False)) is None
    table = write(tmp_path, 1, 2, part(4, 100.0, True))
    assert table == (tmp_path / "table.md").read_text()
    assert "| fc: direction | 70.0 |" in table and "| vae: PSNR | 33.0 |" in table
