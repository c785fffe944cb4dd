"""Loading apart from relighting: names in, a model in memory out.

    loaded = load_model("mini", "fbc")
    other = load_model("mini", "fc", share=loaded)  # reads the other workflow's UNet alone

A name's way: resolve -> check the offset -> components -> merge the UNet -> fold LoRA files in -> place on the device.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .diffusion import devices
from .diffusion.acceleration import EXACT, Acceleration, Levers, accelerate, levers_for
from .diffusion.checkpoints import Components, build_components, check_checkpoint, open_parts
from .diffusion.devices import Placement
from .diffusion.embeddings import open_embeddings, parse_embedding
from .diffusion.environment_encoder import EnvironmentEncoder, load_environment_encoder
from .diffusion.lora import open_loras, parse_lora
from .diffusion.unet import check_kind, load_unet, open_offset
from .diffusion.vae import VAE
from .errors import joined
from .networks.clip import TextEncoder, TextTokenizer
from .networks.unet import UNet
from .settings import check_workflow
from .weights.manifest import sha256_of
from .weights.resolve import Model, resolve_file, resolve_model, resolve_vae


@dataclass(frozen=True)
class LoadedModel:
    """A model for one workflow, in memory and placed.

    `environment_encoder`: the env workflow's, None for the others. `prediction_type`: what the UNet's output means, one
    of `checkpoints.PREDICTION_TYPES`. `model`: what was resolved. `components`: the base's parts and their files.
    `identity`: names and SHA-256 of all of it, and how it was asked for, for recipes. `acceleration`: how it runs.
    """

    tokenizer: TextTokenizer
    text_encoder: TextEncoder
    vae: VAE
    unet: UNet
    placement: Placement
    model: Model
    environment_encoder: EnvironmentEncoder | None = None
    prediction_type: str = "epsilon"
    components: Components | None = None
    identity: Mapping[str, Any] | None = None
    acceleration: Acceleration = EXACT


def load_model(
    model: str | Path = "auto",
    workflow: str = "fc",
    offset: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    *,
    vae: str | Path | None = None,
    lora: str | Path | Sequence[str | Path] = (),
    embedding: str | Path | Sequence[str | Path] = (),
    offload: bool = False,
    speed: str | Levers = "exact",
    share: LoadedModel | None = None,
) -> LoadedModel:
    """Load a model for a workflow; the arguments are those of `Relighter.load`.

    `share`: a model of another workflow. Where base, number formats and device are the same, its tokenizer, text
    encoder and VAE serve both, and only the UNet is read.

    Raises WeightsError when files are missing or broken, ModelError when they do not fit, DeviceError.
    """
    check_workflow(workflow)
    placement = devices.choose(device, dtype, offload)
    levers = levers_for(speed, placement)
    if str(model).lower().endswith(".safetensors") and os.path.isfile(model):
        check_checkpoint(Path(model))  # before anything is fetched for it
    resolved = resolve_model(
        str(model), workflow, None if offset is None else str(offset), device_type=placement.device.type
    )
    parts = open_parts(resolved.base, resolved.config, None if vae is None else resolve_vae(str(vae)))
    offset_tensors = open_offset(resolved.offset, parts.sources["unet"].shapes)
    check_kind(offset_tensors, workflow)
    asked: dict[str, Any] = {
        "vae": None if vae is None else str(vae),
        "lora": _texts(lora),
        "embedding": _texts(embedding),
    }
    loras = open_loras([(resolve_file(path), scale) for path, scale in map(parse_lora, asked["lora"])], parts.shapes)
    embeddings = [(resolve_file(path), name) for path, name in map(parse_embedding, asked["embedding"])]
    vectors = open_embeddings(embeddings, parts.configs["text_encoder"].get("hidden_size", 512))
    shared = share if share is not None and _serves(share, resolved, placement, asked) else None
    components = build_components(
        parts, placement.dtype, placement.vae_dtype, loras, vectors, None if shared is None else shared.components
    )
    with devices.memory_errors_explained(placement, "Start with --offload, or use --model mini."):
        encoder = None
        if workflow == "env":
            width = components.text_encoder.config.hidden_size
            encoder = load_environment_encoder(offset_tensors, width, placement.dtype, placement.home)
        unet = load_unet(
            components.unet, components.unet_config, offset_tensors, workflow, placement.dtype, placement.home, loras
        )
        vae_part = VAE(components.vae.to(placement.home), placement) if shared is None else shared.vae
        text_encoder = components.text_encoder.to(placement.home)
        acceleration = accelerate(levers, unet, placement.device, placement.offload)
    asked |= {"model": str(model), "offset": None if offset is None else str(offset)}
    notices = [one for one in (resolved.notice, parts.notice, *loras.unused, *acceleration.notices) if one]
    return LoadedModel(
        components.tokenizer,
        text_encoder,
        vae_part,
        unet,
        placement,
        replace(resolved, notice=joined(notices)),
        encoder,
        components.prediction_type,
        components,
        _identify(resolved, components.files, loras.files, [path for path, _ in embeddings], placement, asked)
        | {"speed": speed if isinstance(speed, str) else " ".join(levers.pulled)},
        acceleration,
    )


def _texts(given: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(one) for one in ([given] if isinstance(given, (str, Path)) else given)]


def _serves(share: LoadedModel, model: Model, placement: Placement, asked: Mapping[str, Any]) -> bool:
    """Whether another model's text encoder and VAE are those of `model`: of one base, changed by the same files."""
    other = (share.identity or {}).get("asked", {})
    same = all(other.get(name) == value for name, value in asked.items())
    return same and share.model.base == model.base and share.placement == placement


def _identify(
    model: Model,
    files: Mapping[str, Path],
    loras: Sequence[tuple[Path, float]],
    embeddings: Sequence[Path],
    placement: Placement,
    asked: dict[str, Any],
) -> dict[str, Any]:
    """What was loaded, by name and SHA-256. Files are read now, not when they may be gone."""
    return {
        "name": model.name,
        "workflow": model.workflow,
        "asked": asked,
        "base_sha256": sha256_of(files["unet"]),
        "vae_sha256": sha256_of(files["vae"]),
        "text_encoder_sha256": sha256_of(files["text_encoder"]),
        "offset": model.offset.name,
        "offset_sha256": sha256_of(model.offset),
        "embedding_sha256": " ".join(map(sha256_of, embeddings)) or None,
        "lora": [{"file": path.name, "scale": scale, "sha256": sha256_of(path)} for path, scale in loras],
        "device": str(placement.device),
        "dtype": str(placement.dtype).removeprefix("torch."),
        "vae_dtype": str(placement.vae_dtype).removeprefix("torch."),
    }
