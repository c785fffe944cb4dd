"""What the browser tests share: Chromium, running pages, and a visitor's hands."""

from __future__ import annotations

import os
import shutil

import pytest
from golden_data import GOLDEN
from pages import MODEL, running
from PIL import Image

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
PATIENCE = 60_000
# Sizes and steps: of a request that is over at once, and of one that takes minutes and waits to be cancelled.
QUICK = {"width": 64, "height": 64, "steps": 2, "highres_scale": 1}
LONG = {"width": 512, "height": 512, "steps": 100}


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
    """workflow -> a tab with the page loaded, quick settings typed in; fails on errors in the console.

    `context` are options of the browser's: locale, colour_scheme, viewport.
    """
    contexts, errors = [], []

    def go(workflow: str, knobs=QUICK, **context):
        context = {"viewport": {"width": 1440, "height": 1000}, "accept_downloads": True, **context}
        contexts.append(browser.new_context(**context))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(PATIENCE)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(pages[workflow].url)
        tab.wait_for_selector("#relight")
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


def turn(tab, knobs) -> None:
    for knob, value in knobs.items():
        tab.fill(f"#knob-{knob} input[type=number]", str(value))


def upload(tab, where: str, path: str) -> None:
    tab.set_input_files(f"#{where} input[type=file]", path)
    tab.wait_for_selector(f"#{where} img")


def relight(tab, press="#relight", word="seed") -> str:
    """Press the button, wait for the line that tells the outcome, and return it."""
    before = tab.inner_text("#about")
    tab.click(press)
    return outcome(tab, before, word)


def outcome(tab, before: str, word="seed") -> str:
    """The line below the pictures, once it is another than before."""
    tab.wait_for_function(
        "([old, word]) => { const now = document.querySelector('#about').innerText;"
        " return now !== old && now.includes(word) }",
        arg=[before, word],
    )
    tab.wait_for_selector("#live .live", state="detached")
    return tab.inner_text("#about")


def go_to(tab, name: str) -> None:
    """Open one of the page's tabs: relight, mix, normals, history."""
    tab.click(f"#tabs [data-tab-id='{name}-tab']")


def result_file(tab, folder) -> str:
    """Download the shown result as a person does, by the gallery's own button."""
    tab.wait_for_selector("#results img")
    with tab.expect_download() as waiting:
        tab.click("#results [aria-label='Download']")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return str(path)


def typed(tab) -> str:
    return tab.input_value("#prompt textarea, #prompt input")


def knob(tab, name: str) -> str:
    return tab.input_value(f"#knob-{name} input[type=number]")
