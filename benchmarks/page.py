"""What a visitor waits for, in a real Chromium: from the start of the server to a first picture, and behind a fader.

    python -m benchmarks.page [--model mini]           (needs Chromium and the extra `test`)

First picture: an example is clicked, then Relight; nothing else is touched. Fader: lights of 768x960 are made by the
model of the tests (tiny, so that only the desk is measured), then a fader is moved; the time runs until the browser has
drawn the new mix itself, and until it has decoded the server's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
MOVES = 15
# Resolves with the milliseconds from setting the fader until the frame with the browser's mix is over and the next one
# begins, and until the server's picture is decoded.
FADER = """value => new Promise(done => {
  const box = document.querySelector('#fader-right input[type=number]');
  const old = document.querySelector('#mix img').src;
  const started = performance.now();
  const look = async () => {
    const now = document.querySelector('#mix img');
    if (now && now.src !== old) { await now.decode(); done([await drawn, performance.now() - started]); }
    else setTimeout(look, 2);
  };
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(box, value);
  box.dispatchEvent(new Event('input', { bubbles: true }));
  const drawn = new Promise(seen => requestAnimationFrame(() => requestAnimationFrame(() => {
    if (document.querySelector('#mix-live')) seen(performance.now() - started);
  })));
  look();
})"""


def first_picture(browser: Any, model: str, folder: Path) -> dict[str, float]:
    """Seconds until app.py answers, its page can be used, and a first picture is shown."""
    from pages import running

    started = time.perf_counter()
    with running("app.py", folder, "--model", model, "--device", "cpu") as page:
        found = {"the server answers": page.seconds}
        tab = browser.new_page(viewport={"width": 1440, "height": 1000})
        tab.set_default_timeout(300_000)
        opened = time.perf_counter()
        tab.goto(page.url)
        tab.wait_for_selector("#relight")
        found["the page is there (from its opening)"] = time.perf_counter() - opened
        tab.click("#examples button >> nth=0")
        tab.wait_for_selector("#image img")
        tab.click("#relight")
        tab.wait_for_selector("#results img")
        found["a first picture is shown (from the page's opening)"] = time.perf_counter() - opened
        found["a first picture is shown (from the server's start)"] = time.perf_counter() - started
        tab.close()
    return found


def behind_a_fader(browser: Any, folder: Path) -> list[tuple[float, float]]:
    """Milliseconds from a fader's move to the browser's own mix at 768x960, and to the server's."""
    from browsing import PICTURE, go_to, turn, upload
    from pages import MODEL, running

    with running("app.py", folder, *MODEL) as page:
        tab = browser.new_page(viewport={"width": 1440, "height": 1000})
        tab.set_default_timeout(300_000)
        tab.goto(page.url)
        tab.wait_for_selector("#relight")
        tab.click("#advanced button >> nth=0")
        turn(tab, {"width": 768, "height": 960, "steps": 1, "highres_scale": 1})
        upload(tab, "image", PICTURE)
        go_to(tab, "mix")
        tab.click("#lights")
        tab.wait_for_selector("#mix img")
        tab.wait_for_timeout(2000)
        times = []
        for number in range(MOVES):
            times.append(tuple(tab.evaluate(FADER, str(round(0.1 + 0.1 * number, 2)))))
            tab.wait_for_selector("#mix-live", state="detached")
        tab.close()
    return times


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mini")
    options = parser.parse_args()
    from browsing import CHROMIUM, FLAGS
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        print("There is no Chromium here; install it, or set CHROMIUM to its path.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        print("| until | seconds |\n| --- | ---: |")
        for what, seconds in first_picture(browser, options.model, Path(scratch)).items():
            print(f"| {what} | {seconds:.1f} |", flush=True)
        times = behind_a_fader(browser, Path(scratch))
        print("\n| a fader's move, 768x960, ms until | least | median |\n| --- | ---: | ---: |")
        for what, column in zip(
            ("the browser's mix is drawn", "the server's is there"), zip(*times, strict=True), strict=True
        ):
            print(f"| {what} | {min(column):.0f} | {statistics.median(column):.0f} |")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
