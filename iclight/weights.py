"""Which model and which matting run, where their files are, and whether those can be trusted.

A name, folder, hub id or checkpoint comes in; what goes out exists on disk and was checked. Looked for in this order:
iclight's models folder, the hub's cache, the hub itself.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import hub
from .catalogue import MATTINGS, MODELS, PARTS, SD15, MattingEntry, ModelEntry, files_to_fetch, gigabytes, weight_names
from .checks import check_safetensors, sha256_of
from .errors import WeightsError
from .folders import (
    Facts,
    folder_name,
    mini_folder,
    mini_places,
    missing_of,
    models_root,
    names_in,
    read_facts,
    used_of,
)
from .hub import HubRefused, HubUnreachable, Say, print_to_stderr

__all__ = [
    "MATTINGS",
    "MODELS",
    "Installed",
    "Matting",
    "Model",
    "check_safetensors",
    "download",
    "installed",
    "models_root",
    "resolve_matting",
    "resolve_model",
    "sha256_of",
]

HUB_ID = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^/\s]+))?")
HUB_FILE = re.compile(HUB_ID.pattern + r"/(?P<file>(?!.*\.\.)\S+\.safetensors)")
ACCEPTED = (
    '"auto", "mini", "sd15", a model folder in diffusers layout, a hub id (owner/name), '
    "or an SD1.5 checkpoint (.safetensors)"
)


@dataclass(frozen=True)
class Model:
    """A resolved model, ready to be loaded: everything exists on disk and was checked.

    `base` is a folder in diffusers layout or a single-file .safetensors checkpoint; `config` the folder with tokenizer
    and configs (the same as `base` for folders). `native_size` is (width, height) in pixels. `notice`, where not
    empty, is one line the user should see.
    """

    name: str
    base: Path
    config: Path
    offset: Path
    workflow: str
    native_size: tuple[int, int]
    license: str
    about: str
    notice: str = ""


@dataclass(frozen=True)
class Matting:
    """A resolved matting: "rmbg" or "ormbg" with its weights' `path`, "grabcut" or "none" without."""

    name: str
    path: Path | None
    license: str
    about: str


@dataclass(frozen=True)
class Installed:
    """One line of `iclight models`. `size`: bytes to download, offsets not counted; `where` and `command` may be ""."""

    kind: str
    name: str
    about: str
    license: str
    size: int
    present: bool
    where: str
    command: str

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Base:
    """A base model found on disk. `folder` is where its own offsets lie, None for a single-file checkpoint."""

    facts: Facts
    base: Path
    config: Path
    folder: Path | None


class NotInstalled(WeightsError):
    """Not on this disk, and the caller asked for nothing to be fetched."""


def resolve_model(
    model: str | os.PathLike[str] = "auto",
    workflow: str = "fc",
    offset: str | os.PathLike[str] | None = None,
    *,
    device_type: str = "cpu",
    download: bool = True,
    say: Say = print_to_stderr,
) -> Model:
    """Find, fetch if need be, and check a model and its offset for a workflow.

    `model`: "auto" (sd15 on "cuda" and "mps"; mini on "cpu" or when the hub cannot give sd15), "mini", "sd15",
    a folder, a hub id "owner/name[@revision]", or a .safetensors checkpoint. `offset`: None for the model's own,
    a path, a short name ("fcon"), or a hub file "owner/name[@revision]/file.safetensors". Without `download` nothing
    is fetched. Raises WeightsError, saying what to do.
    """
    wanted = os.fspath(model).strip()
    given = None if offset is None else os.fspath(offset).strip()
    if wanted != "auto":
        return _resolve(wanted, workflow, given, download, say)
    if device_type not in ("cuda", "mps"):
        have = "it is on this disk" if _present(SD15) else f"{gigabytes(SD15.size + SD15.offset_size)} to download once"
        notice = (
            f"mini runs on this CPU; for sd15 use --model sd15 ({have}, and minutes rather than seconds per picture)."
        )
        return replace(_resolve("mini", workflow, given, download, say), notice=notice)
    try:
        return _resolve("sd15", workflow, given, download, say)
    except (HubUnreachable, HubRefused, NotInstalled) as error:
        if given is not None:
            raise  # an offset of the caller's own would not fit mini
        notice = f"WARNING: the small model mini runs instead of sd15, and its pictures are simpler. {error}"
        return replace(_resolve("mini", workflow, None, download, say), notice=notice)


def _resolve(wanted: str, workflow: str, offset: str | None, download: bool, say: Say) -> Model:
    found = _find_base(wanted, download, say)
    path = _find_offset(found, workflow, offset, download, say)
    facts = found.facts
    return Model(facts.name, found.base, found.config, path, workflow, facts.native_size, facts.license, facts.about)


# ---------------------------------------------------------------- the base model


def _find_base(wanted: str, download: bool, say: Say) -> _Base:
    path = Path(wanted).expanduser()
    if wanted == "mini":
        return _folder(mini_folder(), MODELS["mini"], download, say)
    if wanted in MODELS:
        return _published(MODELS[wanted], models_root() / wanted, download, say)
    if wanted and path.is_dir():
        return _folder(path, None, download, say)
    if path.is_file():
        return _checkpoint(path, download, say)
    if match := HUB_ID.fullmatch(wanted):
        try:
            return _published(*_hub_model(match), download, say)
        except (HubRefused, HubUnreachable) as error:
            raise type(error)(f"{error} (A folder {wanted!r} is not on this disk either.)") from error
    if wanted and Path(wanted).name == wanted and (models_root() / wanted).is_dir():
        return _folder(models_root() / wanted, None, download, say)
    raise WeightsError(f"There is no model {wanted!r}: no such file or folder, and no known name. Use {ACCEPTED}.")


def _folder(folder: Path, entry: ModelEntry | None, download: bool, say: Say) -> _Base:
    names = names_in(folder)
    if missing := missing_of(names):
        how = "Restore the folder or reinstall iclight." if entry else "Complete the folder, or use " + ACCEPTED + "."
        raise WeightsError(f"{folder} is not a whole model folder; missing: {', '.join(missing)}. {how}")
    hub.check_files(folder, used_of(names), download=download, say=say)
    return _Base(read_facts(folder, entry), folder, folder, folder)


def _checkpoint(path: Path, download: bool, say: Say) -> _Base:
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path} is not a .safetensors file; convert it first, pickled checkpoints are not opened.")
    hub.check_files(path.parent, [path.name], download=download, say=say)
    # The checkpoint brings weights only: SD1.5's tokenizer and configs come from sd15, a few small files.
    config = _published(SD15, models_root() / SD15.name, download, say, weights=False).config
    facts = Facts(path.stem, SD15.native_size, "as its author states", f"An SD1.5 checkpoint from {path.name}.")
    return _Base(facts, path, config, None)


def _published(entry: ModelEntry, folder: Path, download: bool, say: Say, weights: bool = True) -> _Base:
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
    return _Base(read_facts(source, entry), source, source, source)


def _from_cache(entry: ModelEntry, weights: bool, say: Say) -> Path | None:
    for repo in (entry.repo, *entry.fallbacks):
        folder = hub.cached_snapshot(repo, entry.revision if repo == entry.repo else "main")
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


# ---------------------------------------------------------------- the offset


def _find_offset(found: _Base, workflow: str, offset: str | None, download: bool, say: Say) -> Path:
    if offset is None:
        return _own_offset(found, workflow, download, say)
    path = Path(offset).expanduser()
    if path.is_file():
        hub.check_files(path.parent, [path.name], download=download, say=say)
        return path
    if offset in found.facts.offsets or offset in SD15.offsets:
        return _offset_by_name(found, workflow, offset, download, say)
    if match := HUB_FILE.fullmatch(offset):
        return _hub_file(match, download, say)
    names = ", ".join(sorted({*SD15.offsets, *found.facts.offsets}))
    raise WeightsError(
        f"There is no offset {offset!r}: no such file. Use a path to a .safetensors file, a name ({names}), "
        "or a hub file (owner/name/file.safetensors)."
    )


def _offset_by_name(found: _Base, workflow: str, name: str, download: bool, say: Say) -> Path:
    if SD15.offset_workflows.get(name, name) != workflow:
        raise WeightsError(
            f"The offset {name!r} is not for the workflow {workflow!r}. Leave --offset out, or change the workflow."
        )
    if name in found.facts.offsets:
        return _own_offset(found, name, download, say)
    if found.facts.offsets:
        raise WeightsError(f"{found.facts.name} has no offset {name!r}, and sd15's does not fit it. Add --model sd15.")
    return _sd15_offset(name, download, say)


def _own_offset(found: _Base, workflow: str, download: bool, say: Say) -> Path:
    """The offset a model brings along; sd15's for a model of SD1.5's shape that brings none."""
    offsets, folder = found.facts.offsets, found.folder
    if offsets and workflow not in offsets:
        raise WeightsError(
            f"{found.facts.name} has no offset for the workflow {workflow!r}; it has {', '.join(sorted(offsets))}. "
            "Use another model, or give an offset that fits with --offset."
        )
    name = offsets.get(workflow, f"iclight_sd15_{workflow}.safetensors")
    if folder is not None:
        offered = hub.read_manifest(folder, "offered").get(name)
        if (folder / name).is_file():
            hub.check_files(folder, [name], download=download, say=say)
            return folder / name
        if offered is not None and download:
            say(f"Fetching {name} from {offered.repo}: {gigabytes(offered.size or 0)}, once.")
            return hub.fetch([offered], folder, say=say)[0]
        if offsets:
            raise WeightsError(f"{folder / name} is missing, which iclight.json names for {workflow!r}. Put it there.")
    return _sd15_offset(workflow, download, say)


def _sd15_offset(name: str, download: bool, say: Say) -> Path:
    if name not in SD15.offsets:
        raise WeightsError(
            f"There is no published offset {name!r}; there are {', '.join(SD15.offsets)}. Give a path with --offset."
        )
    file = SD15.offsets[name]
    # The reference keeps its offsets in models/ itself: whoever moves over from it need not download them again.
    places = [models_root() / SD15.name, models_root()]
    return _one_file(SD15.offsets_repo, SD15.offsets_revision, file, places, download, say, SD15.offset_size)


def _hub_file(match: re.Match[str], download: bool, say: Say) -> Path:
    repo, revision, file = match["repo"], match["revision"], match["file"]
    folder = models_root() / folder_name(repo, revision)
    return _one_file(repo, revision or "main", file, [folder], download, say)


def _one_file(repo: str, revision: str, file: str, places: list[Path], download: bool, say: Say, size: int = 0) -> Path:
    """A published file: from one of `places` (under its path or bare name), the hub's cache, or into places[0]."""
    bare = file.rsplit("/", 1)[-1]
    for folder in places:
        for name in dict.fromkeys((bare, file)):
            if (folder / name).is_file():
                hub.check_files(folder, [name], download=download, say=say)
                return folder / name
    snapshot = hub.cached_snapshot(repo, revision)
    if snapshot is not None and (snapshot / file).is_file():
        try:
            hub.check_files(snapshot, [file], download=False, say=say)
            return snapshot / file
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
        raise HubRefused(f"{repo} at {hub.endpoint()} has no file {file!r}; it has {there}.")
    say(f"Fetching {file} from {repo} into {places[0]}: {gigabytes(offered[file].size or size)}, once.")
    return hub.fetch([offered[file]], places[0], say=say)[0]


# ---------------------------------------------------------------- matting


def resolve_matting(matting: str = "auto", *, download: bool = True, say: Say = print_to_stderr) -> Matting:
    """Find, fetch if need be, and check a matting: "auto" (rmbg if it is here, else grabcut; never fetches), or a name.

    Raises WeightsError, saying what to do. `.license` carries the terms, such as rmbg's non-commercial one.
    """
    if matting == "auto":
        try:
            return resolve_matting("rmbg", download=False, say=say)
        except NotInstalled:
            return resolve_matting("grabcut")
        except WeightsError as error:
            say(f"grabcut runs instead of rmbg: {error}")
            return resolve_matting("grabcut")
    entry = MATTINGS.get(matting)
    if entry is None:
        raise WeightsError(f"There is no matting {matting!r}. Use auto, {', '.join(MATTINGS)}.")
    path = None
    if entry.repo:
        folder = models_root() / entry.name
        path = _one_file(entry.repo, entry.revision, entry.file, [folder], download, say, entry.size)
    return Matting(entry.name, path, entry.license, entry.about)


# ---------------------------------------------------------------- what is here


def installed() -> list[Installed]:
    """Every model and matting iclight knows by name, and whether it is here. Looks only; hashes and fetches nothing."""
    lines = []
    entries: list[ModelEntry | MattingEntry] = [*MODELS.values(), *MATTINGS.values()]
    for entry in entries:
        if entry.name == "none":
            continue
        kind = "model" if isinstance(entry, ModelEntry) else "matting"
        where = _where(entry)
        command = f"iclight models --download {entry.name}" if entry.repo else ""
        present = where is not None or (kind == "matting" and not entry.repo)
        lines.append(
            Installed(kind, entry.name, entry.about, entry.license, entry.size, present, str(where or ""), command)
        )
    return lines


def download(name: str, *, say: Say = print_to_stderr) -> Path:
    """Fetch "sd15" (base, fc and fbc offsets), "rmbg", "ormbg", a hub model "owner/name" or a hub .safetensors file.

    Returns the folder or file, at once when it is here already and whole. Raises WeightsError.
    """
    if name in MODELS:
        for workflow in ("fc", "fbc"):
            resolved = resolve_model(name, workflow, say=say)
        return resolved.base
    if name in MATTINGS:
        path = resolve_matting(name, say=say).path
        if path is None:
            raise WeightsError(f"{name} needs no download.")
        return path
    if match := HUB_FILE.fullmatch(name):
        return _hub_file(match, True, say)
    if match := HUB_ID.fullmatch(name):
        return _published(*_hub_model(match), True, say).base
    fetchable = [*(m.name for m in MODELS.values() if m.repo), *(m.name for m in MATTINGS.values() if m.repo)]
    raise WeightsError(
        f"There is nothing to download by the name {name!r}. Use {', '.join(fetchable)} or a hub id (owner/name)."
    )


def _where(entry: ModelEntry | MattingEntry) -> Path | None:
    if isinstance(entry, MattingEntry):
        folder = models_root() / entry.name
        snapshot = hub.cached_snapshot(entry.repo, entry.revision)
        places = [folder / entry.filename, folder / entry.file, *([snapshot / entry.file] if snapshot else [])]
        return next((place for place in places if entry.repo and place.is_file()), None)
    if not entry.repo:
        return next((folder for folder in mini_places() if (folder / "unet").is_dir()), None)
    cached = (hub.cached_snapshot(repo, "main") for repo in (entry.repo, *entry.fallbacks))
    folders = [models_root() / entry.name, *(folder for folder in cached if folder)]
    return next((folder for folder in folders if not missing_of(names_in(folder))), None)


def _present(entry: ModelEntry) -> bool:
    return _where(entry) is not None


def _hub_model(match: re.Match[str]) -> tuple[ModelEntry, Path]:
    repo, revision = match["repo"], match["revision"]
    page = f"{hub.endpoint()}/{repo}"
    entry = ModelEntry(match[0], repo, f"see {page}", f"From {page}.", repo=repo, revision=revision or "main")
    return entry, models_root() / folder_name(repo, revision)
