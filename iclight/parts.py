"""The parts of a base model: tokenizer, text encoder, VAE, and the UNet's weights and config, still unmerged.

Out of a folder in diffusers layout, or out of a single-file SD1.5 checkpoint; checked to be whole either way.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from .errors import ModelError, WeightsError
from .tensors import MemorySource, SafetensorsSource, TensorSource, open_tensors

UNET_FILES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
)
# What a UNet's output means, by diffusers' names (Ho et al. 2020; Salimans and Ho 2022).
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


@dataclass
class Parts:
    """What a relighter is made of. `files`: the weights of "unet", "vae" and "text_encoder"."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: TensorSource
    unet_config: Mapping[str, Any]
    files: Mapping[str, Path]
    prediction_type: str = "epsilon"


def load_parts(base: Path, config: Path, dtype: torch.dtype, vae_dtype: torch.dtype) -> Parts:
    """Load what `base` holds (a folder, or a .safetensors checkpoint whose configs and tokenizer are in `config`).

    Text encoder in `dtype`, VAE in `vae_dtype`, both on the CPU in eval mode. Raises ModelError or WeightsError.
    """
    with _no_bars():
        parts = _from_folder(base, vae_dtype) if base.is_dir() else _from_checkpoint(base, config)
    if parts.vae.dtype != vae_dtype:
        parts.vae = parts.vae.to(vae_dtype)
    parts.text_encoder = parts.text_encoder.to(dtype).requires_grad_(False).eval()
    parts.vae = parts.vae.requires_grad_(False).eval()
    return parts


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Loading from disk takes a second; the libraries' bars for it are noise."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def unet_file(folder: Path) -> Path:
    """The file that holds a folder's UNet weights. Raises WeightsError if there is none."""
    for name in UNET_FILES:
        if (folder / "unet" / name).is_file():
            return folder / "unet" / name
    raise WeightsError(f"{folder / 'unet'} holds no weights; expected {UNET_FILES[0]} there.")


def _from_folder(folder: Path, vae_dtype: torch.dtype) -> Parts:
    file = unet_file(folder)
    config = _read_config(folder / "unet" / "config.json")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise WeightsError(f"{folder / 'tokenizer'} could not be loaded ({_first_line(error)}).") from error
    text_encoder = _whole(CLIPTextModel, folder, "text_encoder")
    vae = _whole(AutoencoderKL, folder, "vae", torch_dtype=vae_dtype)
    files = {"unet": file} | {name: _weights_of(folder / name) for name in ("vae", "text_encoder")}
    return Parts(tokenizer, text_encoder, vae, open_tensors(file), config, files, prediction_type(folder))


def prediction_type(folder: Path) -> str:
    """What a folder's UNet predicts, by its scheduler's config: one of `PREDICTION_TYPES`; noise if it does not say."""
    path = folder / "scheduler" / "scheduler_config.json"
    found = _read_config(path).get("prediction_type", "epsilon") if path.is_file() else "epsilon"
    if found not in PREDICTION_TYPES:
        raise ModelError(f"{path} names the prediction type {found!r}; it takes one of {', '.join(PREDICTION_TYPES)}.")
    return str(found)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is missing or broken ({error}).") from error
    return config


def _whole(cls: Any, folder: Path, name: str, **options: Any) -> Any:
    """A part with all of its weights: the libraries would fill gaps with random numbers and only log it."""
    options |= {"local_files_only": True, "output_loading_info": True}
    stems = {file.stem for file in (folder / name).iterdir() if file.suffix == ".safetensors"}
    if not stems:
        options["use_safetensors"] = False  # .bin files; both libraries load them with weights_only
        stems = {file.stem for file in (folder / name).iterdir() if file.suffix == ".bin"}
    if stems and all(stem.endswith(".fp16") for stem in stems):
        options["variant"] = "fp16"
    try:
        model, info = cls.from_pretrained(str(folder / name), **options)
    except Exception as error:
        raise WeightsError(f"{folder / name} could not be loaded ({_first_line(error)}). Fetch it again.") from error
    missing = [key for key in info.get("missing_keys", ()) if not key.endswith("position_ids")]
    if missing or info.get("mismatched_keys"):
        raise ModelError(
            f"{folder / name} does not match its config.json: {len(missing)} tensors missing, "
            f"{len(info.get('mismatched_keys') or ())} of another shape ({', '.join(sorted(missing)[:2])})."
        )
    return model


def _weights_of(folder: Path) -> Path:
    """The file that a part's weights were read from; .safetensors go before .bin."""
    files = sorted(folder.iterdir(), key=lambda file: (file.suffix != ".safetensors", ".fp16" in file.name, file.name))
    return next(file for file in files if file.suffix in (".safetensors", ".bin"))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _from_checkpoint(path: Path, config: Path) -> Parts:
    from diffusers import StableDiffusionPipeline  # slow to import, needed for checkpoints only

    check_checkpoint(path)
    try:
        # float32 whatever the file's type: the offsets are added in float32, and casting comes last.
        pipe = StableDiffusionPipeline.from_single_file(
            str(path),
            config=str(config),
            local_files_only=True,
            torch_dtype=torch.float32,
            safety_checker=None,
            feature_extractor=None,
        )
    except Exception as error:
        raise ModelError(
            f"{path} could not be taken apart as an SD1.5 checkpoint ({_first_line(error)}). "
            "Give a model folder in diffusers layout instead."
        ) from error
    files = dict.fromkeys(("unet", "vae", "text_encoder"), path)
    unet = MemorySource(pipe.unet.state_dict(), str(path))
    return Parts(pipe.tokenizer, pipe.text_encoder, pipe.vae, unet, dict(pipe.unet.config), files)


def check_checkpoint(path: Path) -> None:
    """Raise ModelError unless a .safetensors file is a plain SD1.5 checkpoint; looks at its header alone."""
    shapes = SafetensorsSource(path).shapes
    if any(name.startswith("conditioner.embedders.") for name in shapes):
        raise ModelError(
            f"{path} is an SDXL checkpoint; IC-Light's published offsets are for Stable Diffusion 1.5. "
            "Give an SD1.5 checkpoint."
        )
    first = shapes.get("model.diffusion_model.input_blocks.0.0.weight")
    if first is None:
        raise ModelError(
            f"{path} is not an SD1.5 checkpoint: it holds no model.diffusion_model.input_blocks.0.0.weight. "
            "Offsets and LoRA files go to --offset and --lora."
        )
    found = first[1] if len(first) == 4 else 0
    if found != 4:
        kind = " (an inpainting model)" if found == 9 else ""
        raise ModelError(f"{path} takes {found} input channels{kind}, expected 4: give a plain SD1.5 checkpoint.")
