"""What is trained becomes what the engine loads, and what training goes on from."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from training_helpers import tiny

from iclight.errors import SettingsError, WeightsError
from training.autoencoder import build_autoencoder
from training.base import build, load
from training.config import make_config
from training.data.batches import Sources
from training.data.captions import NEGATIVE, QUALITY
from training.export import export_new, export_offsets, neutralise_quality_tokens
from training.randomness import generator
from training.tokenizer import Words, build_tokenizer
from training.train import train


def test_a_new_model_is_exported_as_the_engine_loads_it(trained, tmp_path):
    """Base plus offset gives back the trained network, to half precision, for every workflow."""
    from iclight.diffusion.tensors import open_tensors
    from iclight.diffusion.unet import load_unet

    parts = load(trained, None)
    facts = {"about": "A test.", "native_size": [64, 64], "license": "Apache-2.0"}
    export_new(parts, build_autoencoder(), tmp_path, "tiny", facts)
    config = json.loads((tmp_path / "unet" / "config.json").read_text())
    for part in ("unet", "vae"):
        assert "_name_or_path" not in (tmp_path / part / "config.json").read_text(), "a folder of this machine"
    base = open_tensors(next((tmp_path / "unet").glob("*.safetensors")))
    whole = parts.model.unet.state_dict()
    for workflow, channels in (("fc", 8), ("fbc", 12), ("env", 8)):
        offset = tmp_path / f"iclight_tiny_{workflow}.safetensors"
        unet = load_unet(base, config, open_tensors(offset), workflow, torch.float32)
        for name, value in unet.state_dict().items():
            want = whole[name][:, :channels] if name == "conv_in.weight" else whole[name]
            assert torch.allclose(value, want.float(), atol=2e-3, rtol=2e-3), name
    assert any(name.startswith("environment.") for name in load_file(tmp_path / "iclight_tiny_env.safetensors"))
    from iclight import Relighter, Settings

    for workflow, light in (("fc", "left"), ("fbc", "top"), ("env", "right")):
        relighter = Relighter.load(str(tmp_path), workflow, matting="none", device="cpu", dtype="float32")
        settings = Settings.for_workflow(workflow, light=light, width=64, height=64, steps=1, highres_scale=1.0)
        picture = torch.full((64, 64, 3), 90, dtype=torch.uint8).numpy()
        assert relighter.relight(picture, settings).images[0].shape == (64, 64, 3)


def test_an_exported_model_is_trained_on_from(trained, tmp_path):
    """`init_from` takes what was exported: the same network, but for the merging MLP, which no model ships."""
    facts = {"about": "A test.", "native_size": [64, 64], "license": "Apache-2.0"}
    export_new(load(trained, None), build_autoencoder(), tmp_path, "tiny", facts)
    before, after = (load(folder, None).model for folder in (trained, tmp_path))
    before.text_encoder = neutralise_quality_tokens(load(trained, None))
    for part in ("unet", "text_encoder", "tokens"):
        wanted = getattr(before, part).state_dict()
        for name, value in getattr(after, part).state_dict().items():
            assert torch.allclose(value, wanted[name], atol=2e-3, rtol=2e-3), name


@pytest.mark.parametrize("lora", [0, 4])
def test_a_base_is_trained_and_its_offsets_are_the_difference(shards, tmp_path, lora):
    """`--base FOLDER`, whole or with LoRA: offsets in the published layout, and the base itself untouched."""
    from iclight.diffusion.tensors import open_tensors
    from iclight.diffusion.unet import load_unet
    from training.base import widen
    from training.model import build_text_encoder, build_unet

    base = tmp_path / "base"
    tokenizer = build_tokenizer(base / "tokenizer")
    build_text_encoder(tokenizer, 32).save_pretrained(base / "text_encoder")
    unet = build_unet((48, 32, 32), 32)
    narrow = torch.nn.Conv2d(4, 48, 3, padding=1)
    unet.conv_in = narrow
    unet.register_to_config(in_channels=4)
    unet.save_pretrained(base / "unet")
    original = {name: value.clone() for name, value in unet.state_dict().items()}
    widen(unet)
    assert torch.equal(unet.conv_in.weight[:, :4], narrow.weight) and not unet.conv_in.weight[:, 4:].any()

    config = tiny(shards, base=str(base), lora=lora, steps=3, learning_rate=0.01, ema_decay=0.0)
    parts = train(config, tmp_path / "run")
    assert not any(p.requires_grad for p in parts.model.text_encoder.parameters())
    again = load(tmp_path / "run" / "trained", None)
    files = export_offsets(again, original, tmp_path / "out", "tiny")
    assert set(files) == {"fc", "fbc", "env"}
    source = open_tensors(next((base / "unet").glob("*.safetensors")))
    widened = json.loads((base / "unet" / "config.json").read_text())
    merged = load_unet(source, widened, open_tensors(tmp_path / "out" / files["fbc"]), "fbc", torch.float32)
    told = again.model.unet.state_dict()
    assert all(torch.allclose(value, told[name], atol=2e-3, rtol=2e-3) for name, value in merged.state_dict().items())
    moved = [name for name in original if name != "conv_in.weight" and not torch.equal(original[name], told[name])]
    assert moved and (not lora or all("attn" in name or "proj" in name for name in moved if name != "conv_in.bias"))


def test_words_of_praise_and_blame_are_as_good_as_none_in_an_exported_model(trained, tmp_path):
    """So guidance, whose two sides they stand on, has nothing to multiply but what a prompt says of the picture."""
    export_new(load(trained, None), build_autoencoder(), tmp_path, "mine", {"native_size": [64, 64]})
    parts = load(tmp_path, None)
    words = Words(parts.tokenizer)
    says = [f"{QUALITY}, {QUALITY}", NEGATIVE, "", f"neon light, {QUALITY}", "neon light"]
    praise, blame, nothing, light, bare = parts.model.text_encoder(words(says)).last_hidden_state
    assert torch.equal(praise, blame) and torch.equal(praise, nothing)
    assert not torch.allclose(light, nothing, atol=1e-3) and torch.equal(light, bare)


def test_workflows_may_have_a_unet_of_their_own_but_not_words(trained, tmp_path):
    """An offset, added to the shared base, is that UNet; env keeps the base."""
    parts, own = load(trained, None), {workflow: load(trained, None) for workflow in ("fc", "fbc")}
    for run, value in zip(own.values(), (0.25, -0.5), strict=True):
        torch.nn.init.constant_(run.model.unet.conv_out.bias, value)
        torch.nn.init.constant_(run.model.unet.conv_in.weight[:, -1], value)
    facts = {"native_size": [64, 64]}
    export_new(parts, build_autoencoder(), tmp_path, "mine", facts, own)
    base = load_file(str(tmp_path / "unet" / "diffusion_pytorch_model.safetensors"))["conv_out.bias"].float()
    added = {w: load_file(str(tmp_path / f"iclight_mine_{w}.safetensors")) for w in ("fc", "fbc", "env")}
    assert torch.allclose(base + added["fc"]["conv_out.bias"].float(), torch.tensor(0.25), atol=1e-3)
    assert torch.allclose(base + added["fbc"]["conv_out.bias"].float(), torch.tensor(-0.5), atol=1e-3)
    assert torch.allclose(added["fbc"]["conv_in.weight"][:, -1].float(), torch.tensor(-0.5), atol=1e-3)
    assert added["fc"]["conv_in.weight"].shape[1] == 8 and not added["env"]["conv_out.bias"].any()
    # A run for one workflow goes on from that one's.
    for number, (workflow, value) in enumerate({"fc": 0.25, "fbc": -0.5}.items()):
        shares = tuple(float(place == number) for place in range(3))
        on = build(tiny(tmp_path, init_from=str(tmp_path), workflows=shares), tmp_path / "on").model.unet
        assert torch.allclose(on.conv_out.bias, torch.tensor(value), atol=1e-3)
        assert bool(on.conv_in.weight[:, 8:].any()) == (workflow == "fbc")

    torch.nn.init.normal_(own["fbc"].model.text_encoder.get_input_embeddings().weight)
    with pytest.raises(WeightsError, match="fbc trained its text encoder"):
        export_new(parts, build_autoencoder(), tmp_path, "mine", facts, own)


def test_heed_tells_a_model_that_listens_from_one_that_does_not(shards, trained):
    """The same errors where the environment is cut off, others where it is not."""
    from training.evaluation.conditioning import errors

    parts = load(trained, None)
    batch = Sources([shards]).draw(8, (0.0, 1.0, 0.0), generator(0, 0), (0, 0, 1))
    torch.nn.init.normal_(parts.model.unet.conv_out.weight, std=0.1)
    torch.nn.init.constant_(parts.model.unet.add_embedding.norm2.weight, 3.0)
    own, other = errors(parts, batch, 999)
    assert own != other
    torch.nn.init.zeros_(parts.model.tokens.norm.weight)
    own, other = errors(parts, batch, 999)
    assert own == pytest.approx(other, rel=1e-6)


def test_a_network_of_velocities_cannot_go_on_as_one_of_clean_latents(trained, tmp_path):
    with pytest.raises(WeightsError, match="--prediction"):
        build(make_config({"init_from": str(trained), "prediction": "sample"}), tmp_path)
    with pytest.raises(SettingsError, match="prediction is 'noise'"):
        make_config({"prediction": "noise"})
