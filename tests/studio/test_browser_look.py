"""How the page looks and sounds in a real Chromium: phones, dark, Chinese, keys alone, what axe-core finds."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("gradio")
from browsing import QUICK, go_to, relight, upload
from PIL import Image

pytestmark = pytest.mark.browser
pytest_plugins = ("browser_fixtures",)


@pytest.mark.parametrize("workflow", ["fc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fbc", "env"))])
def test_every_tab_fits_a_phone(open_page, workflow):
    tab = open_page(workflow, None, viewport={"width": 400, "height": 800})
    for name in ("relight", "mix", "normals", "history"):
        go_to(tab, name)
        tab.wait_for_selector(f"#tabs [data-tab-id='{name}-tab'][aria-selected=true]")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400, name


@pytest.mark.parametrize(
    ("width", "height"), [pytest.param(1440, 900, marks=pytest.mark.slow), (1024, 768), (400, 800)]
)
def test_what_to_light_how_and_the_button_are_in_one_view(open_page, photo, width, height):
    tab = open_page("fc", None, viewport={"width": width, "height": height})
    upload(tab, "image", photo)
    for where in ("#workflow", "#image img", "#prompt", "#moods", "#light", "#relight"):
        box = tab.locator(where).first.bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= height, where
    assert tab.locator("#stage").bounding_box()["y"] < height, "where the result comes"


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
    for where, words in (("#light", "正面"), ("#tabs", "历史"), ("#moods", "黄金时刻"), ("#engine-status", "许可")):
        tab.wait_for_selector(f"{where} >> text={words} >> visible=true")
    tab.click("#relight")
    tab.wait_for_selector("[data-testid=toast-body] >> text=请先放入一张照片")
    tab.click("[data-testid=toast-close]")
    tab.click("#examples button >> nth=0")
    tab.wait_for_selector("#image img")
    for where, words in (("#image", "照片"), ("#prompt", "提示词"), ("#light", "光的来向")):
        tab.wait_for_selector(f"{where} >> text={words} >> visible=true")
    assert "Prompt" not in tab.inner_text("#prompt")
    upload(tab, "image", photo)
    assert "种子 12345" in relight(tab, word="种子")
