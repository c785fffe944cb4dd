"""The parts of a base model: tokenizer, text encoder, VAE, and the UNet's weights and config, still unmerged.

    parts = open_parts(base, config)  # names and shapes of all three parts, checked; nothing is built
    components = build_components(parts, dtype, vae_dtype)

Out of a folder in diffusers layout, or out of a single-file SD1.5 checkpoint; checked to be whole either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ..errors import Message, ModelError, WeightsError, first_line, plain, quoted
from ..networks.autoencoder import Autoencoder
from ..networks.clip import TextConfig, TextEncoder, TextTokenizer, open_tokenizer
from ..networks.unet import UNet
from .configs import check_small_files, numbers_in, prediction_type, read_config, weights_file, zero_snr
from .embeddings import add_embeddings
from .lora import Loras
from .names import ldm_unet, text_name, vae_names
from .tensors import MemorySource, SafetensorsSource, TensorSource, check_floats, named_alike, open_tensors

PARTS = ("unet", "vae", "text_encoder")


@dataclass(frozen=True)
class Parts:
    """A base model's files, opened; all by part.

    `folder`: where the tokenizer and configs are. `notice`: what the user should know of where the parts come from.
    """

    folder: Path
    files: Mapping[str, Path]
    configs: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, TensorSource]
    prediction_type: str = "epsilon"
    notice: Message = field(default=Message(""))

    @property
    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        return {part: source.shapes for part, source in self.sources.items()}


@dataclass
class Components:
    """What a relighter is made of. `files`: the weights of "unet", "vae" and "text_encoder".

    `embeddings`: names that stand for vectors of the text encoder's, by their numbers in its table.
    """

    tokenizer: TextTokenizer
    text_encoder: TextEncoder
    vae: Autoencoder
    unet: TensorSource
    unet_config: Mapping[str, Any]
    files: Mapping[str, Path]
    prediction_type: str = "epsilon"
    embeddings: Mapping[str, Sequence[int]] = field(default_factory=dict)


def open_parts(base: Path, config: Path, vae: Path | None = None) -> Parts:
    """Open what `base` holds (a folder, or a .safetensors checkpoint whose configs and tokenizer are in `config`).

    `vae`: another VAE instead of its own: a folder with its config.json, or a file of the same architecture. Raises
    ModelError or WeightsError where anything is missing, of another shape than its config says, or of another kind.
    """
    parts = _open_folder(base, vae) if base.is_dir() else _open_checkpoint(base, config, vae)
    _check_fit(parts, base)
    return parts


def build_components(
    parts: Parts,
    dtype: torch.dtype,
    vae_dtype: torch.dtype,
    loras: Loras = Loras(),  # noqa: B008
    embeddings: Mapping[str, torch.Tensor] = MappingProxyType({}),
    share: Components | None = None,
) -> Components:
    """Build an opened base model: the text encoder in `dtype`, the VAE in `vae_dtype`, on the CPU and in eval mode.

    `loras` are folded into the text encoder, the vectors of `embeddings` are put behind its own. `share`: components of
    the same base, formats, LoRAs and embeddings that are in memory; only the UNet's tensors are not shared.
    """
    unet, config = parts.sources["unet"], parts.configs["unet"]
    if share is not None:
        return replace(share, unet=unet, unet_config=config)
    text_encoder = _built("text_encoder", parts, dtype, loras)
    return Components(
        _tokenizer(parts.folder),
        text_encoder,
        _built("vae", parts, vae_dtype, loras),
        unet,
        config,
        parts.files,
        parts.prediction_type,
        add_embeddings(text_encoder, embeddings),
    )


def _built(part: str, parts: Parts, dtype: torch.dtype, loras: Loras) -> Any:
    model, source = _described(part, parts.configs[part], parts.files[part]), parts.sources[part]
    tensors = {name: loras.fold(part, name, source.read(name)).to(dtype) for name in model.state_dict()}
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def module_around(part: str, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Any:
    """A module of ours around another library's weights of a part, by their names there; in eval mode, nothing copied.

    Raises ModelError where they are not what `config` describes, or not of SD1.5's kind.
    """
    label = f"the {part} that was given"
    model, source = _described(part, config, label), _named(part, config, MemorySource(tensors, label), label)
    model.load_state_dict({name: source.read(name) for name in model.state_dict()}, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def _described(part: str, config: Mapping[str, Any], file: Path | str) -> torch.nn.Module:
    """The module that a part's config describes, without memory for its weights. Raises ModelError."""
    try:
        with torch.device("meta"):
            if part == "text_encoder":
                return TextEncoder(TextConfig.of(config))
            return UNet(config) if part == "unet" else Autoencoder(config)
    except Exception as error:  # whatever the library trips over in a config that makes no sense
        raise ModelError(
            "The config.json of {path} describes no model ({reason}). Fetch it again.",
            path=file,
            reason=first_line(error),
        ) from error


def _named(part: str, config: Mapping[str, Any], source: TensorSource, file: Path | str) -> TensorSource:
    """A part's tensors under the names of its config's module. Raises ModelError where one is missing or misshapen."""
    wanted = {name: tuple(tensor.shape) for name, tensor in _described(part, config, file).state_dict().items()}
    ldm = ldm_unet(wanted) if part == "unet" else {}
    blocks = len(config.get("block_out_channels", ()))

    def candidates(name: str) -> Iterator[str]:
        if part == "text_encoder":
            bare = text_name(name)
            yield from (bare, f"text_model.{bare}")
            for prefix in ("cond_stage_model.transformer.", "cond_stage_model.clip_l.transformer."):
                yield from (f"{prefix}text_model.{bare}", prefix + bare)  # NovelAI's leave text_model out
        elif part == "vae":
            for one in vae_names(name, blocks):
                yield from (one, f"first_stage_model.{one}", f"vae.{one}")
        else:
            yield name
            if name in ldm:
                yield f"model.diffusion_model.{ldm[name]}"
                yield "model_ema." + f"diffusion_model.{ldm[name]}".replace(".", "")  # averaged weights, where alone

    found = named_alike(source, wanted, candidates)
    missing = sorted(wanted.keys() - found.shapes.keys())
    other = sorted(name for name, shape in found.shapes.items() if shape != wanted[name])
    if missing or other:
        raise ModelError(
            "{path} does not match its config.json, or is not of SD1.5's kind: of the {part}'s tensors, {missing} are "
            "missing and {other} of another shape ({names}). Fetch it again, or get another version of the model.",
            path=file,
            part=part,
            missing=len(missing),
            other=len(other),
            names=", ".join([*missing, *other][:2]),
        )
    check_floats(found, wanted)
    return found


def _check_fit(parts: Parts, base: Path) -> None:
    """Raise ModelError where text encoder, UNet and VAE cannot work together, or the VAE's scale is no number."""
    vae, text, unet = (parts.configs[part] for part in ("vae", "text_encoder", "unet"))
    scale, channels = vae.get("scaling_factor", 0.18215), vae.get("latent_channels", 4)
    if not isinstance(scale, (int, float)) or not 0 < scale < 1000 or channels != 4:
        raise ModelError(
            "The VAE of {base} is not of SD1.5's kind: {channels} latent channels, scaled by {scale}.",
            base=base,
            channels=quoted(channels),
            scale=quoted(scale),
        )
    width, reads = text.get("hidden_size", 512), unet.get("cross_attention_dim", 1280)
    if {*numbers_in(reads)} - {width, 1280, 2048}:  # the last are SDXL's, of which the UNet's own check says more
        raise ModelError(
            "{base} is not of one piece: its text encoder gives {width}, its UNet reads {reads}.",
            base=base,
            width=width,
            reads=quoted(reads),
        )


def _tokenizer(folder: Path) -> TextTokenizer:
    check_small_files(folder / "tokenizer")
    try:
        return open_tokenizer(folder / "tokenizer")
    except Exception as error:  # the tokenizers library raises bare Exception
        raise WeightsError(
            "{path} could not be loaded ({reason}).", path=folder / "tokenizer", reason=first_line(error)
        ) from error


def _open_folder(folder: Path, vae: Path | None) -> Parts:
    configs = {part: read_config(folder / part) for part in PARTS}
    files = {part: weights_file(folder, part) for part in PARTS}
    sources = {"unet": open_tensors(files["unet"])}  # compared when an offset is: its messages know both
    sources["text_encoder"] = _open_part("text_encoder", configs, files)
    if vae is not None:
        files["vae"], configs["vae"] = _other_vae(vae, configs["vae"])
    sources["vae"] = _open_part("vae", configs, files)
    return Parts(folder, files, configs, sources, prediction_type(folder))


def _open_part(part: str, configs: Mapping[str, Mapping[str, Any]], files: Mapping[str, Path]) -> TensorSource:
    return _named(part, configs[part], open_tensors(files[part]), files[part])


def _other_vae(vae: Path, config: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """A VAE's file and config: of a folder that holds both, or a model's vae/; a file has the base's own config."""
    if not vae.is_dir():
        return vae, config
    folder = vae / "vae" if (vae / "vae").is_dir() else vae
    return weights_file(folder.parent, "vae", folder), read_config(folder)


def _open_checkpoint(path: Path, config: Path, vae: Path | None) -> Parts:
    source = check_checkpoint(path)
    configs = {part: read_config(config / part) for part in PARTS}
    files, notice = dict.fromkeys(PARTS, path), Message("")
    if vae is not None:
        files["vae"], configs["vae"] = _other_vae(vae, configs["vae"])
    elif not any(name.startswith(("first_stage_model.", "vae.")) for name in source.shapes):
        try:
            files["vae"] = weights_file(config, "vae")
        except WeightsError as error:
            raise WeightsError(
                "{path} brings no VAE. Give one with --vae: a file, a folder or a hub id, such as "
                "stabilityai/sd-vae-ft-mse.",
                path=path,
            ) from error
        notice = Message(
            "{file} brings no VAE; {other} is used. --vae takes another.", file=path.name, other=files["vae"]
        )
    sources = {part: _named(part, configs[part], source, path) for part in ("unet", "text_encoder")}
    own = files["vae"] == path
    sources["vae"] = _named("vae", configs["vae"], source, path) if own else _open_part("vae", configs, files)
    marked = "v_pred" in source.shapes or source.metadata.get("modelspec.prediction_type") in ("v", "v_prediction")
    return Parts(config, files, configs, sources, "v_prediction" if marked else "epsilon", notice)


# Families of models, by a name that only their files hold.
_FAMILIES = {
    "conditioner.embedders.": "an SDXL",
    "cond_stage_model.model.": "a Stable Diffusion 2",
    "model.diffusion_model.joint_blocks.": "a Stable Diffusion 3",
    "model.diffusion_model.double_blocks.": "a Flux",
    "double_blocks.": "a Flux",
}
_FIRST = "model.diffusion_model.input_blocks.0.0.weight"
_FIRST_AVERAGED = "model_ema.diffusion_modelinput_blocks00weight"


def check_checkpoint(path: Path) -> TensorSource:
    """A .safetensors file as a plain SD1.5 checkpoint, by its header alone. Raises ModelError for any other kind."""
    source = SafetensorsSource(path)
    shapes = source.shapes
    for prefix, family in _FAMILIES.items():
        if any(name.startswith(prefix) for name in shapes):
            raise ModelError(
                "{path} is {family} checkpoint; IC-Light's published offsets are for Stable Diffusion 1.5. Give an "
                "SD1.5 checkpoint.",
                path=path,
                family=family,
            )
    first = shapes.get(_FIRST, shapes.get(_FIRST_AVERAGED))
    if first is None:
        raise ModelError(
            "{path} is not an SD1.5 checkpoint: it holds no {name}. Offsets, LoRA files and VAEs go to --offset, "
            "--lora and --vae.",
            path=path,
            name=_FIRST,
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
    if "ztsnr" in shapes:
        raise zero_snr(path)
    if scaled := next((name for name in shapes if name.endswith(("scaled_fp8", ".scale_weight"))), None):
        raise ModelError(
            "{path} holds float8 weights with scales of their own ({name}); get a version in float16, or in float8 "
            "without scales.",
            path=path,
            name=plain(scaled),
        )
    return source
