"""The relighting UNet: a text-to-image UNet, its first convolution widened, IC-Light's offsets added.

Extra input channels are the foreground's latent (fc and env: 4 + 4), then the background's (fbc: 4 + 4 + 4). Every
name and shape is checked before anything is allocated; then tensors stream through one by one.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from ..errors import Message, ModelError, SettingsError, WeightsError, first_line, plain
from ..weights.files import check_regular
from .environment_encoder import PREFIX
from .tensors import SelectedSource, TensorSource, check_floats, check_names, open_tensors

CONV_IN = "conv_in.weight"
LATENT_CHANNELS = 4
INPUT_CHANNELS = {"fc": 8, "fbc": 12, "env": 8}
# The library matches names as regular expressions: in these no character but the dot means another thing than itself.
LORA_NAME = re.compile(r"[\w.-]{1,300}", re.ASCII)
LORA_MATRIX = re.compile(r"(?P<layer>.+)[._](?P<side>lora_A|lora_B|down|up)\.weight")
LORA_TENSORS = 20_000


def load_unet(
    base: TensorSource,
    config: Mapping[str, Any],
    offset: TensorSource,
    workflow: str,
    dtype: torch.dtype,
    device: torch.device | None = None,
) -> UNet2DConditionModel:
    """Merge `base` and `offset` into the workflow's UNet, in eval mode.

    `config` is the base UNet's diffusers config. Sums are taken in float32, then cast to `dtype`. Neither source is
    changed. At most one tensor more than the finished model is in memory. Raises ModelError naming the file, what was
    found and what was expected.
    """
    check_base(base, config)
    check_kind(offset, workflow)
    offset = SelectedSource(offset, {name: name for name in offset.shapes if not name.startswith(PREFIX)})
    check_offset(base, offset, workflow)
    try:
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config({**config, "in_channels": INPUT_CHANNELS[workflow]})
    except Exception as error:  # whatever the library trips over in a config that makes no sense
        raise ModelError(
            "The config.json of {base} describes no UNet that can be built ({reason}).",
            base=base.label,
            reason=first_line(error),
        ) from error
    expected = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    check_names(base, {**expected, CONV_IN: base.shapes[CONV_IN]}, "the UNet its config.json describes")

    merged = {}
    for name, shape in expected.items():
        total = base.read(name).float()
        if name == CONV_IN:
            total = _widen(total, shape[1])
        total = total + offset.read(name).float()
        merged[name] = total.to(device=device, dtype=dtype)
    unet.load_state_dict(merged, strict=True, assign=True)
    return unet.requires_grad_(False).eval()


def _widen(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """out x 4 x 3 x 3 -> out x channels x 3 x 3; what is new is zero, so a widened base answers as it did."""
    wide = weight.new_zeros(weight.shape[0], channels, *weight.shape[2:])
    wide[:, : weight.shape[1]] = weight
    return wide


def check_base(base: TensorSource, config: Mapping[str, Any]) -> None:
    """Raise ModelError unless `base` is a plain SD1.5-like UNet: 4 input channels, text through cross-attention."""
    if config.get("addition_embed_type") not in (None, "text") or config.get("cross_attention_dim") in (2048, 1280):
        raise ModelError(
            "{base} is an SDXL model; IC-Light's published offsets are for Stable Diffusion 1.5. Give an SD1.5 "
            "model in diffusers layout, or an SD1.5 .safetensors checkpoint.",
            base=base.label,
        )
    shape = base.shapes.get(CONV_IN, ())
    found = shape[1] if len(shape) == 4 else 0
    if found != LATENT_CHANNELS:
        kind = " (an inpainting model)" if found == 9 else " (already widened)" if found in (8, 12) else ""
        raise ModelError(
            "{base} takes {found} input channels{kind}, expected {wanted}: give a plain text-to-image "
            "SD1.5 model as the base.",
            base=base.label,
            found=found,
            kind=kind,
            wanted=LATENT_CHANNELS,
        )


def check_offset(base: TensorSource, offset: TensorSource, workflow: str) -> None:
    """Raise ModelError unless `offset` holds one tensor per tensor of `base`, widened for `workflow`."""
    out, _, *kernel = base.shapes[CONV_IN]
    wide = {**base.shapes, CONV_IN: (out, INPUT_CHANNELS[workflow], *kernel)}
    check_names(offset, wide, f"the base model {base.label}")


def check_kind(offset: TensorSource, workflow: str) -> None:
    """Raise ModelError unless `offset` is an offset for `workflow`, by its input channels and its environment part."""
    wanted = INPUT_CHANNELS[workflow]
    if CONV_IN not in offset.shapes:
        raise ModelError("{offset} is not an IC-Light offset: it holds no {name}.", offset=offset.label, name=CONV_IN)
    shape = offset.shapes[CONV_IN]
    found = shape[1] if len(shape) == 4 else 0
    has_tokens = any(name.startswith(PREFIX) for name in offset.shapes)
    fits = (name for name, channels in INPUT_CHANNELS.items() if channels == found and has_tokens == (name == "env"))
    kind = next(fits, None)
    belongs = Message(" (an {kind} file)", kind=kind) if kind else ""
    advice = Message(
        "Give an offset made for {workflow}, or run the {other} workflow.", workflow=workflow, other=kind or "other"
    )
    if found != wanted:
        raise ModelError(
            "{offset} has {found} input channels{belongs}, expected {wanted} for the {workflow} workflow. {advice}",
            offset=offset.label,
            found=found,
            belongs=belongs,
            wanted=wanted,
            workflow=workflow,
            advice=advice,
        )
    if has_tokens != (workflow == "env"):
        holds = "holds" if has_tokens else "holds no"
        raise ModelError(
            "{offset} {holds} {prefix}* tensors{belongs}, which only the env workflow has. {advice}",
            offset=offset.label,
            holds=holds,
            prefix=PREFIX,
            belongs=belongs,
            advice=advice,
        )


def parse_lora(text: str) -> tuple[Path, float]:
    """ "PATH" or "PATH:SCALE" -> (path, scale). A scale is a number; anything else belongs to the path."""
    path, colon, scale = text.rpartition(":")
    if colon:
        with contextlib.suppress(ValueError):
            number = float(scale)
            if not math.isfinite(number):
                raise SettingsError(
                    "lora scale is {scale}, but it takes a number, e.g. {path}:0.7.",
                    scale=plain(scale),
                    path=plain(path),
                )
            return Path(path), number
    return Path(text), 1.0


def add_loras(unet: UNet2DConditionModel, loras: Sequence[tuple[Path, float]]) -> None:
    """Fold LoRA files (diffusers, PEFT or kohya naming), each at its scale, into the UNet's weights.

    Folding costs nothing at run time. Text-encoder parts of a file are left aside. Raises ModelError or WeightsError
    naming the file when it is missing, holds no UNet LoRA, or was made for another architecture.
    """
    from diffusers.loaders import StableDiffusionLoraLoaderMixin  # slow to import, seldom needed

    for path, scale in loras:
        held = _read_lora(path)
        try:
            tensors, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(held)
        except Exception as error:
            raise WeightsError(
                "LoRA file {path} cannot be read ({reason}).", path=path, reason=first_line(error)
            ) from error
        if not any(name.startswith("unet.") for name in tensors):
            raise ModelError("LoRA file {path} holds nothing for the UNet of an SD1.5 model.", path=path)
        _check_pairs(path, {name: tensor.shape for name, tensor in tensors.items()})
        try:
            StableDiffusionLoraLoaderMixin.load_lora_into_unet(tensors, alphas, unet, adapter_name="lora")
            unet.fuse_lora(lora_scale=scale)
        except Exception as error:  # two libraries raise whatever they trip over
            raise ModelError(
                "LoRA file {path} does not fit this UNet ({reason}). Is it made for SD1.5?",
                path=path,
                reason=first_line(error),
            ) from error
        finally:
            unet.unload_lora()


def _read_lora(path: Path) -> dict[str, torch.Tensor]:
    """A LoRA file's tensors by name, looked at before any is read."""
    if not os.path.exists(path):
        raise WeightsError("LoRA file {path} does not exist.", path=plain(path))
    check_regular(path, "LoRA file", WeightsError)
    source = open_tensors(path)
    if len(source.shapes) > LORA_TENSORS or not all(LORA_NAME.fullmatch(name) for name in source.shapes):
        raise ModelError("LoRA file {path} holds tensors that no LoRA for SD1.5 has.", path=path)
    if any("dora_scale" in name for name in source.shapes):
        # The library would leave the scales out, and fold something else than was trained.
        raise ModelError(
            "LoRA file {path} is a DoRA, which cannot be folded into the weights; get a plain LoRA.", path=path
        )
    check_floats(source, [name for name, shape in source.shapes.items() if shape])  # a lone number may be an integer
    return {name: source.read(name) for name in source.shapes}


def _check_pairs(path: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise ModelError unless each layer's two matrices are there, down (rank x in) and up (out x rank)."""
    pairs: dict[str, dict[str, Sequence[int]]] = {}
    for name, shape in shapes.items():
        if name.startswith("unet.") and (match := LORA_MATRIX.fullmatch(name)):
            side = "down" if match["side"] in ("lora_A", "down") else "up"
            pairs.setdefault(match["layer"], {})[side] = shape
    for layer, sides in pairs.items():
        down, up = sides.get("down", ()), sides.get("up", ())
        if len(down) not in (2, 4) or len(up) != len(down) or down[0] != up[1]:
            raise ModelError(
                "LoRA file {path} is not whole: {layer} lacks one of its two matrices, or they do not fit one "
                "another. Fetch it again.",
                path=path,
                layer=plain(layer),
            )
