"""Damage after the download is noticed, and mended or named."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest
from hub_models import FC, GOLDEN, REPO, UNET, VAE, alter, dead_port, quiet, safetensors
from hub_stand_in import HubStandIn

from iclight.errors import WeightsError
from iclight.weights import manifest
from iclight.weights import resolve as weights

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.mark.parametrize("how", ["truncated", "altered"])
@pytest.mark.parametrize("name", [UNET, FC])
def test_a_damaged_file_is_fetched_again(sd15: HubStandIn, how: str, name: str) -> None:
    model = weights.resolve_model("sd15", say=quiet)
    path = model.base / name
    alter(path) if how == "altered" else os.truncate(path, 1000)
    sd15.requests.clear()
    assert weights.resolve_model("sd15", say=quiet) == model
    assert path.read_bytes() == (GOLDEN / name).read_bytes()
    assert len(sd15.fetched()) == 1


def test_a_damaged_file_without_a_hub_is_an_error_that_names_it(
    sd15: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = weights.resolve_model("sd15", say=quiet)
    alter(model.base / VAE)
    monkeypatch.setenv("HF_ENDPOINT", dead_port())
    for name, device in (("sd15", "cpu"), ("auto", "cuda")):
        with pytest.raises(WeightsError, match=f"{VAE} was altered.*Check the network.*good copy"):
            weights.resolve_model(name, device_type=device, say=quiet)
    with pytest.raises(WeightsError, match=f"{VAE} was altered"):
        weights.resolve_model("sd15", download=False, say=quiet)
    assert (model.base / VAE).is_file(), "a damaged file goes only once there is a better one"


def test_a_truncated_file_of_the_users_own_is_an_error(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "mine")
    os.truncate(tmp_path / "mine" / UNET, 50_000)
    with pytest.raises(WeightsError, match=f"{UNET} is truncated"):
        weights.resolve_model(tmp_path / "mine", say=quiet)


def test_files_put_there_by_hand_are_kept(sd15: HubStandIn, models: Path) -> None:
    half = models / "sd15" / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    half.parent.mkdir(parents=True)
    half.write_bytes(safetensors())
    model = weights.resolve_model("sd15", say=quiet)
    assert half.read_bytes() == safetensors() and not (model.base / UNET).exists()


def test_a_broken_manifest_or_memory_does_no_harm(sd15: HubStandIn, models: Path, tmp_path: Path) -> None:
    model = weights.resolve_model("sd15", say=quiet)
    (models / "sd15" / ".iclight-manifest.json").write_text('{"files": {"x": 3}}')
    (tmp_path / "cache" / "sha256.json").write_text("[1")
    assert weights.resolve_model("sd15", say=quiet).base == model.base


@pytest.mark.parametrize(
    "data", [b"", b"abc", b"\xff" * 64, safetensors()[:-1], safetensors() + b"x", struct.pack("<Q", 4) + b"[{]}" + b"x"]
)
def test_what_is_no_whole_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match="x.safetensors"):
        manifest.check_safetensors(tmp_path / "x.safetensors")


def test_every_shipped_safetensors_file_passes() -> None:
    for path in [*GOLDEN.rglob("*.safetensors"), *(REPO / "models" / "mini").rglob("*.safetensors")]:
        manifest.check_safetensors(path)


def test_a_sha256_is_computed_once_per_state_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    path = tmp_path / "x"
    path.write_bytes(b"one")
    assert manifest.sha256_of(path) == hashlib.sha256(b"one").hexdigest()
    monkeypatch.setattr(manifest, "_hashes", {})
    with monkeypatch.context() as blind:
        blind.setattr(manifest, "digest_of", lambda *_: pytest.fail("hashed again"))
        assert manifest.sha256_of(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"three")
    assert manifest.sha256_of(path) == hashlib.sha256(b"three").hexdigest()
    monkeypatch.setenv("ICLIGHT_CACHE", str(path / "not a folder"))
    path.write_bytes(b"other!")
    assert manifest.sha256_of(path) == hashlib.sha256(b"other!").hexdigest()
