"""A base model's parts: whole or refused, out of a folder or out of a single file."""

from __future__ import annotations

import json
import os
import shutil

import ldm_checkpoint
import pytest
import torch
from golden_data import GOLDEN
from safetensors.torch import load_file, save_file

from iclight.diffusion.checkpoints import build_components, open_parts
from iclight.errors import IclightError, ModelError, WeightsError

MODEL = GOLDEN / "model"


def load(base, config=None, vae=None):
    return build_components(open_parts(base, config or base, vae), torch.float32, torch.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return ldm_checkpoint.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def modules(monkeypatch):
    """The modules that were built, in their order."""
    built: list[type] = []
    real = torch.nn.Module.__init__

    def counted(self, *given, **named):
        built.append(type(self))
        real(self, *given, **named)

    monkeypatch.setattr(torch.nn.Module, "__init__", counted)
    return built


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(MODEL, tmp_path / "model")


def test_a_single_file_checkpoint_holds_the_same_model_as_its_folder(tiny):
    folder, single = tiny
    ours, theirs = load(single, folder), load(folder)
    for name in theirs.unet.shapes:
        assert torch.equal(ours.unet.read(name).float(), theirs.unet.read(name).float()), name
    for part in ("vae", "text_encoder"):
        mine, yours = getattr(ours, part).state_dict(), getattr(theirs, part).state_dict()
        assert mine.keys() == yours.keys()
        assert all(torch.equal(mine[name], yours[name]) for name in yours), part
    assert set(ours.files.values()) == {single}
    assert ours.tokenizer.encode("light") == theirs.tokenizer.encode("light")


def test_a_checkpoints_relatives_are_told_apart_by_name_and_channels(tmp_path):
    first = "model.diffusion_model.input_blocks.0.0.weight"
    files = {
        "inpaint": ({first: torch.zeros(32, 9, 3, 3)}, r"9 input channels \(an inpainting model\), expected 4"),
        "xl": ({first: torch.zeros(32, 4, 3, 3), "conditioner.embedders.0.x": torch.zeros(1)}, "SDXL"),
        "lora": ({"lora_unet_x.lora_up.weight": torch.zeros(1)}, "not an SD1.5 checkpoint"),
    }
    for name, (tensors, words) in files.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path)
        with pytest.raises(ModelError, match=words) as caught:
            load(path, MODEL)
        assert path.name in str(caught.value)


def test_half_precision_files_alone_are_enough(copy):
    for part, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        (copy / part / f"{stem}.safetensors").rename(copy / part / f"{stem}.fp16.safetensors")
    assert load(copy).unet.shapes == load(MODEL).unet.shapes


def test_bin_files_alone_are_enough(copy):
    for part, old, new in (
        ("unet", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
        ("vae", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
        ("text_encoder", "model.safetensors", "pytorch_model.bin"),
    ):
        torch.save(load_file(copy / part / old), copy / part / new)
        (copy / part / old).unlink()
    ours, theirs = load(copy), load(MODEL)
    assert torch.equal(ours.vae.quant_conv.weight, theirs.vae.quant_conv.weight)
    assert ours.unet.shapes == theirs.unet.shapes


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_a_part_with_missing_tensors_is_refused_rather_than_filled_with_noise(part, copy):
    path = next((copy / part).glob("*.safetensors"))
    tensors = load_file(path)
    dropped = next(name for name in tensors if name.endswith("weight"))
    del tensors[dropped]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(IclightError, match=part):
        load(copy)


@pytest.mark.parametrize("part", ["vae", "text_encoder", "unet"])
def test_a_part_without_weights_or_config_is_refused_by_name(part, copy):
    for path in (copy / part).glob("*.safetensors"):
        path.unlink()
    with pytest.raises(WeightsError, match=part):
        load(copy)
    shutil.rmtree(copy / part)
    shutil.copytree(MODEL / part, copy / part)
    (copy / part / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=part):
        load(copy)


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("unet", {"layers_per_block": 10**6}, "layers; at most"),
        ("unet", {"down_block_types": ["DownBlock2D"] * 10**5}, "layers; at most"),
        ("text_encoder", {"num_hidden_layers": 10**5}, "layers; at most"),
        ("vae", {"layers_per_block": float("inf")}, "layers; at most"),
        ("vae", {"latent_channels": 10**6}, "does not match its config.json"),
        ("vae", {"block_out_channels": [30_016] * 4}, "does not match its config.json"),
        ("vae", {"scaling_factor": "x"}, "scaled by 'x'"),
        ("text_encoder", {"hidden_size": 10**6}, "does not match its config.json"),
        ("text_encoder", {"num_attention_heads": 0}, "describes no model"),
        ("text_encoder", {"hidden_act": "\x1b[31m"}, "describes no model"),
        ("text_encoder", {"quantization_config": {"quant_method": "x"}}, "quantised"),
        ("unet", {"cross_attention_dim": 48}, "not of one piece"),
    ],
)
def test_a_config_that_asks_for_too_much_or_for_nonsense_is_refused_before_anything_is_built(
    part, change, words, copy, modules
):
    load(copy)
    whole = len(modules)
    modules.clear()
    path = copy / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=words):
        load(copy)
    assert len(modules) <= 2 * whole, "it was not built"


@pytest.mark.parametrize(
    "name", ["unet/config.json", "vae/config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]
)
def test_small_files_that_are_deep_or_huge_are_refused(name, copy):
    (copy / name).write_text("[" * 10**6 if name.endswith("json") else "a b\n" * 5_000_000)
    with pytest.raises(WeightsError, match=name.split("/")[1]):
        load(copy)
    with (copy / name).open("wb") as file:
        file.truncate(2**32)  # sparse: takes no room on disk
    with pytest.raises(WeightsError, match="MB"):
        load(copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["tokenizer/added_tokens.json", "vae/config.json", "text_encoder/model.safetensors"])
def test_a_pipe_among_a_models_files_is_refused_rather_than_waited_for(name, copy):
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    with pytest.raises(WeightsError, match=r"not a regular file|holds no weights"):
        load(copy)


def test_weights_of_whole_numbers_are_refused(copy):
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor.to(torch.int8) for name, tensor in load_file(path).items()}, path)
    with pytest.raises(ModelError, match="quantised"):
        load(copy)
