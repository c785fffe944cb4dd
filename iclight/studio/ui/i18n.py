"""The pages' two languages. English stands in the code and is the key; Chinese stands in `chinese`.

What the browser shows is translated there, by Gradio's I18n and the browser's language; what the server says while it
works (errors, progress, outcomes) is translated here, by the language the request names.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import gradio as gr

from .zh import CHINESE
from .zh_errors import SENTENCES

I18N = gr.I18n()
MARK = "__i18n__"
# The folders of an absolute path, at the start of a word or behind a quotation mark.
FOLDERS = re.compile(r"""(?<![^\s'"(\[=])(?:[A-Za-z]:)?[/\\](?:[^/\\\s'"]+[/\\])+""")


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


def translate(message: str, say: Say) -> str:
    """A sentence of the engine's in the visitor's language; one that is not known by heart stays English.

    Files are called by their bare names: where a server keeps them is nobody's business.
    """
    message = FOLDERS.sub("", message)
    if not say.chinese:
        return message
    for pattern, chinese in SENTENCES.items():
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return found.expand(chinese)
    return message


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
