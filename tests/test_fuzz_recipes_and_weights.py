"""Hundreds of altered recipes, weights and configs: each is read, or refused in a sentence; nothing else happens."""

from __future__ import annotations

import json
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_data import GOLDEN
from safetensors.torch import load_file, save_file

from iclight import Settings
from iclight.diffusion.configs import read_config
from iclight.diffusion.environment_encoder import PREFIX
from iclight.diffusion.lora import open_loras
from iclight.diffusion.tensors import open_tensors
from iclight.diffusion.unet import load_unet
from iclight.errors import MESSAGE_LIMIT, UNSEEN, IclightError
from iclight.imaging.png_text import with_text
from iclight.recipes import KEY, Recipe, check_model, find_asked, find_input, png_bytes, read_recipe
from iclight.weights.folders import read_card
from iclight.weights.hub import MANIFEST, read_manifest
from iclight.weights.manifest import check_safetensors

MODEL = GOLDEN / "model"
PICTURE = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
IDENTITY = {"name": "mini", "workflow": "fc", "base_sha256": "b", "offset_sha256": "o", "vae_sha256": "v"}
IDENTITY |= {"text_encoder_sha256": "t", "device": "cpu", "dtype": "bfloat16"}
RECIPE = Recipe(
    Settings(width=64, height=64),
    {
        **IDENTITY,
        "asked": {"model": "mini", "offset": None, "lora": ["a.safetensors:0.5"]},
        "lora": [{"file": "a.safetensors", "scale": 0.5, "sha256": "s"}],
    },
    "none",
    {"image": {"file": "a.png", "sha256": "0"}, "mask": {"file": "m.png", "sha256": "1"}},
    software={"iclight": "0.1.0"},
    mix={"channels": {"left": {"strength": 1.0}}, "exposure": 0.0},
)
TARGET = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"

# What a value may be replaced by.
STRANGE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    12,
    10**30,
    1e300,
    "",
    "x",
    "a" * 5000,
    "a/" * 600,
    "\0",
    "\x1b]0;x\7",
]
STRANGE += [
    "\ud800",
    "\u202e",
    "../../../../etc/passwd",
    "/dev/zero",
    "~nobody/x",
    [],
    {},
    [1],
    {"a": 1},
    [[[]]],
    ["x"],
]
STRANGE += [{"file": 1}, [{}], [None], [[1, 2]], {"": None}, "auto", "1e999", list(range(40))]


def heard(call: Callable[[], Any]) -> bool:
    """Whether `call` ended well; if not, by a short IclightError without anything that a terminal obeys."""
    try:
        call()
    except IclightError as error:
        message = str(error)
        assert message.strip()
        assert len(message) <= MESSAGE_LIMIT
        assert not UNSEEN.search(message.replace("\n", " "))
        return False
    return True


def altered(value: Any, draw: random.Random) -> Any:
    """A copy of a value of JSON with one place changed: replaced, dropped, doubled or renamed."""
    value = json.loads(json.dumps(value))
    place, places = value, []
    stack = [value]
    while stack:
        place = stack.pop()
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        places += [(place, key) for key in keys]
        stack += [place[key] for key in keys if isinstance(place[key], (dict, list))]
    place, key = draw.choice(places)
    how = draw.random()
    if how < 0.15:
        del place[key]
    elif how < 0.3 and isinstance(place, dict):
        place[str(draw.choice(STRANGE))] = place.pop(key)
    else:
        place[key] = draw.choice(STRANGE)
    return value


def broken(data: bytes, draw: random.Random) -> bytes:
    """The bytes with a few changed, cut or put in."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(out) + 1)
        how = draw.randrange(4)
        if how == 0 and at < len(out):
            out[at] = draw.randrange(256)
        elif how == 1 and at < len(out):
            out[at] ^= 1 << draw.randrange(8)
        elif how == 2:
            del out[at : at + draw.choice([1, 2, 30, 1000])]
        else:
            out[at:at] = bytes(draw.randrange(256) for _ in range(draw.choice([1, 4, 20])))
    return bytes(out)


def in_json(value: Any, draw: random.Random) -> str:
    """As JSON, sometimes with what other writers of it would put there."""
    text = json.dumps(value)
    how = draw.randrange(12)
    if how == 0:
        text = text.replace(": 0", f": {draw.choice(['NaN', 'Infinity', '-Infinity', '1e999', '9' * 5000])}", 1)
    elif how == 1:
        levels = draw.choice([40, 900, 200_000])
        text = text.replace("null", "[" * levels + "]" * levels, 1)
    return text


def used(path: Path, folder: Path) -> None:
    """A recipe as the command line uses it, short of loading a model."""
    recipe = read_recipe(path)
    find_asked(recipe, folder)
    json.loads(recipe.to_json())
    png_bytes(PICTURE, recipe)
    for call in (
        lambda: check_model(recipe, IDENTITY),
        lambda: check_model(recipe, {**recipe.model, "lora": []}),
        *(lambda entry=entry: find_input(entry, folder, "picture") for entry in recipe.inputs.values()),
    ):
        heard(call)


def test_altered_recipes_are_read_or_refused(tmp_path):
    draw, path = random.Random(1), tmp_path / "r.png"
    plain = png_bytes(PICTURE)
    values = json.loads(RECIPE.to_json())
    results = []
    for _ in range(500):
        text = in_json(altered(values, draw), draw)
        path.write_bytes(with_text(plain, KEY, text))
        results.append(heard(lambda: used(path, tmp_path)))
    assert any(results) and not all(results)


def test_broken_pngs_are_read_or_refused(tmp_path):
    draw, path = random.Random(2), tmp_path / "r.png"
    whole = png_bytes(PICTURE, RECIPE)
    results = []
    for _ in range(500):
        path.write_bytes(broken(whole, draw))
        results.append(heard(lambda: used(path, tmp_path)))
    assert not all(results)


@pytest.mark.parametrize("kind", [b"iTXt", b"zTXt"])
def test_a_text_that_unfolds_to_gigabytes_is_not_unfolded(kind, tmp_path):
    squeezer = zlib.compressobj(9)
    block = bytes(2**20)
    text = b"".join(squeezer.compress(block) for _ in range(300)) + squeezer.flush()
    body = b"iclight\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + text
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    png = png_bytes(PICTURE)
    (tmp_path / "bomb.png").write_bytes(png[:33] + chunk + png[33:])
    with pytest.raises(IclightError, match="recipe is broken: it has more than 2 MB"):
        read_recipe(tmp_path / "bomb.png")


# --- weights ----------------------------------------------------------------------------------------------------------


def header_and_data(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def taken_up(path: Path) -> None:
    """A file of weights as a loader takes it up: checked, opened, and each tensor read."""
    source = open_tensors(path)
    check_safetensors(path)
    for name in list(source.shapes):
        source.read(name)


def test_safetensors_with_altered_headers_are_opened_or_refused(tmp_path):
    draw, path = random.Random(3), tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.float16), "c": torch.zeros(())}, path)
    header, data = header_and_data(path)
    whole = path.read_bytes()
    results = []
    for number in range(400):
        text = in_json(altered(header, draw), draw).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data if number % 4 else broken(whole, draw))
        results.append(heard(lambda: taken_up(path)))
    assert not all(results)
    for length in (0, 1, 2**20, 2**31, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", length) + whole[8:])
        assert not heard(lambda: taken_up(path))


def test_altered_torch_files_are_opened_or_refused(tmp_path):
    draw, path = random.Random(4), tmp_path / "w.pt"
    torch.save({"a": torch.zeros(2, 3), "b": torch.zeros(4)}, path)
    whole = path.read_bytes()
    for _ in range(150):
        path.write_bytes(broken(whole, draw))
        heard(lambda: open_tensors(path))


def test_altered_offsets_are_merged_or_refused(tmp_path):
    draw = random.Random(5)
    base = MODEL / "unet" / "diffusion_pytorch_model.safetensors"
    config = json.loads((MODEL / "unet" / "config.json").read_text())
    offset = load_file(MODEL / "iclight_sd15_fc.safetensors")
    path = tmp_path / "o.safetensors"
    for _ in range(30):
        tensors = dict(offset)
        name = draw.choice(list(tensors))
        change = draw.choice(["integers", "complex", "shape", "name", "scalar", "tokens", "less"])
        one = tensors.pop(name)
        tensors |= {
            "integers": {name: one.to(torch.int8)},
            "complex": {name: one.to(torch.complex64)},
            "shape": {name: one[:1].contiguous()},
            "name": {f"{name}\x1b[31m" * 50: one},
            "scalar": {name: torch.tensor(1.0)},
            "tokens": {name: one, f"{PREFIX}x": one.clone()},
            "less": {},
        }[change]
        save_file(tensors, path)
        assert not heard(lambda: load_unet(open_tensors(base), config, open_tensors(path), "fc", torch.float32)), change


def lora_change(name: str, draw: random.Random) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    return draw.choice(
        [
            lambda one: {},
            lambda one: {name: torch.tensor(1.0)},
            lambda one: {name: one.reshape(-1)},
            lambda one: {name: one.reshape(-1)[:0].contiguous()},
            lambda one: {name: one.reshape(-1, one.shape[-1] if one.ndim else 1)[..., :3].contiguous()},
            lambda one: {name: one.to(torch.int8)},
            lambda one: {name: one[None, None].contiguous()},
            lambda one: {name: one, name.replace("attn1", "attn9"): one.clone()},
            lambda one: {f"({name}+)+$": one},
            lambda one: {name.replace("lora_", "lora.") + "\x1b" * 99: one},
            lambda one: {name: one, name.rsplit(".", 2)[0] + ".dora_scale": torch.ones(3)},
        ]
    )


def test_altered_loras_are_folded_or_refused(tmp_path):
    draw, path = random.Random(6), tmp_path / "l.safetensors"
    base = load_file(MODEL / "unet" / "diffusion_pytorch_model.safetensors")
    shapes = {"unet": {name: tuple(tensor.shape) for name, tensor in base.items()}}
    weight = base[f"{TARGET}.weight"]
    out, into = weight.shape
    kohya = "lora_unet_" + TARGET.replace(".", "_")
    whole = [
        {f"unet.{TARGET}.lora_A.weight": torch.ones(2, into), f"unet.{TARGET}.lora_B.weight": torch.ones(out, 2)},
        {f"{kohya}.lora_down.weight": torch.ones(2, into), f"{kohya}.lora_up.weight": torch.ones(out, 2)},
        {f"{kohya}.lokr_w1": torch.ones(2, 2), f"{kohya}.lokr_w2": torch.ones(out // 2, into // 2)},
        {f"{kohya}.oft_blocks": torch.ones(2, out // 2, out // 2)},
    ]
    whole[1][f"{kohya}.alpha"] = torch.tensor(2)

    def folded() -> None:
        loras = open_loras([(path, 0.5)], shapes)
        one = loras.fold("unet", f"{TARGET}.weight", weight)
        assert one.shape == weight.shape and one.dtype == torch.float32

    results = []
    for _ in range(100):
        tensors = dict(draw.choice(whole))
        name = draw.choice(list(tensors))
        tensors |= lora_change(name, draw)(tensors.pop(name))
        save_file(tensors, path)
        results.append(heard(folded))
    assert any(results) and not all(results)


# --- what describes a model -------------------------------------------------------------------------------------------


def test_altered_facts_manifests_and_configs_are_read_or_refused(tmp_path):
    draw = random.Random(7)
    facts = {
        "name": "Mine",
        "native_size": [128, 64],
        "offsets": {"fc": "o.safetensors"},
        "license": "MIT",
        "about": "x",
    }
    entry = {"path": "a.json", "repo": "a/b", "revision": "c", "size": 3, "sha256": "d", "blob_id": None}
    manifest = {"files": {"a.json": entry}, "offered": {}}
    shutil.copy(MODEL / "unet" / "config.json", tmp_path / "whole.json")
    config = json.loads((tmp_path / "whole.json").read_text())
    for _ in range(250):
        (tmp_path / "iclight.json").write_text(in_json(altered(facts, draw), draw))
        heard(lambda: read_card(tmp_path, None))
        (tmp_path / MANIFEST).write_text(in_json(altered(manifest, draw), draw))
        assert isinstance(read_manifest(tmp_path), dict)
        (tmp_path / "config.json").write_text(in_json(altered(config, draw), draw))
        heard(lambda: read_config(tmp_path))
