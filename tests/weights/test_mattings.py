"""Mattings found or left alone, and the list of what is here."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hub_models import FBC, FC, GOLDEN, REPO, UNET, quiet, safetensors
from hub_stand_in import HubStandIn

from iclight.errors import WeightsError
from iclight.weights import folders
from iclight.weights import resolve as weights
from iclight.weights.catalogue import MATTINGS, MODELS

pytestmark = pytest.mark.usefixtures("surroundings")


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
