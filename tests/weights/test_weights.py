"""Weights: found, fetched, checked, mended. The real client talks to a hub on the loopback and to nothing else."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_stand_in import HubStandIn

from iclight.errors import WeightsError
from iclight.weights import folders, manifest
from iclight.weights import resolve as weights
from iclight.weights.catalogue import MATTINGS, MODELS, SD15, files_to_fetch

REPO = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "model"
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
FC, FBC = "iclight_sd15_fc.safetensors", "iclight_sd15_fbc.safetensors"
BASE = {p.relative_to(GOLDEN).as_posix(): p for p in GOLDEN.rglob("*") if p.is_file() and p.parent != GOLDEN}
BASE["model_index.json"] = GOLDEN / "model_index.json"
LITTER = {"big.ckpt": b"x", "safety_checker/model.safetensors": b"x", "README.md": b"hello"}


def safetensors(payload: bytes = b"\0" * 16) -> bytes:
    header = json.dumps({"x": {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}}).encode()
    return struct.pack("<Q", len(header)) + header + payload


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No user's caches, tokens, mirrors or proxies; no hub either, unless a test brings one."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "HUGGING", "ICLIGHT_", "TRANSFORMERS_OFFLINE")):
            monkeypatch.delenv(name, raising=False)
    # The library reads this once, at its import, which another file of tests may have caused.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_ENDPOINT", dead_port())
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("ICLIGHT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("ICLIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    with HubStandIn() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.endpoint)
        yield stand_in


@pytest.fixture
def sd15(hub: HubStandIn) -> HubStandIn:
    """A hub that publishes the golden model as sd15."""
    hub.add_repo(SD15.repo, {**BASE, **LITTER})
    offsets = {FC: GOLDEN / FC, FBC: GOLDEN / FBC, SD15.offsets["fcon"]: GOLDEN / FC}
    hub.add_repo(SD15.offsets_repo, offsets, commit=SD15.offsets_revision)
    return hub


def dead_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def quiet(line: str) -> None:
    pass


def alter(path: Path) -> None:
    """Another last byte, same size, later mtime."""
    data = path.read_bytes()
    stat = path.stat()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


# ---------------------------------------------------------------- finding


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
    (folder / "iclight.json").write_text(json.dumps(facts))
    model = weights.resolve_model(str(folder), "fc", say=quiet)
    assert (model.name, model.native_size, model.license) == ("Mine", (128, 64), "MIT")
    assert model.offset == folder / "other.safetensors"
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


# ---------------------------------------------------------------- offsets


def test_an_env_offset_was_never_published_and_nothing_is_fetched_to_find_out(sd15: HubStandIn) -> None:
    with pytest.raises(WeightsError, match=r"no env offset was ever published for sd15.*--model mini.*train"):
        weights.resolve_model("sd15", "env", device_type="cuda", say=quiet)
    with pytest.raises(WeightsError, match=r"brings none.*no env offset was ever published"):
        weights.resolve_model(GOLDEN, "env", say=quiet)
    assert sd15.requests == []


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_auto_runs_mini_for_env_on_every_device(device: str, models: Path) -> None:
    shutil.copytree(REPO / "models" / "mini", models / "mini")
    facts = json.loads((models / "mini" / "iclight.json").read_text())
    facts["offsets"]["env"] = "iclight_mini_env.safetensors"
    (models / "mini" / "iclight.json").write_text(json.dumps(facts))
    (models / "mini" / "iclight_mini_env.safetensors").write_bytes(safetensors())
    model = weights.resolve_model("auto", "env", device_type=device, say=quiet)
    assert (model.name, model.offset.name) == ("mini", "iclight_mini_env.safetensors")
    assert "no env offset was ever published" in model.notice and "--model sd15" not in model.notice


def test_sd15_with_an_env_offset_of_ones_own_runs_env(sd15: HubStandIn, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(safetensors())
    assert weights.resolve_model("sd15", "env", tmp_path / "mine.safetensors", say=quiet).name == "sd15"


def test_downloading_sd15_fetches_its_published_offsets(sd15: HubStandIn, models: Path) -> None:
    weights.download("sd15", say=quiet)
    assert {path.name for path in (models / "sd15").glob("*.safetensors")} == {FC, FBC}


def test_fcon_is_sd15s_other_fc_offset(sd15: HubStandIn, models: Path) -> None:
    model = weights.resolve_model("sd15", "fc", "fcon", say=quiet)
    assert model.offset == models / "sd15" / "iclight_sd15_fcon.safetensors"
    assert sd15.fetched(FC) == []
    with pytest.raises(WeightsError, match="not for the workflow 'fbc'"):
        weights.resolve_model("sd15", "fbc", "fcon", say=quiet)


def test_an_offset_may_be_a_path(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(safetensors())
    model = weights.resolve_model(GOLDEN, "fc", tmp_path / "mine.safetensors", say=quiet)
    assert model.offset == tmp_path / "mine.safetensors"


def test_an_offset_may_be_a_file_on_the_hub(hub: HubStandIn, models: Path) -> None:
    hub.add_repo("some/one", {"deep/x.safetensors": safetensors()}, commit="a" * 40, any_commit=False)
    model = weights.resolve_model(GOLDEN, "fc", "some/one/deep/x.safetensors", say=quiet)
    assert model.offset == models / "some--one" / "deep" / "x.safetensors"
    pinned = weights.resolve_model(GOLDEN, "fc", f"some/one@{'a' * 40}/deep/x.safetensors", say=quiet)
    assert pinned.offset.read_bytes() == safetensors()
    with pytest.raises(WeightsError, match="no revision 'v9'"):
        weights.resolve_model(GOLDEN, "fc", "some/one@v9/deep/x.safetensors", say=quiet)
    with pytest.raises(WeightsError, match="has no file 'y.safetensors'; it has deep/x.safetensors"):
        weights.resolve_model(GOLDEN, "fc", "some/one/y.safetensors", say=quiet)


def test_an_unknown_offset_is_answered_with_what_is_accepted() -> None:
    with pytest.raises(WeightsError, match="path.*fcon.*owner/name"):
        weights.resolve_model(GOLDEN, "fc", "nothing", say=quiet)


def test_offsets_where_the_reference_keeps_them_are_used(models: Path) -> None:
    folder = models / "sd15"
    shutil.copytree(GOLDEN, folder, ignore=shutil.ignore_patterns("iclight_*"))
    shutil.copy(GOLDEN / FC, models / FC)
    assert weights.resolve_model("sd15", "fc", say=quiet).offset == models / FC


# ---------------------------------------------------------------- fetching


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


# ---------------------------------------------------------------- damage after the download


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


# ---------------------------------------------------------------- what goes wrong, in words


@pytest.mark.parametrize(("status", "files_only"), [(401, False), (401, True), (403, False), (403, True)])
def test_a_gated_repository_says_how_to_get_in(hub: HubStandIn, status: int, files_only: bool) -> None:
    hub.add_repo(MATTINGS["rmbg"].repo, {"model.safetensors": safetensors()})
    hub.refuse(MATTINGS["rmbg"].repo, status, files_only=files_only)
    with pytest.raises(WeightsError, match=f"{MATTINGS['rmbg'].repo} in a browser.*licence.*HF_TOKEN.*hf auth login"):
        weights.resolve_matting("rmbg", say=quiet)


def test_the_token_is_sent(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.add_repo(MATTINGS["rmbg"].repo, {"model.safetensors": safetensors()})
    weights.resolve_matting("rmbg", say=quiet)
    assert {r.token for r in hub.requests} == {"Bearer hf_secret"}


def test_a_repository_that_is_not_there_says_so(hub: HubStandIn) -> None:
    with pytest.raises(WeightsError, match="wrong name.*no/such.*not on this disk either"):
        weights.resolve_model("no/such", say=quiet)
    hub.refuse("no/such", 404)
    with pytest.raises(WeightsError, match="404.*Check the name"):
        weights.resolve_model("no/such", say=quiet)
    hub.add_repo("not/diffusers", {"model.safetensors": safetensors()})
    with pytest.raises(WeightsError, match="not in diffusers layout; missing: tokenizer"):
        weights.resolve_model("not/diffusers", say=quiet)


def test_without_a_network_it_says_what_was_tried_and_what_helps(models: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.resolve_model("sd15", say=quiet)
    for words in (os.environ["HF_ENDPOINT"], "HF_ENDPOINT to a mirror", str(models / "sd15"), "by hand"):
        assert words in str(caught.value)


def test_a_hub_in_trouble_counts_as_unreachable(sd15: HubStandIn) -> None:
    sd15.refuse(SD15.repo, 500)
    with pytest.raises(WeightsError, match="could not be reached.*status 500"):
        weights.resolve_model("sd15", say=quiet)
    assert weights.resolve_model("auto", device_type="cuda", say=quiet).name == "mini"


def test_offline_mode_makes_no_request(sd15: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        weights.resolve_model("sd15", say=quiet)
    assert weights.resolve_model("auto", device_type="cuda", say=quiet).name == "mini"
    assert sd15.requests == []


def test_a_full_disk_says_how_much_is_needed_and_where(sd15: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
        with pytest.raises(WeightsError, match="full at .*sd15: 3 MB are needed, 1 kB are free.*ICLIGHT_MODELS"):
            weights.resolve_model("sd15", say=quiet)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(WeightsError, match="full"):
        weights.resolve_model("sd15", say=quiet)


# ---------------------------------------------------------------- matting and the list


def test_auto_matting_never_fetches(hub: HubStandIn, models: Path) -> None:
    hub.add_repo(MATTINGS["rmbg"].repo, {"model.safetensors": safetensors()})
    assert weights.resolve_matting("auto", say=quiet).name == "u2netp"
    assert hub.requests == []
    weights.download("rmbg", say=quiet)
    found = weights.resolve_matting("auto", say=quiet)
    assert (found.name, found.path) == ("rmbg", models / "rmbg" / "model.safetensors")
    assert "non-commercial" in found.license
    os.truncate(models / "rmbg" / "model.safetensors", 20)
    said: list[str] = []
    assert weights.resolve_matting("auto", say=said.append).name == "u2netp"
    assert any("u2netp cuts out" in line for line in said)


def test_auto_matting_is_grabcut_where_the_file_that_ships_is_gone(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "shipped_matting", lambda file: None)
    said: list[str] = []
    assert weights.resolve_matting("auto", say=said.append).name == "grabcut"
    assert any("Reinstall" in line for line in said)
    assert not {line.name: line for line in weights.installed()}["u2netp"].present
    with pytest.raises(WeightsError, match="Reinstall"):
        weights.resolve_matting("u2netp")


def test_a_copy_among_the_users_models_wins_over_the_one_that_ships(models: Path) -> None:
    shipped = weights.resolve_matting("u2netp").path
    assert shipped == REPO / "models" / "matting" / "u2netp.safetensors"
    own = models / "matting" / "u2netp.safetensors"
    own.parent.mkdir(parents=True)
    shutil.copy(shipped, own)
    assert weights.resolve_matting("u2netp").path == own


@pytest.mark.parametrize("place", ["ormbg.pth", "models/ormbg.pth"])
def test_ormbg_is_found_under_either_path(models: Path, place: str) -> None:
    path = models / "ormbg" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK")
    assert weights.resolve_matting("ormbg").path == path


def test_mattings_without_weights_need_none() -> None:
    assert [weights.resolve_matting(name).path for name in ("grabcut", "none")] == [None, None]
    with pytest.raises(WeightsError, match="auto, rmbg, ormbg, u2netp, grabcut, none"):
        weights.resolve_matting("scissors")


def test_the_list_says_what_is_here_and_how_to_get_the_rest(sd15: HubStandIn) -> None:
    before = {line.name: line for line in weights.installed()}
    assert set(before) == {*MODELS, *MATTINGS} - {"none"}
    assert (
        before["mini"].present and before["u2netp"].present and before["grabcut"].present and not before["sd15"].present
    )
    assert before["sd15"].command == "iclight models --download sd15" and before["sd15"].size > 4e9
    assert before["rmbg"].kind == "matting" and not before["rmbg"].present
    json.dumps([line.as_dict() for line in before.values()])
    folder = weights.download("sd15", say=quiet)
    after = {line.name: line for line in weights.installed()}
    assert after["sd15"].present and after["sd15"].where == str(folder)
    assert (folder / FC).is_file() and (folder / FBC).is_file()


def test_download_names_what_it_can_fetch() -> None:
    with pytest.raises(WeightsError, match="sd15, rmbg, ormbg"):
        weights.download("everything", say=quiet)
    with pytest.raises(WeightsError, match="needs no download"):
        weights.download("grabcut", say=quiet)


def test_models_root_follows_its_variable_and_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICLIGHT_MODELS", str(tmp_path / "a" / "b"))
    assert folders.models_root() == tmp_path / "a" / "b" and folders.models_root().is_dir()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ICLIGHT_MODELS", str(tmp_path / "file" / "b"))
    with pytest.raises(WeightsError, match="ICLIGHT_MODELS"):
        folders.models_root()
    monkeypatch.delenv("ICLIGHT_MODELS")
    assert folders.models_root() == REPO / "models"


def test_a_mirror_that_lists_no_sizes_is_checked_all_the_same(sd15: HubStandIn) -> None:
    sd15.terse = True
    sd15.corrupt_once(UNET)
    said: list[str] = []
    model = weights.resolve_model("sd15", say=said.append)
    assert (model.base / UNET).read_bytes() == (GOLDEN / UNET).read_bytes()
    assert any("trying once more" in line for line in said)
