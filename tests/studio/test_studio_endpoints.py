"""The studio's features as programs use them, and what is kept of each session."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gradio")
from golden_data import GOLDEN
from gradio_client import Client, handle_file
from pages import MODEL, running
from PIL import Image

from iclight.recipes import read_recipe
from iclight.studio.service.progress import time_left
from iclight.studio.service.sessions import PerSession, Runs

PICTURE = str(GOLDEN / "cases" / "foreground.png")
QUICK = {"width": 64, "height": 64, "steps": 1, "highres_scale": 1.0}


@pytest.fixture(scope="module")
def fc(tmp_path_factory):
    with running("app.py", tmp_path_factory.mktemp("fc"), *MODEL) as page:
        yield page


@pytest.fixture
def client(fc, tmp_path):
    return Client(fc.url, verbose=False, download_files=tmp_path)


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_variations_have_seeds_of_their_own_and_each_can_be_made_again_alone(client):
    gallery, *_, line = client.predict(handle_file(PICTURE), light="left", api_name="/vary", **QUICK)
    recipes = [read_recipe(entry["image"]) for entry in gallery]
    assert len({recipe.settings.seed for recipe in recipes}) == 4
    assert all(str(recipe.settings.seed) in line for recipe in recipes)
    third = recipes[2].settings
    again, *_ = client.predict(handle_file(PICTURE), light="left", seed=third.seed, api_name="/relight", **QUICK)
    assert np.array_equal(pixels(again[0]["image"]), pixels(gallery[2]["image"]))
    assert third.num_images == 1


def test_history_lists_this_sessions_pictures_newest_first_and_nobody_elses(fc, client, tmp_path):
    other = Client(fc.url, verbose=False, download_files=tmp_path)
    for seed in (1, 2):
        client.predict(handle_file(PICTURE), seed=seed, prompt="dawn", api_name="/relight", **QUICK)
    listed = client.predict(api_name="/history")
    assert [read_recipe(entry["image"]).settings.seed for entry in listed] == [2, 1]
    assert listed[0]["caption"] == "None · seed 2 · dawn"
    assert other.predict(api_name="/history") == []


def test_a_recipe_is_read_from_a_png_and_a_png_without_one_is_refused(client):
    gallery, *_ = client.predict(handle_file(PICTURE), prompt="dusk", api_name="/relight", **QUICK)
    recipe = client.predict(handle_file(gallery[0]["image"]), api_name="/recipe")
    assert recipe["settings"]["prompt"] == "dusk"
    with pytest.raises(Exception, match="'foreground.png' carries no recipe"):
        client.predict(handle_file(PICTURE), api_name="/recipe")


def test_errors_answer_in_the_language_of_the_request(fc, client):
    chinese = Client(fc.url, verbose=False, headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    for reader, words in ((client, "width is 63, but"), (chinese, "“宽”（width）是 63，但应为：64 到 2,048 的整数")):
        with pytest.raises(Exception, match=words):
            reader.predict(handle_file(PICTURE), width=63, api_name="/relight")
    with pytest.raises(Exception, match=r"^'foreground.png' 里没有配方：它不是 iclight 生成的"):
        chinese.predict(handle_file(PICTURE), api_name="/recipe")


def test_normals_work_on_the_fc_page_too_and_are_shaded_and_saved_in_their_session_alone(fc, client, tmp_path):
    import cv2

    gallery, *_ = client.predict(handle_file(PICTURE), api_name="/normals", **QUICK)
    assert [len(gallery), read_recipe(gallery[0]["image"]).settings.workflow] == [9, "fbc"]
    left, right = (pixels(client.predict(angle=angle, elevation=0, api_name="/shade")) for angle in (180, 0))
    assert left.shape == (64, 64, 3)
    assert np.abs(left - right).mean() > 1, "the light's side shows"
    np.testing.assert_array_equal(pixels(client.predict(strength=0, angle=3, api_name="/shade")),
                                  pixels(client.predict(strength=0, angle=99, api_name="/shade")))  # fmt: skip
    up, down = (
        cv2.imread(client.predict(green=green, api_name="/normal_map"), cv2.IMREAD_UNCHANGED)
        for green in ("opengl", "directx")
    )
    assert up.dtype == np.uint16 and up.shape == (64, 64, 3)
    np.testing.assert_allclose(up[..., 1].astype(int) + down[..., 1], 65535, atol=1)
    np.testing.assert_array_equal(up[..., [0, 2]], down[..., [0, 2]])
    flat = cv2.imread(client.predict(exponent=0, api_name="/normal_map"), cv2.IMREAD_UNCHANGED)
    assert not np.array_equal(flat, up)
    other = Client(fc.url, verbose=False, download_files=tmp_path)
    for name in ("/shade", "/normal_map"):
        with pytest.raises(Exception, match="press 'Estimate normals' first"):
            other.predict(api_name=name)
    for values, words in (
        ({"elevation": 200}, "elevation"),
        ({"colour": "mauve"}, "olour"),
        ({"exponent": 99}, "exponent"),
    ):
        with pytest.raises(Exception, match=words):
            client.predict(api_name="/shade", **values)
    with pytest.raises(Exception, match="sideways"):
        client.predict(green="sideways", api_name="/normal_map")


def test_a_picture_beyond_a_hundred_megapixels_is_refused_in_words(client, tmp_path):
    Image.new("1", (10_001, 10_001)).save(tmp_path / "huge.png")
    with pytest.raises(Exception, match="more than 100 megapixels"):
        client.predict(handle_file(tmp_path / "huge.png"), api_name="/relight", **QUICK)


def test_a_light_map_of_another_aspect_is_cropped_and_used(client, tmp_path):
    Image.fromarray(np.tile(np.linspace(255, 0, 300).astype(np.uint8), (20, 1))).save(tmp_path / "wide.png")
    wide = {"light": "upload", "light_map": handle_file(tmp_path / "wide.png")}
    gallery, *_ = client.predict(handle_file(PICTURE), api_name="/relight", **wide, **QUICK)
    assert Image.open(gallery[0]["image"]).size == (64, 64)


# --- without a server -------------------------------------------------------------------------------------------------


def test_sessions_are_forgotten_longest_unused_first():
    kept: PerSession[int] = PerSession(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert [kept.get(name) for name in "abc"] == [1, None, 3]
    kept.drop("a")
    assert kept.change("a", lambda value: 10 if value is None else value + 1) == 10


def test_a_place_in_the_line_counts_who_waits_and_who_runs_before():
    runs = Runs()
    for name in ("a", "b", "c"):
        runs.wait(name)
    assert [runs.ahead(name) for name in ("a", "b", "c", "d")] == [0, 1, 2, None]
    with runs.of("a") as flag:
        assert [runs.ahead(name) for name in ("a", "b", "c")] == [None, 1, 2]
        assert runs.running("a") == flag and runs.running("b") is None
        runs.stop("b")
        assert not flag.exists() and runs.ahead("c") == 1
        runs.stop("a")
        assert flag.exists() and runs.running("a") is None
    assert not flag.exists() and runs.ahead("c") == 0


def test_time_left_follows_the_share_of_the_work_done():
    assert time_left((10.0, 0.1), (10.0, 0.1)) is None, "nothing to go by yet"
    assert time_left((10.0, 0.1), (14.0, 0.5)) == 5
    assert time_left((10.0, 0.1), (19.0, 1.0)) == 0
