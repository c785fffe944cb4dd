"""Both languages are whole: every string a visitor can see has its Chinese, and none is left that nobody says."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

import iclight

pytest.importorskip("gradio")
from iclight.settings import INPUTS
from iclight.studio.layout import build
from iclight.studio.service.model_pool import ModelPool
from iclight.studio.service.outputs import NORMALS_CAPTIONS
from iclight.studio.service.progress import STAGES
from iclight.studio.ui.endpoints import TITLES
from iclight.studio.ui.i18n import Say, english, i18n, speaker, translate
from iclight.studio.ui.moods import MOODS
from iclight.studio.ui.zh import CHINESE
from iclight.studio.ui.zh_errors import SENTENCES

PACKAGE = Path(iclight.__file__).parent
SHOWN = ("label", "info", "placeholder", "title")
# The name of the house, and what the server has translated before a visitor sees it.
AS_THEY_ARE = {"# iclight", ModelPool("fc", {}).status()}


@pytest.fixture(scope="module")
def on_the_pages():
    """Every string that the pages' components show at first, where Gradio's I18n looks it up."""
    found = set()
    for workflow in ("fc", "fbc", "env"):
        for component in build(workflow, ModelPool(workflow, {}), lambda function: function).config["components"]:
            props = component["props"]
            found |= {english(props[name]) for name in SHOWN if isinstance(props.get(name), str)}
            found |= {choice[0] for choice in props.get("choices") or [] if len(choice) == 2}  # a strip's are said
            if component["type"] in ("button", "markdown"):
                found.add(english(props.get("value")))
    return {words for words in found if words} - AS_THEY_ARE


def said_by_the_server() -> set[str]:
    """Every literal that is passed to `say`, and the tables it is given words from."""
    found = {
        *TITLES.values(),
        "Error",
        *STAGES.values(),
        *INPUTS.values(),
        *NORMALS_CAPTIONS,
        *(mood.name for mood in MOODS.values()),
    }
    for path in (PACKAGE / "studio").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                found |= {one.value for one in node.args if isinstance(one, ast.Constant)}
                found |= {
                    leaf.value
                    for one in node.args
                    if isinstance(one, ast.IfExp)
                    for leaf in ast.walk(one)
                    if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
                }
    return found


def test_every_string_on_the_pages_has_its_chinese(on_the_pages):
    assert len(on_the_pages) > 100
    assert not on_the_pages - set(CHINESE)


def test_everything_the_server_says_has_its_chinese():
    said = said_by_the_server()
    assert len(said) > 20
    assert not said - set(CHINESE)


def test_no_translation_is_left_that_nobody_says(on_the_pages):
    from iclight.parameters import LIGHTS

    lights = {words for workflow in LIGHTS.values() for words in workflow.values()}
    assert not set(CHINESE) - on_the_pages - said_by_the_server() - lights


def test_a_sentence_has_the_same_gaps_in_both_languages():
    def gaps(text):
        return sorted(str(name) for _, name, _, _ in string.Formatter().parse(text) if name)

    for key, chinese in CHINESE.items():
        assert gaps(key) == gaps(chinese), key


def test_the_browser_is_given_both_languages_with_the_same_keys():
    translations = i18n().translations
    assert set(translations["en"]) == set(translations["zh-CN"]) == set(translations["zh-TW"])
    assert all(words == key for key, words in translations["en"].items())
    chinese = [any("\u4e00" <= letter <= "\u9fff" for letter in words) for words in CHINESE.values()]
    assert chinese.count(False) == 1, "ORMBG and its licence have no other name"


class Request:
    def __init__(self, language):
        self.headers = {"accept-language": language} if language else {}


@pytest.mark.parametrize(
    ("language", "chinese"), [("zh-CN,zh;q=0.9,en;q=0.8", True), ("zh", True), ("en-US,zh;q=0.5", False), (None, False)]
)
def test_the_server_answers_in_the_first_language_that_is_asked_for(language, chinese):
    assert speaker(Request(language)) == Say(chinese)


def test_errors_that_a_visitor_can_cause_are_chinese_and_keep_what_was_found():
    from iclight.errors import IclightError
    from iclight.settings import Settings

    say = Say(True)
    with pytest.raises(IclightError) as caught:
        Settings.for_workflow("fc", steps=0)
    assert "steps" in translate(str(caught.value), say) and "应为" in translate(str(caught.value), say)
    found = translate("The mask is 32x32, the picture 240x240; give one of the same size.", say)
    assert "32x32" in found and "240x240" in found
    assert translate("Something that only whoever started the page can mend.", say).startswith("Something")
    assert translate("Cancelled.", Say()) == "Cancelled."
    assert len(SENTENCES) > 25


@pytest.mark.parametrize("workflow", ["fc", "env"])
def test_what_the_page_says_of_its_model_is_chinese(workflow):
    from iclight.diffusion.devices import choose
    from iclight.weights.resolve import resolve_model

    for said in (resolve_model("auto", workflow, device_type="cpu").notice, str(choose("cpu", "float32"))):
        assert said and translate(said, Say(True)) != said


# Modules whose errors a visitor of a page can meet, and what of them only programs and whoever starts the page meet.
MET = (
    "imaging/environment", "imaging/images", "imaging/matte_brush", "editing/finish", "editing/gain_map",
    "editing/mixing", "diffusion/sampler", "diffusion/vae", "parameters", "settings", "request", "recipes",
    "studio/service/actions", "studio/service/history", "studio/service/pages", "studio/tabs/mix",
    "studio/tabs/normals", "studio/tabs/painting", "studio/tabs/history", "studio/ui/paintings",
)  # fmt: skip
OF_PROGRAMS = (
    "has shape", "has values", "does not exist", "is a folder", "give a picture file", "give a HxWx3",
    "of the picture's", "is measured from", "NAME=STRENGTH", "A stack ", "The matte is 7x7", "load the other workflow",
    "The picture is 7;", "this was made from", "cannot be written",
)  # fmt: skip


def errors_in(module: str) -> set[str]:
    """The messages of a module's errors, with a 7 for whatever they are filled with."""

    def text(node: ast.expr) -> str:
        if isinstance(node, ast.JoinedStr):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
        return str(node.value) if isinstance(node, ast.Constant) else ""

    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    found = {text(call.args[0]) for call in calls if re.fullmatch("(Image|Settings|Model|Recipe)Error", call.func.id)}
    # What begins with a hole begins with what was given: a setting, or a picture.
    given = "steps" if module in ("parameters", "settings") else "The picture"
    found = {re.sub("^7 (?=is|has|holds)", f"{given} ", message) for message in found if message}
    return {message.replace("Give 7,", "Give a light map,") for message in found}


@pytest.mark.parametrize("module", MET)
def test_errors_that_a_visitor_can_meet_are_chinese(module):
    met = {error for error in errors_in(module) if not any(words in error for words in OF_PROGRAMS)}
    assert met or module in ("parameters", "settings")
    english = {error for error in met if translate(error, Say(True)) == error}
    assert not english
