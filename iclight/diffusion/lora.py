"""LoRA files: whose layer each tensor belongs to, by any trainer's names, and the weights with all of them folded in.

    loras = open_loras([(Path("style.safetensors"), 0.7)], {"unet": unet.shapes, "text_encoder": text.shapes})
    weight = loras.fold("unet", name, weight)

Everything is checked when the files are opened, by names and shapes alone; `fold` reads a layer when its turn comes.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import Message, ModelError, SettingsError, WeightsError, first_line, plain
from ..weights.files import check_regular
from ..weights.manifest import parse_json, read_json
from .lora_algebra import BIASES, KINDS, change, kind_of
from .names import ldm_unet, text_name
from .tensors import TensorSource, check_floats, open_tensors

LORA_TENSORS = 20_000
NAMED = 3

# How a tensor's name ends -> its short name.
_ENDINGS = {
    "lora_down.weight": "down",
    "lora_A.weight": "down",
    "lora_A.default.weight": "down",
    "down.weight": "down",
    "lora_up.weight": "up",
    "lora_B.weight": "up",
    "lora_B.default.weight": "up",
    "up.weight": "up",
    "lora_mid.weight": "mid",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "lora_magnitude_vector.default.weight": "magnitude",
    **{name: name for names, _, _ in KINDS.values() for name in names if name not in ("down", "up", "mid")},
    **{name: name for name in (*BIASES, "alpha", "dora_scale")},
}
_LONGEST_FIRST = sorted(_ENDINGS, key=len, reverse=True)
# Kinds that no line here folds, by how their tensors' names end.
_REFUSED = {
    "a1.weight": "GLoRA",
    "b1.weight": "GLoRA",
    "lambda_layer": "T-LoRA",
    "oft_R.weight": "OFT of PEFT's own form",
    "oft_R.default.weight": "OFT of PEFT's own form",
    "vera_lambda_b": "VeRA",
    "set_weight": "a set of whole weights",
}
# What programs put before a layer's name, once dots are underscores.
_PREFIXES = tuple(
    f"{prefix}_"
    for prefix in (
        "base_model_model",
        "lora_unet",
        "lora_te1",
        "lora_te",
        "lycoris",
        "model_diffusion_model",
        "diffusion_model",
        "unet",
        "cond_stage_model_transformer",
        "text_encoder",
        "text_model",
    )
)


@dataclass(frozen=True)
class _Layer:
    """What one file changes at one layer: `tensors` maps short names to the file's."""

    source: TensorSource
    tensors: Mapping[str, str]
    scale: float
    ratio: float | None

    def read(self, weight: torch.Tensor, device: str | None = None) -> torch.Tensor:
        parts = {
            short: torch.empty(self.source.shapes[name], device=device) if device else self.source.read(name).float()
            for short, name in self.tensors.items()
            if short not in BIASES
        }
        return change(weight, parts, self.scale, self.ratio)


@dataclass(frozen=True)
class Loras:
    """All files' changes, by part and by the name of the weight; `unused`: a line for each file not used whole."""

    files: tuple[tuple[Path, float], ...] = ()
    unused: tuple[Message, ...] = ()
    _weights: Mapping[tuple[str, str], Sequence[_Layer]] = field(default_factory=dict)
    _biases: Mapping[tuple[str, str], Sequence[tuple[TensorSource, str, float]]] = field(default_factory=dict)

    def fold(self, part: str, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The weight `name` of "unet" or "text_encoder" with every file's change; one nobody changes as it is.

        What is changed comes back in float32, in the weight's own shape.
        """
        for layer in self._weights.get((part, name), ()):
            weight = layer.read(weight.float())
        for source, tensor, scale in self._biases.get((part, name), ()):
            weight = weight.float() + scale * source.read(tensor).float()
        return weight


def parse_lora(text: str) -> tuple[str, float]:
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
            return path, number
    return text, 1.0


def open_loras(files: Sequence[tuple[Path, float]], shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> Loras:
    """Open LoRA files, each at its scale, for a model whose tensors are `shapes`: by part ("unet", "text_encoder").

    Raises ModelError or WeightsError naming the file that is missing, not whole, of a kind that is not folded, or made
    for another architecture. What merely is of no use here is told in `unused`.
    """
    layers = _layers(shapes)
    weights: dict[tuple[str, str], list[_Layer]] = {}
    biases: dict[tuple[str, str], list[tuple[TensorSource, str, float]]] = {}
    unused = []
    for path, scale in files:
        source = _open(path)
        found, strange = _sorted(source, layers, path)
        ratios = _ratios(path, source)
        for (part, layer), tensors in found.items():
            check_floats(source, [tensors[n] for n in tensors if n not in ("alpha", "on_input")])
            if set(tensors) - set(BIASES):
                one = _Layer(source, tensors, scale, ratios.of(part, layer))
                name = f"{layer}.weight"
                _check_layer(path, one, layer, shapes[part].get(name, ()))
                weights.setdefault((part, name), []).append(one)
            for short in BIASES:
                if short in tensors:
                    name = f"{layer}.bias"
                    _check_bias(path, source.shapes[tensors[short]], name, shapes[part].get(name, ()))
                    biases.setdefault((part, name), []).append((source, tensors[short], scale))
        if not found:
            raise ModelError(
                "LoRA file {path} holds nothing for the UNet or text encoder of this model ({names}). Is it made for "
                "SD1.5?",
                path=path,
                names=_few(strange),
            )
        if strange:
            unused.append(
                Message(
                    "{count} of {all} tensors of LoRA file {path} were not used: this model has no layer of their "
                    "name ({names}).",
                    count=len(strange),
                    all=len(source.shapes),
                    path=path,
                    names=_few(strange),
                )
            )
    return Loras(tuple(files), tuple(unused), weights, biases)


def _layers(shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> dict[str, tuple[str, str]]:
    """Every name that a layer goes by, its dots made underscores -> (part, the layer's own name)."""
    found = {}
    for part, names in shapes.items():
        own = {name.rpartition(".")[0] for name in names}
        others = ldm_unet(own) if part == "unet" else {}
        for layer in own:
            for alias in (text_name(layer), others.get(layer, layer)):
                found[alias.replace(".", "_")] = (part, layer)
    return found


def _open(path: Path) -> TensorSource:
    if not os.path.exists(path):
        raise WeightsError("LoRA file {path} does not exist.", path=plain(path))
    check_regular(path, "LoRA file", WeightsError)
    source = open_tensors(path)
    if len(source.shapes) > LORA_TENSORS:
        raise ModelError("LoRA file {path} holds tensors that no LoRA for SD1.5 has.", path=path)
    return source


def _sorted(
    source: TensorSource, layers: Mapping[str, tuple[str, str]], path: Path
) -> tuple[dict[tuple[str, str], dict[str, str]], list[str]]:
    """(part, layer) -> short name -> tensor; and the tensors that belong to no layer here."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    strange = []
    for name in source.shapes:
        kind = next((kind for ending, kind in _REFUSED.items() if name.endswith(f".{ending}")), None)
        if kind is not None:
            raise ModelError(
                "LoRA file {path} is {kind}, which is not folded into weights here; get a plain LoRA.",
                path=path,
                kind=kind,
            )
        ending = next((end for end in _LONGEST_FIRST if name.endswith((f".{end}", f"_{end}"))), None)
        place = _place(name[: -len(ending) - 1], layers) if ending else None
        if ending is None or place is None:
            strange.append(name)
        elif found.setdefault(place, {}).setdefault(_ENDINGS[ending], name) != name:
            raise ModelError(
                "LoRA file {path} names a layer twice, as {first} and {second}. Fetch it again.",
                path=path,
                first=plain(found[place][_ENDINGS[ending]]),
                second=plain(name),
            )
    # `weight` alone is a model's own tensor, `alpha` alone changes nothing.
    for place, tensors in list(found.items()):
        if set(tensors) <= {"alpha"} or ("weight" in tensors and "on_input" not in tensors):
            strange += found.pop(place).values()
    return found, strange


def _place(layer: str, layers: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    key = re.sub(r"[._](lora|lora_linear_layer)$", "", layer[:500]).replace(".", "_").replace("_processor_", "_")
    # Text encoders, as diffusers named them for a while.
    key = re.sub(r"_self_attn_to_(q|k|v|out)$", r"_self_attn_\1_proj", key)
    while True:
        for name in (key, f"{key}_0"):  # to_out is to_out.0, and was called to_out
            if name in layers:
                return layers[name]
        prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), None)
        if prefix is None:
            return None
        key = key[len(prefix) :]


def _check_layer(path: Path, layer: _Layer, name: str, shape: tuple[int, ...]) -> None:
    """Raise ModelError unless a layer's tensors are whole, of one kind, and fit the weight: its algebra, on shapes."""
    if kind_of(layer.tensors) is None:
        raise ModelError(
            "LoRA file {path} changes {layer} by {parts}, which is of no kind that is folded here.",
            path=path,
            layer=plain(name),
            parts=plain(", ".join(sorted(layer.tensors))),
        )
    try:
        layer.read(torch.empty(shape, device="meta"), "meta")
    except KeyError as error:
        raise ModelError(
            "LoRA file {path} is not whole: {layer} lacks {part}. Fetch it again.",
            path=path,
            layer=plain(name),
            part=first_line(error),
        ) from error
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise ModelError(
            "LoRA file {path} does not fit {layer} of this model, or is not whole ({reason}). Is it made for SD1.5?",
            path=path,
            layer=plain(name),
            reason=first_line(error),
        ) from error


def _check_bias(path: Path, held: tuple[int, ...], name: str, shape: tuple[int, ...]) -> None:
    if held != shape:
        raise ModelError(
            "LoRA file {path} does not fit {layer} of this model, or is not whole ({reason}). Is it made for SD1.5?",
            path=path,
            layer=plain(name),
            reason=f"{held}, {shape}",
        )


def _few(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    return ", ".join(plain(name, 80) for name in names[:NAMED]) + more


@dataclass(frozen=True)
class _Ratios:
    """alpha over rank, where PEFT keeps it: beside the tensors. Of the whole file, or of each part."""

    configs: Mapping[str, Mapping[str, Any]]

    def of(self, part: str, layer: str) -> float | None:
        config = self.configs.get(part, self.configs.get("", {}))
        rank = _number(_matching(config.get("rank_pattern"), layer, config.get("r")))
        alpha = _number(_matching(config.get("alpha_pattern"), layer, config.get("lora_alpha")))
        if rank is None or alpha is None or rank <= 0:
            return None
        return alpha / (math.sqrt(rank) if config.get("use_rslora") is True else rank)


def _matching(pattern: Any, layer: str, usual: Any) -> Any:
    """PEFT's patterns name layers by how they end."""
    named = pattern if isinstance(pattern, dict) else {}
    return next((value for end, value in named.items() if f".{layer}".endswith(f".{end}")), usual)


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _ratios(path: Path, source: TensorSource) -> _Ratios:
    """What an adapter_config.json beside the file, or the file's own metadata (diffusers), says of its scale."""
    config = path.with_name("adapter_config.json")
    if path.name.startswith("adapter_model.") and config.is_file():
        return _Ratios({"": read_json(config, "Fetch it again.")})
    try:
        said = parse_json(source.metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        said = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in said.items() if isinstance(said, dict) else ():
        part, _, key = name.partition(".")
        parts.setdefault(part, {})[key] = value
    return _Ratios(parts)
