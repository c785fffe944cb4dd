"""Where the files are that change a model: LoRA files, embeddings and VAEs, here or on the hub."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..errors import WeightsError, plain, quoted
from . import hub
from .catalogue import weight_names
from .find import NotInstalled, hub_file, one_file
from .folders import folder_name, models_root
from .hub import HubRefused, Say
from .hub_names import HubName, hub_name

# How diffusers and PEFT name the file of a LoRA.
USUAL_LORAS = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")


def find_file(wanted: str, download: bool, say: Say) -> Path:
    """A file of weights: a path, a hub file, or a repository's only one (of several, the one for LoRA by its name).

    What is none of these comes back as a path: whoever opens it says what is missing.
    """
    path = Path(os.path.expanduser(wanted))
    name = None if os.path.exists(path) else hub_name(wanted)
    if name is None:
        return path
    if name.file is None:
        name = replace(name, file=_only_file(name, download))
    return hub_file(name, download, say)


def find_vae(wanted: str, download: bool, say: Say) -> Path:
    """A VAE: a file, a folder with its config.json, a model folder, or any of these on the hub."""
    path = Path(os.path.expanduser(wanted))
    if os.path.exists(path):
        return path
    name = hub_name(wanted)
    if name is None:
        raise WeightsError(
            f"There is no VAE {quoted(wanted)}: no such file or folder. Use a path, a hub id (owner/name), or its file."
        )
    if name.file is not None:
        return hub_file(name, download, say)
    folder, revision = models_root() / folder_name(name.repo, name.revision), name.revision or "main"
    there = next((place for place in (folder / "vae", folder) if os.path.isfile(place / "config.json")), None)
    inside = "vae/"
    if there is None:
        offered = _offered(name, folder, download)
        inside = "vae/" if "vae/config.json" in offered else ""
    elif there == folder:
        inside = ""
    weights = [f"{inside}{one.removeprefix('vae/')}" for one in weight_names("vae")]
    held = next((one for one in weights if os.path.isfile(folder / one)), None)
    if there is None or held is None:
        offered = _offered(name, folder, download)
        held = next((one for one in weights if one in offered), None)
        if held is None or f"{inside}config.json" not in offered:
            raise HubRefused(f"{name.repo} at {hub.endpoint()} holds no VAE in diffusers layout; name a file of it.")
    for file in (f"{inside}config.json", held):
        one_file(name.repo, revision, file, [folder], download, say)
    return folder / inside


def _offered(name: HubName, folder: Path, download: bool) -> dict[str, hub.HubFile]:
    if not download:
        raise NotInstalled(f"{name.repo} is not on this disk. Run again without holding downloads back.")
    return hub.listing(name.repo, name.revision or "main", folder)


def _only_file(name: HubName, download: bool) -> str:
    folder = models_root() / folder_name(name.repo, name.revision)
    here = [path.name for path in folder.glob("*.safetensors")] if folder.is_dir() else []
    if not here:
        here = [one for one in _offered(name, folder, download) if one.endswith(".safetensors") and "/" not in one]
    if len(here) > 1:
        here = [one for one in here if one in USUAL_LORAS] or here
    if len(here) != 1:
        there = plain(", ".join(sorted(here)[:6])) or "none"
        raise WeightsError(f"{name.repo} holds not one .safetensors file, but {there}. Give {name.id}/FILE.")
    return here[0]
