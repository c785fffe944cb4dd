"""Offsets: a model's own, a path, a name, a file on the hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hub_models import FBC, FC, GOLDEN, REPO, quiet, safetensors
from hub_stand_in import HubStandIn

from iclight.errors import WeightsError
from iclight.weights import resolve as weights

pytestmark = pytest.mark.usefixtures("surroundings")


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
