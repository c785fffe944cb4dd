"""The desk and the normals in a real Chromium: lit once, mixed and shaded live, exported; one visitor's alone."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

pytest.importorskip("gradio")
from browsing import LONG, QUICK, go_to, outcome, remembered, upload
from PIL import Image

from iclight.editing.mixing import LightMix, LightWeight, parse_colour
from iclight.studio.tabs.mix import START

pytestmark = pytest.mark.browser
pytest_plugins = ("browser_fixtures",)


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
    tab.wait_for_timeout(2000)  # what is set is kept from a moment after the page has come on
    tab.reload()
    go_to(tab, "mix")
    tab.wait_for_selector("#mix img")
    tab.wait_for_selector("#desk-about >> text=4 lights")
    assert tab.input_value("#fader-right input[type=number]") == "2", "a reload leaves the desk as it was"


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
    tab.fill("#colour-left input[type=color]", "#ff8040")
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
    assert one.is_hidden("#desk") and one.is_hidden("#export"), "there is nothing to mix here"
