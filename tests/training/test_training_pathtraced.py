"""Path-traced things: our lights are Mitsuba's lights, light adds up, and a shard gives back what was rendered."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from iclight.errors import IclightError
from iclight.imaging.environment import irradiance
from training.scenes.traced import pathtraced
from training.scenes.traced.meshes import ball, extrude
from training.scenes.traced.objects import KINDS, Sculpture, fit, sculpt
from training.scenes.traced.pathtraced import (
    LIGHTS,
    TracedScene,
    as_mitsuba_map,
    calm,
    environments,
    lobe,
    mix,
    mix_environments,
    weighing,
)

needs_mitsuba = pytest.mark.skipif(importlib.util.find_spec("mitsuba") is None, reason="Mitsuba is not installed")
needs_skimage = pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed")


def sphere() -> Sculpture:
    white = {"type": "diffuse", "reflectance": np.ones((1, 1, 3), np.float32)}
    return Sculpture(fit([(ball(1), white)], 0.8, 0), 0)


def invented(seed: int = 3, size: int = 8) -> TracedScene:
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return rng.random(shape).astype(np.float16)

    lit = some(len(LIGHTS), 3, size, size)
    return TracedScene(seed, lit, environments(), some(1, size, size), some(3, size, size))


@pytest.mark.parametrize("name", LIGHTS)
def test_each_light_lights_white_paint_that_faces_it_to_one(name):
    towards = LIGHTS[name]
    light = environments()[list(LIGHTS).index(name)].transpose(1, 2, 0)
    assert irradiance(light, towards or (0, 0, 1)) == pytest.approx([1, 1, 1], abs=0.02)


def test_the_map_of_a_light_is_bright_where_the_light_is():
    maps = dict(zip(LIGHTS, environments()[:, 0], strict=True))
    assert np.unravel_index(maps["left"].argmax(), (32, 32))[1] in (7, 8)
    assert np.unravel_index(maps["right"].argmax(), (32, 32))[1] in (23, 24)
    assert maps["top"][0].min() > maps["top"][8].max()
    assert maps["bottom"][-1].min() > maps["bottom"][-8].max()
    # What lights the front stands behind the camera: where the map's edges meet.
    assert maps["front"][16, 0] > 3 > maps["front"][16, 16]


def test_mitsubas_map_is_ours_rolled_by_half_a_turn():
    ours = environments()[list(LIGHTS).index("left"), 0]
    theirs = as_mitsuba_map(LIGHTS["left"], 32, 32)[..., 0]
    assert np.abs(np.roll(theirs, 16, axis=1) - ours).max() < 0.1 * ours.max()


def test_mixing_is_linear_in_the_weights_and_agrees_with_the_map():
    scene, rng = invented(), np.random.default_rng(0)
    one, other = (rng.random((len(LIGHTS), 3)).astype(np.float32) for _ in range(2))
    for blend in (lambda w: mix(scene, w), mix_environments):
        assert np.allclose(blend(one + 2 * other), blend(one) + 2 * blend(other), atol=1e-4)
    only = weighing(right_back=(0, 2, 0))
    assert np.allclose(mix(scene, only)[1], 2 * scene.lit[list(LIGHTS).index("right-back"), 1], atol=1e-3)
    assert not mix(scene, only)[[0, 2]].any()
    assert np.allclose(mix_environments(only)[1], 2 * lobe(LIGHTS["right-back"], pathtraced.directions()), atol=1e-5)


def test_fireflies_are_calmed_and_highlights_stay():
    picture = np.full((3, 16, 16), 0.1, np.float32)
    picture[:, 8:12, 8:12] = 5
    expected = picture.copy()
    picture[:, 3, 3] = (40, 20, 10)
    calmed = calm(picture)
    assert calmed[:, 3, 3] == pytest.approx([0.25, 0.125, 0.0625])
    expected[:, 3, 3] = calmed[:, 3, 3]
    assert np.array_equal(calmed, expected)


def test_a_shard_gives_back_the_scene_and_nothing_half_written(tmp_path):
    scenes = [invented(seed) for seed in (11, 2)]
    for scene in scenes:
        pathtraced.save(tmp_path / f"{scene.seed:06d}.safetensors", scene)
    assert not list(tmp_path.glob("*.tmp"))
    second, first = pathtraced.load(tmp_path)
    for before, after in zip(scenes, (first, second), strict=True):
        assert before.seed == after.seed
        for name in pathtraced.ARRAYS:
            assert np.array_equal(getattr(before, name), getattr(after, name))


def test_without_mitsuba_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    pathtraced.mitsuba.cache_clear()
    try:
        with pytest.raises(IclightError, match="pip install mitsuba"):
            pathtraced.mitsuba()
    finally:
        pathtraced.mitsuba.cache_clear()


@needs_skimage
def test_an_extruded_drawing_has_its_plan_and_depth():
    drawing = np.zeros((200, 200), np.uint8)
    drawing[50:150, 50:150] = 255
    mesh = extrude(drawing, 0.4, 0.02)
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([1, 1, 0.4], abs=0.03)
    a, b, c = mesh.vertices.astype(np.float64)[mesh.faces.astype(np.int64)].transpose(1, 0, 2)
    volume = float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
    assert volume == pytest.approx(0.4, rel=0.03), "and faces outwards"


@needs_skimage
def test_every_kind_is_in_the_frame_and_a_seed_is_a_thing_for_good():
    for seed in range(len(KINDS)):
        thing, again = sculpt(seed), sculpt(seed)
        points = np.concatenate([mesh.vertices for mesh, _ in thing.parts])
        seen = points[:, :2] / (1 - points[:, 2:] / thing.distance) if thing.distance else points[:, :2]
        assert 0.7 < np.abs(seen).max() < 0.95
        assert np.isfinite(points).all()
        assert np.array_equal(points, np.concatenate([mesh.vertices for mesh, _ in again.parts]))


@needs_mitsuba
def test_lights_come_from_the_side_they_are_named_for_and_normals_face_the_camera():
    scene = pathtraced.trace(sphere(), size=32, spp=16)
    lit = {name: picture[0].astype(np.float32) for name, picture in zip(LIGHTS, scene.lit, strict=True)}
    left, right, top, bottom = (slice(12, 20), slice(4, 8)), (slice(12, 20), slice(24, 28)), *_rows()
    for name, bright, dark in (
        ("left", left, right),
        ("right", right, left),
        ("top", top, bottom),
        ("bottom", bottom, top),
    ):
        assert lit[name][bright].mean() > 0.6
        assert lit[name][dark].mean() < 0.05
    middle = (slice(14, 18), slice(14, 18))
    assert lit["front"][middle].mean() == pytest.approx(1, abs=0.05)
    assert lit["left-back"][middle].mean() < 0.1
    assert lit["ambient"][4:28, 12:20].mean() == pytest.approx(1, abs=0.03)
    normal = scene.normal.astype(np.float32)
    assert normal[(0, *right)].mean() > 0.6 > -0.6 > normal[(0, *left)].mean()
    assert normal[(1, *top)].mean() > 0.6 > -0.6 > normal[(1, *bottom)].mean()
    assert normal[(2, *middle)].mean() > 0.95
    assert scene.matte[0, 16, 16] == 1 and scene.matte[0, 0, 0] == 0 and not scene.lit[:, :, 0, 0].any()


def _rows() -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    return (slice(4, 8), slice(12, 20)), (slice(24, 28), slice(12, 20))


@needs_mitsuba
def test_a_mix_is_what_a_render_under_the_mixed_light_shows(monkeypatch):
    """The rule of the whole method, I(L1 + L2) = I(L1) + I(L2), checked through the renderer's own sums."""
    thing = sphere()
    parts = pathtraced.trace(thing, size=16, spp=64)
    both = as_mitsuba_map(LIGHTS["left"]) + as_mitsuba_map(LIGHTS["top"])
    monkeypatch.setattr(pathtraced, "LIGHTS", {"both": (0, 0, 1)})
    monkeypatch.setattr(pathtraced, "as_mitsuba_map", lambda towards: both)
    whole = pathtraced.trace(thing, size=16, spp=64).lit[0].astype(np.float32)
    assert np.abs(mix(parts, weighing_of(parts, left=1, top=1)) - whole).mean() < 0.02


def weighing_of(scene: TracedScene, **lights: float) -> np.ndarray:
    """`weighing` for a scene of all the lights while LIGHTS is replaced."""
    order = ("left", "right", "top", "bottom")
    weights = np.zeros((len(scene.lit), 3), np.float32)
    for name, value in lights.items():
        weights[order.index(name)] = value
    return weights


@needs_mitsuba
@needs_skimage
@pytest.mark.slow
def test_a_thing_rendered_twice_is_the_same_thing():
    one, other = (pathtraced.trace(sculpt(7), 24, 4, 7) for _ in range(2))
    assert np.array_equal(one.lit, other.lit)


@needs_mitsuba
@needs_skimage
@pytest.mark.slow
def test_the_command_keeps_the_shards_that_are_there(tmp_path):
    arguments = [str(tmp_path), "--size", "16", "--spp", "1", "--threads", "1", "--seed", "5", "--objects"]
    pathtraced.main([*arguments, "1"])
    written = (tmp_path / "000005.safetensors").stat().st_mtime_ns
    pathtraced.main([*arguments, "2"])
    assert (tmp_path / "000005.safetensors").stat().st_mtime_ns == written
    assert [scene.seed for scene in pathtraced.load(tmp_path)] == [5, 6]
    assert (tmp_path / "sheet.png").exists()
