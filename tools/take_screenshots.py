"""Take the README's picture of the page, and the ones that a change of the page should be looked at by.

python tools/take_screenshots.py FOLDER [fc fbc env]      (needs Chromium and the test extra; uses the model that ships)

Every tab before and after a run at 1440, 1024 and 400 px, dark and light, English and Chinese. The README's is
fc-light-wide-relight.png, as a JPEG.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browsing import CHROMIUM, FLAGS, choose_light, go_to, relight  # noqa: E402
from pages import running  # noqa: E402

from iclight.studio.tabs.examples import asset  # noqa: E402

PATIENCE = 600_000
SCRIPTS = {"fc": "app.py", "fbc": "app_bg.py", "env": "app_env.py"}
SIZES = {
    "wide": {"width": 1440, "height": 900},
    "small": {"width": 1024, "height": 768},
    "phone": {"width": 400, "height": 860},
}
# How one visitor sees the page: name -> language, colours.
EYES = {"light": ("en-GB", "light"), "dark-zh": ("zh-CN", "dark")}
# A workflow needs one run; tabs that take four runs of the model are looked at in the first only.
DEAR = "fc"


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(SCRIPTS)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name in names:
            with running(SCRIPTS[name], Path(scratch)) as page:
                for eyes in EYES:
                    look(browser, page.url, name, eyes, folder)
        browser.close()


def look(browser: Browser, url: str, name: str, eyes: str, folder: Path) -> None:
    """One visit: the page as it opens, while it works, and every tab afterwards, at both sizes."""
    language, colours = EYES[eyes]
    context = browser.new_context(viewport=SIZES["wide"], locale=language, color_scheme=colours)  # type: ignore[arg-type]
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(url)
    tab.wait_for_function("/licence|许可/.test(document.querySelector('#engine-status')?.innerText)")

    def take(what: str) -> None:
        for size, viewport in SIZES.items():
            tab.set_viewport_size(viewport)  # type: ignore[arg-type]
            tab.wait_for_timeout(1200)  # pictures fade in
            tab.screenshot(path=folder / f"{name}-{eyes}-{size}-{what}.png", full_page=size == "phone")
        tab.set_viewport_size(SIZES["wide"])  # type: ignore[arg-type]

    take("opens")
    fill_in(tab, name)
    about = tab.inner_text("#about")
    tab.click("#relight")
    tab.wait_for_selector("#live img")
    take("works")
    tab.wait_for_function("old => document.querySelector('#about').innerText !== old", arg=about)
    tab.wait_for_selector("#live .live", state="detached")
    take("relight")
    tab.click("#views [data-tab-id='compare']")
    take("compare")
    if name == DEAR:
        go_to(tab, "mix")
        tab.click("#lights")
        tab.wait_for_selector("#mix img")
        take("mix")
        go_to(tab, "normals")
        tab.click("#normals")
        tab.wait_for_selector("#shaded img")
        take("normals")
        go_to(tab, "relight")
        relight(tab, "#vary", word="1")
    go_to(tab, "history")
    tab.click("#history .grid-container button >> nth=0")
    tab.wait_for_selector("#compare-two img")
    take("history")
    context.close()


def fill_in(tab: Page, name: str) -> None:
    tab.set_input_files("#image input[type=file]", asset("astronaut.png"))
    tab.wait_for_selector("#image img")
    if name == "fbc":
        tab.click("#backgrounds button >> nth=0")
        tab.wait_for_selector("#background img")
    elif name == "env":
        choose_light(tab, "left")
    else:
        tab.fill("#prompt textarea, #prompt input", "astronaut")
        tab.click("#moods button >> nth=1")


if __name__ == "__main__":
    main()
