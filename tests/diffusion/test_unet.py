"""The UNet's surgery: every mismatch is found before anything is allocated, and nothing but the sum comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from golden_data import GOLDEN, write_env_offset
from safetensors.torch import load_file, save_file

from iclight.diffusion.environment_encoder import load_environment_encoder
from iclight.diffusion.lora import open_loras
from iclight.diffusion.names import ldm_unet
from iclight.diffusion.tensors import MemorySource, open_tensors
from iclight.diffusion.unet import load_unet, open_offset
from iclight.errors import ModelError, WeightsError

MODEL = GOLDEN / "model"
BASE = MODEL / "unet" / "diffusion_pytorch_model.safetensors"
CONFIG = json.loads((MODEL / "unet" / "config.json").read_text())
OFFSETS = {workflow: MODEL / f"iclight_sd15_{workflow}.safetensors" for workflow in ("fc", "fbc")}


def merged(workflow="fc", base=BASE, offset=None, config=CONFIG, dtype=torch.float32):
    return load_unet(open_tensors(Path(base)), config, open_tensors(Path(offset or OFFSETS[workflow])), workflow, dtype)


@pytest.mark.parametrize("workflow", ["fc", "fbc"])
def test_the_merged_unet_is_base_plus_offset_with_conv_in_widened(workflow):
    base, offset = load_file(BASE), load_file(OFFSETS[workflow])
    unet = merged(workflow)
    channels = {"fc": 8, "fbc": 12}[workflow]
    for name, tensor in unet.state_dict().items():
        expected = base[name].float()
        if name == "conv_in.weight":
            expected = torch.cat([expected, torch.zeros(expected.shape[0], channels - 4, 3, 3)], dim=1)
        assert torch.equal(tensor, expected + offset[name].float()), name
    assert unet.config["in_channels"] == channels
    assert not unet.training


def test_sums_are_taken_in_float32_then_cast():
    base, offset = load_file(BASE), load_file(OFFSETS["fc"])
    unet = merged(dtype=torch.bfloat16)
    name = "mid_block.resnets.0.conv1.weight"
    assert torch.equal(unet.state_dict()[name], (base[name].float() + offset[name].float()).to(torch.bfloat16))
    assert unet.dtype == torch.bfloat16


def test_an_fbc_file_in_the_fc_workflow_is_named_with_channels_found_and_expected():
    with pytest.raises(ModelError) as caught:
        merged("fc", offset=OFFSETS["fbc"])
    for word in (str(OFFSETS["fbc"]), "12", "8", "fbc", "fc"):
        assert word in str(caught.value)


def test_a_nine_channel_inpainting_base_is_refused_with_channels_found_and_expected(tmp_path):
    tensors = load_file(BASE)
    tensors["conv_in.weight"] = tensors["conv_in.weight"].repeat(1, 3, 1, 1)[:, :9].contiguous()
    save_file(tensors, tmp_path / "inpaint.safetensors")
    with pytest.raises(ModelError, match=r"inpaint\.safetensors takes 9 input channels.*expected 4"):
        merged(base=tmp_path / "inpaint.safetensors", config={**CONFIG, "in_channels": 9})


@pytest.mark.parametrize("sign", [{"addition_embed_type": "text_time"}, {"cross_attention_dim": 2048}])
def test_an_sdxl_base_is_refused_as_such(sign):
    with pytest.raises(ModelError, match="SDXL"):
        merged(config={**CONFIG, **sign})


def test_an_offset_for_another_architecture_is_refused_by_name(tmp_path):
    tensors = load_file(OFFSETS["fc"])
    tensors["mid_block.resnets.0.conv1.bias"] = torch.zeros(7)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match=r"odd\.safetensors.*mid_block\.resnets\.0\.conv1\.bias has shape \(7,\)"):
        merged(offset=tmp_path / "odd.safetensors")
    tensors.pop("mid_block.resnets.0.conv1.bias")
    tensors["something.else"] = torch.zeros(2)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match="1 tensors missing, 1 unknown"):
        merged(offset=tmp_path / "odd.safetensors")


@pytest.mark.parametrize("prefix", ["diffusion_model.", "model.diffusion_model.", "unet."])
@pytest.mark.parametrize("workflow", ["fc", "fbc"])
def test_an_offset_under_comfyuis_names_is_the_same_offset(prefix, workflow, tmp_path):
    offset, shapes = load_file(OFFSETS[workflow]), open_tensors(BASE).shapes
    names = ldm_unet(offset) if "diffusion" in prefix else {name: name for name in offset}
    assert names.keys() == offset.keys()
    save_file({prefix + names[name]: tensor for name, tensor in offset.items()}, tmp_path / "ldm.safetensors")
    renamed = open_offset(tmp_path / "ldm.safetensors", shapes)
    assert renamed.shapes == open_tensors(OFFSETS[workflow]).shapes
    assert all(torch.equal(renamed.read(name), tensor) for name, tensor in offset.items())


def test_an_env_offset_gives_the_unet_its_own_part_and_nothing_else(tmp_path):
    write_env_offset(tmp_path / "env.safetensors")
    unet, plain = merged("env", offset=tmp_path / "env.safetensors").state_dict(), merged("fc").state_dict()
    assert all(torch.equal(unet[name], plain[name]) for name in plain)
    assert unet.keys() == plain.keys()


def test_tokens_are_read_from_their_part_of_an_env_offset_in_the_type_asked_for(tmp_path):
    write_env_offset(tmp_path / "env.safetensors", hidden=7)
    tokens = load_environment_encoder(open_tensors(tmp_path / "env.safetensors"), 32, torch.bfloat16)
    stored = load_file(tmp_path / "env.safetensors")
    assert tokens.state_dict().keys() == {name[12:] for name in stored if name.startswith("environment.")}
    for name, tensor in tokens.state_dict().items():
        assert torch.equal(tensor, stored[f"environment.{name}"].to(torch.bfloat16))
    assert tokens.middle.weight.shape == (7, 7)
    assert not tokens.training


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("environment.middle.bias"), r"1 tensors missing, 0 unknown \(-middle\.bias"),
        (lambda t: t.update({"environment.more": torch.zeros(1)}), r"0 tensors missing, 1 unknown \(\+more"),
        (
            lambda t: t.update({"environment.norm.bias": torch.zeros(5)}),
            r"norm\.bias has shape \(5,\), expected \(32,\)",
        ),
        (lambda t: t.pop("environment.inner.weight"), r"no environment\.inner\.weight"),
    ],
)
def test_a_broken_environment_part_is_refused_by_name(change, words, tmp_path):
    write_env_offset(tmp_path / "odd.safetensors")
    tensors = load_file(tmp_path / "odd.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match=rf"odd\.safetensors.*{words}"):
        load_environment_encoder(open_tensors(tmp_path / "odd.safetensors"), 32, torch.float32)


def test_tokens_for_another_text_encoder_are_refused(tmp_path):
    write_env_offset(tmp_path / "wide.safetensors", width=48)
    with pytest.raises(ModelError, match=r"wide\.safetensors does not fit tokens of width 32: outer\.weight has shape"):
        load_environment_encoder(open_tensors(tmp_path / "wide.safetensors"), 32, torch.float32)


def test_a_file_that_is_no_offset_is_refused(tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="not an IC-Light offset"):
        merged(offset=tmp_path / "x.safetensors")


def test_the_base_is_untouched_when_merging_fails_and_when_it_does_not():
    before = {name: tensor.clone() for name, tensor in load_file(BASE).items()}
    held = load_file(BASE)
    with pytest.raises(ModelError):
        load_unet(MemorySource(held, "base"), CONFIG, open_tensors(OFFSETS["fbc"]), "fc", torch.float32)
    load_unet(MemorySource(held, "base"), CONFIG, open_tensors(OFFSETS["fc"]), "fc", torch.float32)
    assert all(torch.equal(held[name], tensor) for name, tensor in before.items())


def test_a_mismatch_is_found_without_reading_a_single_tensor():
    class Unread(MemorySource):
        def read(self, name):
            raise AssertionError(f"{name} was read")

    base, offset = Unread(load_file(BASE), "base"), Unread(load_file(OFFSETS["fbc"]), "offset")
    with pytest.raises(ModelError, match="12 input channels"):
        load_unet(base, CONFIG, offset, "fc", torch.float32)


def test_a_truncated_offset_is_refused(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(OFFSETS["fc"].read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"cut\.safetensors"):
        merged(offset=tmp_path / "cut.safetensors")


def test_a_bin_file_is_read_and_its_code_is_not_run(tmp_path):
    torch.save(load_file(BASE), tmp_path / "base.bin")
    assert torch.equal(merged(base=tmp_path / "base.bin").conv_in.weight, merged().conv_in.weight)

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"conv_in.weight": Evil()}, tmp_path / "evil.bin")
    with pytest.raises(WeightsError, match="never run"):
        open_tensors(tmp_path / "evil.bin")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64, torch.bool])
def test_weights_that_are_no_real_numbers_are_refused_by_name(kind, tmp_path):
    name = "mid_block.resnets.0.conv1.bias"
    for file, whole in (("base", BASE), ("offset", OFFSETS["fc"])):
        tensors = load_file(whole)
        tensors[name] = tensors[name].to(kind)
        save_file(tensors, tmp_path / f"{file}.safetensors")
        torch.save(tensors, tmp_path / f"{file}.pt")
        for path in (tmp_path / f"{file}.safetensors", tmp_path / f"{file}.pt"):
            with pytest.raises(ModelError, match=rf"{path.name} holds {name} as .*quantised"):
                merged(**{file: path})


def test_a_torch_file_without_numbers_or_with_compressed_parts_is_refused(tmp_path):
    torch.save({"conv_in.weight": torch.zeros(3, 3, device="meta")}, tmp_path / "meta.pt")
    torch.save({"conv_in.weight": torch.zeros(3, 3).to_sparse()}, tmp_path / "sparse.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "packed.pt", "w", 8) as packed:
        for part in whole.namelist():
            packed.writestr(part, whole.read(part))
    with zipfile.ZipFile(tmp_path / "empty.pt", "w") as empty:
        empty.writestr("archive/data.pkl", b"")
    for name in ("meta", "sparse", "packed", "empty"):
        with pytest.raises(WeightsError, match=rf"{name}\.pt.*get the \.safetensors version"):
            open_tensors(tmp_path / f"{name}.pt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["pipe.safetensors", "pipe.pt"])
def test_a_pipe_is_refused_rather_than_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(WeightsError, match="not a regular file"):
        open_tensors(tmp_path / name)
    with pytest.raises(WeightsError, match="not a regular file"):
        open_loras([(tmp_path / name, 1.0)], {})


PEAK = """
import json, resource, sys, torch
from iclight.tensors import open_tensors
from iclight.unet import load_unet
from pathlib import Path
folder = Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text())
base = open_tensors(folder / "base.safetensors")
torch.zeros(1)
load_unet(open_tensors(Path(sys.argv[2])), json.loads(Path(sys.argv[3]).read_text()), open_tensors(Path(sys.argv[4])),
          "fc", torch.float16)  # everything that is imported and cached on the way
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unet = load_unet(base, config, open_tensors(folder / "offset.safetensors"), "fc", torch.float16)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = sum(p.numel() * p.element_size() for p in unet.parameters())
print(json.dumps({"peak": (after - before) * 1024, "size": size}))
"""


@pytest.mark.slow
def test_loading_peaks_at_most_at_1_3_times_the_final_model(tmp_path):
    """A UNet of SD's shape at half its width: 430 MB in float16, from a float32 base and a float16 offset."""
    config = {
        "block_out_channels": [160, 320, 640, 640],
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "norm_num_groups": 32,
        "_class_name": "UNet2DConditionModel",
    }
    with torch.device("meta"):
        narrow = UNet2DConditionModel.from_config(config)
    base = {name: torch.zeros(tensor.shape) for name, tensor in narrow.state_dict().items()}
    save_file(base, tmp_path / "base.safetensors")
    offset = {name: tensor.half() for name, tensor in base.items()}
    offset["conv_in.weight"] = torch.zeros(160, 8, 3, 3, dtype=torch.float16)
    save_file(offset, tmp_path / "offset.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    del base, offset
    arguments = [tmp_path, BASE, MODEL / "unet" / "config.json", OFFSETS["fc"]]
    out = subprocess.run([sys.executable, "-c", PEAK, *map(str, arguments)], capture_output=True, text=True, check=True)
    measured = json.loads(out.stdout.splitlines()[-1])
    assert measured["size"] > 400e6
    assert measured["peak"] <= 1.3 * measured["size"]
