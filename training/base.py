"""What a run starts from: a new small model, or a model in diffusers layout, whole or with LoRA.

A base's first convolution is widened with zeros, so that before the first step it answers as it did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from iclight.diffusion.checkpoints import prediction_type
from iclight.diffusion.environment_encoder import PREFIX, EnvironmentEncoder
from iclight.diffusion.unet import CONV_IN
from iclight.errors import WeightsError

from .config import Config
from .data.batches import WORKFLOWS
from .model import INPUT_CHANNELS, LATENTS, Merge, RelightingModel, build_text_encoder, build_tokenizer, build_unet

# A new small model's autoencoder, where `autoencoder.py` leaves it.
VAE = Path("build/autoencoder/final")
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out")


@dataclass
class Trained:
    """The parts of a run. `base`: the base UNet's own tensors where there is a base, None for a new model.

    `new_merge`: the merging MLP has learnt nothing yet (`model.start_merge`).
    """

    model: RelightingModel
    tokenizer: CLIPTokenizer
    vae: AutoencoderKL | None
    base: Mapping[str, Tensor] | None = None
    lora: int = 0
    new_merge: bool = True

    def save(self, folder: Path) -> None:
        """Everything `load` takes back: weights by part, tokenizer, and what they are."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.lora:
            self.model.unet.fuse_lora()
            self.model.unet.unload_lora()
        for name in ("tokens", "merge"):
            torch.save(getattr(self.model, name).state_dict(), folder / f"{name}.pt")
        self.model.unet.save_pretrained(folder / "unet")
        self.model.text_encoder.save_pretrained(folder / "text_encoder")
        self.tokenizer.save_pretrained(folder / "tokenizer")
        facts: dict[str, Any] = {"has_base": self.base is not None, "width": self.model.tokens.width}
        facts["prediction_type"] = self.model.prediction_type
        (folder / "trained.json").write_text(json.dumps(facts))


def load(folder: Path, vae: Path | None = VAE, workflow: str = "fbc") -> Trained:
    """A trained model from its folder: a run's trained/, or a model of ours that was exported whole, of which the
    `workflow`'s UNet is taken.

    Raises WeightsError if it is neither.
    """
    if (folder / "iclight.json").is_file() and (folder / "unet").is_dir():
        return _exported(folder, vae, workflow)
    if not (folder / "trained.json").is_file():
        raise WeightsError(f"{folder} holds no trained model; give a run's trained/ folder, or one like models/mini.")
    facts = json.loads((folder / "trained.json").read_text())
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    tokens, merge = EnvironmentEncoder(text_encoder.config.hidden_size), Merge()
    tokens.load_state_dict(torch.load(folder / "tokens.pt", weights_only=True))
    merge.load_state_dict(torch.load(folder / "merge.pt", weights_only=True))
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    model = RelightingModel(unet, text_encoder, tokens, merge, facts["prediction_type"])
    return Trained(model, tokenizer, _vae(vae), new_merge=False)


def _exported(folder: Path, vae: Path | None, workflow: str) -> Trained:
    """What `export_new` wrote, to train on from: its merging MLP, which no model ships, is new. The first convolution's
    channels that the workflow does not have begin at zero.

    A UNet without pooled conditions gets them (`build_unet`); they say little until they have learnt something.
    """
    files = json.loads((folder / "iclight.json").read_text())["offsets"]
    narrow = UNet2DConditionModel.from_pretrained(folder / "unet")
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").float()
    width = text_encoder.config.hidden_size
    unet = build_unet(narrow.config.block_out_channels, width)
    own, env = (load_file(str(folder / files[name])) for name in (workflow, "env"))
    base = narrow.state_dict()
    wide = {name: base[name].float() + own[name].float() for name in base if name != CONV_IN}
    wide[CONV_IN] = torch.zeros_like(unet.conv_in.weight)
    wide[CONV_IN][:, : own[CONV_IN].shape[1]] = own[CONV_IN].float()
    wide[CONV_IN][:, :LATENTS] += base[CONV_IN].float()
    unet.load_state_dict({**unet.state_dict(), **wide})
    tokens = EnvironmentEncoder(width)
    tokens.load_state_dict({n.removeprefix(PREFIX): t.float() for n, t in env.items() if n.startswith(PREFIX)})
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    return Trained(RelightingModel(unet, text_encoder, tokens, Merge(), prediction_type(folder)), tokenizer, _vae(vae))


def build(config: Config, out: Path) -> Trained:
    """The parts a run trains. Parameters that do not learn at all have their gradients switched off."""
    if config.begin:
        # A run for one workflow goes on from that one's UNet.
        alone = [
            name for name, share in zip(WORKFLOWS, config.workflows, strict=True) if share == sum(config.workflows)
        ]
        parts = load(Path(config.begin), Path(config.vae), alone[0] if alone else "fbc")
    elif config.base == "mini":
        tokenizer = build_tokenizer(out / "tokenizer")
        unet = build_unet(config.channels, config.width)
        encoder = build_text_encoder(tokenizer, config.width)
        model = RelightingModel(
            unet, encoder, EnvironmentEncoder(config.width), Merge(), config.prediction or "v_prediction"
        )
        parts = Trained(model, tokenizer, _vae(Path(config.vae)))
    else:
        parts = _from_base(config)
    convert_prediction_type(parts.model, config.prediction or parts.model.prediction_type)
    if config.normals:
        parts.model.watch_shape()
    # bfloat16 convolutions run on channels-last memory without copies.
    parts.model.unet.to(memory_format=torch.channels_last)
    if not torch.cuda.is_available():
        # On CPUs the fused attention's backward pass is slower than plain matrix products.
        parts.model.unet.set_attn_processor(AttnProcessor())
    return parts


def convert_prediction_type(model: RelightingModel, prediction_type: str) -> None:
    """Turn a network of velocities into one of clean latents, to be trained on.

    Where noise is all there is, a velocity is -x_0; for the rest it has to learn.
    Raises WeightsError for any other change.
    """
    if model.prediction_type == prediction_type:
        return
    if (model.prediction_type, prediction_type) != ("v_prediction", "sample"):
        raise WeightsError(
            f"A network of {model.prediction_type} cannot go on as one of {prediction_type}; leave --prediction out."
        )
    with torch.no_grad():
        for parameter in model.unet.conv_out.parameters():
            parameter.neg_()
    model.prediction_type = prediction_type


def _from_base(config: Config) -> Trained:
    folder = _base_folder(config.base)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    base = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    widen(unet)
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    if config.lora:
        unet = _with_lora(unet, config.lora)
    unet.enable_gradient_checkpointing()
    tokens = EnvironmentEncoder(text_encoder.config.hidden_size)
    model = RelightingModel(unet, text_encoder, tokens, Merge(), prediction_type(folder))
    return Trained(model, tokenizer, _vae(folder / "vae"), base, config.lora)


def _base_folder(base: str) -> Path:
    """A folder as it is; a name or hub id through the engine's own finding and fetching."""
    if Path(base).is_dir():
        return Path(base)
    from iclight.weights.find import find_base
    from iclight.weights.hub import print_to_stderr

    return find_base(base, True, print_to_stderr).base


def widen(unet: UNet2DConditionModel) -> None:
    """Give the first convolution INPUT_CHANNELS input channels; the new ones start at zero."""
    narrow = unet.conv_in
    wide: Any = torch.nn.Conv2d(INPUT_CHANNELS, narrow.out_channels, narrow.kernel_size, narrow.stride, narrow.padding)
    with torch.no_grad():
        wide.weight.zero_()
        wide.weight[:, : narrow.in_channels] = narrow.weight
        wide.bias.copy_(narrow.bias)
    unet.conv_in = wide
    unet.register_to_config(in_channels=INPUT_CHANNELS)


def _with_lora(unet: UNet2DConditionModel, rank: int) -> UNet2DConditionModel:
    """Low-rank adapters (Hu et al. 2022) on the attention; the widened first convolution learns in full."""
    from peft import LoraConfig

    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(LORA_TARGETS))
    )
    unet.conv_in.requires_grad_(True)
    return unet


def _vae(folder: Path | None) -> AutoencoderKL | None:
    if folder is None or not (folder / "config.json").is_file():
        return None
    options: dict[str, Any] = {"torch_dtype": torch.float32}
    return AutoencoderKL.from_pretrained(folder, **options).requires_grad_(False).eval()
