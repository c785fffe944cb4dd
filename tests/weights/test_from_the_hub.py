"""From nothing to a picture, through a hub: the command a newcomer types, with a stand-in hub that publishes sd15."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import ldm_checkpoint
import numpy as np
import pytest
from golden_data import GOLDEN, PICTURE
from hub_stand_in import HubStandIn
from PIL import Image
from safetensors.torch import save_file

from briarmbg import BriaRMBG
from iclight.recipes import read_recipe
from iclight.weights.catalogue import MATTINGS, MODELS

MODEL = GOLDEN / "model"
QUICK = ["--width", "64", "--height", "64", "--steps", "2", "--highres-scale", "1", "--dtype", "float32"]
PARTS = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")


@pytest.fixture
def iclight(tmp_path):
    """The command in a process of its own, with empty folders for models and caches, and a hub that publishes."""
    sd15, offsets = MODELS["sd15"], {}
    with HubStandIn() as hub:
        files = {f"{part}/{file.name}": file for part in PARTS for file in (MODEL / part).iterdir()}
        hub.add_repo(sd15.repo, {**files, "model_index.json": MODEL / "model_index.json"})
        for workflow in ("fc", "fbc"):
            offsets[sd15.offsets[workflow]] = MODEL / f"iclight_sd15_{workflow}.safetensors"
        hub.add_repo(sd15.offsets_repo, offsets, commit=sd15.offsets_revision)
        save_file(BriaRMBG(width=8).state_dict(), tmp_path / "rmbg.safetensors")
        hub.add_repo(MATTINGS["rmbg"].repo, {"model.safetensors": tmp_path / "rmbg.safetensors"})
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "hf"),
            "ICLIGHT_MODELS": str(tmp_path / "models"),
            "ICLIGHT_CACHE": str(tmp_path / "cache"),
        }

        def run(*arguments: object, status: int = 0, **changes: str) -> str:
            command = [sys.executable, "-m", "iclight", *map(str, arguments)]
            done = subprocess.run(
                command, capture_output=True, text=True, env={**environment, **changes}, cwd=tmp_path, check=False
            )
            assert done.returncode == status, done.stderr
            return done.stdout

        run.hub = hub  # type: ignore[attr-defined]
        yield run


def test_one_command_fetches_sd15_and_relights_with_it(iclight, tmp_path, golden_relighter):
    iclight("relight", PICTURE, "-o", "out.png", "--model", "sd15", "--matting", "none", "--light", "left", *QUICK)
    made = read_recipe(tmp_path / "out.png")
    assert made.model["name"] == "sd15"
    expected = golden_relighter("fc").relight(PICTURE, made.settings, matting="none").images[0]
    gap = np.abs(np.array(Image.open(tmp_path / "out.png")).astype(int) - expected)
    assert gap.max() <= 1, "the same weights give the same picture, whichever way they came"
    fetched = len(iclight.hub.requests)
    iclight("relight", "--recipe", "out.png", "-o", "again.png", HF_HUB_OFFLINE="1")
    assert len(iclight.hub.requests) == fetched, "what is here is not asked for again"
    assert np.array_equal(np.array(Image.open(tmp_path / "again.png")), np.array(Image.open(tmp_path / "out.png")))


@pytest.mark.slow
def test_rmbg_is_used_by_itself_once_it_is_here_and_not_before(iclight, tmp_path):
    options = ["--model", "sd15", *QUICK, "--steps", "1"]
    iclight("relight", PICTURE, "-o", "before.png", *options)
    assert read_recipe(tmp_path / "before.png").matting == "u2netp"
    iclight("models", "--download", "rmbg")
    entries = {entry["name"]: entry for entry in json.loads(iclight("models", "--json"))["models"]}
    assert entries["rmbg"]["present"]
    assert "non-commercial" in entries["rmbg"]["license"]
    iclight("relight", PICTURE, "-o", "after.png", *options)
    assert read_recipe(tmp_path / "after.png").matting == "rmbg"


@pytest.mark.slow
def test_a_single_file_checkpoint_takes_its_tokenizer_from_sd15(iclight, tmp_path):
    folder, single = ldm_checkpoint.make(tmp_path)
    files = {f"{part}/{file.name}": file for part in PARTS for file in (folder / part).iterdir()}
    iclight.hub.add_repo(MODELS["sd15"].repo, {**files, "model_index.json": folder / "model_index.json"})
    offset = folder / "iclight_sd15_fc.safetensors"
    common = ["--offset", offset, "--matting", "none", "--light", "left", *QUICK]
    iclight("relight", PICTURE, "-o", "single.png", "--model", single, *common)
    iclight("relight", PICTURE, "-o", "folder.png", "--model", folder, *common)
    pictures = [np.array(Image.open(tmp_path / name)).astype(int) for name in ("single.png", "folder.png")]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


@pytest.mark.slow  # in this process, and quick: tests/cli
def test_without_a_hub_the_command_says_what_to_do_and_writes_nothing(iclight, tmp_path):
    out = iclight(
        "relight", PICTURE, "-o", "out.png", "--model", "sd15", "--json", *QUICK, status=1, HF_HUB_OFFLINE="1"
    )
    assert "sd15" in json.loads(out)["error"]
    assert not (tmp_path / "out.png").exists()
