"""Take the README's picture of the page, and one of each page before and after a run.

python tools/take_screenshots.py FOLDER        (needs Chromium and the test extra; uses the model that ships)
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from pages import running  # noqa: E402

from iclight.studio.examples import asset  # noqa: E402

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE = 300_000


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for script, name in (("app.py", "fc"), ("app_bg.py", "fbc"), ("app_env.py", "env")):
            with running(script, Path(scratch)) as page:
                tab = browser.new_page(viewport={"width": 1440, "height": 1080})
                tab.set_default_timeout(PATIENCE)
                tab.goto(page.url)
                tab.wait_for_function("document.querySelector('#engine-status')?.innerText.includes('licence')")
                tab.wait_for_timeout(1500)
                tab.screenshot(path=folder / f"{name}-before.png", full_page=True)
                relight(tab, name)
                tab.wait_for_timeout(2500)
                tab.mouse.move(5, 5)
                tab.screenshot(path=folder / f"{name}-after.png")
                tab.set_viewport_size({"width": 400, "height": 860})
                tab.wait_for_timeout(800)
                tab.screenshot(path=folder / f"{name}-phone.png", full_page=True)
        browser.close()


def relight(tab: Page, name: str) -> None:
    tab.set_input_files("#image input[type=file]", asset("astronaut.png"))
    tab.wait_for_selector("#image img")
    if name == "fbc":
        tab.click("#backgrounds button >> nth=0")
        tab.wait_for_selector("#background img")
    elif name == "env":
        tab.click("#light label:has-text('Left Light')")
    else:
        tab.fill("#prompt textarea, #prompt input", "astronaut, soft studio lighting")
        tab.click("#light label:has-text('Right Light')")
    tab.click("#relight")
    tab.wait_for_function("document.querySelector('#about').innerText.includes('seed')")


if __name__ == "__main__":
    main()
