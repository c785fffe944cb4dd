"""Both languages are whole: every string a visitor can see has its Chinese, and none is left that nobody says."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import iclight

pytest.importorskip("gradio")
from golden_data import GOLDEN
from PIL import Image

from iclight import errors
from iclight.errors import Cancelled, IclightError, ImageError, Words, quoted
from iclight.parameters import LIGHTS, PARAMETERS
from iclight.recipes import Recipe, save_png
from iclight.settings import INPUTS, Settings
from iclight.studio.layout import build
from iclight.studio.service.actions import Actions
from iclight.studio.service.model_pool import ModelPool
from iclight.studio.service.outputs import NORMALS_CAPTIONS
from iclight.studio.service.progress import LOADING
from iclight.studio.service.storage import Storage
from iclight.studio.tabs.examples import BACKGROUNDS
from iclight.studio.tabs.form import light_choices
from iclight.studio.tabs.history import Restore
from iclight.studio.ui.endpoints import TITLES, Shown, with_signature
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
    found = {words for workflow in LIGHTS for words, _ in light_choices(workflow)}
    for component in build("fc", ModelPool("fc", {}), lambda function: function).config["components"]:
        props = component["props"]
        found |= {english(props[name]) for name in SHOWN if isinstance(props.get(name), str)}
        found |= {choice[0] for choice in props.get("choices") or [] if len(choice) == 2}  # a strip's are said
        if component["type"] in ("button", "markdown", "downloadbutton"):
            found.add(english(props.get("value")))
    return {words for words in found if words} - AS_THEY_ARE


def said_by_the_server() -> set[str]:
    """Every literal that is passed to `say`, and the tables it is given words from."""
    found = {
        *TITLES.values(),
        "Error",
        *LOADING.values(),
        *BACKGROUNDS.values(),
        "picture {number} of {count}",
        "light {number} of {count}",
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
    missing = on_the_pages - set(CHINESE)
    assert not missing


def test_everything_the_server_says_has_its_chinese():
    said = said_by_the_server()
    assert len(said) > 20
    assert not said - set(CHINESE)


def test_no_translation_is_left_that_nobody_says(on_the_pages):
    named = {words for workflow in LIGHTS.values() for words in workflow.values()} | {PARAMETERS["light"].label}
    assert not set(CHINESE) - on_the_pages - said_by_the_server() - named


def test_what_the_pages_say_has_the_same_gaps_in_both_languages():
    for key, chinese in CHINESE.items():
        assert gaps(key) == gaps(chinese), key
        assert has_its_own_marks(chinese), key


def test_the_browser_is_given_both_languages_with_the_same_keys():
    translations = i18n().translations
    assert set(translations["en"]) == set(translations["zh-CN"]) == set(translations["zh-TW"])
    assert all(words == key for key, words in translations["en"].items())
    chinese = [any("\u4e00" <= letter <= "\u9fff" for letter in words) for words in CHINESE.values()]
    assert chinese.count(False) == 3 + len(PARAMETERS["sampler"].choices), "PNG, JPEG, ORMBG with its licence, samplers"


class Request:
    def __init__(self, language):
        self.headers = {"accept-language": language} if language else {}


@pytest.mark.parametrize(
    ("language", "chinese"), [("zh-CN,zh;q=0.9,en;q=0.8", True), ("zh", True), ("en-US,zh;q=0.5", False), (None, False)]
)
def test_the_server_answers_in_the_first_language_that_is_asked_for(language, chinese):
    assert speaker(Request(language)) == Say(chinese)


def test_what_is_no_sentence_of_ours_stays_as_it_is():
    assert translate(IclightError("Only {whoever} started the page can mend this."), Say(True)).startswith("Only {who")
    assert translate(Cancelled(), Say()) == "Cancelled." and translate(Cancelled(), Say(True)) == "已取消。"


def test_values_are_translated_where_they_are_words_of_ours_and_name_no_folder():
    error = ImageError("{what} {name} does not exist.", what="The mask", name=quoted("/srv/secret/a{b}.png"))
    assert translate(error, Say()) == "The mask 'a{b}.png' does not exist."
    assert translate(error, Say(True)) == "蒙版 'a{b}.png' 不存在。"
    asked = "Give {what}, or choose another light: {lights: or }."
    error = ImageError(asked, what="a background", lights=Words(["left", "ambient", "the user's"]))
    assert translate(error, Say(True)) == "请放入背景图，或选择别的光源：左侧光、环境光或the user's。"


@pytest.mark.parametrize("workflow", ["fc", "env"])
def test_what_the_page_says_of_its_model_is_chinese(workflow):
    from iclight.diffusion.devices import choose
    from iclight.weights.resolve import resolve_model

    notice = resolve_model("auto", workflow, device_type="cpu").notice
    for said in (notice, choose("cpu", "float32").in_words()):
        assert said and no_english(translate(said, Say(True)))


def has_its_own_marks(chinese: str) -> bool:
    """Whether no mark of ASCII stands beside a Chinese letter, but in a gap."""
    return not re.search(r"[\u4e00-\u9fff”）] ?[,:;!?()]|[,:;!?()][\u4e00-\u9fff“（]", re.sub("{.*?}", "", chinese))


def no_english(text: str) -> bool:
    """Whether no two words of English stand side by side, but behind an option, and Chinese has marks of its own."""
    return has_its_own_marks(text) and not re.search(r"(?<!-)\b[a-z]{2,} [a-z]{2,}", text)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The actions behind an fc page, with a model that is loaded when it is asked for."""
    arguments = {"model": str(GOLDEN / "model"), "device": "cpu", "dtype": "float32", "matting": "none"}
    return Actions(ModelPool("fc", arguments), lambda function: function, Storage(tmp_path_factory.mktemp("files")))


def refused(function, **values) -> str:
    """What a handler's error says to a visitor who reads Chinese."""
    handler = with_signature(function, dict.fromkeys(values))
    with pytest.raises(Shown) as caught:
        handler(Request("zh-CN,zh;q=0.9"), *values.values())
    return caught.value.message


def test_a_bad_setting_and_a_file_that_is_no_picture_are_refused_in_chinese(work, tmp_path):
    Image.new("RGB", (8, 8)).save(photo := tmp_path / "photo.png")
    said = refused(work.relight, image=str(photo), width=63)
    assert said == "“宽”（width）是 63，但应为：64 到 2,048 的整数（以 64 为步长），也可不填。"
    (tmp_path / "notes.png").write_text("no picture")
    said = refused(work.relight, image=str(tmp_path / "notes.png"))
    assert said == "照片不是能读取的图片；请用 PNG、JPEG、WebP 等常见格式。"
    assert no_english(refused(work.relight, image=str(photo), light="upload"))


def test_a_recipe_of_another_model_is_refused_in_chinese_with_both_names(work, tmp_path):
    identity = dict(work.engine.get().identity())
    recipe = Recipe(
        Settings.for_workflow("fc"), {**identity, "name": "theirs", "base_sha256": "0123456789abcdef"}, "none",
        {"image": {"file": "photo.png", "sha256": "0"}},
    )  # fmt: skip
    save_png(tmp_path / "theirs.png", np.zeros((8, 8, 3), np.uint8), recipe)
    said = refused(Restore(work, ["prompt"]).from_recipe, prompt="", recipe=str(tmp_path / "theirs.png"))
    assert said.startswith(
        "这张画面的基础模型与已加载的不同：它由 'theirs'（0123456789ab）生成，现在加载的是 'model'（"
    )
    assert no_english(said) and identity["base_sha256"][:12] in said


# Folders and modules whose errors a visitor of a page can meet, and what of them meets somebody else.
MET = (
    "imaging", "editing", "studio", "parameters", "settings", "request", "recipes", "results", "matting",
    "relighter", "normals", "olat", "diffusion/sampler", "diffusion/vae", "weights/files",
)  # fmt: skip
OF_OTHERS = {
    "programs, who hand arrays over": (" has shape ", " have shape ", " has values ", " is a {type};", "{given}; give"),
    "programs, who call the engine": ("load the other workflow", "Normals need the fbc workflow", "is measured from"),
    "the command line, which names files and lights": (
        "no light of a mix", "A stack ", "NAME=FILE", "light of its own name", "no normal map", "written as .png",
        "light layer",
    ),
    "whoever starts the page with keys for programs": ("An API key takes",),
    "whoever started the page with a matting network": (
        "named tensors", "matting network:", "matting weights", "plain weights",
    ),
}  # fmt: skip
WORDED = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, (str, Exception))}


def worded(*rooms: str) -> Iterator[tuple[Path, ast.Call]]:
    """Every call in some folders or modules that words an error or a `Message`; `error` stands for any kind."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).with_suffix("").as_posix() + "/"
        if path.name not in ("errors.py", "i18n.py") and (
            not rooms or inside.startswith(tuple(f"{room}/" for room in rooms))
        ):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in WORDED | {"error"} and node.args:
                    yield path, node


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_a_template_is_given_just_the_values_it_has_gaps_for():
    filled = [call for _, call in worded() if call.keywords]
    assert len(filled) > 100
    for call in filled:
        assert gaps(ast.literal_eval(call.args[0])) == {keyword.arg for keyword in call.keywords}, ast.unparse(call)


def test_errors_that_a_visitor_can_meet_are_templates_with_a_chinese_sentence():
    met = list(worded(*MET))
    assert len(met) > 100
    for path, call in met:
        if path.name == "pages.py" and ast.unparse(call) == "SettingsError(plain(error.message))":
            continue  # Gradio's own words
        assert isinstance(call.args[0], ast.Constant), f"{path}: {ast.unparse(call)} is no template"
        template = call.args[0].value
        theirs = any(part in template for parts in OF_OTHERS.values() for part in parts)
        assert theirs != (template in SENTENCES), template


def test_every_sentence_in_chinese_is_said_in_english_somewhere():
    said = {
        node.value
        for path in PACKAGE.rglob("*.py")
        if not path.name.startswith("zh")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    assert not set(SENTENCES) - said


def test_a_sentence_in_chinese_has_the_same_gaps_and_is_punctuated_as_chinese():
    for template, chinese in SENTENCES.items():
        assert gaps(template) == gaps(chinese), chinese
        assert no_english(chinese), chinese
