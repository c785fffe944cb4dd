"""From what is asked for to rows that can run: values checked by name and range, files looked for, outputs placed.

No model is loaded and no picture decoded. No two rows write one file, and none writes over a picture that any row
reads: where names meet, the later one gets a number, so that the same list gives the same names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ImageError, SettingsError, plain, quoted
from ..parameters import PARAMETERS
from ..recipes import TIFF_ENDINGS
from ..request import check_light_given
from ..settings import INPUTS, Settings, check_lights, implied_by, workflow_for
from ..weights.catalogue import MATTING_CHOICES
from . import storage
from .rows import Record, Row, failure_of, outputs_of
from .sources import Asked

# Columns besides the settings; "image" is "input" by another name.
COLUMNS = ("input", *INPUTS, "output", "workflow", "matting")
ENDING = "-relit.png"
# Bytes of a file's name, with room for numbers.
NAME_BYTES = 200


@dataclass(frozen=True)
class Common:
    """What holds for all rows that say nothing else.

    `output`: the folder of the results, None where rows name their own. `settings`: names of `PARAMETERS` -> values.
    `inputs`: names of `INPUTS` -> paths. `prompts`: a row without a prompt of its own draws one of them, by
    `prompts_seed` and its output's name: the same one each time.
    """

    output: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    workflow: str | None = None
    prompts: Sequence[str] = ()
    prompts_seed: int = 0


@dataclass(frozen=True)
class Plan:
    """What will run, and the records of what cannot."""

    rows: list[Row]
    failures: list[Record]


def make_plan(asked: Sequence[Asked], common: Common) -> Plan:
    """Check and place every row; what is wrong with one is its record, never another's trouble."""
    drafts: list[tuple[Asked, Row, bool]] = []
    failures: list[Record] = []
    for index, one in enumerate(asked):
        try:
            drafts.append((one, *_draft(index, one, common)))
        except (SettingsError, ImageError) as error:
            failures.append(failure_of(index, _shown(one), error))
    read = {storage.same_place(path) for _, row, _ in drafts for path in row.inputs.values()}
    taken: set[str] = set()
    rows = []
    for one, row, is_named in drafts:
        try:
            row = _placed(row, read, taken, is_named)
        except ImageError as error:
            failures.append(failure_of(row.index, _shown(one), error))
        else:
            rows.append(_with_prompt(row, one, common))
    return Plan(rows, failures)


def _shown(asked: Asked) -> str:
    return plain(asked.picture if asked.picture is not None else "")


def _draft(index: int, asked: Asked, common: Common) -> tuple[Row, bool]:
    """A row with the output it would like, and whether it named that itself."""
    if asked.error is not None:
        raise asked.error
    cells = {name: value for name, value in asked.cells.items() if not name.startswith("_")}
    unknown = sorted(set(cells) - {*COLUMNS, *PARAMETERS})
    if unknown:
        raise SettingsError(
            "There is no column named {unknown}; there are {names}. Names that begin with _ are left alone.",
            unknown=plain(", ".join(unknown)),
            names=", ".join((*COLUMNS, *PARAMETERS)),
        )
    inputs = _inputs(cells, asked, common)
    given = {name: _value(name, cells[name]) for name in PARAMETERS if name in cells}
    changes = {**implied_by(inputs), **common.settings, **given}
    workflow = workflow_for(_text(cells, "workflow") or common.workflow, changes.get("light"), inputs)
    settings = Settings.for_workflow(workflow, **changes)
    check_lights(settings, inputs)
    check_light_given(settings, inputs)
    matting = _text(cells, "matting")
    if matting is not None and matting not in MATTING_CHOICES:
        raise SettingsError(
            "matting is {matting}, but it takes one of {choices}.",
            matting=quoted(matting, 60),
            choices=", ".join(MATTING_CHOICES),
        )
    named = _text(cells, "output")
    output = _output(named, inputs["image"], asked, common)
    return Row(index, inputs, output, workflow, changes, matting), named is not None and not named.endswith("/")


def _value(name: str, cell: Any) -> Any:
    return PARAMETERS[name].parse(cell) if isinstance(cell, str) else cell


def _text(cells: Mapping[str, Any], name: str) -> str | None:
    value = cells.get(name)
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise SettingsError("{name} is {value}, but it takes a text.", name=name, value=quoted(value, 60))
    return value


def _inputs(cells: Mapping[str, Any], asked: Asked, common: Common) -> dict[str, str]:
    """Names of `INPUTS` -> where each is. Raises ImageError for what is not there."""
    cells = {"image": asked.picture, **cells}
    if cells["image"] is None:
        raise SettingsError("The row names no picture: give a column called input.")
    inputs = dict(common.inputs)
    for name in INPUTS:
        if path := _text(cells, name):
            inputs[name] = storage.beside(asked.base, path)
    for name, path in inputs.items():
        storage.check_there(path, f"The {INPUTS[name]}")
    return inputs


def _output(named: str | None, picture: str, asked: Asked, common: Common) -> str:
    """Where a row's picture would like to go. Raises SettingsError for a name that cannot carry a recipe."""
    own = os.path.splitext(storage.name_of(picture))[0] + ENDING
    if named is None:
        if common.output is None:
            raise SettingsError("Say where the results go: with -o FOLDER, or in a column called output.")
        output = storage.beside(storage.beside(common.output, asked.folder), own)
    else:
        output = storage.beside(asked.base if common.output is None else common.output, named)
        output += own if named.endswith("/") else ""
    name = storage.name_of(output)
    if not name.lower().endswith((".png", *TIFF_ENDINGS)):
        raise SettingsError(
            "output is {output}, but it takes a name ending in .png, or .tif for 16 bits: both keep the recipe.",
            output=quoted(named),
        )
    if len(name.encode("utf-8", "surrogateescape")) > NAME_BYTES:
        raise SettingsError("output is a name of more than {most} bytes.", most=NAME_BYTES)
    return output


def _placed(row: Row, read: set[str], taken: set[str], is_named: bool) -> Row:
    """The row, its output numbered where another row writes or reads a file of that name; `taken` learns its names.

    Raises ImageError where a row itself named a picture that is read.
    """
    stem, suffix = os.path.splitext(row.output)
    count = int(row.settings.get("num_images", 1))
    number = 1
    while True:
        output = row.output if number == 1 else f"{stem}-{number}{suffix}"
        # A finish of the photo's own size makes one picture of several: either may be written.
        names = {storage.same_place(path) for path in (output, *outputs_of(output, count))}
        if is_named and names & read:
            raise ImageError("{path} is an input of this batch; give the output another name.", path=quoted(output))
        if names.isdisjoint(taken) and names.isdisjoint(read):
            taken |= names
            return replace(row, output=output)
        number += 1


def _with_prompt(row: Row, asked: Asked, common: Common) -> Row:
    if not common.prompts or "prompt" in asked.cells:
        return row
    name = f"{common.prompts_seed}:{asked.folder}:{storage.name_of(row.output)}"
    place = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")
    return replace(row, settings={**row.settings, "prompt": common.prompts[place % len(common.prompts)]})
