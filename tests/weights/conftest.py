"""Surroundings without a user's caches, tokens or mirrors, and hubs on the loopback to fetch from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_models import BASE, FBC, FC, GOLDEN, LITTER, dead_port
from hub_stand_in import HubStandIn

from iclight.weights.catalogue import SD15


@pytest.fixture
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
