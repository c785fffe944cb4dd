"""The pages as a person sees them: a real Chromium uploads, clicks, waits, cancels and downloads."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("gradio")
from browsing import (
    LONG,
    PICTURE,
    QUICK,
    choose_light,
    knob,
    lit_from,
    relight,
    result_file,
    turn,
    typed,
    upload,
)
from golden_data import GOLDEN
from PIL import Image

from iclight.cli.main import main
from iclight.recipes import read_recipe

pytestmark = pytest.mark.browser
pytest_plugins = ("browser_fixtures",)
SCRIPT = "app_bg.py"


def test_a_photo_is_relit_and_its_download_replays_to_the_same_pixels(open_page, photo, tmp_path):
    tab = open_page("fc")
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "sunset over sea")
    choose_light(tab, "left")
    line = relight(tab)
    assert "model" in line
    assert "seed 12345" in line
    made = result_file(tab, tmp_path)
    tab.click("#views [data-tab-id='matte-view']")
    tab.wait_for_selector("#foreground img")
    tab.wait_for_selector("#matte img")
    recipe = read_recipe(made)
    assert (recipe.settings.prompt, recipe.settings.light) == ("sunset over sea", "left")
    again = tmp_path / "again.png"
    model = ["--model", str(GOLDEN / "model"), "--device", "cpu", "--dtype", "float32"]
    assert main(["relight", photo, "--recipe", made, "-o", str(again), *model]) == 0
    assert np.array_equal(np.array(Image.open(again)), np.array(Image.open(made)))


def test_a_photo_is_relit_by_a_background_picked_from_the_gallery(open_page, photo, tmp_path):
    tab = open_page("fbc")
    upload(tab, "image", photo)
    tab.click("#backgrounds button >> nth=1")
    tab.wait_for_selector("#background img")
    assert "seed 12345" in relight(tab)
    made = result_file(tab, tmp_path)
    assert read_recipe(made).inputs["background"]["file"] == "window.jpg"
    again = tmp_path / "again.png"
    from iclight.studio.tabs.examples import asset

    model = ["--model", str(GOLDEN / "model"), "--device", "cpu", "--dtype", "float32"]
    call = ["relight", photo, "--recipe", made, "--background", asset("window.jpg"), "-o", str(again), *model]
    assert main(call) == 0
    assert np.array_equal(np.array(Image.open(again)), np.array(Image.open(made)))


@pytest.mark.slow  # the same by Escape, and by the button among two visitors, is quick: test_studio_flows
def test_cancel_takes_effect_within_a_step(open_page, photo):
    tab = open_page("fc", LONG)
    upload(tab, "image", photo)
    tab.click("#relight")
    tab.wait_for_selector("#live >> text=/Pass 1 of 2 · step \\d+ of 100/")
    started = time.monotonic()
    tab.click("#cancel")
    tab.wait_for_selector("#live .live", state="detached")
    turn(tab, QUICK)
    assert "seed" in relight(tab), "the next request runs, so the worker is free"
    assert time.monotonic() - started < 40, "a hundred steps at this size take much longer"


def test_no_file_and_a_broken_one_are_errors_in_words_and_nothing_typed_is_lost(open_page, tmp_path):
    tab = open_page("fc")
    tab.fill("#prompt textarea, #prompt input", "golden time")
    tab.click("#relight")
    tab.wait_for_selector("text=/Give a picture first/")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    tab.set_input_files("#image input[type=file]", str(tmp_path / "broken.png"))
    tab.wait_for_selector("#said >> text=/broken.png: The picture is not an image this can read/")
    assert (typed(tab), knob(tab, "steps")) == ("golden time", "2")


def test_a_click_on_an_example_fills_the_page_in(open_page):
    tab = open_page("fc")
    tab.click("#examples button:has-text('coffee cup, sunset over sea')")
    tab.wait_for_selector("#image img")
    assert tab.input_value("#prompt textarea, #prompt input") == "coffee cup, sunset over sea"
    tab.click("#words button >> nth=0")
    tab.click("#quick-lighting button:has-text('golden time')")
    tab.wait_for_function("document.querySelector('#prompt textarea, #prompt input').value.endsWith('golden time')")


def test_opening_the_knobs_and_leaving_them_empty_changes_nothing(open_page):
    """Gradio's empty number boxes turn into noughts when they are shown; a size of nought is no size."""
    tab = open_page("fc", {"steps": 1, "highres_scale": 1})
    upload(tab, "image", PICTURE)
    assert "seed" in relight(tab)


# The editor paints without a graphics card here: the smaller, the quicker.
SMALL = {"width": 700, "height": 600}


def stroke(tab, editor: str) -> None:
    """A brush stroke across the middle of an image editor."""
    canvas = tab.locator(f"#{editor} canvas").first
    canvas.wait_for()
    tab.wait_for_timeout(1500)  # the editor fits its canvas after it has appeared
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 0.45 * box["width"], y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.55 * box["width"], y, steps=5)
    tab.mouse.up()
    tab.wait_for_timeout(500)


def test_a_matte_is_shown_corrected_with_a_brush_and_used(open_page, tmp_path):
    tab = open_page("fc", viewport=SMALL)
    upload(tab, "image", PICTURE)
    tab.click("#matte-tools button >> nth=0")
    tab.click("#matting label:has-text('None')")
    tab.click("#show-matte")
    stroke(tab, "matte-editor")
    tab.click("#use-matte")
    tab.wait_for_selector("#mask img")
    assert "matting mask" in relight(tab)


def test_a_doubtful_matte_has_two_ways_out_beside_the_picture(open_page, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)
    Image.fromarray(noise).resize((300, 240), Image.Resampling.NEAREST).save(tmp_path / "noise.png")
    tab = open_page("fc", {**QUICK, "steps": 1})
    upload(tab, "image", str(tmp_path / "noise.png"))
    tab.click("#matte-tools button >> nth=0")
    tab.click("#matting label:has-text('U²-Net')")
    assert tab.is_hidden("#light-all")
    assert "Hardly anything" in relight(tab)
    tab.click("#paint-matte")
    tab.wait_for_selector("#use-matte")
    assert "matting none" in relight(tab, "#light-all"), "and there is nothing left to doubt"
    tab.wait_for_selector("#light-all", state="hidden")


@pytest.mark.slow  # the editor, which needs most of the time, is the one of the test above
def test_a_light_is_painted_on_the_photo_and_used(open_page):
    tab = open_page("fc", viewport=SMALL)
    upload(tab, "image", PICTURE)
    choose_light(tab, "upload")
    stroke(tab, "light-editor")
    tab.click("#use-light")
    tab.wait_for_selector("#light-map img")
    lit_from(tab, "upload")
    assert "seed" in relight(tab)
