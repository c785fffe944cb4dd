"""The way of a picture on the page, in a real Chromium: preview and cancel, compare, history, recipes, moods, keys."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("gradio")
from browsing import (
    LONG,
    QUICK,
    choose_light,
    go_to,
    knob,
    lit_from,
    outcome,
    relight,
    remembered,
    result_file,
    turn,
    typed,
    upload,
)
from PIL import Image, PngImagePlugin

from iclight.recipes import KEY, read_recipe

pytestmark = pytest.mark.browser
pytest_plugins = ("browser_fixtures",)


def altered(path: str, target, change) -> str:
    """A copy of a PNG whose recipe `change` has been at."""
    with Image.open(path) as picture:
        recipe = json.loads(picture.text[KEY])
        change(recipe)
        info = PngImagePlugin.PngInfo()
        info.add_itxt(KEY, json.dumps(recipe))
        picture.save(target, pnginfo=info)
    return str(target)


def test_a_preview_grows_while_the_picture_is_made_and_escape_stops_it(open_page, photo):
    tab = open_page("fc", LONG)
    upload(tab, "image", photo)
    tab.click("#relight")
    tab.wait_for_selector("#live img#preview")
    tab.wait_for_selector("#live >> text=/Pass [12] of 2 · step \\d+ of 100 · about \\d+ s left/")
    assert tab.is_hidden("#relight") and tab.is_visible("#cancel"), "Cancel stands where Relight was"
    place, preview = tab.locator("#results").bounding_box(), tab.locator("#preview").bounding_box()
    assert place["y"] - 60 < preview["y"] and preview["y"] + preview["height"] <= place["y"] + place["height"] + 2
    first = tab.get_attribute("#preview", "src")
    tab.wait_for_function(
        "old => { const now = document.querySelector('#preview'); return now && now.src !== old }", arg=first
    )
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#live .live", state="detached")
    tab.wait_for_selector("#said >> text=Cancelled.")
    assert tab.is_hidden("#cancel")
    turn(tab, QUICK)
    assert "seed" in relight(tab), "the next request runs, so the worker is free"


def test_before_and_after_lie_under_a_divider_that_arrow_keys_move_and_a_held_key_shows_the_photo(open_page, photo):
    tab = open_page("fc")
    upload(tab, "image", photo)
    relight(tab)
    tab.click("#views [data-tab-id='compare']")
    tab.wait_for_function("document.querySelectorAll('#compare img').length >= 2")
    sizes = tab.evaluate(
        "Promise.all([...document.querySelectorAll('#compare img')].map(async one => { await one.decode();"
        " return `${one.naturalWidth}x${one.naturalHeight}` }))"
    )
    assert set(sizes) == {"64x64"}
    assert len(set(tab.eval_on_selector_all("#compare img", "all => all.map(one => one.src)"))) == 2
    before = tab.eval_on_selector("#compare .before", "one => getComputedStyle(one).clipPath")
    for _ in range(5):
        tab.press("#compare input", "ArrowRight")
    assert tab.eval_on_selector("#compare .before", "one => getComputedStyle(one).clipPath") != before
    tab.click("#views [data-tab-id='pictures']")
    tab.keyboard.down("b")
    tab.wait_for_selector("#photo-held")
    tab.keyboard.up("b")
    tab.wait_for_selector("#photo-held", state="detached")


def test_history_shows_what_was_made_gives_settings_back_and_compares_two(open_page, photo):
    tab = open_page("fc")
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "sunset over sea")
    choose_light(tab, "left")
    relight(tab)
    tab.fill("#prompt textarea, #prompt input", "neon light, city")
    choose_light(tab, "top")
    turn(tab, {"steps": 1, "seed": 7})
    relight(tab)
    go_to(tab, "history")
    remembered(tab, 2)
    tab.click("#history .grid-container button >> nth=1")
    tab.wait_for_selector("#picked >> text=/Left.*seed 12345.*sunset over sea/")
    tab.click("#restore:not([disabled])")
    lit_from(tab, "left")
    assert (typed(tab), knob(tab, "steps"), knob(tab, "seed")) == ("sunset over sea", "2", "12345")
    tab.click("#history .grid-container button >> nth=0")
    tab.wait_for_selector("#picked >> text=/seed 7.*neon/")
    tab.wait_for_function("document.querySelectorAll('#compare-two img').length >= 2")
    both = tab.eval_on_selector_all("#compare-two img", "all => all.map(one => one.src)")
    assert {seed for one in both for seed in ("-12345-", "-7-") if seed in one} == {"-12345-", "-7-"}


def test_a_png_made_here_brings_its_settings_back_and_others_are_refused_with_nothing_lost(open_page, photo, tmp_path):
    tab = open_page("fc")
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "golden time")
    choose_light(tab, "right")
    relight(tab)
    made = result_file(tab, tmp_path)
    go_to(tab, "history")
    tab.fill("#prompt textarea, #prompt input", "typed by hand")
    turn(tab, {"steps": 9})

    def tampered(recipe):
        recipe["settings"]["steps"] = 9999

    def of_another_model(recipe):
        recipe["model"]["base_sha256"] = "0" * 64

    for path, words in (
        (altered(made, tmp_path / "tampered.png", tampered), "something that does not exist"),
        (altered(made, tmp_path / "other.png", of_another_model), "base model is not the loaded one"),
        (photo, "'photo.png' carries no recipe"),
    ):
        tab.set_input_files("#recipe input[type=file]", path)
        tab.wait_for_selector(f"[data-testid=toast-body] >> text={words}")
        assert (typed(tab), knob(tab, "steps")) == ("typed by hand", "9")
        tab.click("[data-testid=toast-close]")
        tab.click("#recipe button[aria-label='Clear'], #recipe button[aria-label='Remove this file']")
    tab.set_input_files("#recipe input[type=file]", made)
    tab.wait_for_selector("#recipe-said >> text=The settings are back.")
    tab.wait_for_function("() => document.querySelector('#knob-steps input[type=number]').value === '2'")
    assert typed(tab) == "golden time"
    lit_from(tab, "right")
    assert "give that again" not in tab.inner_text("#recipe-said"), "the picture is still there"


def test_vary_makes_four_pictures_of_four_seeds_at_once(open_page, photo, tmp_path):
    tab = open_page("fc", {**QUICK, "steps": 1})
    upload(tab, "image", photo)
    line = relight(tab, "#vary")
    seeds = line.rsplit("seed ", 1)[1].split(", ")
    assert len(set(seeds)) == 4
    shown = tab.locator("#results .grid-container button")
    assert shown.count() == 4 and shown.first.bounding_box()["width"] > 200, "two by two, in the result's place"
    shown.nth(2).click()
    tab.click("#keep-seed")
    tab.wait_for_function("seed => document.querySelector('#knob-seed input').value === seed", arg=seeds[2])
    go_to(tab, "history")
    remembered(tab, 4)


def test_control_and_enter_relights_what_was_just_typed(open_page, photo, tmp_path):
    tab = open_page("fc")
    upload(tab, "image", photo)
    before = tab.inner_text("#about")
    tab.fill("#prompt textarea, #prompt input", "moonlight")
    tab.press("#prompt textarea, #prompt input", "Control+Enter")
    assert "seed" in outcome(tab, before)
    assert read_recipe(result_file(tab, tmp_path)).settings.prompt == "moonlight"


def test_a_mood_is_chosen_replaced_and_let_go_and_the_prompt_stays_the_visitors(open_page, photo, tmp_path):
    tab = open_page("fc")
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "handsome man, detailed face, smiling")
    choose_light(tab, "left")
    for mood, light in (("Golden hour", "right"), ("Campfire", "bottom"), ("Noon", "top")):
        tab.click(f"#moods button:has-text('{mood}')")
        lit_from(tab, light)
        assert tab.locator("#moods [aria-pressed=true]").inner_text() == mood
    assert typed(tab) == "handsome man, detailed face, smiling"
    relight(tab)
    made = read_recipe(result_file(tab, tmp_path)).settings
    assert made.prompt == "handsome man, detailed face, smiling, natural lighting, clear sky"
    assert (made.light, made.light_colour) == ("top", "#ffffff"), "what a mood does not name goes back"
    tab.click("#moods button:has-text('Noon')")
    lit_from(tab, "left")
    assert tab.locator("#moods [aria-pressed=true]").count() == 0
