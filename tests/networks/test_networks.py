"""The networks are those of diffusers and transformers: same tensors' names, same numbers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from iclight.networks.autoencoder import Autoencoder
from iclight.networks.clip import TextConfig, TextEncoder, open_tokenizer
from iclight.networks.unet import UNet

MINI = Path(__file__).parents[2] / "models" / "mini"
SD15_UNET = {
    "block_out_channels": (16, 32, 32, 32),
    "layers_per_block": 2,
    "cross_attention_dim": 24,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
    "in_channels": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
UNETS = {
    "sd15": SD15_UNET,
    "linear projections, heads for each block": {
        **SD15_UNET,
        "use_linear_projection": True,
        "attention_head_dim": (2, 4, 4, 8),
        "transformer_layers_per_block": 2,
    },
    "mini": json.loads((MINI / "unet" / "config.json").read_text(encoding="utf-8")),
}
SD15_VAE = {
    "block_out_channels": (8, 16, 16, 16),
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "sample_size": 64,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
VAES = {"sd15": SD15_VAE, "mini": json.loads((MINI / "vae" / "config.json").read_text(encoding="utf-8"))}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Biases and norms, too, are no longer zeros and ones."""
    for parameter in module.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


@pytest.mark.parametrize("size", [(16, 24), (13, 10)], ids=["whole", "odd"])
@pytest.mark.parametrize("kind", UNETS)
def test_the_unet_predicts_what_diffusers_predicts(kind, size):
    theirs = shaken(UNet2DConditionModel.from_config(UNETS[kind]))
    ours = UNet(UNETS[kind]).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    sample = torch.randn(2, theirs.config.in_channels, *size)
    words = torch.randn(2, 9, theirs.config.cross_attention_dim)
    wanted = theirs(sample, torch.tensor(321), words, return_dict=False)[0]
    torch.testing.assert_close(ours(sample, torch.tensor(321), words)[0], wanted, rtol=1e-5, atol=1e-5)
    ours.fuse_projections()
    torch.testing.assert_close(ours(sample, torch.tensor(321), words)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tiled", [False, True], ids=["whole", "tiled"])
@pytest.mark.parametrize("kind", VAES)
def test_the_autoencoder_encodes_and_decodes_as_diffusers_does(kind, tiled):
    theirs = shaken(AutoencoderKL.from_config({**VAES[kind], "sample_size": 64}))
    ours = Autoencoder({**VAES[kind], "sample_size": 64}).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    if tiled:
        theirs.enable_tiling()
        ours.tiled = True
    pixels = torch.rand(1, 3, 96, 136) * 2 - 1
    latents = theirs.encode(pixels).latent_dist.mode()
    torch.testing.assert_close(ours.encode(pixels), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.decode(latents), theirs.decode(latents).sample, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_the_text_encoder_states_what_transformers_states_whatever_layer_is_asked(act):
    config = {
        "vocab_size": 60,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "hidden_act": act,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    theirs = shaken(CLIPTextModel(CLIPTextConfig.from_dict(config)))
    ours = TextEncoder(TextConfig.of(config)).eval()
    held = {name.removeprefix("text_model."): tensor for name, tensor in theirs.state_dict().items()}
    held.pop("embeddings.position_ids", None)
    ours.load_state_dict(held, strict=True)
    ids = torch.randint(0, 60, (2, 77))
    answer = theirs(ids, output_hidden_states=True)
    torch.testing.assert_close(ours(ids), answer.last_hidden_state, rtol=1e-5, atol=1e-5)
    norm = getattr(theirs, "text_model", theirs).final_layer_norm
    torch.testing.assert_close(ours(ids, skip=2), norm(answer.hidden_states[-2]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours(ids, skip=4), norm(answer.hidden_states[0]), rtol=1e-5, atol=1e-5)


def test_the_tokenizer_cuts_any_text_as_transformers_does():
    theirs, ours = CLIPTokenizer.from_pretrained(str(MINI / "tokenizer")), open_tokenizer(MINI / "tokenizer")
    assert (ours.bos_token_id, ours.eos_token_id) == (theirs.bos_token_id, theirs.eos_token_id)
    draw = random.Random(0)
    letters = "aeiourstlnb  \t\n',.!?()[]:019ÀéßñЖ日本🙂\u0301\u200b'sS<|>"
    texts = ["".join(draw.choices(letters, k=draw.randrange(40))) for _ in range(300)]
    texts += ["It's a Café,  don't you'll I'M", "a <|endoftext|> b <|startoftext|>c", "<|ENDOFTEXT|>", "", " "]
    for text in texts:
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"], text


def test_a_tokenizer_of_one_file_cuts_as_that_of_two(tmp_path):
    two = open_tokenizer(MINI / "tokenizer")
    CLIPTokenizer.from_pretrained(str(MINI / "tokenizer")).save_pretrained(tmp_path)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).unlink(missing_ok=True)
    one = open_tokenizer(tmp_path)
    assert one.encode("Sunset over the sea, it's warm") == two.encode("Sunset over the sea, it's warm")
    assert (one.bos_token_id, one.eos_token_id) == (two.bos_token_id, two.eos_token_id)
    assert two.decode(two.encode("warm light")) == "warm light"


@pytest.mark.parametrize(
    ("network", "config", "said"),
    [
        (UNet, {"act_fn": "gelu"}, "act_fn is 'gelu'"),
        (UNet, {"mid_block_type": "UNetMidBlock2D"}, "mid_block_type"),
        (UNet, {"down_block_types": ["AttnDownBlock2D"] * 4}, "AttnDownBlock2D"),
        (UNet, {"attention_head_dim": 7}, "7 heads"),
        (UNet, {"addition_embed_type": "image"}, "'image'"),
        (Autoencoder, {"down_block_types": ["DownBlock2D"]}, "DownEncoderBlock2D"),
        (Autoencoder, {"block_out_channels": []}, "block_out_channels"),
        (TextConfig.of, {"hidden_act": "relu"}, "relu"),
    ],
)
def test_a_config_of_another_kind_is_refused_by_what_it_asks_for(network, config, said):
    with torch.device("meta"), pytest.raises(ValueError, match=said):
        network(config)
