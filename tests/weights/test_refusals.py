"""What goes wrong between here and the hub, in words that say what to do."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from hub_models import quiet, safetensors
from hub_stand_in import HubStandIn

from iclight.errors import WeightsError
from iclight.weights import resolve as weights
from iclight.weights.catalogue import MATTINGS, SD15

pytestmark = pytest.mark.usefixtures("surroundings")


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
