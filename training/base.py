"""What a run starts from: a new small model, or a model in diffusers layout, whole or with LoRA.

A base's first convolution is widened with zeros, so that before the first step it answers as it did.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from iclight.diffusion.configs import prediction_type
from iclight.diffusion.environment_encoder import PREFIX, EnvironmentEncoder
from iclight.diffusion.unet import CONV_IN
from iclight.errors import WeightsError

from .config import Config
from .data.batches import WORKFLOWS
from .model import INPUT_CHANNELS, LATENTS, Merge, RelightingModel, build_text_encoder, build_unet
from .tokenizer import build_tokenizer

# A new small model's autoencoder, where `autoencoder.py` leaves it.
VAE = Path("build/autoencoder/final")
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out")


@dataclass
class Trained:
    """The parts of a run.

    `vae`: the autoencoder, where there is one to look at pictures with.
    `lora`: the rank of the UNet's adapters, 0 for none.
    `new_merge`: the merging MLP has learnt nothing yet (`model.fit_merge`).
    """

    model: RelightingModel
    tokenizer: CLIPTokenizer
    vae: AutoencoderKL | None
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
        (folder / "trained.json").write_text(json.dumps({"prediction_type": self.model.prediction_type}))


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
    """The parts of a run, before its first step.

    Raises WeightsError for a model to go on from that predicts something else than the config wants.
    """
    if config.init_from:
        # A run for one workflow goes on from that one's UNet.
        whole = sum(config.workflows)
        alone = [name for name, share in zip(WORKFLOWS, config.workflows, strict=True) if share == whole]
        parts = load(Path(config.init_from), Path(config.vae), alone[0] if alone else "fbc")
        if config.prediction not in ("", parts.model.prediction_type):
            raise WeightsError(
                f"{config.init_from} predicts {parts.model.prediction_type} and cannot go on as {config.prediction}; "
                "leave --prediction out."
            )
    elif config.base == "mini":
        tokenizer = build_tokenizer(out / "tokenizer")
        unet = build_unet(config.channels, config.width)
        encoder = build_text_encoder(tokenizer, config.width)
        tokens, prediction = EnvironmentEncoder(config.width), config.prediction or "v_prediction"
        model = RelightingModel(unet, encoder, tokens, Merge(), prediction)
        parts = Trained(model, tokenizer, _vae(Path(config.vae)))
    else:
        parts = _from_base(config)
    if config.normals:
        parts.model.add_normal_head()
    # bfloat16 convolutions run on channels-last memory without copies.
    parts.model.unet.to(memory_format=torch.channels_last)
    if not torch.cuda.is_available():
        # On CPUs the fused attention's backward pass is slower than plain matrix products.
        parts.model.unet.set_attn_processor(AttnProcessor())
    return parts


def _from_base(config: Config) -> Trained:
    folder = _base_folder(config.base)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    widen(unet)
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    if config.lora:
        unet = _with_lora(unet, config.lora)
    unet.enable_gradient_checkpointing()
    tokens = EnvironmentEncoder(text_encoder.config.hidden_size)
    model = RelightingModel(unet, text_encoder, tokens, Merge(), prediction_type(folder))
    return Trained(model, tokenizer, _vae(folder / "vae"), config.lora)


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
