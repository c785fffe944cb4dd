"""Where a model's files are: the base (a name, folder, hub id or checkpoint) and its IC-Light offset."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import WeightsError, plain, quoted
from . import hub
from .catalogue import MODELS, PARTS, SD15, ModelEntry, files_to_fetch, gigabytes, weight_names
from .folders import ModelCard, folder_name, mini_folder, missing_of, models_root, names_in, read_card, used_of
from .hub import HubRefused, HubUnreachable, Say
from .hub_names import HubName, hub_name

ACCEPTED = (
    '"auto", "mini", "sd15", a model folder in diffusers layout, a hub id (owner/name), '
    "or an SD1.5 checkpoint (.safetensors, here or as owner/name/file.safetensors)"
)


@dataclass(frozen=True)
class Base:
    """A base model found on disk. `folder` is where its own offsets lie, None for a single-file checkpoint."""

    facts: ModelCard
    base: Path
    config: Path
    folder: Path | None


class NotInstalled(WeightsError):
    """Not on this disk, and the caller asked for nothing to be fetched."""


def find_base(wanted: str, download: bool, say: Say) -> Base:
    path = Path(os.path.expanduser(wanted))
    if wanted == "mini":
        return _folder(mini_folder(), MODELS["mini"], download, say)
    if wanted in MODELS:
        return published(MODELS[wanted], models_root() / wanted, download, say)
    if wanted and os.path.isdir(path):
        return _folder(path, None, download, say)
    if os.path.isfile(path):
        return _checkpoint(path, download, say)
    if name := hub_name(wanted):
        try:
            if name.file is not None:
                return _checkpoint(hub_file(name, download, say), download, say)
            return published(*hub_model(name), download, say)
        except (HubRefused, HubUnreachable) as error:
            raise type(error)(f"{error} (A folder {quoted(wanted)} is not on this disk either.)") from error
    if wanted and Path(wanted).name == wanted and os.path.isdir(models_root() / wanted):
        return _folder(models_root() / wanted, None, download, say)
    raise WeightsError(
        f"There is no model {quoted(wanted)}: no such file or folder, and no known name. Use {ACCEPTED}."
    )


def _folder(folder: Path, entry: ModelEntry | None, download: bool, say: Say) -> Base:
    names = names_in(folder)
    if missing := missing_of(names):
        how = "Restore the folder or reinstall iclight." if entry else "Complete the folder, or use " + ACCEPTED + "."
        raise WeightsError(f"{folder} is not a whole model folder; missing: {', '.join(missing)}. {how}")
    hub.check_files(folder, used_of(names), download=download, say=say)
    return Base(read_card(folder, entry), folder, folder, folder)


def _checkpoint(path: Path, download: bool, say: Say) -> Base:
    if path.suffix.lower() != ".safetensors":
        raise WeightsError(
            f"{path} is not a .safetensors file, and pickled checkpoints are not opened as models. Convert it with "
            f"`iclight models --convert {path.name}`, or get the .safetensors version of it."
        )
    hub.check_files(path.parent, [path.name], download=download, say=say)
    # The checkpoint brings weights only: SD1.5's tokenizer and configs come from sd15, a few small files.
    config = published(SD15, models_root() / SD15.name, download, say, weights=False).config
    facts = ModelCard(path.stem, SD15.native_size, "as its author states", f"An SD1.5 checkpoint from {path.name}.")
    return Base(facts, path, config, None)


def published(entry: ModelEntry, folder: Path, download: bool, say: Say, weights: bool = True) -> Base:
    """A model that a hub publishes: from `folder`, from the hub's cache, or fetched into `folder`."""
    source = folder
    if missing_of(names_in(folder), weights):
        source = _from_cache(entry, weights, say) or folder
        if source == folder:
            if not download:
                raise NotInstalled(
                    f"{entry.name} is not on this disk. Run `iclight models --download {entry.name}` "
                    f"({gigabytes(entry.size) if entry.size else 'size unknown'}), or put its files into {folder}."
                )
            _fetch_base(entry, folder, weights, say)
    hub.check_files(source, used_of(names_in(source), weights), download=download, say=say)
    return Base(read_card(source, entry), source, source, source)


def cached_folder(repo: str, revision: str) -> Path | None:
    """A model's folder in the hub's own cache, whole or not; None if there is none."""
    config = hub.cached(repo, revision, "unet/config.json")
    return config.parents[1] if config else None


def _from_cache(entry: ModelEntry, weights: bool, say: Say) -> Path | None:
    for repo in (entry.repo, *entry.fallbacks):
        folder = cached_folder(repo, entry.revision if repo == entry.repo else "main")
        if folder is None or missing_of(names_in(folder), weights):
            continue
        try:
            hub.check_files(folder, used_of(names_in(folder), weights), download=False, say=say)
            return folder
        except WeightsError as error:
            say(f"The hub's cache holds a damaged {repo}, which is left aside: {error}")
    return None


def _fetch_base(entry: ModelEntry, folder: Path, weights: bool, say: Say) -> None:
    refused: HubRefused | None = None
    for repo in (entry.repo, *entry.fallbacks):
        if refused is not None:
            say(f"{refused} Going on with {repo} instead.")
        try:
            _fetch_from(repo, entry, folder, weights, say)
            return
        except HubRefused as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _fetch_from(repo: str, entry: ModelEntry, folder: Path, weights: bool, say: Say) -> None:
    """Fetch what `folder` lacks of a repository. What the user put there by hand stays."""
    offered = hub.listing(repo, entry.revision if repo == entry.repo else "main", folder)
    manifest = hub.read_manifest(folder)
    by_hand = [name for name in names_in(folder) if name not in manifest]
    chosen = files_to_fetch(list(offered), by_hand, weights=weights)
    if missing := missing_of({*chosen, *by_hand}, weights):
        raise HubRefused(f"{repo} at {hub.endpoint()} is not in diffusers layout; missing: {', '.join(missing)}.")
    wanted = [offered[name] for name in chosen if name not in by_hand]
    wanted = [file for file in wanted if not _fetched(folder, manifest.get(file.path), file)]
    size = sum(file.size or 0 for file in wanted)
    say(f"Fetching {repo} into {folder}: {len(wanted)} files, {gigabytes(size)}, once.")
    hub.fetch(wanted, folder, say=say)
    # Weights left from another repository would be found beside the new ones and mixed in.
    every_weight = {name for part in PARTS for name in weight_names(part)}
    for name, file in manifest.items():
        if name in every_weight and file.repo != repo and name not in chosen:
            (folder / name).unlink(missing_ok=True)
    hub.note(folder, [f for n, f in offered.items() if "/" not in n and n.endswith(".safetensors")], "offered")


def _fetched(folder: Path, known: hub.HubFile | None, file: hub.HubFile) -> bool:
    path = folder / file.path
    if known is None or known.repo != file.repo or not path.is_file() or path.stat().st_size != known.size:
        return False
    return known.sha256 == file.sha256 if file.sha256 else known.revision == file.revision


def hub_model(name: HubName) -> tuple[ModelEntry, Path]:
    page = f"{hub.endpoint()}/{name.repo}"
    entry = ModelEntry(name.id, f"see {page}", f"From {page}.", repo=name.repo, revision=name.revision or "main")
    return entry, models_root() / folder_name(name.repo, name.revision)


def one_file(repo: str, revision: str, file: str, places: list[Path], download: bool, say: Say, size: int = 0) -> Path:
    """A published file: from one of `places` (under its path or bare name), the hub's cache, or into places[0]."""
    bare = file.rsplit("/", 1)[-1]
    for folder in places:
        for name in dict.fromkeys((bare, file)):
            if os.path.isfile(folder / name):
                hub.check_files(folder, [name], download=download, say=say)
                return folder / name
    if copy := hub.cached(repo, revision, file):
        try:
            hub.check_files(copy.parent, [copy.name], download=False, say=say)
            return copy
        except WeightsError as error:
            say(f"The hub's cache holds a damaged {file}, which is left aside: {error}")
    if not download:
        raise NotInstalled(
            f"{file} is not on this disk. Run again without holding downloads back, or put it into {places[0]}."
        )
    offered = hub.listing(repo, revision, places[0])
    if file not in offered:
        there = (
            ", ".join(sorted(name for name in offered if name.endswith(Path(file).suffix))[:6]) or "none of that kind"
        )
        raise HubRefused(f"{repo} at {hub.endpoint()} has no file {quoted(file)}; it has {plain(there)}.")
    say(f"Fetching {file} from {repo} into {places[0]}: {gigabytes(offered[file].size or size)}, once.")
    return hub.fetch([offered[file]], places[0], say=say)[0]


# Of the paper's three conditions, fc and fbc came out.
NEVER_PUBLISHED = "no env offset was ever published for sd15"
WAYS_OUT = "Use --model mini, or train an env offset (docs/training.md) and give it with --offset PATH."


def check_published(wanted: str, workflow: str, offset: str | None) -> None:
    """Raise WeightsError, before gigabytes are fetched, where a published model has no offset for a workflow."""
    entry = MODELS.get(wanted)
    if entry is not None and entry.repo and offset is None and workflow not in entry.offset_workflows.values():
        raise WeightsError(
            "{model} cannot run the {workflow} workflow: {why}. {advice}",
            model=wanted,
            workflow=workflow,
            why=NEVER_PUBLISHED,
            advice=WAYS_OUT,
        )


def find_offset(found: Base, workflow: str, offset: str | None, download: bool, say: Say) -> Path:
    if offset is None:
        return _own_offset(found, workflow, download, say)
    path = Path(os.path.expanduser(offset))
    if os.path.isfile(path):
        hub.check_files(path.parent, [path.name], download=download, say=say)
        return path
    if offset in found.facts.offsets or offset in SD15.offsets:
        return _offset_by_name(found, workflow, offset, download, say)
    if (name := hub_name(offset)) and name.file is not None:
        return hub_file(name, download, say)
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
            "{model} has no offset for the workflow {workflow}; it has {offsets}. Use another model, or give an offset "
            "that fits with --offset.",
            model=found.facts.name,
            workflow=quoted(workflow),
            offsets=there,
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
        raise WeightsError(
            "There is no env offset for this model: it brings none, and {why}. {advice}",
            why=NEVER_PUBLISHED,
            advice=WAYS_OUT,
        )
    if name not in SD15.offsets:
        raise WeightsError(
            f"There is no published offset {name!r}; there are {', '.join(SD15.offsets)}. Give a path with --offset."
        )
    file = SD15.offsets[name]
    # The reference keeps its offsets in models/ itself: whoever moves over from it need not download them again.
    places = [models_root() / SD15.name, models_root()]
    return one_file(SD15.offsets_repo, SD15.offsets_revision, file, places, download, say, SD15.offset_size)


def hub_file(name: HubName, download: bool, say: Say) -> Path:
    assert name.file is not None
    folder = models_root() / folder_name(name.repo, name.revision)
    return one_file(name.repo, name.revision or "main", name.file, [folder], download, say)
