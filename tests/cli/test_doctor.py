"""What the doctor finds in the surroundings, and that it says what to do about it."""

from __future__ import annotations

import errno
import os

import pytest
from hub_stand_in import HubStandIn

from iclight.cli import checks
from iclight.weights.catalogue import SD15

GIB = 1 << 30


def test_every_check_that_is_not_well_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("ICLIGHT_MODELS", str(tmp_path / "models"))
    found = list(checks.surroundings(4 * GIB, "cuda"))
    assert [one.name for one in found] == [
        "proxies",
        "hub",
        "models folder",
        "cache folder",
        "temporary folder",
        "pictures",
        "memory",
    ]
    assert all(one.advice for one in found if one.state != "well")
    assert all(not one.advice for one in found if one.state == "well")


def test_proxies_are_named_without_their_passwords_and_left_as_they_were(monkeypatch):
    for name in checks.PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://anna:secret@proxy:3128")
    assert checks.proxies() == checks.Check("proxies", "well", "HTTPS_PROXY")
    monkeypatch.setenv("ALL_PROXY", "socks4://x:1")
    one = checks.proxies()
    assert one.state == "note" and "ALL_PROXY" in one.found and os.environ["ALL_PROXY"] == "socks4://x:1"


def test_a_hub_is_asked_once_for_its_listing(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with HubStandIn() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        assert checks.hub_answers().state == "note"  # it has nothing of ours
        hub.add_repo(SD15.offsets_repo, {"x.safetensors": b"x"}, commit=SD15.offsets_revision)
        hub.requests.clear()
        assert checks.hub_answers().state == "well"
        assert len(hub.requests) == 1 and not hub.fetched()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in checks.hub_answers().advice


def test_a_folder_is_tried_by_writing_and_leaves_nothing_behind(tmp_path, monkeypatch):
    place = tmp_path / "not" / "yet"
    one = checks.folder("models folder", lambda: place, 1, "X")
    assert one.state == "well" and str(place) in one.found and list(tmp_path.iterdir()) == []
    one = checks.folder("models folder", lambda: place, 1 << 60, "X")
    assert one.state == "note" and "X" in one.advice

    def refused(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checks.tempfile, "TemporaryFile", refused)
    one = checks.folder("models folder", lambda: place, 1, "X")
    assert (one.state, "Permission denied" in one.found, "X" in one.advice) == ("problem", True, True)


@pytest.mark.parametrize(
    ("free", "device", "state", "words"),
    [
        (16 * GIB, "cuda", "well", ""),
        (4 * GIB, "cuda", "note", "--offload"),
        (1 * GIB, "cuda", "note", "--model mini"),
        (16 * GIB, "cpu", "well", ""),
        (4 * GIB, "cpu", "note", "--model mini"),
    ],
)
def test_memory_is_held_against_what_the_model_takes(free, device, state, words):
    one = checks.memory(free, device)
    assert one.state == state and words in one.advice


def test_pictures_that_cannot_be_read_are_named(monkeypatch):
    assert "PNG" in checks.pictures().found
    monkeypatch.setattr("iclight.imaging.pillow_reader.formats_here", lambda: ["PNG", "JPEG"])
    one = checks.pictures()
    assert one.state == "note" and "AVIF" in one.advice
