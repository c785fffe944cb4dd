"""The page for everybody: what axe-core finds with everything opened, light and dark, and the page by keys alone."""

from __future__ import annotations

from importlib import resources

import pytest

pytest.importorskip("gradio")
pytest.importorskip("axe_playwright_python")
from browsing import QUICK, choose_light, go_to, light_it_by, relight, upload

pytestmark = pytest.mark.browser
pytest_plugins = ("browser_fixtures",)

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# Rules that axe leaves off by itself.
RULES = "{'label-content-name-mismatch': {enabled: true}, 'target-size': {enabled: true}}"
FOLDED = ("words", "shape", "matte-tools", "finish", "advanced")


def faults(tab) -> list[str]:
    """What axe-core has against the page as it is, in both colours."""
    found = []
    for colours in ("dark", "light"):
        tab.emulate_media(color_scheme=colours)
        tab.wait_for_selector("body.dark" if colours == "dark" else "body:not(.dark)")
        tab.wait_for_timeout(400)  # names are mended a moment after the page has changed
        if not tab.evaluate("Boolean(window.axe)"):
            tab.evaluate(AXE)
        violations = tab.evaluate(f"axe.run(document, {{resultTypes: ['violations'], rules: {RULES}}})")["violations"]
        found += [f"{colours}: {one['id']}: {node['html'][:200]}" for one in violations for node in one["nodes"]]
    return found


def test_axe_finds_nothing_on_the_page_with_all_that_unfolds(open_page, photo):
    tab = open_page("fc", None)
    assert not faults(tab)
    upload(tab, "image", photo)
    for part in FOLDED:
        tab.click(f"#{part} button >> nth=0")
    for light in ("angle", "spot"):
        choose_light(tab, light)
        assert not faults(tab), light
    light_it_by(tab, "fbc")
    assert not faults(tab)
    light_it_by(tab, "env")
    assert not faults(tab)


@pytest.mark.slow  # lights a picture nine times; the form, which is most of the page, is the test above
def test_axe_finds_nothing_in_the_results_of_any_tab(open_page, photo):
    tab = open_page("fc", {**QUICK, "steps": 1})
    upload(tab, "image", photo)
    relight(tab)
    assert not faults(tab)
    for view in ("compare", "matte-view"):
        tab.click(f"#views [data-tab-id='{view}']")
        assert not faults(tab), view
    for name, button, shown in (("mix", "#lights", "#mix img"), ("normals", "#normals", "#shaded img")):
        go_to(tab, name)
        tab.click(button)
        tab.wait_for_selector(shown)
        tab.wait_for_selector("#live .live", state="detached")
        assert not faults(tab), name
    go_to(tab, "history")
    tab.click("#history .grid-container button >> nth=0")
    tab.wait_for_selector("#compare-two img", state="attached")
    assert not faults(tab)


def test_the_page_is_walked_by_keys(open_page, photo):
    tab = open_page("fc", {**QUICK, "steps": 1})
    tab.click("#advanced button >> nth=0")
    upload(tab, "image", photo)
    tab.wait_for_timeout(500)
    tab.focus("#prompt textarea, #prompt input")
    stops = 2  # the photo's own buttons stand before the prompt
    while tab.evaluate("document.activeElement.id") != "relight":
        tab.keyboard.press("Tab")
        stops += 1
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        within = tab.evaluate("document.activeElement.matches('.segments input')")
        assert outline == "solid" or within, "what has the focus shows it"
        assert stops <= 8, tab.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    tab.focus("#light input:checked")
    tab.keyboard.press("ArrowRight")
    assert tab.input_value("#light input:checked") == "left"
    tab.focus("#moods button >> nth=0")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#moods [aria-pressed=true]:has-text('Golden hour')")
    tab.focus("#relight")
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.querySelector('#told')?.textContent.includes('seed')")
