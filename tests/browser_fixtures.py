"""Fixtures of the browser tests: one Chromium and one running site for each file, a tab for each test."""

from __future__ import annotations

import os

import pytest
from browsing import CHROMIUM, FLAGS, PATIENCE, PICTURE, QUICK, light_it_by, turn
from pages import MODEL, running
from PIL import Image

# Spinners and fades, drawn without a graphics card, would take half of what the tests take.
STILL = """addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style');
  style.textContent = '*, *::before, *::after { animation: none !important; transition: none !important }';
  document.head.append(style);
})"""


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
def pages(request, tmp_path_factory, env_model):
    """The page's address. A file may name the script that starts it: SCRIPT = "app_bg.py"."""
    script = getattr(request.module, "SCRIPT", "app.py")
    with running(script, tmp_path_factory.mktemp("pages"), *MODEL, "--model", str(env_model)) as site:
        yield site.url


@pytest.fixture
def open_page(browser, pages):
    """workflow -> a tab with the page loaded for it, quick settings typed in; fails on errors in the console.

    `context` are options of the browser's: locale, colour_scheme, viewport.
    """
    contexts, errors = [], []

    def go(workflow: str, knobs=QUICK, **context):
        context = {"viewport": {"width": 1440, "height": 1000}, "accept_downloads": True, **context}
        contexts.append(browser.new_context(**context))
        contexts[-1].add_init_script(STILL)
        tab = contexts[-1].new_page()
        tab.set_default_timeout(PATIENCE)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(pages)
        tab.wait_for_selector("#relight")
        light_it_by(tab, workflow)
        if knobs:
            tab.click("#advanced button >> nth=0")
            turn(tab, knobs)
        return tab

    yield go
    for one in contexts:
        one.close()
    assert not errors


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.open(PICTURE).convert("RGB").save(path)
    return str(path)
