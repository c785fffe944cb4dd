"""IC-Light offsets: the one a model brings along, sd15's published ones, or a file of the caller's choice."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import WeightsError, plain, quoted
from . import hub
from .catalogue import MODELS, SD15, gigabytes
from .find import HUB_FILE, Base, one_file
from .folders import folder_name, models_root
from .hub import Say

# Of the paper's three conditions, fc and fbc came out.
NEVER_PUBLISHED = "no env offset was ever published for sd15"
WAYS_OUT = "Use --model mini, or train an env offset (docs/training.md) and give it with --offset PATH."


def check_published(wanted: str, workflow: str, offset: str | None) -> None:
    """Raise WeightsError, before gigabytes are fetched, where a published model has no offset for a workflow."""
    entry = MODELS.get(wanted)
    if entry is not None and entry.repo and offset is None and workflow not in entry.offset_workflows.values():
        raise WeightsError(f"{wanted} cannot run the {workflow} workflow: {NEVER_PUBLISHED}. {WAYS_OUT}")


def find_offset(found: Base, workflow: str, offset: str | None, download: bool, say: Say) -> Path:
    if offset is None:
        return _own_offset(found, workflow, download, say)
    path = Path(os.path.expanduser(offset))
    if os.path.isfile(path):
        hub.check_files(path.parent, [path.name], download=download, say=say)
        return path
    if offset in found.facts.offsets or offset in SD15.offsets:
        return _offset_by_name(found, workflow, offset, download, say)
    if match := HUB_FILE.fullmatch(offset):
        return hub_file(match, download, say)
    names = ", ".join(sorted({*SD15.offsets, *found.facts.offsets}))
    raise WeightsError(
        f"There is no offset {quoted(offset)}: no such file. Use a path to a .safetensors file, a name ({names}), "
        "or a hub file (owner/name/file.safetensors)."
    )


def _offset_by_name(found: Base, workflow: str, name: str, download: bool, say: Say) -> Path:
    if SD15.offset_workflows.get(name, name) != workflow:
        raise WeightsError(
            f"The offset {quoted(name)} is not for the workflow {workflow!r}. "
            "Leave --offset out, or change the workflow."
        )
    if name in found.facts.offsets:
        return _own_offset(found, name, download, say)
    if found.facts.offsets:
        raise WeightsError(
            f"{found.facts.name} has no offset {quoted(name)}, and sd15's does not fit it. Add --model sd15."
        )
    return _sd15_offset(name, download, say)


def _own_offset(found: Base, workflow: str, download: bool, say: Say) -> Path:
    """The offset a model brings along; sd15's for a model of SD1.5's shape that brings none."""
    offsets, folder = found.facts.offsets, found.folder
    if offsets and workflow not in offsets:
        there = plain(", ".join(sorted(offsets)))
        raise WeightsError(
            f"{found.facts.name} has no offset for the workflow {workflow!r}; it has {there}. "
            "Use another model, or give an offset that fits with --offset."
        )
    name = offsets.get(workflow, f"iclight_sd15_{workflow}.safetensors")
    if folder is not None:
        offered = hub.read_manifest(folder, "offered").get(name)
        if os.path.isfile(folder / name):
            hub.check_files(folder, [name], download=download, say=say)
            return folder / name
        if offered is not None and download:
            say(f"Fetching {name} from {offered.repo}: {gigabytes(offered.size or 0)}, once.")
            return hub.fetch([offered], folder, say=say)[0]
        if offsets:
            raise WeightsError(f"{folder / name} is missing, which iclight.json names for {workflow!r}. Put it there.")
    return _sd15_offset(workflow, download, say)


def _sd15_offset(name: str, download: bool, say: Say) -> Path:
    if name == "env":
        raise WeightsError(f"There is no env offset for this model: it brings none, and {NEVER_PUBLISHED}. {WAYS_OUT}")
    if name not in SD15.offsets:
        raise WeightsError(
            f"There is no published offset {name!r}; there are {', '.join(SD15.offsets)}. Give a path with --offset."
        )
    file = SD15.offsets[name]
    # The reference keeps its offsets in models/ itself: whoever moves over from it need not download them again.
    places = [models_root() / SD15.name, models_root()]
    return one_file(SD15.offsets_repo, SD15.offsets_revision, file, places, download, say, SD15.offset_size)


def hub_file(match: re.Match[str], download: bool, say: Say) -> Path:
    repo, revision, file = match["repo"], match["revision"], match["file"]
    folder = models_root() / folder_name(repo, revision)
    return one_file(repo, revision or "main", file, [folder], download, say)
