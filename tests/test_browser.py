"""The pages as a person sees them: a real Chromium uploads, clicks, waits, cancels and downloads."""

from __future__ import annotations

import os
import shutil
import time

import numpy as np
import pytest

pytest.importorskip("gradio")
from golden_data import GOLDEN
from pages import MODEL, running
from PIL import Image

from iclight.cli import main
from iclight.recipes import read_recipe

pytestmark = pytest.mark.browser

CHROMIUM = next(
    filter(None, (os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))),
    None,
)
# The background flags keep Chromium from calling out, which a closed network answers with a storm of refusals.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PICTURE = str(GOLDEN / "cases" / "foreground.png")
BACKGROUND = str(GOLDEN / "cases" / "background.png")
PATIENCE = 30_000


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI must run the browser tests: install chromium")
        pytest.skip("no Chromium here; install it, or set CHROMIUM to its path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    with running("app.py", folder, *MODEL) as fc, running("app_bg.py", folder, *MODEL) as fbc:
        yield {"fc": fc, "fbc": fbc}


@pytest.fixture
def open_page(browser, pages):
    """workflow -> a tab with the page loaded, quick settings typed in; fails on errors in the console."""
    tabs, errors = [], []

    def go(workflow: str):
        tab = browser.new_page(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
        tabs.append(tab)
        tab.set_default_timeout(PATIENCE)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(pages[workflow].url)
        tab.wait_for_selector("#relight")
        tab.click("#advanced button >> nth=0")
        for knob, value in (("width", 64), ("height", 64), ("steps", 2), ("highres_scale", 1)):
            tab.fill(f"#knob-{knob} input[type=number]", str(value))
        return tab

    yield go
    for tab in tabs:
        tab.close()
    assert not errors


def upload(tab, where: str, path: str) -> None:
    tab.set_input_files(f"#{where} input[type=file]", path)
    tab.wait_for_selector(f"#{where} img")


def relight(tab) -> str:
    """Press the button, wait for the line that tells the outcome, and return it."""
    before = tab.inner_text("#about")
    tab.click("#relight")
    tab.wait_for_function(
        "old => { const now = document.querySelector('#about').innerText; return now !== old && now.includes('seed') }",
        arg=before,
    )
    return tab.inner_text("#about")


def result_file(tab, folder) -> str:
    """Download the shown result as a person does, by the gallery's own button."""
    tab.wait_for_selector("#results img")
    with tab.expect_download() as waiting:
        tab.click("#results [aria-label='Download']")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return str(path)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.open(PICTURE).convert("RGB").save(path)
    return str(path)


def test_a_photo_is_relit_and_its_download_replays_to_the_same_pixels(open_page, photo, tmp_path):
    tab = open_page("fc")
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "sunset over sea")
    tab.click("#light label:has-text('Left Light')")
    line = relight(tab)
    assert "model" in line
    assert "seed 12345" in line
    tab.wait_for_selector("#foreground img")
    tab.wait_for_selector("#matte img")
    made = result_file(tab, tmp_path)
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
    from iclight.studio.examples import asset

    model = ["--model", str(GOLDEN / "model"), "--device", "cpu", "--dtype", "float32"]
    call = ["relight", photo, "--recipe", made, "--background", asset("window.jpg"), "-o", str(again), *model]
    assert main(call) == 0
    assert np.array_equal(np.array(Image.open(again)), np.array(Image.open(made)))


def test_normals_show_nine_pictures(open_page, photo):
    tab = open_page("fbc")
    upload(tab, "image", photo)
    tab.click("#normals")
    tab.wait_for_function("document.querySelectorAll('#results .thumbnails img, #results button img').length >= 9")


def test_cancel_takes_effect_within_a_step(open_page, photo):
    tab = open_page("fc")
    upload(tab, "image", photo)
    for knob, value in (("width", 512), ("height", 512), ("steps", 100)):
        tab.fill(f"#knob-{knob} input[type=number]", str(value))
    tab.click("#relight")
    tab.wait_for_selector("text=/First pass, step \\d+ of 100/")
    started = time.monotonic()
    tab.click("#cancel")
    tab.wait_for_selector("text=/First pass, step/", state="detached")
    for knob, value in (("width", 64), ("height", 64), ("steps", 2)):
        tab.fill(f"#knob-{knob} input[type=number]", str(value))
    assert "seed" in relight(tab), "the next request runs, so the worker is free"
    assert time.monotonic() - started < 20, "a hundred steps at this size take much longer"


def test_a_broken_file_shows_an_error_and_loses_nothing_typed(open_page, tmp_path):
    tab = open_page("fc")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    tab.fill("#prompt textarea, #prompt input", "golden time")
    tab.set_input_files("#image input[type=file]", str(tmp_path / "broken.png"))
    tab.wait_for_selector("#image img")
    tab.click("#relight")
    tab.wait_for_selector("text=/not an image this can read/")
    assert tab.input_value("#prompt textarea, #prompt input") == "golden time"
    assert tab.input_value("#knob-steps input[type=number]") == "2"


def test_pressing_relight_without_a_picture_says_what_is_missing(open_page):
    tab = open_page("fc")
    tab.click("#relight")
    tab.wait_for_selector("text=/Give a picture first/")


def test_a_click_on_an_example_fills_the_page_in(open_page):
    tab = open_page("fc")
    tab.click("text=coffee cup, sunset over sea")
    tab.wait_for_selector("#image img")
    assert tab.input_value("#prompt textarea, #prompt input") == "coffee cup, sunset over sea"
    tab.click("#quick-lighting button:has-text('golden time')")
    tab.wait_for_function("document.querySelector('#prompt textarea, #prompt input').value.endsWith('golden time')")


@pytest.mark.parametrize("workflow", ["fc", "fbc"])
def test_the_page_fits_a_phone(open_page, workflow):
    tab = open_page(workflow)
    tab.set_viewport_size({"width": 400, "height": 800})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400


def test_opening_the_knobs_and_leaving_them_empty_changes_nothing(browser, pages):
    """Gradio's empty number boxes turn into noughts when they are shown; a size of nought is no size."""
    tab = browser.new_page(viewport={"width": 1440, "height": 1000})
    tab.set_default_timeout(PATIENCE)
    tab.goto(pages["fc"].url)
    upload(tab, "image", PICTURE)
    tab.click("#advanced button >> nth=0")
    for knob, value in (("steps", 1), ("highres_scale", 1)):
        tab.fill(f"#knob-{knob} input[type=number]", str(value))
    assert "seed" in relight(tab)
    tab.close()


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
    tab = open_page("fc")
    upload(tab, "image", PICTURE)
    tab.click("#matte-tools button >> nth=0")
    tab.click("#matting label:has-text('None')")
    tab.click("#show-matte")
    stroke(tab, "matte-editor")
    tab.click("#use-matte")
    tab.wait_for_selector("#mask img")
    assert "matting mask" in relight(tab)


def test_a_light_is_painted_and_used(open_page):
    tab = open_page("fc")
    upload(tab, "image", PICTURE)
    tab.click("#paint button >> nth=0")
    stroke(tab, "light-editor")
    tab.click("#use-light")
    tab.wait_for_selector("#light label:has-text('Light Map') input:checked")
    assert "seed" in relight(tab)
