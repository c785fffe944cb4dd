"""The pages' two languages. English stands in the code and is the key; Chinese stands in `chinese`.

What the browser shows is translated there, by Gradio's I18n and the browser's language; what the server says while it
works (errors, progress, outcomes) is translated here, by the language the request names.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ...errors import IclightError, Message, Words
from ...parameters import LIGHTS, MIX_PARAMETERS, NORMAL_PARAMETERS, PARAMETERS, SHADE_PARAMETERS
from .zh import CHINESE
from .zh_errors import SENTENCES

I18N = gr.I18n()
MARK = "__i18n__"
# The folders of an absolute path, at the start of a word or behind a quotation mark.
FOLDERS = re.compile(r"""(?<![^\s'"(\[=])(?:[A-Za-z]:)?[/\\](?:[^/\\\s'"]+[/\\])+""")
# What parameters and lights are called on a page, by their names in requests.
PARAMETER_LABELS = {
    name: f"“{CHINESE[parameter.label]}”（{name}）"
    for table in (SHADE_PARAMETERS, MIX_PARAMETERS, NORMAL_PARAMETERS, PARAMETERS)
    for name, parameter in table.items()
}
LIGHT_LABELS = {light: CHINESE[label] for lights in LIGHTS.values() for light, label in lights.items()}


@dataclass(frozen=True)
class Say:
    """Says things in one language: `say("{count} lights", count=4)`."""

    chinese: bool = False

    def __call__(self, text: str, **values: Any) -> str:
        return (CHINESE.get(text, text) if self.chinese else text).format(**values)


def i18n() -> gr.I18n:
    """Both languages for the browser: its own components look every label, hint and button text up by the English."""
    english = {text: text for text in CHINESE}
    return gr.I18n(**{"en": english, "zh-CN": CHINESE, "zh-TW": CHINESE, "zh": CHINESE})


def speaker(request: gr.Request | None) -> Say:
    """The language of a request: Chinese if that is the first its Accept-Language names, else English."""
    headers = getattr(request, "headers", None) or {}
    return Say(str(headers.get("accept-language") or "").lower().startswith("zh"))


def translate(said: IclightError | Message, say: Say) -> str:
    """What the engine says, in the visitor's language; a template without a translation stays English.

    Files are called by their bare names: where a server keeps them is nobody's business.
    """
    message = said.message if isinstance(said, IclightError) else said
    return str(_in_chinese(message)) if say.chinese else FOLDERS.sub("", message)


def _in_chinese(value: Any) -> Any:
    """A `Message`, or one of its values, with everything in it that is ours in Chinese."""
    if isinstance(value, Message):
        if chinese := SENTENCES.get(value.key) or CHINESE.get(value.key):
            return Message(chinese, **{name: _in_chinese(one) for name, one in value.values.items()})
    elif isinstance(value, Words):
        return _ChineseWords(LIGHT_LABELS.get(word) or _in_chinese(word) for word in value)
    elif isinstance(value, str):
        for words in (SENTENCES, CHINESE, PARAMETER_LABELS):
            if value in words:
                return words[value]
    return FOLDERS.sub("", str(value)) if isinstance(value, (str, os.PathLike)) else value


class _ChineseWords(Words):
    comma = "、"


def mark(block: Any) -> None:
    """Mark a component's own words for the browser to translate: a plain string stays as it was first drawn, because
    Gradio fetches a language after that."""
    for name in ("label", "info", "placeholder", "value"):
        text = getattr(block, name, None)
        shown = name != "value" or isinstance(block, (gr.Button, gr.Markdown))
        if shown and isinstance(text, str) and text in CHINESE:
            setattr(block, name, str(I18N(text)))


def english(text: Any) -> Any:
    """What `mark` marked as it stands in the code; anything else as it is."""
    if isinstance(text, str) and text.startswith(MARK):
        return json.loads(text.removeprefix(MARK))["key"]
    return text


def as_text(text: str) -> str:
    """Text from a file or a request for a place that shows Markdown or HTML: nothing in it is either.

    Everything but letters and digits of ASCII becomes a character reference, so that no link, picture or tag is left.
    """
    return "".join(one if one.isalnum() or one == " " or ord(one) > 127 else f"&#{ord(one)};" for one in text)
