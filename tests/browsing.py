"""What the browser tests share: where Chromium is, and a visitor's hands. `browser_fixtures` opens the pages."""

from __future__ import annotations

import os
import shutil

from golden_data import GOLDEN

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
# Milliseconds until what was waited for has failed to come: a machine may be busy with other things.
PATIENCE = 180_000
# Sizes and steps: of a request that is over at once, and of one that takes minutes and waits to be cancelled.
QUICK = {"width": 64, "height": 64, "steps": 2, "highres_scale": 1}
LONG = {"width": 256, "height": 256, "steps": 100}


BOX = ":is(input[type=number], input[type=text], textarea)"


def turn(tab, knobs) -> None:
    for knob, value in knobs.items():
        tab.fill(f"#knob-{knob} {BOX}", str(value))


def light_it_by(tab, workflow: str) -> None:
    """Choose between words (fc), a background (fbc) and an environment (env)."""
    tab.click(f"#workflow label:has(input[value={workflow}])")
    tab.wait_for_selector(f"#workflow label.selected:has(input[value={workflow}])")


def choose_light(tab, name: str) -> None:
    tab.click(f"#light label:has(input[value='{name}'])")


def lit_from(tab, name: str) -> None:
    """Wait until a light is chosen."""
    tab.wait_for_selector(f"#light input[value='{name}']:checked", state="attached")


def upload(tab, where: str, path: str) -> None:
    tab.set_input_files(f"#{where} input[type=file]", path)
    tab.wait_for_selector(f"#{where} img")


def relight(tab, press="#relight", word="seed") -> str:
    """Press the button, wait for the line that tells the outcome, and return it."""
    before = tab.inner_text("#about")
    tab.click(press)
    # Two clicks in some thousand were lost here on busy machines; where, is not known. A person clicks again.
    if not _answers(tab, before):
        tab.click(press)
    return outcome(tab, before, word)


def _answers(tab, before: str) -> bool:
    """Whether anything is seen to begin, or is over already, within half a minute."""
    from playwright.sync_api import TimeoutError

    try:
        tab.wait_for_function(
            "old => document.querySelector('#live .live') || document.querySelector('#about').innerText !== old",
            arg=before,
            timeout=30_000,
        )
    except TimeoutError:
        return False
    return True


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
    return tab.input_value(f"#knob-{name} {BOX}")


def remembered(tab, count: int) -> None:
    """Wait until the history shows so many pictures."""
    tab.wait_for_function(
        "count => document.querySelectorAll('#history .grid-container img').length === count", arg=count
    )
