"""A base model's parts: whole or refused, out of a folder or out of a single file."""

from __future__ import annotations

import shutil

import ldm_checkpoint
import pytest
import torch
from golden_data import GOLDEN
from safetensors.torch import load_file, save_file

from iclight.errors import IclightError, ModelError, WeightsError
from iclight.parts import load_parts

MODEL = GOLDEN / "model"


def load(base, config=None):
    return load_parts(base, config or base, torch.float32, torch.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return ldm_checkpoint.make(tmp_path_factory.mktemp("tiny"))


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
    assert ours.tokenizer("light").input_ids == theirs.tokenizer("light").input_ids


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
