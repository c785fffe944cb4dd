"""What can go wrong, in words a user can act on.

Everything a user can cause is an `IclightError`: its message says what happened and what to do about it, and the
faces (pages, command line) show that message as it is, or its template's translation. Anything else that escapes is a
bug of ours.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from typing import Any

# Longest message, and longest part of one that came from a file or a request, in characters.
MESSAGE_LIMIT = 1000
PART_LIMIT = 200
# What moves a terminal's cursor or turns text around (C0, C1, bidi marks and overrides), takes no room (zero width), or
# cannot be encoded (lone surrogates).
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
_NESTED = reprlib.Repr()
_NESTED.maxstring = _NESTED.maxother = PART_LIMIT
_NESTED.maxlist = _NESTED.maxtuple = _NESTED.maxdict = _NESTED.maxset = _NESTED.maxfrozenset = 20


def quoted(value: object, limit: int = PART_LIMIT) -> str:
    """A value out of a file or a request as it may stand in a message: its repr, escaped, at most `limit` characters.

    It takes little time and memory however long or deep the value is.
    """
    if isinstance(value, str):
        # As Python quotes it: text of any length is cut before it is copied.
        return _cut(_escaped(repr(value[: limit + 1])), limit)
    if isinstance(value, int) and abs(value) >= 10**1000:  # Python does not print integers of thousands of digits
        return "a number of thousands of digits"
    return plain(repr(value) if isinstance(value, (int, float, complex)) else _NESTED.repr(value), limit)


def plain(text: object, limit: int = PART_LIMIT) -> str:
    """Like `quoted` for text that stands without quotes: escaped, at most `limit` characters."""
    return _cut(_escaped(str(text)[: limit + 1]), limit)


def first_line(error: BaseException, limit: int = PART_LIMIT) -> str:
    """The first line of what an error says, escaped and cut like `plain`; its type's name where it says nothing."""
    return plain((str(error).strip().splitlines() or [type(error).__name__])[0], limit)


def _escaped(text: str) -> str:
    return UNSEEN.sub(lambda match: ascii(match[0])[1:-1], text)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


class Message(str):
    """A sentence as its template and values: `Message("{what} is empty.", what="The mask")` is "The mask is empty."

    The template is English and the key of its translations, as in gettext. Whatever got into the text, it is short
    (`MESSAGE_LIMIT`) and holds nothing that a terminal obeys; lines may break. A value that is a `Message`, `Words` or
    a word of ours is translated, too; any other stands as `str.format` writes it. Without values the key is the text
    itself, and braces in it are just braces.
    """

    key: str
    values: dict[str, Any]

    def __new__(cls, key: str, /, **values: Any) -> Message:
        text = _cut(key.format(**values) if values else key, MESSAGE_LIMIT)
        message = super().__new__(cls, "\n".join(UNSEEN.sub("", line) for line in text.split("\n")))
        message.key, message.values = key if values else str(message), values
        return message


def joined(messages: Iterable[Message]) -> Message:
    """Sentences one behind another, each still to be translated; an empty message of none."""
    said = Message("")
    for one in messages:
        said = Message("{first} {second}", first=said, second=one) if said else one
    return said


class Words(tuple[str, ...]):
    """Words in a row, as a value of a `Message`: `{lights}` is "left, top, rim", `{lights: or }` "left, top or rim"."""

    comma = ", "

    def __format__(self, last: str) -> str:
        *others, end = self
        return f"{self.comma.join(others)}{last}{end}" if last and others else self.comma.join(self)


class IclightError(Exception):
    """Base of every error that a user can cause and mend: `IclightError("{name} is broken.", name=name)`.

    `message`: the template and its values as a `Message`, whose text is the error's; `key` and `values` are its own.
    """

    def __init__(self, message: str = "", /, **values: Any) -> None:
        self.message = Message(message, **values)
        super().__init__(str(self.message))  # copies and pickles are made from this text, then given `message` back

    @property
    def key(self) -> str:
        return self.message.key

    @property
    def values(self) -> dict[str, Any]:
        return self.message.values


class SettingsError(IclightError, ValueError):
    """A parameter was given a value it does not take; the message names the parameter, the value and the range."""


class ImageError(IclightError, ValueError):
    """A picture, matte or background cannot be used: not an image, broken, empty or too large."""


class ModelError(IclightError):
    """A model cannot be used: wrong kind of file, wrong shapes, or an output that makes no sense."""


class WeightsError(ModelError):
    """Weights are missing, broken or could not be fetched; the message says how to get them."""


class DeviceError(IclightError):
    """The device asked for is not there, or does not do what was asked of it."""


class OutOfMemory(IclightError):
    """The work did not fit into memory; the message says which parameter to turn."""


class RecipeError(IclightError, ValueError):
    """A recipe cannot be read, was altered, or asks for a model that is not here."""


class Cancelled(IclightError):
    """The caller asked to stop: `on_step` returned False."""

    def __init__(self, message: str = "Cancelled.", /, **values: Any) -> None:
        super().__init__(message, **values)
