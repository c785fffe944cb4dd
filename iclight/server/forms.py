"""The form of `/v1/images/edits`: OpenAI's fields, and every parameter, light and input of the engine's beside them.

Looked at before a model runs; what is not known is refused by name, so that no misspelled field is silently lost.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.datastructures import FormData, UploadFile

from ..errors import plain, quoted
from ..imaging.crop import size_for
from ..parameters import LIGHT_INPUTS, PARAMETERS, WORKFLOWS
from ..settings import INPUTS, Settings, workflow_for
from ..weights.catalogue import MATTING_CHOICES
from .answers import FORMATS, ApiError

# Models as `/v1/models` names them: the workflow is chosen by the inputs, or by name.
MODELS = {"iclight": None, **{f"iclight-{workflow}": workflow for workflow in WORKFLOWS}}
OWN = ("n", "size", "output_format", "output_compression", "response_format", "model", "stream", "workflow", "matting")
# Fields that OpenAI's clients send and that mean nothing here.
IGNORED = ("user", "quality", "input_fidelity", "moderation", "style", "partial_images")
# OpenAI's words for what stands behind the subject, where a file stands with us.
GROUNDS = {"transparent": {"finish_background": "transparent"}, "opaque": {}, "auto": {}}
SIDES = range(64, 4097)
# Files and fields of a form, and bytes of one field: a picture may come as text.
LIMITS: dict[str, Any] = {"max_files": 8, "max_fields": 80, "max_part_size": 64 << 20}


@dataclass
class Edit:
    """A form that was read. `values`: parameters by name, parsed and not checked. `files`: names of `INPUTS` -> paths.
    `size`: the pictures' (width, height), None for what the engine makes."""

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    workflow: str | None = None
    matting: str | None = None
    size: tuple[int, int] | None = None
    output_format: str = "png"
    quality: int = 95

    def named_workflow(self) -> str:
        """The workflow asked for, or that of the inputs and the light."""
        return workflow_for(self.workflow, self.values.get("light"), self.files)

    def settings(self, native_size: tuple[int, int], defaults: Mapping[str, Any]) -> Settings:
        """What to make, of the workflow that was asked for. `native_size`, `defaults`: the model's.

        Raises SettingsError, and ApiError for a light's file that would not be looked at.
        """
        workflow = self.named_workflow()
        values = {**defaults, **self.values}
        if LIGHT_INPUTS[workflow] in self.files:
            values.setdefault("light", "upload")
        if "behind" in self.files:
            values.setdefault("finish_background", "own")
        settings = Settings.for_workflow(workflow, **values)
        for name in LIGHT_INPUTS.values():
            if name in self.files and not settings.looks_at(name):
                words = f"{name} would not be looked at: workflow is {workflow}, light is {settings.light}."
                raise ApiError(400, f"{words} Leave it out, or choose another light or workflow.", name, "unused_file")
        if settings.finish_background == "transparent" and self.output_format == "jpeg":
            raise ApiError(400, "A transparent background takes output_format png or webp.", "output_format")
        if self.size and settings.finish != "native" and settings.width is None and settings.height is None:
            width, height = size_for(self.size, native_size)
            settings = settings.replace(width=width, height=height)
        return settings


async def read_edit(form: FormData, folder: Path) -> Edit:
    """A parsed form; its files are written below `folder`. Raises ApiError naming the field."""
    edit, seen = Edit(), set()
    for name, value in form.multi_items():
        name = name.removesuffix("[]")
        if name in seen:
            more = "Send one picture; what lights it has a field of its own." if name == "image" else "Send it once."
            raise ApiError(400, f"{plain(name, 60)} was sent more than once. {more}", plain(name, 60), "repeated")
        seen.add(name)
        await _take(edit, name, value, folder)
    if "image" not in edit.files:
        raise ApiError(400, "Send the picture to light as the file `image`.", "image", "missing")
    return edit


async def _take(edit: Edit, name: str, value: UploadFile | str, folder: Path) -> None:
    if isinstance(value, UploadFile):
        if name not in INPUTS:
            raise ApiError(400, f"There is no file {quoted(name, 60)}; there are {', '.join(INPUTS)}.", plain(name, 60))
        edit.files[name] = _written(await value.read(), folder, name, value.filename or "")
    elif name == "background" and value in GROUNDS:
        for key, one in GROUNDS[value].items():
            edit.values.setdefault(key, one)
    elif name in INPUTS:
        edit.files[name] = _written(_decoded(name, value), folder, name, "")
    elif name in PARAMETERS:
        edit.values[name] = PARAMETERS[name].parse(value)
    elif name in OWN:
        _OWN[name](edit, value)
    elif name not in IGNORED:
        names = ", ".join((*INPUTS, *OWN, *PARAMETERS))
        raise ApiError(400, f"There is no field {quoted(name, 60)}; there are {names}.", plain(name, 60), "unknown")


def _written(content: bytes, folder: Path, name: str, filename: str) -> Path:
    """A file under the name that it came with, as far as that is one: recipes remember it."""
    own = re.sub(r"[^\w.() -]", "_", re.split(r"[/\\]", filename)[-1])[-80:].lstrip(". ")
    path = folder / name / (own or f"{name}.img")
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def _decoded(name: str, text: str) -> bytes:
    """A file inside of a text field: a data URL, or base64 alone."""
    head, comma, data = text.partition(",")
    try:
        if comma and not (head.startswith("data:") and head.endswith(";base64")):
            raise ValueError("another kind of address")
        return base64.b64decode(data if comma else head, validate=True)
    except ValueError as error:
        raise ApiError(400, f"{name} is no file: send one, or its base64.", name, "invalid_file") from error


def _n(edit: Edit, value: str) -> None:
    edit.values["num_images"] = PARAMETERS["num_images"].parse(value)


def _size(edit: Edit, value: str) -> None:
    if value == "auto":
        return
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", value)
    if match is None or not all(int(side) in SIDES for side in match.groups()):
        most = f"{SIDES.start} to {SIDES.stop - 1} pixels a side"
        raise ApiError(400, f"size is {quoted(value, 60)}, but it takes auto or WIDTHxHEIGHT, {most}.", "size")
    edit.size = int(match[1]), int(match[2])


def _quality(edit: Edit, value: str) -> None:
    if not (value.isascii() and value.isdigit() and int(value[:4]) <= 100):
        raise ApiError(400, f"output_compression is {quoted(value, 60)}, but it takes 0 to 100.", "output_compression")
    edit.quality = max(1, int(value))


def _of(choices: Any, target: str, name: str) -> Any:
    def take(edit: Edit, value: str) -> None:
        if value not in choices:
            raise ApiError(400, f"{name} is {quoted(value, 60)}, but it takes one of {', '.join(choices)}.", name)
        if target:
            setattr(edit, target, value)

    return take


def _model(edit: Edit, value: str) -> None:
    if value not in MODELS:
        words = f"There is no model {quoted(value, 60)}; there are {', '.join(MODELS)}."
        raise ApiError(404, words, "model", "model_not_found")
    edit.workflow = MODELS[value] or edit.workflow


_OWN: dict[str, Any] = {
    "n": _n,
    "size": _size,
    "output_format": _of(FORMATS, "output_format", "output_format"),
    "output_compression": _quality,
    "response_format": _of(("b64_json",), "", "response_format"),
    "model": _model,
    "stream": _of(("false", "False", "0"), "", "stream"),
    "workflow": _of(WORKFLOWS, "workflow", "workflow"),
    "matting": _of(MATTING_CHOICES, "matting", "matting"),
}
