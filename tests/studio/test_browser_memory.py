"""What belongs to a picture goes with it, and a reload loses nothing: in a real Chromium."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio")
from browsing import (
    LONG,
    PICTURE,
    QUICK,
    choose_light,
    go_to,
    knob,
    light_it_by,
    lit_from,
    relight,
    remembered,
    result_file,
    turn,
    typed,
    upload,
)
from PIL import Image

pytestmark = pytest.mark.browser
pytest_plugins = ("browser_fixtures",)


def test_a_mask_of_another_size_or_of_nothing_is_refused_before_the_queue(open_page, photo, tmp_path):
    tab = open_page("fc")
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "kept")
    tab.click("#matte-tools button >> nth=0")
    width, height = Image.open(PICTURE).size
    for size, level, words in (((32, 32), 255, "The mask is 32x32"), ((width, height), 0, "The mask is empty")):
        Image.new("L", size, level).save(tmp_path / "mask.png")
        upload(tab, "mask", str(tmp_path / "mask.png"))
        tab.click("#relight")
        tab.wait_for_selector(f"[data-testid=toast-body] >> text={words}")
        assert tab.locator("#live .live").count() == 0
        assert typed(tab) == "kept"
        tab.click("[data-testid=toast-close]")
        tab.click("#mask [aria-label='Clear'], #mask [aria-label='Remove Image']")


def test_another_photo_takes_no_mask_no_size_no_desk_of_the_one_before(open_page, photo, tmp_path):
    tab = open_page("fc", {**QUICK, "steps": 1})
    upload(tab, "image", photo)
    relight(tab)
    line = tab.inner_text("#about").splitlines()[-1]  # above it Gradio may still count seconds
    made = result_file(tab, tmp_path)
    go_to(tab, "mix")
    tab.click("#lights")
    tab.wait_for_selector("#mix img")
    go_to(tab, "history")
    tab.set_input_files("#recipe input[type=file]", made)
    tab.wait_for_selector("#recipe-said >> text=The settings are back.")
    assert (knob(tab, "width"), knob(tab, "height")) == ("64", "64"), "the recipe's picture is in the box"
    tab.click("#matte-tools button >> nth=0")
    Image.new("L", Image.open(PICTURE).size, 255).save(tmp_path / "mask.png")
    upload(tab, "mask", str(tmp_path / "mask.png"))
    tab.wait_for_timeout(1000)
    Image.open(PICTURE).convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "other.png")
    tab.click("#image [aria-label='Clear'], #image [aria-label='Remove Image']")
    upload(tab, "image", str(tmp_path / "other.png"))
    tab.wait_for_selector("#said >> text=/mask was another picture's.*size was another picture's/")
    tab.wait_for_selector("#mask img", state="detached")
    assert (knob(tab, "width"), knob(tab, "height")) == ("", "")
    go_to(tab, "mix")
    tab.wait_for_selector("#mix img", state="detached")
    tab.wait_for_selector("#desk-about >> text=There is nothing for this picture yet.")
    assert tab.is_hidden("#export")
    go_to(tab, "relight")
    assert tab.inner_text("#about").splitlines()[-1] == line, "the line is of the picture that is shown"


def test_the_box_says_what_it_was_given(open_page, tmp_path):
    tab = open_page("fc", None)
    Image.open(PICTURE).convert("RGB").save(tmp_path / "scan.tif")
    tab.set_input_files("#image input[type=file]", str(tmp_path / "scan.tif"))
    tab.wait_for_selector("#peek img", state="attached")
    tab.wait_for_function("document.querySelector('#peek img').naturalWidth > 100")
    assert tab.inner_text("#peek").startswith("TIFF ")
    tab.click("#image [aria-label='Clear'], #image [aria-label='Remove Image']")
    (tmp_path / "notes.png").write_bytes(b"no picture")
    tab.set_input_files("#image input[type=file]", str(tmp_path / "notes.png"))
    tab.wait_for_selector("#said >> text=/notes.png: The picture is not an image this can read/")
    tab.wait_for_selector("#image img", state="detached")


def test_the_way_of_lighting_changes_and_everything_else_stays(open_page, photo):
    tab = open_page("fc", {**QUICK, "steps": 1})
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "kept")
    light_it_by(tab, "fbc")
    lit_from(tab, "upload")
    tab.wait_for_function("document.querySelector('#knob-cfg input[type=number]').value === '7'")
    assert (typed(tab), knob(tab, "steps")) == ("kept", "1"), "what was set by hand stays"
    choose_light(tab, "ambient")
    assert "seed" in relight(tab)
    light_it_by(tab, "fc")
    lit_from(tab, "none")
    assert tab.is_hidden("#backgrounds") and tab.locator("#image img").count() == 1
    assert "seed" in tab.inner_text("#about")


def test_a_reload_loses_neither_form_nor_result_nor_the_request_that_runs(open_page, photo):
    tab = open_page("fc", {**QUICK, "steps": 1})
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "sunset over sea")
    tab.click("#moods button:has-text('Noon')")
    lit_from(tab, "top")
    line = relight(tab)
    tab.wait_for_timeout(2000)  # what is typed is kept from a moment after the page has come on
    turn(tab, {"steps": 60, "width": 192, "height": 192})
    tab.wait_for_timeout(500)
    tab.click("#relight")
    tab.wait_for_selector("#live >> text=/step \\d+ of/")
    tab.reload()
    tab.wait_for_selector("#live >> text=/step \\d+ of/")
    lit_from(tab, "top")
    tab.wait_for_selector("#image img")
    tab.click("#advanced button >> nth=0")
    assert (typed(tab), knob(tab, "steps")) == ("sunset over sea", "60")
    assert tab.locator("#moods [aria-pressed=true]").inner_text() == "Noon"
    tab.wait_for_selector("#live .live", state="detached")
    tab.wait_for_selector("#results img")
    tab.wait_for_function("old => document.querySelector('#about').innerText.includes('seed')", arg=line)
    go_to(tab, "history")
    remembered(tab, 2)


def test_what_stood_in_the_queue_is_asked_for_again_after_a_reload(open_page, photo):
    first, second = open_page("fc", LONG), open_page("fc", {**QUICK, "steps": 1})
    for tab in (first, second):
        upload(tab, "image", photo)
    first.click("#relight")
    first.wait_for_selector("#live >> text=/step \\d+ of/")
    second.wait_for_timeout(2000)  # what is typed is kept from a moment after the page has come on
    second.fill("#prompt textarea, #prompt input", "sunset over sea")
    second.click("#relight")
    second.wait_for_selector("#live >> text=/In the queue/")
    second.reload()
    second.wait_for_selector("#live >> text=/In the queue/")
    first.click("#cancel")
    second.wait_for_selector("#results img")
    assert "seed" in second.inner_text("#about")


def test_another_tab_sees_nothing_of_it(open_page, photo):
    one, other = open_page("fc", {**QUICK, "steps": 1}), open_page("fc", None)
    upload(one, "image", photo)
    relight(one)
    other.reload()
    other.wait_for_selector("#relight")
    go_to(other, "history")
    other.wait_for_timeout(1000)
    assert other.locator("#history .grid-container img").count() == 0
    assert other.locator("#results img").count() == 0
