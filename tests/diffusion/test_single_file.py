"""Single-file checkpoints as people trade them: known variants are taken, others named before anything is built."""

from __future__ import annotations

import json
import shutil

import ldm_checkpoint
import pytest
import torch
from safetensors.torch import load_file, save_file

from iclight.cli.main import main
from iclight.diffusion.checkpoints import build_components, check_checkpoint, open_parts
from iclight.errors import IclightError, ModelError, WeightsError

FIRST = "model.diffusion_model.input_blocks.0.0.weight"
TEXT = "cond_stage_model.transformer.text_model."


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return ldm_checkpoint.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def configs(tiny, tmp_path):
    """The model folder's configs and tokenizer, without weights."""
    ignore = shutil.ignore_patterns("*.safetensors")
    return shutil.copytree(tiny[0], tmp_path / "configs", ignore=ignore)


def weights_of(base, config, vae=None):
    parts = open_parts(base, config, vae)
    built = build_components(parts, torch.float32, torch.float32)
    found = {f"unet.{name}": parts.sources["unet"].read(name).float() for name in parts.sources["unet"].shapes}
    for part in ("vae", "text_encoder"):
        found |= {f"{part}.{name}": tensor for name, tensor in getattr(built, part).state_dict().items()}
    return found


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def renamed(tensors, change):
    return {change(name): tensor for name, tensor in tensors.items()}


def averaged(name):
    prefix = "model.diffusion_model."
    return "model_ema." + name.removeprefix("model.").replace(".", "") if name.startswith(prefix) else name


def to_qkv(name):
    if ".attn_1." not in name:
        return name
    for old, new in {".q.": ".to_q.", ".k.": ".to_k.", ".v.": ".to_v.", "proj_out": "to_out.0"}.items():
        name = name.replace(old, new)
    return name


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name,
        lambda name: name.replace(TEXT, "cond_stage_model.transformer."),
        lambda name: name.replace("cond_stage_model.", "cond_stage_model.clip_l."),
        averaged,
        to_qkv,
    ],
    ids=["usual", "NovelAI", "ComfyUI", "averaged", "EveryDream"],
)
def test_every_naming_of_a_checkpoint_is_the_same_model(change, tiny, configs, tmp_path):
    folder, single = tiny
    tensors = renamed(load_file(single), change)
    tensors |= {"model_ema.decay": torch.tensor(0.9), f"{TEXT}embeddings.position_ids": torch.arange(77)[None]}
    save_file(tensors, tmp_path / "traded.SAFETENSORS")
    same(weights_of(tmp_path / "traded.SAFETENSORS", configs), weights_of(folder, folder))


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16])
def test_short_numbers_are_read_as_what_they_stand_for(stored, tiny, configs, tmp_path):
    tensors = {name: tensor.to(stored) for name, tensor in load_file(tiny[1]).items()}
    save_file(tensors, tmp_path / "short.safetensors")
    save_file({name: tensor.float() for name, tensor in tensors.items()}, tmp_path / "long.safetensors")
    same(weights_of(tmp_path / "short.safetensors", configs), weights_of(tmp_path / "long.safetensors", configs))


def without(tensors, start, count=3):
    gone = [name for name in tensors if name.startswith(start)][:count]
    return {name: tensor for name, tensor in tensors.items() if name not in gone}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: without(t, TEXT), "of the text_encoder's tensors, 3 are missing"),
        (lambda t: without(t, "model.diffusion_model.out"), "of the unet's tensors, 3 are missing"),
        (lambda t: without(t, "first_stage_model.decoder"), "of the vae's tensors, 3 are missing"),
        (lambda t: {**t, f"{TEXT}final_layer_norm.weight": torch.zeros(5)}, "text_encoder.*0 are missing and 1 of"),
        (lambda t: {**t, FIRST: t[FIRST].to(torch.int8)}, "not quantised"),
        (lambda t: {**t, "ztsnr": torch.zeros(0)}, "zero terminal SNR"),
        (lambda t: {**t, "cond_stage_model.model.ln_final.bias": torch.zeros(2)}, "a Stable Diffusion 2 checkpoint"),
        (lambda t: {**t, "conditioner.embedders.0.x": torch.zeros(2)}, "an SDXL checkpoint"),
        (lambda t: {"double_blocks.0.img_attn.qkv.weight": torch.zeros(2)}, "a Flux checkpoint"),
        (lambda t: {**t, "model.diffusion_model.scaled_fp8": torch.zeros(2)}, "scales of their own"),
        (lambda t: without(t, "first_stage_model.", 9999), "brings no VAE.*--vae.*sd-vae-ft-mse"),
    ],
)
def test_a_checkpoint_that_is_not_whole_or_of_another_family_is_refused_before_anything_is_built(
    change, words, tiny, configs, tmp_path, monkeypatch
):
    path = tmp_path / "odd.safetensors"
    save_file(change(load_file(tiny[1])), path)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: pytest.fail("something was built"))
    with pytest.raises(IclightError, match=words) as caught:
        build_components(open_parts(path, configs), torch.float32, torch.float32)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "mark", [{"tensors": {"v_pred": torch.zeros(0)}}, {"metadata": {"modelspec.prediction_type": "v"}}]
)
def test_a_mark_of_v_prediction_is_honoured(mark, tiny, configs, tmp_path):
    save_file({**load_file(tiny[1]), **mark.get("tensors", {})}, tmp_path / "v.safetensors", mark.get("metadata"))
    assert open_parts(tiny[1], configs).prediction_type == "epsilon"
    parts = open_parts(tmp_path / "v.safetensors", configs)
    assert build_components(parts, torch.float32, torch.float32).prediction_type == "v_prediction"


def test_a_folder_for_zero_terminal_snr_is_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "model")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rescale_betas_zero_snr": True}))
    with pytest.raises(ModelError, match="zero terminal SNR"):
        open_parts(folder, folder)


# --- VAEs of one's own ------------------------------------------------------------------------------------------------


def test_another_vae_takes_the_place_of_a_models_own_whatever_its_form(tiny, configs, tmp_path):
    folder, single = tiny
    loud = {name: 2 * tensor.float() for name, tensor in load_file(folder / "vae" / ldm_checkpoint.VAE_FILE).items()}
    other = shutil.copytree(folder / "vae", tmp_path / "vae")
    save_file(loud, other / ldm_checkpoint.VAE_FILE)
    model = tmp_path / "model"
    shutil.copytree(other, model / "vae")
    save_file({ldm_checkpoint.vae_key(name): tensor for name, tensor in loud.items()}, tmp_path / "kl.safetensors")
    torch.save(
        {"state_dict": {ldm_checkpoint.vae_key(n): tensor for n, tensor in loud.items()}}, tmp_path / "kl.vae.pt"
    )
    no_vae = tmp_path / "noVAE.safetensors"
    save_file(without(load_file(single), "first_stage_model.", 9999), no_vae)
    expected = weights_of(folder, folder) | {f"vae.{name}": tensor for name, tensor in loud.items()}
    for vae in (other, model, tmp_path / "kl.safetensors", tmp_path / "kl.vae.pt"):
        for base, config in ((folder, folder), (single, configs), (no_vae, configs)):
            same(weights_of(base, config, vae), expected)


def test_a_checkpoint_without_a_vae_takes_that_of_sd15_where_it_is_here_and_says_so(tiny, tmp_path):
    folder, single = tiny
    save_file(without(load_file(single), "first_stage_model.", 9999), tmp_path / "noVAE.safetensors")
    parts = open_parts(tmp_path / "noVAE.safetensors", folder)
    assert "brings no VAE" in parts.notice and "--vae" in parts.notice
    same(weights_of(tmp_path / "noVAE.safetensors", folder), weights_of(folder, folder))


# --- folders in other forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["diffusion_pytorch_model.safetensors.index.json", "model.safetensors.index.json"])
def test_a_part_in_shards_is_read_whole_or_refused(index, tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "model")
    stem = index.removesuffix(".safetensors.index.json")
    for part in ("unet", "vae") if stem.startswith("d") else ("text_encoder",):
        tensors = load_file(folder / part / f"{stem}.safetensors")
        (folder / part / f"{stem}.safetensors").unlink()
        shard_of = {name: f"{stem}-0000{1 + k % 2}-of-00002.safetensors" for k, name in enumerate(tensors)}
        for shard in set(shard_of.values()):
            save_file({n: t for n, t in tensors.items() if shard_of[n] == shard}, folder / part / shard)
        (folder / part / index).write_text(json.dumps({"metadata": {}, "weight_map": shard_of}))
    same(weights_of(folder, folder), weights_of(tiny[0], tiny[0]))
    (folder / part / f"{stem}-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match="00002-of-00002.safetensors is missing"):
        open_parts(folder, folder)
    (folder / part / index).write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    with pytest.raises(WeightsError, match="names no .safetensors files beside it"):
        open_parts(folder, folder)


@pytest.mark.parametrize("variant", ["fp16", "bf16", "non_ema"])
def test_a_folder_of_one_variant_alone_is_enough(variant, tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "model")
    for path in list(folder.glob("*/*.safetensors")):
        path.rename(path.with_name(f"{path.stem}.{variant}.safetensors"))
    same(weights_of(folder, folder), weights_of(tiny[0], tiny[0]))


# --- pickled checkpoints ----------------------------------------------------------------------------------------------


def test_a_pickled_checkpoint_is_converted_without_running_what_is_in_it(tiny, configs, tmp_path, capsys):
    tensors = load_file(tiny[1])
    torch.save({"state_dict": tensors, "global_step": 3}, tmp_path / "old.ckpt")
    assert main(["models", "--convert", str(tmp_path / "old.ckpt")]) == 0
    same(weights_of(tmp_path / "old.safetensors", configs), weights_of(tiny[1], configs))
    assert check_checkpoint(tmp_path / "old.safetensors").shapes.keys() == tensors.keys()
    assert main(["models", "--convert", str(tmp_path / "old.ckpt")]) == 1
    assert "is there already" in capsys.readouterr().err
