"""The studio's ways of working, in a real Chromium: preview and cancel, compare, history, recipes, variations, keys."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest

pytest.importorskip("gradio")
from browsing import LONG, PICTURE, QUICK, go_to, knob, outcome, relight, result_file, turn, typed, upload
from PIL import Image, PngImagePlugin

from iclight.editing.mixing import LightMix, LightWeight, parse_colour
from iclight.recipes import KEY, read_recipe
from iclight.studio.tabs.mix import START

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


def remembered(tab, count: int) -> None:
    """Wait until the history shows so many pictures."""
    tab.wait_for_function(
        "count => document.querySelectorAll('#history .grid-container img').length === count", arg=count
    )


def test_a_preview_grows_while_the_picture_is_made_and_escape_stops_it(open_page, photo):
    tab = open_page("fc", LONG)
    upload(tab, "image", photo)
    tab.click("#relight")
    tab.wait_for_selector("#live img#preview")
    tab.wait_for_selector("#live >> text=/step \\d+ of 100 · about \\d+ s left/")
    first = tab.get_attribute("#preview", "src")
    tab.wait_for_function(
        "old => { const now = document.querySelector('#preview'); return now && now.src !== old }", arg=first
    )
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#live .live", state="detached")
    turn(tab, QUICK)
    assert "seed" in relight(tab), "the next request runs, so the worker is free"


def test_before_and_after_lie_under_a_slider_at_one_size_and_both_come_from_the_picture(open_page, photo):
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


def test_history_shows_what_was_made_gives_settings_back_and_compares_two(open_page, photo):
    tab = open_page("fc")
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "sunset over sea")
    tab.click("#light label:has-text('Left Light')")
    relight(tab)
    tab.fill("#prompt textarea, #prompt input", "neon light, city")
    tab.click("#light label:has-text('Top Light')")
    turn(tab, {"steps": 1, "seed": 7})
    relight(tab)
    go_to(tab, "history")
    remembered(tab, 2)
    tab.click("#history .grid-container button >> nth=1")
    tab.wait_for_selector("#picked >> text=/sunset over sea.*seed 12345/")
    tab.click("#restore:not([disabled])")
    tab.wait_for_selector("#light label:has-text('Left Light') input:checked")
    assert (typed(tab), knob(tab, "steps"), knob(tab, "seed")) == ("sunset over sea", "2", "12345")
    tab.click("#history .grid-container button >> nth=0")
    tab.wait_for_selector("#picked >> text=/neon.*seed 7/")
    tab.wait_for_function("document.querySelectorAll('#compare-two img').length >= 2")
    both = tab.eval_on_selector_all("#compare-two img", "all => all.map(one => one.src)")
    assert {seed for one in both for seed in ("-12345-", "-7-") if seed in one} == {"-12345-", "-7-"}


def test_a_png_made_here_brings_its_settings_back_and_others_are_refused_with_nothing_lost(open_page, photo, tmp_path):
    tab = open_page("fc")
    upload(tab, "image", photo)
    tab.fill("#prompt textarea, #prompt input", "golden time")
    tab.click("#light label:has-text('Right Light')")
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
    tab.wait_for_selector("#light label:has-text('Right Light') input:checked")
    assert "give that again" not in tab.inner_text("#recipe-said"), "the picture is still there"


def test_vary_makes_four_pictures_of_four_seeds_at_once(open_page, photo, tmp_path):
    tab = open_page("fc", {**QUICK, "steps": 1})
    upload(tab, "image", photo)
    line = relight(tab, "#vary")
    seeds = line.rsplit("seed ", 1)[1].split(", ")
    assert len(set(seeds)) == 4
    assert str(read_recipe(result_file(tab, tmp_path)).settings.seed) == seeds[0]
    go_to(tab, "history")
    remembered(tab, 4)


def lit_desk(open_page, photo):
    """The Mix tab of a page whose photo has just been lit from every side."""
    tab = open_page("fc", {**QUICK, "steps": 1})
    upload(tab, "image", photo)
    go_to(tab, "mix")
    tab.click("#lights")
    tab.wait_for_selector("#mix img")
    return tab


def test_lights_are_mixed_live_from_the_mix_tab(open_page, photo):
    tab = lit_desk(open_page, photo)
    tab.wait_for_selector("#desk-about >> text=4 lights")
    first = tab.get_attribute("#mix img", "src")
    tab.fill("#fader-right input[type=number]", "2")
    tab.wait_for_function("old => document.querySelector('#mix img')?.src !== old", arg=first)


# The sRGB levels, row by row, of a picture or of the canvas over it.
LEVELS = """what => {
  const canvas = document.createElement("canvas"), one = document.querySelector(what);
  [canvas.width, canvas.height] = [one.naturalWidth ?? one.width, one.naturalHeight ?? one.height];
  const context = canvas.getContext("2d");
  context.drawImage(one, 0, 0);
  return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
}"""


def pixels_of(tab, what: str) -> np.ndarray:
    return np.array(tab.evaluate(LEVELS, what), np.uint8).reshape(64, 64, 4)[..., :3]


def test_the_browser_mixes_while_a_fader_moves_and_agrees_with_the_server(open_page, photo):
    tab = lit_desk(open_page, photo)
    tab.wait_for_function("document.querySelectorAll('#desk-lights img').length === 4")
    tab.wait_for_function("[...document.querySelectorAll('#desk-lights img')].every(one => one.complete)")
    tab.click("#mute-top label")
    tab.wait_for_selector("#mix-live", state="detached")  # the server's mix has taken its place
    tab.click("#colour-left .dialog-button")
    tab.fill("#colour-left input[type=text]", "#ff8040")
    tab.press("#colour-left input[type=text]", "Tab")
    tab.wait_for_timeout(1500)
    tab.fill("#exposure input[type=number]", "0.7")
    tab.evaluate("window.first = document.querySelector('#mix img').src")
    # Seen in the same turn as the fader moves, before any server can answer.
    tab.evaluate(
        """() => { const box = document.querySelector('#fader-right input[type=number]');
        Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(box, '1.5');
        box.dispatchEvent(new Event('input', { bubbles: true })); }"""
    )
    live = pixels_of(tab, "#mix-live").astype(int)
    sent = tab.eval_on_selector_all("#desk-lights img", "all => all.map(one => [one.dataset.light, one.src])")
    lights = {name: Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for name, url in sent}
    stack = LightMix({name: np.array(light) for name, light in lights.items()})
    channels = {"left": LightWeight(START["left"], parse_colour("#ff8040")), "right": LightWeight(1.5)}
    assert live.std() > 5, "a picture"
    assert np.abs(live - stack.mix(channels, 0.7)).max() <= 2, "what the engine mixes of the same lights"
    tab.wait_for_function("document.querySelector('#mix img').src !== window.first")
    tab.wait_for_selector("#mix-live", state="detached")
    server = pixels_of(tab, "#mix img").astype(int)
    assert np.abs((live - server).mean((0, 1))).max() < 3, "but for JPEG the server's, which takes its place"


def test_normals_are_estimated_lit_from_anywhere_and_saved(open_page, photo, tmp_path):
    import cv2

    tab = open_page("fbc", {**QUICK, "steps": 1})
    upload(tab, "image", photo)
    go_to(tab, "normals")
    tab.click("#normals")
    tab.wait_for_selector("#normal-map img")
    tab.wait_for_selector("#shaded img")
    first = tab.get_attribute("#shaded img", "src")
    tab.fill("#shade-angle input[type=number]", "0")
    tab.wait_for_function("old => document.querySelector('#shaded img')?.src !== old", arg=first)
    saved = {}
    for green in ("OpenGL", "DirectX"):
        tab.click(f"#green label:has-text('{green}')")
        tab.click("#save-normals")
        tab.wait_for_selector(f"#normals-file >> text=/normals-{green.lower()}/")
        with tab.expect_download() as waiting:
            tab.click("#normals-file a[download], #normals-file .download a")
        waiting.value.save_as(tmp_path / f"{green}.png")
        saved[green] = cv2.imread(str(tmp_path / f"{green}.png"), cv2.IMREAD_UNCHANGED)
        assert saved[green].dtype == np.uint16
    up, down = (saved[one][..., 1].astype(int) for one in ("OpenGL", "DirectX"))
    np.testing.assert_allclose(up + down, 65535, atol=1)


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
    tab.click("#light label:has-text('Left Light')")
    for mood, light in (("Golden hour", "Right"), ("Campfire", "Bottom"), ("Noon", "Top")):
        tab.click(f"#moods button:has-text('{mood}')")
        tab.wait_for_selector(f"#light label:has-text('{light} Light') input:checked")
        assert tab.locator("#moods [aria-pressed=true]").inner_text() == mood
    assert typed(tab) == "handsome man, detailed face, smiling"
    relight(tab)
    made = read_recipe(result_file(tab, tmp_path)).settings
    assert made.prompt == "handsome man, detailed face, smiling, natural lighting, clear sky"
    assert (made.light, made.light_colour) == ("top", "#ffffff"), "what a mood does not name goes back"
    tab.click("#moods button:has-text('Noon')")
    tab.wait_for_selector("#light label:has-text('Left Light') input:checked")
    assert tab.locator("#moods [aria-pressed=true]").count() == 0


def test_a_mood_leaves_a_background_where_it_is(open_page):
    tab = open_page("fbc", None)
    tab.click("#backgrounds button >> nth=1")
    tab.wait_for_selector("#background img")
    tab.click("#moods button:has-text('Golden hour')")
    tab.wait_for_selector("#moods [aria-pressed=true]")
    tab.wait_for_timeout(1000)
    assert tab.locator("#light label:has-text('Use Background Image') input:checked").count() == 1


def test_the_switch_leads_from_workflow_to_workflow_on_one_model(open_page, photo):
    tab = open_page("fc", None)
    tab.click(".switch:has-text('By background')")
    tab.wait_for_selector("#backgrounds img")
    tab.wait_for_selector("#engine-status >> text=/^Model/")
    upload(tab, "image", photo)
    tab.click("#light label:has-text('Left Light')")
    tab.click("#advanced button >> nth=0")
    turn(tab, {**QUICK, "steps": 1})
    assert "seed" in relight(tab)
    tab.wait_for_selector("#engine-status >> text=licence")
    tab.click(".switch:has-text('By words')")
    tab.wait_for_selector("#light label:has-text('Light Map')")


@pytest.mark.parametrize("workflow", ["fc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fbc", "env"))])
def test_every_tab_fits_a_phone(open_page, workflow):
    tab = open_page(workflow, None, viewport={"width": 400, "height": 800})
    for name in ("relight", "mix", "normals", "history"):
        go_to(tab, name)
        tab.wait_for_selector(f"#tabs [data-tab-id='{name}-tab'][aria-selected=true]")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400, name


def test_dark_is_dark_and_light_is_light_as_the_system_changes(open_page):
    tab = open_page("fc", None, color_scheme="dark")

    def grey():
        return np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("L"))[:, :20].mean()

    assert grey() < 60
    tab.emulate_media(color_scheme="light")
    tab.wait_for_selector("body:not(.dark)")
    assert grey() > 200


def test_in_chinese_the_page_its_strip_its_outcome_and_its_errors_are_chinese(open_page, photo):
    tab = open_page("fc", {**QUICK, "steps": 1}, locale="zh-CN")
    tab.wait_for_selector("#relight:has-text('重新打光')")
    for where, words in (("#light", "左侧光"), ("#tabs", "历史"), ("#moods", "黄金时刻"), ("#engine-status", "许可")):
        tab.wait_for_selector(f"{where} >> text={words} >> visible=true")
    tab.click("#relight")
    tab.wait_for_selector("[data-testid=toast-body] >> text=请先放入一张照片")
    tab.click("[data-testid=toast-close]")
    tab.click("#examples tbody tr >> nth=0")
    tab.wait_for_selector("#image img")
    for where, words in (("#image", "照片"), ("#prompt", "提示词"), ("#light", "光源")):
        tab.wait_for_selector(f"{where} >> text={words} >> visible=true")
    assert "Prompt" not in tab.inner_text("#prompt")
    upload(tab, "image", photo)
    assert "种子 12345" in relight(tab, word="种子")


def test_two_visitors_queue_cancel_and_mix_without_touching_each_other(open_page, photo):
    one, other = open_page("fc", LONG), open_page("fc", {**QUICK, "steps": 1})
    for tab in (one, other):
        upload(tab, "image", photo)
    one.click("#relight")
    one.wait_for_selector("#live >> text=/step \\d+ of 100/")
    before = other.inner_text("#about")
    other.click("#relight")
    other.wait_for_selector("#live >> text=/1 before you/")
    assert one.locator("#live >> text=/step \\d+ of 100/").count() == 1, "who came first goes on"
    one.click("#cancel")
    assert "seed" in outcome(other, before), "the other's request outlives the cancelled one"
    go_to(other, "mix")
    other.click("#lights")
    other.wait_for_selector("#mix img")
    for tab, count in ((one, 0), (other, 1)):
        go_to(tab, "history")
        remembered(tab, count)
    go_to(one, "mix")
    one.click("#export")
    one.wait_for_selector("[data-testid=toast-body] >> text=There is nothing to mix yet")


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
