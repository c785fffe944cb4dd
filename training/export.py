"""A trained model -> exactly what the engine loads: a base in diffusers layout, and an offset per workflow.

    python -m training.export build/mini/trained models/mini --name mini

For a new model the base is the network itself, cut to four input channels, so an offset is zero but for its first
convolution's extra channels. For a trained base the offsets are what was learnt, and the base stays where it is.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel

from iclight.diffusion.solver import BETAS, TRAIN_STEPS
from iclight.diffusion.unet import CONV_IN, INPUT_CHANNELS, LATENT_CHANNELS
from iclight.errors import WeightsError

from .base import Trained, load
from .data.captions import NEGATIVE, QUALITY
from .tokenizer import write_vocabulary

OWN = ("fc", "fbc")  # workflows that may have a UNet of their own; env's is the base


def offsets(trained: Mapping[str, Tensor], base: Mapping[str, Tensor], tokens: Mapping[str, Tensor]) -> dict[str, Any]:
    """Workflow -> tensors: trained minus base, the first convolution as wide as the workflow's."""
    added: dict[str, dict[str, Tensor]] = {}
    for workflow, channels in INPUT_CHANNELS.items():
        tensors = {name: trained[name].float() - base[name].float() for name in base if name != CONV_IN}
        wide = trained[CONV_IN][:, :channels].float().clone()
        wide[:, :LATENT_CHANNELS] -= base[CONV_IN].float()
        added[workflow] = {**tensors, CONV_IN: wide}
    added["env"] |= {f"environment.{name}": tensor.float() for name, tensor in tokens.items()}
    return added


def export_offsets(parts: Trained, base: Mapping[str, Tensor], folder: Path, name: str) -> dict[str, str]:
    """Write `iclight_<name>_<workflow>.safetensors` in float16; workflow -> file name.

    `parts`: what was trained; `base`: the tensors of the UNet that it is added to.
    `folder`, `name`: where the files go, and what they are called.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for workflow, tensors in offsets(parts.model.unet.state_dict(), base, parts.model.tokens.state_dict()).items():
        files[workflow] = f"iclight_{name}_{workflow}.safetensors"
        half = {key: _compact(value, workflow) for key, value in tensors.items()}
        save_file(half, str(folder / files[workflow]))
    return files


def _save_tokenizer(parts: Trained, folder: Path) -> None:
    """In SD1.5's layout: transformers 5 would write a tokenizer.json alone, which transformers 4 does not read here."""
    parts.tokenizer.save_pretrained(folder)
    whole = folder / "tokenizer.json"
    if whole.is_file():
        content = json.loads(whole.read_text(encoding="utf-8"))["model"]
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in content["merges"]]
        write_vocabulary(folder, content["vocab"], pairs)
        whole.unlink()


def _compact(value: Tensor, workflow: str) -> Tensor:
    """float16; but what adds nothing to the UNet takes one byte in env files, which hold the tokens as well."""
    if workflow == "env" and not value.any():
        return torch.zeros(value.shape, dtype=torch.uint8)
    return value.half().contiguous()


def export_new(
    parts: Trained,
    vae: AutoencoderKL,
    folder: Path,
    name: str,
    facts: Mapping[str, Any],
    own: Mapping[str, Trained] | None = None,
) -> None:
    """A whole model folder of a new model: base, scheduler, offsets, iclight.json.

    `parts`: what a run trained; its UNet is the base, and env's.
    `vae`: what it was trained with. Both are rounded to float16.
    `name`, `facts`: what iclight.json is to say of the model.
    `own`: workflows (fc, fbc) -> runs that trained a UNet for them alone, beginning from the same words, which were
        frozen; the workflow's offset leads from the base to that UNet.

    Raises WeightsError for a run of `own` that changed the words.
    """
    from diffusers import UNet2DConditionModel

    for workflow, run in (own or {}).items():
        _same_words(parts, run, workflow)
    whole = {key: value.half().float() for key, value in parts.model.unet.state_dict().items()}
    base = {**whole, CONV_IN: whole[CONV_IN][:, :LATENT_CHANNELS].clone()}
    unet = UNet2DConditionModel.from_config({**parts.model.unet.config, "in_channels": LATENT_CHANNELS})
    unet.load_state_dict(base)
    unet.half().save_pretrained(folder / "unet")
    vae.half().save_pretrained(folder / "vae")
    for part in ("unet", "vae"):
        _forget_where_from(folder / part / "config.json")
    neutralise_quality_tokens(parts).half().save_pretrained(folder / "text_encoder")
    _save_tokenizer(parts, folder / "tokenizer")
    parts.model.unet.load_state_dict(whole)
    files = export_offsets(parts, base, folder, name)
    for workflow, run in (own or {}).items():
        apart = offsets(run.model.unet.state_dict(), base, {})[workflow]
        save_file({key: _compact(value, workflow) for key, value in apart.items()}, str(folder / files[workflow]))
    _scheduler(parts.model.prediction_type).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")
    about = {"name": name, **facts, "offsets": files}
    (folder / "iclight.json").write_text(json.dumps(about, indent=1) + "\n")


def _scheduler(prediction_type: str) -> DPMSolverMultistepScheduler:
    """The engine's own solver as diffusers writes it."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_start=BETAS[0],
        beta_end=BETAS[1],
        beta_schedule="linear",
        algorithm_type="sde-dpmsolver++",
        use_karras_sigmas=True,
        steps_offset=1,
        prediction_type=prediction_type,
    )


@torch.no_grad()
def neutralise_quality_tokens(parts: Trained) -> CLIPTextModel:
    """A text encoder whose words of praise and blame (captions.QUALITY, NEGATIVE) have the embedding of the text's end.

    They stand on guidance's two sides, so that every difference that a small network sees between them is multiplied,
    by 7 in fbc's default, and none of it is about the picture. Now prompts of such words alone are one and the same,
    the empty one, and guidance is about what else a prompt says.
    """
    encoder = copy.deepcopy(parts.model.text_encoder)
    table = encoder.get_input_embeddings().weight
    for number in parts.tokenizer(f"{QUALITY}, {NEGATIVE}")["input_ids"][1:-1]:
        table[number] = table[parts.tokenizer.eos_token_id]
    return encoder


def _forget_where_from(path: Path) -> None:
    """Take the folder of this machine that diffusers notes out of a config.json."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _same_words(parts: Trained, run: Trained, workflow: str) -> None:
    """A model has one text encoder. Raises WeightsError for a run that changed it."""
    ours, theirs = (one.model.text_encoder.state_dict() for one in (parts, run))
    if any(not torch.allclose(value.float(), theirs[name].float(), atol=2e-3) for name, value in ours.items()):
        raise WeightsError(
            f"The run for {workflow} trained its text encoder, which all workflows share; freeze it "
            f"(as training/configs/mini-{workflow}.json does) and train again."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trained", type=Path, help="a run's trained/ folder")
    parser.add_argument("out", type=Path, help="the model's folder")
    parser.add_argument("--name", default="mini")
    parser.add_argument("--vae", type=Path, default=Path("build/autoencoder/final"))
    parser.add_argument("--base", type=Path, help="the base model's folder, for offsets of a trained base")
    for workflow in OWN:
        parser.add_argument(f"--{workflow}", type=Path, help=f"a run's trained/ folder whose UNet is {workflow}'s")
    parser.add_argument("--native-size", type=int, nargs=2, default=(256, 320), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--about", default="A small model, trained from scratch on procedural scenes and photographs.")
    parser.add_argument("--license", default="Apache-2.0")
    options = parser.parse_args()
    parts = load(options.trained, None, "env")
    if options.base:
        from diffusers import UNet2DConditionModel

        base = UNet2DConditionModel.from_pretrained(options.base / "unet").state_dict()
        export_offsets(parts, base, options.out, options.name)
        return
    if not (options.vae / "config.json").is_file():
        raise WeightsError(f"{options.vae} holds no autoencoder; give its folder with --vae.")
    facts = {"about": options.about, "native_size": list(options.native_size), "license": options.license}
    own = {workflow: load(run, None, workflow) for workflow in OWN if (run := getattr(options, workflow))}
    export_new(parts, AutoencoderKL.from_pretrained(options.vae), options.out, options.name, facts, own)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
