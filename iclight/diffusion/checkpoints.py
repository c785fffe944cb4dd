"""The parts of a base model: tokenizer, text encoder, VAE, and the UNet's weights and config, still unmerged.

Out of a folder in diffusers layout, or out of a single-file SD1.5 checkpoint; checked to be whole either way.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from ..errors import ModelError, WeightsError, first_line, quoted
from ..weights.catalogue import weight_names
from ..weights.files import check_bytes, check_regular
from ..weights.manifest import JSON_BYTES, read_json
from .tensors import MemorySource, SafetensorsSource, TensorSource, check_floats, open_tensors

# What a UNet's output means, by diffusers' names (Ho et al. 2020; Salimans and Ho 2022).
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
# What a config may ask to be built: layers are blocks x layers x layers within; SD1.5 has 12.
MAX_LAYERS = 500
MAX_BLOCKS = 32
AGAIN = "Fetch it again."


@dataclass
class Components:
    """What a relighter is made of. `files`: the weights of "unet", "vae" and "text_encoder"."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: TensorSource
    unet_config: Mapping[str, Any]
    files: Mapping[str, Path]
    prediction_type: str = "epsilon"


def load_components(
    base: Path, config: Path, dtype: torch.dtype, vae_dtype: torch.dtype, share: Components | None = None
) -> Components:
    """Load what `base` holds (a folder, or a .safetensors checkpoint whose configs and tokenizer are in `config`).

    Text encoder in `dtype`, VAE in `vae_dtype`, both on the CPU in eval mode. `share`: components of the same base and
    formats that are in memory; of a folder, the UNet alone is opened then. Raises ModelError or WeightsError.
    """
    with _no_bars():
        if share is not None and base.is_dir():
            return replace(share, unet=open_tensors(share.files["unet"]), unet_config=read_config(base / "unet"))
        parts = _from_folder(base, vae_dtype) if base.is_dir() else _from_checkpoint(base, config)
    _check_fit(parts, base)
    if parts.vae.dtype != vae_dtype:
        parts.vae = parts.vae.to(vae_dtype)
    parts.text_encoder = parts.text_encoder.to(dtype).requires_grad_(False).eval()
    parts.vae = parts.vae.requires_grad_(False).eval()
    return parts


def _check_fit(parts: Components, base: Path) -> None:
    """Raise ModelError where text encoder, UNet and VAE cannot work together, or the VAE's scale is no number."""
    scale, channels = parts.vae.config.scaling_factor, parts.vae.config.latent_channels
    if not isinstance(scale, (int, float)) or not 0 < scale < 1000 or channels != 4:
        raise ModelError(
            "The VAE of {base} is not of SD1.5's kind: {channels} latent channels, scaled by {scale}.",
            base=base,
            channels=quoted(channels),
            scale=quoted(scale),
        )
    width, reads = parts.text_encoder.config.hidden_size, parts.unet_config.get("cross_attention_dim", 1280)
    if {*_numbers(reads)} - {width, 1280, 2048}:  # the last are SDXL's, of which the UNet's own check says more
        raise ModelError(
            "{base} is not of one piece: its text encoder gives {width}, its UNet reads {reads}.",
            base=base,
            width=width,
            reads=quoted(reads),
        )


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


def weights_file(folder: Path, part: str) -> Path:
    """The file that a part's weights are read from, and hashed for recipes: the best of those that a model folder may
    hold (`catalogue.weight_names`). Raises WeightsError if there is none."""
    names = weight_names(part)
    for name in names:
        if os.path.isfile(folder / name):
            return folder / name
    raise WeightsError(
        "{path} holds no weights; expected {name} there.", path=folder / part, name=names[0].split("/")[-1]
    )


def _from_folder(folder: Path, vae_dtype: torch.dtype) -> Components:
    config = read_config(folder / "unet")
    _check_small_files(folder / "tokenizer")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise WeightsError(
            "{path} could not be loaded ({reason}).", path=folder / "tokenizer", reason=first_line(error)
        ) from error
    text_encoder = _whole(CLIPTextModel, folder, "text_encoder")
    vae = _whole(AutoencoderKL, folder, "vae", torch_dtype=vae_dtype)
    files = {part: weights_file(folder, part) for part in ("unet", "vae", "text_encoder")}
    unet = open_tensors(files["unet"])
    return Components(tokenizer, text_encoder, vae, unet, config, files, prediction_type(folder))


def prediction_type(folder: Path) -> str:
    """What a folder's UNet predicts, by its scheduler's config: one of `PREDICTION_TYPES`; noise if it does not say."""
    path = folder / "scheduler" / "scheduler_config.json"
    found = read_json(path, AGAIN).get("prediction_type", "epsilon") if path.is_file() else "epsilon"
    if found not in PREDICTION_TYPES:
        raise ModelError(
            "{path} names the prediction type {found}; it takes one of {types}.",
            path=path,
            found=quoted(found),
            types=", ".join(PREDICTION_TYPES),
        )
    return str(found)


def read_config(part: Path) -> dict[str, Any]:
    """A part's config.json. Raises WeightsError; ModelError where building what it asks for would take minutes."""
    path = part / "config.json"
    config = read_json(path, AGAIN)
    if "quantization_config" in config:
        raise ModelError("{path} is of a quantised model; get its weights in float16, bfloat16 or float32.", path=path)
    per_block = [value for name, value in config.items() if "block" in name and isinstance(value, list)]
    blocks = max(map(len, per_block), default=1)
    layers: float = blocks
    for name, value in config.items():
        if "layers" in name:
            layers *= max([1, *_numbers(value)])
    if blocks > MAX_BLOCKS or layers > MAX_LAYERS:
        raise ModelError(
            "{path} describes a model of {layers:,} layers; at most {most} are built.",
            path=path,
            layers=layers,
            most=MAX_LAYERS,
        )
    return config


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in a value of JSON, at any depth of its lists."""
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part)


def _check_small_files(folder: Path) -> None:
    """Raise WeightsError for what a library would hang or choke on: pipes, and JSON that is broken, deep or huge."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise WeightsError(
            "{folder} cannot be read ({reason}). Fetch it again.", folder=folder, reason=error.strerror
        ) from error
    for file in files:
        if file.suffix == ".json" and not file.is_dir():
            read_json(file, AGAIN)
        elif not file.is_dir():
            size = check_regular(file, "The file", WeightsError).st_size
            check_bytes(size if file.suffix == ".txt" else 0, JSON_BYTES, str(file), WeightsError)


def _whole(cls: Any, folder: Path, name: str, **options: Any) -> Any:
    """A part with all of its weights: the libraries would fill gaps with random numbers and only log it."""
    options |= {"local_files_only": True, "output_loading_info": True}
    _check_small_files(folder / name)
    config = read_config(folder / name)
    file = weights_file(folder, name)
    # Both libraries look for a file by these two, and load .bin files with weights_only.
    options |= {"use_safetensors": file.suffix == ".safetensors", "variant": "fp16" if ".fp16." in file.name else None}
    _check_weights(cls, config, file)
    try:
        model, info = cls.from_pretrained(str(folder / name), **options)
    except Exception as error:
        raise WeightsError(
            "{path} could not be loaded ({reason}). Fetch it again.", path=folder / name, reason=first_line(error)
        ) from error
    missing = [key for key in info.get("missing_keys", ()) if not key.endswith("position_ids")]
    if missing or info.get("mismatched_keys"):
        raise ModelError(
            "{path} does not match its config.json: {missing} tensors missing, {mismatched} of another shape "
            "({names}).",
            path=folder / name,
            missing=len(missing),
            mismatched=len(info.get("mismatched_keys") or ()),
            names=", ".join(sorted(missing)[:2]),
        )
    return model


def _check_weights(cls: Any, config: Mapping[str, Any], file: Path) -> None:
    """Raise ModelError unless a part's weights are real numbers, and about as many as its config.json describes.

    The libraries compare names and shapes, but allocate what a config asks for first.
    """
    source, folder = open_tensors(file), file.parent
    check_floats(source, [name for name in source.shapes if not name.endswith("position_ids")])
    try:
        with torch.device("meta"):
            if cls is AutoencoderKL:
                model = cls.from_config(config)
            else:
                model = cls(cls.config_class.from_pretrained(str(folder), local_files_only=True))
    except Exception as error:  # whatever the library trips over in a config that makes no sense
        raise ModelError(
            "{path} describes no model ({reason}). Fetch it again.",
            path=folder / "config.json",
            reason=first_line(error),
        ) from error
    described = sum(tensor.numel() for tensor in model.parameters())
    held = sum(math.prod(shape) for shape in source.shapes.values())
    if described > 2 * held:
        raise ModelError(
            "{folder} does not match its config.json: it holds {held:,} numbers, {described:,} are described. "
            "Fetch it again.",
            folder=folder,
            held=held,
            described=described,
        )


def _from_checkpoint(path: Path, config: Path) -> Components:
    from diffusers import StableDiffusionPipeline  # slow to import, needed for checkpoints only

    check_checkpoint(path)
    for part in ("unet", "vae", "text_encoder"):
        read_config(config / part)
    _check_small_files(config / "tokenizer")
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
            "{path} could not be taken apart as an SD1.5 checkpoint ({reason}). Give a model folder in "
            "diffusers layout instead.",
            path=path,
            reason=first_line(error),
        ) from error
    files = dict.fromkeys(("unet", "vae", "text_encoder"), path)
    unet = MemorySource(pipe.unet.state_dict(), str(path))
    return Components(pipe.tokenizer, pipe.text_encoder, pipe.vae, unet, dict(pipe.unet.config), files)


def check_checkpoint(path: Path) -> None:
    """Raise ModelError unless a .safetensors file is a plain SD1.5 checkpoint; looks at its header alone."""
    source = SafetensorsSource(path)
    shapes = source.shapes
    if any(name.startswith("conditioner.embedders.") for name in shapes):
        raise ModelError(
            "{path} is an SDXL checkpoint; IC-Light's published offsets are for Stable Diffusion 1.5. Give an "
            "SD1.5 checkpoint.",
            path=path,
        )
    first = shapes.get("model.diffusion_model.input_blocks.0.0.weight")
    if first is None:
        raise ModelError(
            "{path} is not an SD1.5 checkpoint: it holds no model.diffusion_model.input_blocks.0.0.weight. "
            "Offsets and LoRA files go to --offset and --lora.",
            path=path,
        )
    found = first[1] if len(first) == 4 else 0
    if found != 4:
        kind = " (an inpainting model)" if found == 9 else ""
        raise ModelError(
            "{path} takes {found} input channels{kind}, expected 4: give a plain SD1.5 checkpoint.",
            path=path,
            found=found,
            kind=kind,
        )
    check_floats(source, [name for name in shapes if name.startswith(("model.diffusion_model.", "first_stage_model."))])
