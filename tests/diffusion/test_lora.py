"""LoRA files of every kind and naming: folded whole into the weights they were made for, or refused by name."""

from __future__ import annotations

import json
import math

import pytest
import torch
from golden_data import GOLDEN
from safetensors.torch import load_file, save_file

from iclight.diffusion.lora import Loras, open_loras, parse_lora
from iclight.diffusion.names import ldm_unet
from iclight.diffusion.tensors import open_tensors
from iclight.diffusion.unet import load_unet
from iclight.errors import ModelError, WeightsError
from iclight.loading import load_model

MODEL = GOLDEN / "model"
UNET = load_file(MODEL / "unet" / "diffusion_pytorch_model.safetensors")
TEXT = {
    name.removeprefix("text_model."): tensor
    for name, tensor in load_file(MODEL / "text_encoder" / "model.safetensors").items()
    if not name.endswith("position_ids")
}
SHAPES = {
    part: {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for part, tensors in {"unet": UNET, "text_encoder": TEXT}.items()
}
LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
CONV = "mid_block.resnets.0.conv1"
NORM = "mid_block.resnets.0.norm1"
POINT = "mid_block.attentions.0.proj_in"
QUERY = "encoder.layers.0.self_attn.q_proj"
KOHYA = "lora_unet_" + LINEAR.replace(".", "_")
RANK = 4


def noise(*shape, seed=1, scale=0.2):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * scale


def pair(shape, seed=1):
    """down and up for a weight of that shape: a convolution's kernel is in down."""
    out, into, *kernel = shape
    return noise(RANK, into, *kernel, seed=seed), noise(out, RANK, *[1] * len(kernel), seed=seed + 1)


def opened(tensors, path, scale=1.0, metadata=None) -> Loras:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)
    return open_loras([(path, scale)], SHAPES)


def folded(tensors, tmp_path, layer=LINEAR, scale=1.0, part="unet", metadata=None, kind="weight"):
    loras = opened(tensors, tmp_path / "style.safetensors", scale, metadata)
    assert not loras.unused
    whole = {"unet": UNET, "text_encoder": TEXT}[part]
    assert all(loras.fold(part, name, one) is one for name, one in whole.items() if not name.startswith(f"{layer}."))
    return loras.fold(part, f"{layer}.{kind}", whole[f"{layer}.{kind}"])


def close(ours, reference):
    assert ours.dtype == torch.float32
    assert torch.allclose(ours, reference, atol=1e-6, rtol=1e-5)


# --- names ------------------------------------------------------------------------------------------------------------


def namings(layer):
    """Each trainer's names for a layer's two matrices: (name of down, name of up, name of alpha or None)."""
    under, ldm = layer.replace(".", "_"), ldm_unet([layer, *SHAPES["unet"]])[layer]
    old = layer.removesuffix(".0").replace(".to_", ".processor.to_")
    yield f"lora_unet_{under}.lora_down.weight", f"lora_unet_{under}.lora_up.weight", f"lora_unet_{under}.alpha"
    under = "lora_unet_" + ldm.replace(".", "_")
    yield f"{under}.lora_down.weight", f"{under}.lora_up.weight", f"{under}.alpha"
    for prefix in ("unet.", "base_model.model.", "base_model.model.unet.", ""):
        yield f"{prefix}{layer}.lora_A.weight", f"{prefix}{layer}.lora_B.weight", None
    yield f"{layer}.lora_A.default.weight", f"{layer}.lora_B.default.weight", None
    yield f"diffusion_model.{ldm}.lora_A.weight", f"diffusion_model.{ldm}.lora_B.weight", f"diffusion_model.{ldm}.alpha"
    yield f"unet.{layer}.lora.down.weight", f"unet.{layer}.lora.up.weight", f"unet.{layer}.alpha"
    yield f"unet.{old}_lora.down.weight", f"unet.{old}_lora.up.weight", f"unet.{old}_lora.alpha"


@pytest.mark.parametrize("layer", [LINEAR, OUT])
@pytest.mark.parametrize("number", range(len(list(namings(LINEAR)))))
def test_every_trainers_names_mean_the_same_layer(layer, number, tmp_path):
    down_name, up_name, alpha_name = list(namings(layer))[number]
    down, up = pair(UNET[f"{layer}.weight"].shape)
    tensors, ratio = {down_name: down, up_name: up}, 1.0
    if alpha_name is not None:
        tensors[alpha_name], ratio = torch.tensor(2.0), 2 / RANK
    close(folded(tensors, tmp_path, layer, scale=0.5), UNET[f"{layer}.weight"] + 0.5 * ratio * up @ down)


@pytest.mark.parametrize("layer", sorted({name.rpartition(".")[0] for name in UNET}))
def test_every_layer_of_a_unet_is_found_by_its_original_name(layer, tmp_path):
    ldm = ldm_unet(SHAPES["unet"])[f"{layer}.weight"].removesuffix(".weight")
    weight = UNET[f"{layer}.weight"]
    tensors = {f"lora_unet_{ldm.replace('.', '_')}.diff": noise(*weight.shape)}
    close(folded(tensors, tmp_path, layer), weight + noise(*weight.shape))


@pytest.mark.parametrize(
    "name",
    [
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_{0}.weight",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_{0}.weight",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.{0}.weight",
        "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.{0}.weight",
        "text_encoder.encoder.layers.0.self_attn.q_proj.lora.{0}.weight",
    ],
)
def test_a_text_encoders_part_is_folded_into_the_text_encoder(name, tmp_path):
    down, up = pair(TEXT[f"{QUERY}.weight"].shape)
    ours = folded({name.format("down"): down, name.format("up"): up}, tmp_path, QUERY, part="text_encoder")
    close(ours, TEXT[f"{QUERY}.weight"] + up @ down)


# --- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [CONV, POINT, "conv_in"])
def test_a_convolutions_lora_is_the_product_of_its_kernels(layer, tmp_path):
    weight = UNET[f"{layer}.weight"]
    down, up = pair(weight.shape)
    ours = folded({f"unet.{layer}.lora_A.weight": down, f"unet.{layer}.lora_B.weight": up}, tmp_path, layer)
    close(ours, weight + torch.einsum("or,rikl->oikl", up[:, :, 0, 0], down))


def test_a_tucker_core_stands_between_the_matrices(tmp_path):
    out, into, high, wide = UNET[f"{CONV}.weight"].shape
    name = "lora_unet_" + CONV.replace(".", "_")
    up, mid, down = noise(out, RANK, 1, 1), noise(RANK, RANK, high, wide), noise(RANK, into, 1, 1)
    tensors = {f"{name}.lora_up.weight": up, f"{name}.lora_mid.weight": mid, f"{name}.lora_down.weight": down}
    expected = torch.einsum("oaxy,abkl,bixy->oikl", up, mid, down)
    close(folded(tensors, tmp_path, CONV), UNET[f"{CONV}.weight"] + expected)


@pytest.mark.parametrize("layer", [LINEAR, CONV])
def test_loha_is_the_product_of_two_products(layer, tmp_path):
    weight, name = UNET[f"{layer}.weight"], "lora_unet_" + layer.replace(".", "_")
    out, rest = weight.shape[0], weight[0].numel()
    a1, b1, a2, b2 = (noise(*shape, seed=k) for k, shape in enumerate([(out, RANK), (RANK, rest)] * 2))
    tensors = {f"{name}.hada_w1_a": a1, f"{name}.hada_w1_b": b1, f"{name}.hada_w2_a": a2, f"{name}.hada_w2_b": b2}
    tensors[f"{name}.alpha"] = torch.tensor(2.0)
    delta = ((a1 @ b1) * (a2 @ b2)).reshape(weight.shape) * (2 / RANK)
    close(folded(tensors, tmp_path, layer, scale=0.7), weight + 0.7 * delta)


def test_loha_of_a_convolution_may_have_tucker_cores(tmp_path):
    weight, name = UNET[f"{CONV}.weight"], "lora_unet_" + CONV.replace(".", "_")
    out, into, *kernel = weight.shape
    tensors, halves = {}, []
    for half in (1, 2):
        core, a, b = (
            noise(RANK, RANK, *kernel, seed=half),
            noise(RANK, out, seed=half, scale=1),
            noise(RANK, into, seed=half),
        )
        tensors |= {f"{name}.hada_t{half}": core, f"{name}.hada_w{half}_a": a, f"{name}.hada_w{half}_b": b}
        halves.append(torch.einsum("ijkl,ip,jr->prkl", core, a, b))
    close(folded(tensors, tmp_path, CONV), weight + halves[0] * halves[1])


@pytest.mark.parametrize("how", ["whole", "low rank", "both low rank", "convolution", "tucker"])
def test_lokr_is_a_kronecker_product(how, tmp_path):
    layer = CONV if how in ("convolution", "tucker") else LINEAR
    weight, name = UNET[f"{layer}.weight"], "lora_unet_" + layer.replace(".", "_")
    out, into, *kernel = weight.shape
    w1, w2, ratio = noise(2, 4), noise(out // 2, into // 4, *kernel), 1.0
    tensors = {f"{name}.lokr_w1": w1, f"{name}.lokr_w2": w2, f"{name}.alpha": torch.tensor(2.0)}
    if how != "whole":
        a, b, ratio = noise(out // 2, RANK), noise(RANK, into // 4, *kernel), 2 / RANK
        tensors |= {f"{name}.lokr_w2_a": a, f"{name}.lokr_w2_b": b}
        del tensors[f"{name}.lokr_w2"]
        w2 = (a @ b.flatten(1)).reshape(w2.shape)
    if how == "both low rank":
        tensors |= {f"{name}.lokr_w1_a": noise(2, RANK), f"{name}.lokr_w1_b": noise(RANK, 4)}
        w1 = tensors[f"{name}.lokr_w1_a"] @ tensors[f"{name}.lokr_w1_b"]
        del tensors[f"{name}.lokr_w1"]
    if how == "tucker":
        core, a, b = noise(RANK, RANK, *kernel), noise(RANK, out // 2), noise(RANK, into // 4)
        tensors |= {f"{name}.lokr_t2": core, f"{name}.lokr_w2_a": a, f"{name}.lokr_w2_b": b}
        w2 = torch.einsum("ijkl,ip,jr->prkl", core, a, b)
    product = torch.einsum("ab,cd...->acbd...", w1, w2).reshape(weight.shape)
    close(folded(tensors, tmp_path, layer), weight + ratio * product)


def test_full_differences_change_weights_biases_and_norms_by_themselves(tmp_path):
    name, norm = (f"lora_unet_{layer.replace('.', '_')}" for layer in (CONV, NORM))
    diff, bias = noise(*UNET[f"{CONV}.weight"].shape), noise(*UNET[f"{CONV}.bias"].shape)
    tensors = {f"{name}.diff": diff, f"{name}.diff_b": bias}
    close(folded(tensors, tmp_path, CONV, scale=0.5), UNET[f"{CONV}.weight"] + 0.5 * diff)
    close(folded(tensors, tmp_path, CONV, scale=0.5, kind="bias"), UNET[f"{CONV}.bias"] + 0.5 * bias)
    tensors = {
        f"{norm}.w_norm": noise(*UNET[f"{NORM}.weight"].shape),
        f"{norm}.b_norm": bias[: len(UNET[f"{NORM}.bias"])],
    }
    close(folded(tensors, tmp_path, NORM), UNET[f"{NORM}.weight"] + noise(*UNET[f"{NORM}.weight"].shape))


@pytest.mark.parametrize("on_input", [True, False])
def test_ia3_is_a_factor_for_each_row_or_column(on_input, tmp_path):
    weight = UNET[f"{LINEAR}.weight"]
    factor = noise(1, weight.shape[1]) if on_input else noise(weight.shape[0], 1)
    tensors = {f"{KOHYA}.weight": factor, f"{KOHYA}.on_input": torch.tensor(on_input)}
    close(folded(tensors, tmp_path, scale=0.5), weight * (1 + 0.5 * factor))


@pytest.mark.parametrize("layer", [LINEAR, CONV])
@pytest.mark.parametrize("bound", [0.0, 0.001])
def test_oft_turns_rows_in_blocks(layer, bound, tmp_path):
    weight, name = UNET[f"{layer}.weight"], "lora_unet_" + layer.replace(".", "_")
    size = weight.shape[0] // 4
    blocks, rescale = noise(4, size, size), 1 + noise(weight.shape[0], *[1] * (weight.ndim - 1))
    tensors = {f"{name}.oft_blocks": blocks, f"{name}.alpha": torch.tensor(bound), f"{name}.rescale": rescale}
    skew, expected = blocks - blocks.mT, weight.clone()
    if bound:
        skew = skew * (bound * len(weight) / skew.norm())
    for k in range(4):
        turn = (torch.eye(size) + skew[k]) @ torch.linalg.inv(torch.eye(size) - skew[k])
        assert torch.allclose(turn @ turn.T, torch.eye(size), atol=1e-5)
        rows = slice(k * size, (k + 1) * size)
        expected[rows] = (turn.T @ weight[rows].flatten(1)).reshape(weight[rows].shape)
    close(folded(tensors, tmp_path, layer, scale=0.5), weight + 0.5 * (rescale * expected - weight))


@pytest.mark.parametrize("side", ["rows", "columns", "peft"])
@pytest.mark.parametrize("layer", [LINEAR, CONV])
def test_dora_keeps_the_direction_and_sets_the_length(layer, side, tmp_path):
    weight = UNET[f"{layer}.weight"]
    (down, up), ones = pair(weight.shape), [1] * (weight.ndim - 2)
    prefix = f"unet.{layer}." if side == "peft" else "lora_unet_" + layer.replace(".", "_") + "."
    tensors = {f"{prefix}lora_A.weight": down, f"{prefix}lora_B.weight": up}
    axis = 1 if side == "columns" else 0
    lengths = 1 + noise(weight.shape[axis]).abs()
    shape = (1, -1, *ones) if axis else (-1, 1, *ones)
    if side == "peft":
        tensors[f"{prefix}lora_magnitude_vector"] = lengths.reshape(1, -1, 1, 1) if layer == CONV else lengths
    else:
        tensors[f"{prefix}dora_scale"] = lengths.reshape(shape)
    moved = weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    norms = moved.transpose(0, axis).flatten(1).norm(dim=1).reshape(shape)
    close(folded(tensors, tmp_path, layer, scale=0.5), weight + 0.5 * (lengths.reshape(shape) * moved / norms - weight))


# --- scales -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_sums_are_taken_in_float32_whatever_the_files_type(stored, tmp_path):
    down, up = (one.to(stored) for one in pair(UNET[f"{LINEAR}.weight"].shape))
    tensors = {f"{KOHYA}.lora_down.weight": down, f"{KOHYA}.lora_up.weight": up, f"{KOHYA}.alpha": torch.tensor(3)}
    expected = UNET[f"{LINEAR}.weight"] + 3 / RANK * up.float() @ down.float()
    close(folded(tensors, tmp_path), expected)


@pytest.mark.parametrize("rs", [False, True])
@pytest.mark.parametrize("where", ["beside", "inside"])
def test_pefts_own_alpha_counts_whether_it_stands_beside_the_file_or_inside(where, rs, tmp_path):
    down, up = pair(UNET[f"{LINEAR}.weight"].shape)
    config = {"r": RANK, "lora_alpha": 8, "use_rslora": rs, "alpha_pattern": {"attn2.to_q": 99}}
    path, metadata = tmp_path / "adapter_model.safetensors", None
    if where == "beside":
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    else:
        path = tmp_path / "lora.safetensors"
        metadata = {"lora_adapter_metadata": json.dumps({f"unet.{name}": value for name, value in config.items()})}
    loras = opened({f"unet.{LINEAR}.lora_A.weight": down, f"unet.{LINEAR}.lora_B.weight": up}, path, metadata=metadata)
    weight = UNET[f"{LINEAR}.weight"]
    close(loras.fold("unet", f"{LINEAR}.weight", weight), weight + 8 / (math.sqrt(RANK) if rs else RANK) * up @ down)


def test_several_files_add_up_each_at_its_scale(tmp_path):
    files, expected = [], UNET[f"{LINEAR}.weight"]
    for seed, scale in ((1, 0.5), (5, -1.0)):
        down, up = pair(UNET[f"{LINEAR}.weight"].shape, seed)
        save_file({f"{KOHYA}.lora_down.weight": down, f"{KOHYA}.lora_up.weight": up}, tmp_path / f"{seed}.safetensors")
        files.append((tmp_path / f"{seed}.safetensors", scale))
        expected = expected + scale * up @ down
    loras = open_loras(files, SHAPES)
    close(loras.fold("unet", f"{LINEAR}.weight", UNET[f"{LINEAR}.weight"]), expected)


def test_a_lora_option_is_a_path_and_maybe_a_scale():
    assert parse_lora("a/b.safetensors") == ("a/b.safetensors", 1.0)
    assert parse_lora("a/b.safetensors:0.7") == ("a/b.safetensors", 0.7)
    assert parse_lora("C:/b.safetensors") == ("C:/b.safetensors", 1.0)
    assert parse_lora("https://hub/a/b.safetensors:0.7") == ("https://hub/a/b.safetensors", 0.7)


# --- in the model -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", ["fc", "fbc"])
def test_the_base_is_changed_then_widened_then_offset(workflow, tmp_path):
    down, up = pair(UNET["conv_in.weight"].shape)
    loras = opened(
        {"lora_unet_conv_in.lora_down.weight": down, "lora_unet_conv_in.lora_up.weight": up}, tmp_path / "l.safetensors"
    )
    config = json.loads((MODEL / "unet" / "config.json").read_text())
    base, offset = (
        open_tensors(MODEL / name)
        for name in ("unet/diffusion_pytorch_model.safetensors", f"iclight_sd15_{workflow}.safetensors")
    )
    plain = load_unet(base, config, offset, workflow, torch.float32).state_dict()
    ours = load_unet(base, config, offset, workflow, torch.float32, loras=loras).state_dict()
    delta = torch.einsum("or,rikl->oikl", up[:, :, 0, 0], down)
    close(ours["conv_in.weight"][:, :4], plain["conv_in.weight"][:, :4] + delta)
    assert torch.equal(ours["conv_in.weight"][:, 4:], plain["conv_in.weight"][:, 4:])
    assert all(torch.equal(ours[name], plain[name]) for name in plain if name != "conv_in.weight")


def test_a_loaded_model_has_unet_and_text_encoder_changed_once_and_says_what_was_of_no_use(tmp_path):
    down, up = pair(UNET[f"{LINEAR}.weight"].shape)
    text_down, text_up = pair(TEXT[f"{QUERY}.weight"].shape)
    text = "lora_te_text_model_" + QUERY.replace(".", "_")
    tensors = {f"{KOHYA}.lora_down.weight": down, f"{KOHYA}.lora_up.weight": up}
    tensors |= {f"{text}.lora_down.weight": text_down, f"{text}.lora_up.weight": text_up}
    tensors |= {"lora_te2_x.lora_down.weight": noise(2, 2), "bundle_emb.\x1b[31m.clip_l": noise(2, 2)}
    path = tmp_path / "all.safetensors"
    save_file(tensors, path)
    first = load_model(MODEL, "fc", device="cpu", dtype="float32", lora=f"{path}:0.5")
    second = load_model(MODEL, "fbc", device="cpu", dtype="float32", lora=f"{path}:0.5", share=first)
    alone = load_model(MODEL, "fbc", device="cpu", dtype="float32", share=first)
    assert second.text_encoder is first.text_encoder and second.vae is first.vae
    assert alone.text_encoder is not first.text_encoder, "a text encoder with a LoRA is not one without"
    held = {name.removeprefix("text_model."): tensor for name, tensor in first.text_encoder.state_dict().items()}
    close(held[f"{QUERY}.weight"], TEXT[f"{QUERY}.weight"] + 0.5 * text_up @ text_down)
    plain = alone.unet.state_dict()[f"{LINEAR}.weight"]
    close(second.unet.state_dict()[f"{LINEAR}.weight"], plain + 0.5 * up @ down)
    assert "2 of 6 tensors of LoRA file" in first.model.notice and "lora_te2_x" in first.model.notice
    assert "\x1b" not in first.model.notice


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_lora_that_is_missing_broken_or_of_another_model_is_refused_by_name(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.safetensors does not exist"):
        open_loras([(tmp_path / "none.safetensors", 1.0)], SHAPES)
    (tmp_path / "bad.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match=r"bad\.safetensors"):
        open_loras([(tmp_path / "bad.safetensors", 1.0)], SHAPES)
    with pytest.raises(ModelError, match=r"other\.safetensors holds nothing for .*x\.lora_A\.weight.*SD1\.5"):
        opened({"x.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"whole\.safetensors holds nothing for"):
        opened({f"{LINEAR}.weight": torch.zeros(2, 2)}, tmp_path / "whole.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda down, up: {"lora_A.weight": down}, "is not whole.*lacks 'up'"),
        (lambda down, up: {"lora_B.weight": up}, "is not whole.*lacks 'down'"),
        (lambda down, up: {"lora_A.weight": torch.tensor(1.0), "lora_B.weight": torch.tensor(1.0)}, "is not whole"),
        (lambda down, up: {"lora_A.weight": down, "lora_B.weight": up[:, :2]}, "does not fit"),
        (lambda down, up: {"lora_A.weight": up.T, "lora_B.weight": torch.zeros(99, RANK)}, "does not fit"),
        (lambda down, up: {"lora_A.weight": down, "lora_B.weight": up, "dora_scale": torch.ones(1)}, "dora_scale"),
        (lambda down, up: {"lora_A.weight": down, "lora_B.weight": up, "alpha": torch.ones(3)}, "does not fit"),
        (lambda down, up: {"lora_A.weight": down.to(torch.int8), "lora_B.weight": up}, "not quantised"),
        (lambda down, up: {"lora_A.weight": down, "lora_B.weight": up, "hada_w1_a": up + 1}, "of no kind"),
        (
            lambda down, up: {"lora_A.weight": down, "lora_B.weight": up, "lora.up.weight": up + 1},
            "names a layer twice",
        ),
        (lambda down, up: {"a1.weight": down}, "is GLoRA"),
        (lambda down, up: {"oft_R.weight": down}, "is OFT of PEFT"),
        (lambda down, up: {"oft_blocks": torch.zeros(2, 2, 16, 16)}, "does not fit"),
        (lambda down, up: {"lokr_w1": torch.zeros(2, 2), "lokr_w2": torch.zeros(2, 2)}, "does not fit"),
    ],
)
def test_a_lora_that_would_not_be_folded_whole_is_refused_before_a_weight_is_read(change, words, tmp_path):
    down, up = pair(UNET[f"{LINEAR}.weight"].shape)
    path = tmp_path / "odd.safetensors"
    with pytest.raises(ModelError, match=words) as caught:
        opened({f"unet.{LINEAR}.{name}": tensor for name, tensor in change(down, up).items()}, path)
    assert str(path) in str(caught.value)
