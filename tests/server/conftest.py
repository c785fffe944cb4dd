"""A server for programs in a process of its own, as `iclight serve` starts it."""

from __future__ import annotations

import pytest
from pages import MODEL, RunningPage, running

pytest.importorskip("gradio")

KEY = "a-key-that-nobody-guesses"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> RunningPage:
    folder = tmp_path_factory.mktemp("serve")
    with running("-m iclight serve", folder, *MODEL, "--api-key", KEY, asked="health") as server:
        yield server
