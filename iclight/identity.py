"""What was loaded, by name and hash: what a recipe needs to find the same model again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import weights
from .devices import Placement


def identify(
    model: weights.Model,
    files: Mapping[str, Path],
    loras: Sequence[tuple[Path, float]],
    placement: Placement,
    asked: dict[str, Any],
) -> dict[str, Any]:
    """What was loaded, by name and SHA-256, and how it was asked for. Files are read now, not when they may be gone."""
    return {
        "name": model.name,
        "workflow": model.workflow,
        "asked": asked,
        "base_sha256": weights.sha256_of(files["unet"]),
        "vae_sha256": weights.sha256_of(files["vae"]),
        "text_encoder_sha256": weights.sha256_of(files["text_encoder"]),
        "offset": model.offset.name,
        "offset_sha256": weights.sha256_of(model.offset),
        "lora": [{"file": path.name, "scale": scale, "sha256": weights.sha256_of(path)} for path, scale in loras],
        "device": str(placement.device),
        "dtype": str(placement.dtype).removeprefix("torch."),
        "vae_dtype": str(placement.vae_dtype).removeprefix("torch."),
    }
