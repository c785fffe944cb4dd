"""Which model runs, from which folder, and what its iclight.json may say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_models import FBC, FC, GOLDEN, LITTER, REPO, UNET, VAE, quiet, safetensors
from hub_stand_in import HubStandIn

from iclight.errors import WeightsError
from iclight.weights import resolve as weights
from iclight.weights.catalogue import SD15

pytestmark = pytest.mark.usefixtures("surroundings")


def test_importing_weights_loads_no_heavy_library() -> None:
    code = "import sys; sys.modules['torch']=None; import iclight.weights.hub, iclight.weights.resolve" + (
        "; print([m for m in ('diffusers','transformers','huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=REPO, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_auto_on_a_cpu_runs_mini_and_says_how_to_get_sd15() -> None:
    model = weights.resolve_model("auto", "fbc", device_type="cpu", say=quiet)
    assert (model.name, model.native_size, model.workflow) == ("mini", (192, 256), "fbc")
    assert model.offset.name == "iclight_mini_fbc.safetensors" and model.config == model.base
    assert "--model sd15" in model.notice and "GB" in model.notice and "\n" not in model.notice


def test_mini_in_the_models_folder_comes_before_the_shipped_one(models: Path) -> None:
    shutil.copytree(REPO / "models" / "mini", models / "mini")
    assert weights.resolve_model("mini").base == models / "mini"


def test_auto_on_a_gpu_fetches_sd15_once(sd15: HubStandIn, models: Path) -> None:
    model = weights.resolve_model("auto", "fc", device_type="cuda", say=quiet)
    assert (model.name, model.base, model.native_size, model.notice) == ("sd15", models / "sd15", (512, 640), "")
    assert model.offset.read_bytes() == (GOLDEN / FC).read_bytes()
    assert (model.base / UNET).read_bytes() == (GOLDEN / UNET).read_bytes()
    got = {r.path.split("/", 5)[-1] for r in sd15.fetched()}
    assert not any(name in " ".join(got) for name in (*LITTER, FBC, "fcon"))
    sd15.requests.clear()
    assert weights.resolve_model("sd15", "fc", say=quiet) == model
    assert sd15.requests == [], "a second start must not touch the network"
    weights.resolve_model("sd15", "fbc", say=quiet)
    assert len(sd15.fetched()) == 1, "another workflow needs its offset only"


def test_offsets_come_from_the_pinned_revision(sd15: HubStandIn) -> None:
    weights.resolve_model("sd15", "fc", say=quiet)
    assert [f"/{SD15.offsets_revision}/" in r.path for r in sd15.fetched(FC)] == [True]


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_auto_on_a_gpu_without_a_hub_runs_mini_and_says_so_loudly(device: str) -> None:
    model = weights.resolve_model("auto", "fc", device_type=device, say=quiet)
    assert model.name == "mini" and "WARNING" in model.notice and "could not be reached" in model.notice


def test_auto_without_download_fetches_nothing(sd15: HubStandIn) -> None:
    assert weights.resolve_model("auto", device_type="cuda", download=False, say=quiet).name == "mini"
    with pytest.raises(WeightsError, match="iclight models --download sd15"):
        weights.resolve_model("sd15", download=False, say=quiet)
    assert sd15.requests == []


def test_a_folder_without_iclight_json_takes_sd15s_facts() -> None:
    model = weights.resolve_model(GOLDEN, "fbc", say=quiet)
    assert (model.name, model.native_size, model.offset) == ("model", (512, 640), GOLDEN / FBC)


def test_iclight_json_says_name_size_and_offsets(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(GOLDEN, folder)
    (folder / FC).rename(folder / "other.safetensors")
    facts = {"name": "Mine", "native_size": [128, 64], "offsets": {"fc": "other.safetensors"}, "license": "MIT"}
    facts["defaults"] = {"fc": {"steps": 8, "light_strength": 2}}
    (folder / "iclight.json").write_text(json.dumps(facts))
    model = weights.resolve_model(str(folder), "fc", say=quiet)
    assert (model.name, model.native_size, model.license) == ("Mine", (128, 64), "MIT")
    assert model.offset == folder / "other.safetensors"
    assert model.defaults == {"fc": {"steps": 8, "light_strength": 2}}
    with pytest.raises(WeightsError, match="no offset for the workflow 'fbc'; it has fc"):
        weights.resolve_model(folder, "fbc", say=quiet)
    with pytest.raises(WeightsError, match="--model sd15"):
        weights.resolve_model(folder, "fc", "fcon", say=quiet)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "broken"),
        ("[]", "broken"),
        ('{"native_size": [256]}', "native_size"),
        ('{"native_size": [256, "320"]}', "native_size"),
        ('{"native_size": [250, 320]}', "native_size"),
        ('{"offsets": {"fc": "../../secret.safetensors"}}', "offsets"),
        ('{"offsets": ["fc"]}', "offsets"),
        ('{"name": 3}', "name"),
        ('{"license": null}', "license"),
        ('{"defaults": {"fc": {"steps": 0}}}', "defaults"),
        ('{"defaults": {"fc": {"light": "left"}}}', "defaults"),
        ('{"defaults": {"fc": 8}}', "defaults"),
        ('{"defaults": {"else": {}}}', "defaults"),
        ('{"defaults": {"fc": {"sharpness": 1}}}', "defaults"),
    ],
)
def test_a_broken_iclight_json_is_named_with_its_field(tmp_path: Path, text: str, named: str) -> None:
    shutil.copytree(GOLDEN, tmp_path / "mine")
    (tmp_path / "mine" / "iclight.json").write_text(text)
    with pytest.raises(WeightsError, match=f"iclight.json.*{named}"):
        weights.resolve_model(tmp_path / "mine", say=quiet)


@pytest.mark.parametrize(
    ("gone", "named"),
    [("tokenizer", "tokenizer"), ("text_encoder", "text_encoder/config.json"), (VAE, "weights of vae"), (UNET, UNET)],
)
def test_a_folder_that_lacks_a_part_is_refused_by_the_parts_name(tmp_path: Path, gone: str, named: str) -> None:
    shutil.copytree(GOLDEN, tmp_path / "mine")
    path = tmp_path / "mine" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(WeightsError, match=named):
        weights.resolve_model(tmp_path / "mine", say=quiet)


def test_an_unknown_model_is_answered_with_what_is_accepted() -> None:
    for name in ("sd16", "./nothing/here", "", "/no/such.safetensors"):
        with pytest.raises(WeightsError, match="sd15.*hub id"):
            weights.resolve_model(name, say=quiet)


def test_a_single_file_checkpoint_takes_sd15s_small_files(sd15: HubStandIn, tmp_path: Path, models: Path) -> None:
    checkpoint = tmp_path / "dream.safetensors"
    checkpoint.write_bytes(safetensors())
    model = weights.resolve_model(checkpoint, "fc", say=quiet)
    assert (model.name, model.base, model.config) == ("dream", checkpoint, models / "sd15")
    assert (model.config / "tokenizer" / "vocab.json").is_file() and (model.config / "unet" / "config.json").is_file()
    assert not (model.config / UNET).exists()
    assert weights.resolve_model("sd15", "fc", say=quiet).base == models / "sd15"
    assert (models / "sd15" / UNET).is_file(), "the small files alone must not pass for sd15"


def test_pickled_checkpoints_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.ckpt").write_bytes(b"\x80\x02}.")
    with pytest.raises(WeightsError, match="convert"):
        weights.resolve_model(tmp_path / "old.ckpt", say=quiet)
