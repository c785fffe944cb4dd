"""What a recipe's fields may hold: each function gives a value back as it is, or raises ValueError or TypeError."""

from __future__ import annotations

import re
from typing import Any

from .errors import quoted


def object_in(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{quoted(value, 60)} where an object belongs")
    return value


def text_in(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000 or "\0" in value:
        raise TypeError(f"{quoted(value, 60)} where a short text belongs")
    value.encode()  # lone surrogates are no text: UnicodeEncodeError is a ValueError
    return value


def path_in(value: Any) -> str:
    """A path or a name that a file system would take."""
    if any(len(part.encode()) > 255 for part in re.split(r"[/\\]", text_in(value))):
        raise ValueError(f"{quoted(value, 60)} is too long for a file's name")
    return str(value)


def number_in(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e9:
        raise TypeError(f"{quoted(value, 60)} where a number belongs")
    return value


def model_in(value: Any) -> dict[str, Any]:
    """A model's fields are texts or null, but for its LoRA files and for what was asked for."""
    fields = {
        name: one if one is None or name in ("lora", "asked") else text_in(one)
        for name, one in object_in(value).items()
    }
    lora = [
        {"file": path_in(one["file"]), "scale": number_in(one["scale"]), "sha256": text_in(one["sha256"])}
        for one in list_in(fields["lora"])
    ]
    asked = object_in(fields.get("asked") or {})
    for name in ("model", "offset"):
        if asked.get(name) is not None:
            path_in(asked[name])
    for one in list_in(asked.get("lora") or []):
        path_in(one)
    return {**fields, "lora": lora}


def list_in(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{quoted(value, 60)} where a list belongs")
    return value
