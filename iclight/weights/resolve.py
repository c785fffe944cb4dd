"""Which model and which matting run, where their files are, and whether those can be trusted.

A name, folder, hub id or checkpoint comes in; what goes out exists on disk and was checked. Looked for in this order:
iclight's models folder, the hub's cache, the hub itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import Message, WeightsError, quoted
from . import hub
from .catalogue import MATTINGS, MODELS, SD15, MattingEntry, ModelEntry, gigabytes
from .extras import find_file, find_vae
from .find import (
    NEVER_PUBLISHED,
    NotInstalled,
    cached_folder,
    check_published,
    find_base,
    find_offset,
    hub_file,
    hub_model,
    one_file,
    published,
)
from .folders import missing_of, models_root, names_in, shipped_matting, shipped_places
from .hub import HubRefused, HubUnreachable, Say, print_to_stderr
from .hub_names import hub_name


@dataclass(frozen=True)
class Model:
    """A resolved model, ready to be loaded: everything exists on disk and was checked.

    `base` is a folder in diffusers layout or a single-file .safetensors checkpoint; `config` the folder with tokenizer
    and configs (the same as `base` for folders). `native_size` is (width, height) in pixels. `notice`, where not
    empty, is one line the user should see. `defaults`: by workflow, the settings that suit this model where a face's
    user leaves them open; `Settings` itself always starts at the reference's.
    """

    name: str
    base: Path
    config: Path
    offset: Path
    workflow: str
    native_size: tuple[int, int]
    license: str
    about: str
    notice: Message = field(default=Message(""))
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Matting:
    """A resolved matting: "rmbg", "ormbg" or "u2netp" with its weights' `path`, "grabcut" or "none" without."""

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
    if given is None and workflow not in SD15.offset_workflows.values():
        notice = Message("mini runs: {why}.", why=NEVER_PUBLISHED)
        return replace(_resolve("mini", workflow, None, download, say), notice=notice)
    if device_type not in ("cuda", "mps"):
        size = gigabytes(SD15.size + SD15.offset_size)
        have = "it is on this disk" if _present(SD15) else Message("{size} to download once", size=size)
        notice = Message(
            "mini runs on this CPU; for sd15 use --model sd15 ({have}, and minutes rather than seconds per picture).",
            have=have,
        )
        return replace(_resolve("mini", workflow, given, download, say), notice=notice)
    try:
        return _resolve("sd15", workflow, given, download, say)
    except (HubUnreachable, HubRefused, NotInstalled) as error:
        if given is not None:
            raise  # an offset of the caller's own would not fit mini
        notice = Message(
            "WARNING: the small model mini runs instead of sd15, and its pictures are simpler. {why}", why=error.message
        )
        return replace(_resolve("mini", workflow, None, download, say), notice=notice)


def _resolve(wanted: str, workflow: str, offset: str | None, download: bool, say: Say) -> Model:
    check_published(wanted, workflow, offset)
    found = find_base(wanted, download, say)
    path = find_offset(found, workflow, offset, download, say)
    facts = found.facts
    return Model(
        name=facts.name,
        base=found.base,
        config=found.config,
        offset=path,
        workflow=workflow,
        native_size=facts.native_size,
        license=facts.license,
        about=facts.about,
        defaults=facts.defaults,
    )


def resolve_file(wanted: str, *, download: bool = True, say: Say = print_to_stderr) -> Path:
    """A LoRA or embedding file: a path, a hub file "owner/name/file", or a repository that holds one.

    Raises WeightsError where the hub does not give it; a path is not looked at here.
    """
    path = find_file(wanted.strip(), download, say)
    if os.path.isfile(path):
        hub.check_files(path.parent, [path.name], download=download, say=say)
    return path


def resolve_vae(wanted: str, *, download: bool = True, say: Say = print_to_stderr) -> Path:
    """A VAE's file, or the folder that holds it and its config: a path, a hub file, or a hub id.

    Raises WeightsError, saying what to do.
    """
    return find_vae(wanted.strip(), download, say)


# ---------------------------------------------------------------- matting


def resolve_matting(matting: str = "auto", *, download: bool = True, say: Say = print_to_stderr) -> Matting:
    """Find, fetch if need be, and check a matting: a name, or "auto", which never fetches.

    "auto" is rmbg if it is here, else u2netp, which ships, else grabcut. Raises WeightsError, saying what to do.
    `.license` carries the terms, such as rmbg's non-commercial one.
    """
    if matting == "auto":
        return _best_matting(say)
    entry = MATTINGS.get(matting)
    if entry is None:
        raise WeightsError(f"There is no matting {quoted(matting)}. Use auto, {', '.join(MATTINGS)}.")
    path = None
    if entry.repo:
        folder = models_root() / entry.name
        path = one_file(entry.repo, entry.revision, entry.file, [folder], download, say, entry.size)
    elif entry.file and (path := shipped_matting(entry.file)) is None:
        raise WeightsError(
            f"{entry.file}, which ships with iclight, is missing from {shipped_places('matting')[0]}. Reinstall "
            "iclight, or use another --matting."
        )
    return Matting(entry.name, path, entry.license, entry.about)


def _best_matting(say: Say) -> Matting:
    refused = ""
    for name in ("rmbg", "u2netp"):
        try:
            best = resolve_matting(name, download=False, say=say)
        except NotInstalled:
            continue
        except WeightsError as error:
            refused = refused or str(error)
            continue
        break
    else:
        best = resolve_matting("grabcut")
    if refused:
        say(f"{best.name} cuts out: {refused}")
    return best


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
        present = where is not None or (isinstance(entry, MattingEntry) and not entry.file)
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
    if wanted := hub_name(name):
        return hub_file(wanted, True, say) if wanted.file else published(*hub_model(wanted), True, say).base
    fetchable = [*(m.name for m in MODELS.values() if m.repo), *(m.name for m in MATTINGS.values() if m.repo)]
    raise WeightsError(
        f"There is nothing to download by the name {quoted(name)}. Use {', '.join(fetchable)} or a hub id (owner/name)."
    )


def _where(entry: ModelEntry | MattingEntry) -> Path | None:
    if isinstance(entry, MattingEntry):
        if not entry.repo:
            return shipped_matting(entry.file) if entry.file else None
        folder = models_root() / entry.name
        places = (folder / entry.filename, folder / entry.file)
        there = next((place for place in places if os.path.isfile(place)), None)
        return there or hub.cached(entry.repo, entry.revision, entry.file)
    if not entry.repo:
        return next((folder for folder in shipped_places("mini") if (folder / "unet").is_dir()), None)
    cached = (cached_folder(repo, "main") for repo in (entry.repo, *entry.fallbacks))
    folders = [models_root() / entry.name, *(folder for folder in cached if folder)]
    return next((folder for folder in folders if not missing_of(names_in(folder))), None)


def _present(entry: ModelEntry) -> bool:
    return _where(entry) is not None
