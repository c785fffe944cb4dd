"""The studio's features as programs use them, and what is kept of each session."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("gradio")
from golden_data import GOLDEN
from gradio_client import Client, handle_file
from pages import MODEL, running
from PIL import Image

from iclight.recipes import read_recipe

BACKGROUND = str(GOLDEN / "cases" / "background.png")
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


DESK = {"left": 1.0, "right": 0.0, "top": 0.0, "bottom": 0.0}


def test_lights_are_relit_once_and_mixed_at_once_in_each_session_alone(fc, client, tmp_path):
    """Also: what one session lights, another neither hears nor exports."""
    other = Client(fc.url, verbose=False, download_files=tmp_path)
    line = client.predict(handle_file(PICTURE), **QUICK, api_name="/lights")
    assert "4 lights" in line
    mixed = np.asarray(Image.open(client.predict(**DESK, api_name="/mix")).convert("RGB"))
    assert mixed.shape == (64, 64, 3)
    darker = np.asarray(Image.open(client.predict(**DESK, exposure=-2, api_name="/mix")).convert("RGB"))
    assert darker.mean() < 0.7 * mixed.mean()
    alone = np.asarray(Image.open(client.predict(**{**DESK, "right": 1.0, "left_solo": True}, api_name="/mix")))
    np.testing.assert_allclose(alone, mixed, atol=1)
    red = {**DESK, "left_colour": "#ff0000"}
    tinted = np.asarray(Image.open(client.predict(**red, api_name="/mix")).convert("RGB")).astype(float)
    assert tinted[..., 1:].mean() < 0.2 * tinted[..., 0].mean(), "JPEG leaves a little of green and blue"
    with pytest.raises(Exception, match="Light it from every side"):
        other.predict(**DESK, api_name="/mix")
    files = client.predict(**DESK, api_name="/export")
    assert [os.path.basename(path) for path in files] == ["foreground-mix-12345.png", "lights.tiff", "lights.exr"]
    assert Image.open(files[0]).size == Image.open(PICTURE).size
    recipe = read_recipe(files[0])
    assert recipe.kind == "mix" and recipe.mix["channels"]["left"]["strength"] == 1.0
    assert client.predict(api_name="/history")[0]["caption"] == "Mix · seed 12345"
    with pytest.raises(Exception, match="Light it from every side"):
        other.predict(**DESK, api_name="/export")


def test_a_light_of_ones_own_is_one_more_fader_and_moves_nothing_where_there_is_none(client):
    nothing = dict.fromkeys(DESK, 0.0)
    client.predict(handle_file(PICTURE), **QUICK, workflow="fbc", api_name="/lights")
    dark = np.asarray(Image.open(client.predict(**nothing, ambient=0.0, own=1.0, api_name="/mix")))
    assert not dark.any()
    line = client.predict(
        handle_file(PICTURE), background=handle_file(BACKGROUND), **QUICK, workflow="fbc", api_name="/lights"
    )
    assert "6 lights" in line
    lit = np.asarray(Image.open(client.predict(**nothing, ambient=0.0, own=1.0, api_name="/mix")))
    alone, *_ = client.predict(
        handle_file(PICTURE),
        background=handle_file(BACKGROUND),
        light="upload",
        **QUICK,
        workflow="fbc",
        api_name="/relight",
    )
    made = np.asarray(Image.open(alone[0]["image"]).convert("RGB"))
    # The golden model's pictures are noise, which JPEG keeps badly; what it keeps are means.
    means = [picture.reshape(4, 16, 4, 16, 3).mean((1, 3)) for picture in (lit.astype(float), made.astype(float))]
    assert abs(means[0] - means[1]).max() < 8, "it is the picture that /relight makes"


def test_a_desk_refuses_what_it_cannot_mix(client):
    client.predict(handle_file(PICTURE), **QUICK, api_name="/lights")
    with pytest.raises(Exception, match="9.0"):
        client.predict(left=9.0, api_name="/mix")
    for colour in ("nonsense", 7, ["#ffffff"], "rgb(1.2.3, 0, 0)"):
        with pytest.raises(Exception, match="is no colour; write #RRGGBB"):
            client.predict(left=1.0, left_colour=colour, api_name="/mix")
    for value in (10**400, "x", [1]):
        with pytest.raises(Exception, match="number from"):
            client.predict(left=value, api_name="/mix")
    assert client.predict(**DESK, api_name="/mix")
