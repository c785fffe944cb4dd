"""Model folders: where they live, what a whole one holds, and what its iclight.json says about it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import SettingsError, WeightsError, plain, quoted
from ..parameters import LIGHTS, PARAMETERS
from .catalogue import PARTS, SD15, ModelEntry, files_to_fetch, is_shard_of, small_files, weight_names
from .hub import read_manifest
from .manifest import cache_root, is_index, read_json

PACKAGE = Path(__file__).resolve().parents[1]
# Of a model's name, licence or description, in characters.
TEXT_LIMIT = 500


def models_root() -> Path:
    """The folder where models live: $ICLIGHT_MODELS, else models/ beside the package, else (read-only) the cache's.

    Created when missing. Raises WeightsError if no place can be written.
    """
    chosen = os.environ.get("ICLIGHT_MODELS")
    candidates = [Path(chosen).expanduser()] if chosen else [_beside(), cache_root() / "models"]
    for folder in candidates:
        if not chosen and folder.parent.name in ("site-packages", "dist-packages"):
            continue  # an installed package: gigabytes do not belong among the libraries
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        # A folder the user named may be read-only: weights can be read from it all the same.
        if chosen or os.access(folder, os.W_OK):
            return folder
    raise WeightsError(f"{candidates[-1]} cannot be created. Point ICLIGHT_MODELS at a folder that can be written.")


def _beside() -> Path:
    return PACKAGE.parent / "models"


def shipped_places(name: str) -> list[Path]:
    """Where a folder that ships may lie: among the user's models, beside the package, or inside the installed one."""
    return [root / name for root in (models_root(), _beside(), PACKAGE / "models")]


def shipped_matting(file: str) -> Path | None:
    """The matting weights that ship under this file name; None where they are gone."""
    return next((path for place in shipped_places("matting") if os.path.isfile(path := place / file)), None)


def mini_folder() -> Path:
    for folder in shipped_places("mini"):
        if folder.is_dir():
            return folder
    raise WeightsError(f"The model mini is missing from {_beside()}. Reinstall iclight, or use --model sd15.")


def folder_name(repo: str, revision: str | None) -> str:
    return (repo + (f"@{revision}" if revision else "")).replace("/", "--")


@dataclass(frozen=True)
class ModelCard:
    """What an iclight.json may say; `offsets` is empty where the model takes SD1.5's.

    `defaults`: by workflow, the settings that suit the model where its user leaves them open.
    """

    name: str
    native_size: tuple[int, int]
    license: str
    about: str
    offsets: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def names_in(folder: Path) -> list[str]:
    names = [*small_files(), *(name for part in PARTS for name in weight_names(part))]
    there = [name for name in names if os.path.isfile(folder / name)]
    for index in filter(is_index, list(there)):
        beside = (f"{Path(index).parent.as_posix()}/{path.name}" for path in (folder / index).parent.iterdir())
        there += sorted(name for name in beside if is_shard_of(index, name))
    return there


def used_of(names: Collection[str], weights: bool = True) -> list[str]:
    """The files a loader opens: small ones, and each part's best weights."""
    return files_to_fetch(list(names), weights=weights)


def missing_of(names: Collection[str], weights: bool = True) -> list[str]:
    """What a model with these files lacks, in words."""
    missing = []
    if not ({"tokenizer/vocab.json", "tokenizer/merges.txt"} <= set(names) or "tokenizer/tokenizer.json" in names):
        missing.append("tokenizer (vocab.json and merges.txt)")
    for part in PARTS:
        if part != "tokenizer" and f"{part}/config.json" not in names:
            missing.append(f"{part}/config.json")
        if weights and part != "tokenizer" and not any(name in names for name in weight_names(part)):
            missing.append(f"the weights of {part} ({weight_names(part)[0]})")
    return missing


def read_card(folder: Path, entry: ModelEntry | None) -> ModelCard:
    """The folder's iclight.json over the catalogue's facts, or SD1.5's. Raises WeightsError naming file and field."""
    path = folder / "iclight.json"
    known = ModelCard(folder.resolve().name, SD15.native_size, "as its author states", f"A model from {folder}.")
    if entry is not None:
        about = entry.about
        source = read_manifest(folder).get("unet/config.json")
        if source is not None and source.repo in entry.fallbacks:
            about = f"{source.repo}, in place of {entry.repo}."
        known = ModelCard(entry.name, entry.native_size, entry.license, about)
    if not os.path.lexists(path):
        return known
    data = read_json(path, "Mend it, or delete it if the model is a plain SD1.5.")
    for name, (fits, what) in _FIELDS.items():
        if name in data and not fits(data[name]):
            raise WeightsError(f"{path}: {name!r} is {quoted(data[name])}, but should be {what}.")
    said = {name: data[name] for name in _FIELDS if name in data}
    # Shown as they are by whatever shows the model.
    said |= {name: plain(text, TEXT_LIMIT) for name, text in said.items() if isinstance(text, str)}
    if "native_size" in said:
        said["native_size"] = tuple(said["native_size"])
    return replace(known, **said)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_size(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and 64 <= side <= 4096 and side % 8 == 0 for side in value)
    )


def _is_offsets(value: object) -> bool:
    # Files inside the folder only: a downloaded iclight.json must not point elsewhere on the disk.
    return isinstance(value, dict) and all(
        _is_text(name)
        and len(name) <= 200
        and "\0" not in name
        and name.endswith(".safetensors")
        and not Path(name).is_absolute()
        and ".." not in Path(name).parts
        for name in value.values()
    )


def _is_defaults(value: object) -> bool:
    if not isinstance(value, dict) or not all(
        flow in LIGHTS and isinstance(some, dict) for flow, some in value.items()
    ):
        return False
    try:
        for settings in value.values():
            for name, one in settings.items():
                if name == "light":  # where light comes from is for whoever asks
                    return False
                PARAMETERS[name].check(name, one)
    except (SettingsError, KeyError):
        return False
    return True


_FIELDS = {
    "name": (_is_text, "text"),
    "native_size": (_is_size, "[width, height], multiples of 8 from 64 to 4096"),
    "offsets": (_is_offsets, '{workflow: "file.safetensors"}, each file inside the folder'),
    "defaults": (_is_defaults, "{workflow: {setting: value}}, each value in its setting's range; a light has none"),
    "license": (_is_text, "text"),
    "about": (_is_text, "text"),
}
