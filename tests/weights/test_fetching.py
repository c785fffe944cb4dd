"""Fetching: once, resumed, checked on arrival, from a fallback or the hub's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_models import BASE, FBC, FC, GOLDEN, LITTER, REPO, UNET, VAE, dead_port, quiet, safetensors
from hub_stand_in import HubStandIn

from iclight.errors import WeightsError
from iclight.weights import resolve as weights
from iclight.weights.catalogue import MATTINGS, SD15, files_to_fetch

pytestmark = pytest.mark.usefixtures("surroundings")


def test_a_hub_model_brings_its_own_offsets(hub: HubStandIn, models: Path) -> None:
    hub.add_repo("some/model", GOLDEN)
    model = weights.resolve_model("some/model", "fc", say=quiet)
    assert (model.name, model.base) == ("some/model", models / "some--model")
    assert model.offset == models / "some--model" / FC and not (models / "some--model" / FBC).exists()
    assert weights.resolve_model("some/model", "fbc", say=quiet).offset == models / "some--model" / FBC
    hub.requests.clear()
    assert weights.resolve_model("some/model", "fbc", say=quiet).name == "some/model"
    assert hub.requests == []


def test_a_repository_of_pickles_only_is_fetched_too(hub: HubStandIn, models: Path) -> None:
    files: dict[str, bytes | Path] = {name: path for name, path in BASE.items() if not name.endswith(".safetensors")}
    files |= {"text_encoder/pytorch_model.bin": b"a", "unet/diffusion_pytorch_model.bin": b"b"}
    files |= {"vae/diffusion_pytorch_model.bin": b"c", FC: GOLDEN / FC}
    hub.add_repo("old/model", files)
    weights.resolve_model("old/model", "fc", say=quiet)
    assert (models / "old--model" / "unet" / "diffusion_pytorch_model.bin").read_bytes() == b"b"


def test_of_each_part_one_precision_is_fetched_safetensors_first() -> None:
    stems = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")
    endings = (".bin", ".fp16.bin", ".fp16.safetensors")
    offered = [stem + ending for stem in stems for ending in endings] + [UNET, "text_encoder/pytorch_model.fp16.bin"]
    offered += [
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "v1-5-pruned.ckpt",
        "safety_checker/model.safetensors",
    ]
    chosen = files_to_fetch(offered)
    fp16 = "vae/diffusion_pytorch_model.fp16.safetensors"
    assert sorted(chosen) == sorted([UNET, fp16, "text_encoder/pytorch_model.fp16.bin"])
    assert fp16 not in files_to_fetch(offered, present=["vae/diffusion_pytorch_model.bin"])


@pytest.mark.parametrize("status", [401, 403, 404])
def test_sd15_falls_back_when_its_repository_is_gone(sd15: HubStandIn, status: int) -> None:
    sd15.add_repo(SD15.fallbacks[0], {**BASE, **LITTER})
    sd15.refuse(SD15.repo, status)
    said: list[str] = []
    model = weights.resolve_model("sd15", say=said.append)
    assert model.name == "sd15" and SD15.fallbacks[0] in model.about
    assert any(f"Going on with {SD15.fallbacks[0]}" in line for line in said)


def test_two_repositories_are_never_mixed(sd15: HubStandIn, models: Path) -> None:
    weights.resolve_model("sd15", say=quiet)
    (models / "sd15" / VAE).unlink()
    other: dict[str, bytes | Path] = {name: path for name, path in BASE.items() if name != UNET}
    sd15.add_repo(SD15.fallbacks[0], {**other, "unet/diffusion_pytorch_model.bin": b"pickle"})
    sd15.refuse(SD15.repo, 404)
    model = weights.resolve_model("sd15", say=quiet)
    assert (model.base / "unet" / "diffusion_pytorch_model.bin").is_file() and not (model.base / UNET).exists()


def test_the_hubs_cache_is_used_before_the_network(sd15: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, snapshot_download

    cache = Path(constants.HF_HUB_CACHE)
    for repo, revision in ((SD15.repo, "main"), (SD15.offsets_repo, SD15.offsets_revision)):
        snapshot_download(repo, revision=revision, cache_dir=cache, endpoint=sd15.endpoint, token=False)
    monkeypatch.setenv("HF_ENDPOINT", dead_port())
    model = weights.resolve_model("auto", "fc", device_type="cuda", say=quiet)
    assert model.name == "sd15" and cache in model.base.parents and cache in model.offset.parents
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert weights.resolve_model("sd15", "fbc", say=quiet).base == model.base
    assert next(line for line in weights.installed() if line.name == "sd15").where == str(model.base)


def test_a_cut_connection_is_resumed_where_it_broke(hub: HubStandIn, models: Path) -> None:
    data = os.urandom(24_000_000)
    hub.add_repo(MATTINGS["ormbg"].repo, {"models/ormbg.pth": data})
    hub.drop("models/ormbg.pth", after=15_000_000)
    path = weights.download("ormbg", say=quiet)
    assert path.read_bytes() == data
    ranges = [r.range for r in hub.fetched("ormbg.pth")]
    assert ranges[0] == "" and len(ranges) == 2 and int(ranges[1].removeprefix("bytes=").rstrip("-")) >= 10_000_000


@pytest.mark.parametrize("ignore_range", [False, True])
def test_a_killed_download_is_resumed_by_the_next_run(hub: HubStandIn, models: Path, ignore_range: bool) -> None:
    data = os.urandom(24_000_000)
    hub.add_repo(MATTINGS["ormbg"].repo, {"models/ormbg.pth": data})
    hub.stall("models/ormbg.pth", after=22_000_000)
    killed = subprocess.Popen(
        [sys.executable, "-c", "from iclight.weights.resolve import download; download('ormbg')"],
        cwd=REPO,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert hub.stalled.wait(20)
        wait_for_bytes(models, 10_000_000)
    finally:
        killed.kill()
        killed.wait()
    hub.ignore_range = ignore_range
    assert weights.download("ormbg", say=quiet).read_bytes() == data
    assert hub.fetched("ormbg.pth")[-1].range.startswith("bytes=") or ignore_range
    assert int(hub.fetched("ormbg.pth")[1].range.removeprefix("bytes=").rstrip("-")) >= 10_000_000
    assert not list(models.rglob("*.part"))


def wait_for_bytes(folder: Path, count: int) -> None:
    import time

    for _ in range(200):
        if sum(part.stat().st_size for part in folder.rglob("*.part")) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("the client wrote nothing")


def test_what_arrives_altered_is_fetched_once_more(hub: HubStandIn, models: Path) -> None:
    hub.add_repo(MATTINGS["rmbg"].repo, {"model.safetensors": safetensors()})
    hub.corrupt_once("model.safetensors")
    said: list[str] = []
    assert weights.download("rmbg", say=said.append).read_bytes() == safetensors()
    assert len(hub.fetched("model.safetensors")) == 2 and any("once more" in line for line in said)


def test_what_arrives_altered_twice_is_an_error_and_leaves_nothing(hub: HubStandIn, models: Path) -> None:
    hub.add_repo(MATTINGS["rmbg"].repo, {"model.safetensors": safetensors()})
    hub.corrupt_once("model.safetensors", times=9)
    with pytest.raises(WeightsError, match="twice in a row"):
        weights.download("rmbg", say=quiet)
    assert not [p for p in models.rglob("*.*") if p.suffix in (".part", ".safetensors")]


def test_small_files_are_checked_by_gits_hash(hub: HubStandIn, models: Path) -> None:
    hub.add_repo("some/model", GOLDEN)
    hub.corrupt_once("unet/config.json")
    weights.resolve_model("some/model", say=quiet)
    assert len(hub.fetched("unet/config.json")) == 2
