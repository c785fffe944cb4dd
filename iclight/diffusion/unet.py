"""The relighting UNet: a text-to-image UNet, its first convolution widened, IC-Light's offsets added.

Extra input channels are the foreground's latent (fc and env: 4 + 4), then the background's (fbc: 4 + 4 + 4). Every
name and shape is checked before anything is allocated; then tensors stream through one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import Message, ModelError, first_line
from ..networks.unet import UNet
from .environment_encoder import PREFIX
from .lora import Loras
from .names import ldm_unet
from .tensors import SelectedSource, TensorSource, check_names, named_alike, open_tensors

CONV_IN = "conv_in.weight"
LATENT_CHANNELS = 4
INPUT_CHANNELS = {"fc": 8, "fbc": 12, "env": 8}


def open_offset(path: Path, base: Mapping[str, tuple[int, ...]]) -> TensorSource:
    """An offset file for a UNet whose tensors are `base`, under diffusers' names.

    ComfyUI's and Forge's form of the same files, with ldm's names behind `diffusion_model.`, is renamed.
    """
    source = open_tensors(path)
    if CONV_IN in source.shapes:
        return source
    ldm = ldm_unet(base)

    def candidates(name: str) -> Iterator[str]:
        for prefix in ("", "unet.", "diffusion_model.", "model.diffusion_model."):
            yield prefix + name
            if name in ldm:
                yield prefix + ldm[name]

    renamed = named_alike(source, base, candidates)
    known = set(renamed.names.values())
    others = {name: name for name in source.shapes.keys() - known}
    return SelectedSource(source, {**renamed.names, **others})


def load_unet(
    base: TensorSource,
    config: Mapping[str, Any],
    offset: TensorSource,
    workflow: str,
    dtype: torch.dtype,
    device: torch.device | None = None,
    loras: Loras = Loras(),  # noqa: B008
) -> UNet:
    """Merge `base`, `loras` and `offset` into the workflow's UNet, in eval mode.

    `config` is the base UNet's diffusers config. LoRA files change the base, for which they were made; then it is
    widened, and the offset added. Sums are taken in float32, then cast to `dtype`. No source is changed. At most one
    tensor more than the finished model is in memory. Raises ModelError naming the file, what was found and what was
    expected.
    """
    check_base(base, config)
    check_kind(offset, workflow)
    offset = SelectedSource(offset, {name: name for name in offset.shapes if not name.startswith(PREFIX)})
    check_offset(base, offset, workflow)
    try:
        with torch.device("meta"):
            unet = UNet({**config, "in_channels": INPUT_CHANNELS[workflow]})
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
        total = loras.fold("unet", name, base.read(name).float())
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
