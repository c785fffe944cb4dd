"""Fixtures that several test files share; what is dear to build is built once.

Nothing heavy is imported at the top: the process that only hands tests out reads this file too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iclight.cli.surroundings import mend_proxies

if TYPE_CHECKING:
    from briarmbg import BriaRMBG
    from iclight import Relighter

# Nothing in the suite may reach for the network; tests of the network path point HF_ENDPOINT at loopback themselves.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
mend_proxies(print)
# The models here are tiny: more threads gain nothing, and on a busy machine they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Load = Callable[[str], "Relighter"]


# The files that take longest begin first, so that none of them runs alone at the end; those that drive a browser, which
# keeps both cores busy, with others between them.
LONGEST = (
    "studio_flows",
    "golden",
    "browser_memory",
    "pages",
    "browser_desk",
    "studio_endpoints",
    "browser",
    "from_the_hub",
    "accessible",
    "training_run",
    "relight_command",
    "browser_look",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = [f"test_{name}" for name in LONGEST]
    items.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names))


@pytest.fixture(scope="session")
def golden_matting_network() -> BriaRMBG:
    """The full-size matting network with the golden recipe's weights, in eval mode. Not to be changed."""
    from golden_data import golden_matting_state_dict

    from briarmbg import BriaRMBG

    network = BriaRMBG()
    network.load_state_dict(golden_matting_state_dict())
    return network.eval()


def _loader(model: str) -> Load:
    from iclight import Relighter

    loaded: dict[str, Relighter] = {}

    def load(workflow: str) -> Relighter:
        if workflow not in loaded:
            loaded[workflow] = Relighter.load(model, workflow, matting="none", device="cpu", dtype="float32")
        return loaded[workflow]

    return load


@pytest.fixture(scope="session")
def golden_relighter() -> Load:
    """workflow -> the golden model, loaded once, in float32 on the CPU, without matting. Not to be changed."""
    from golden_data import GOLDEN

    return _loader(str(GOLDEN / "model"))


@pytest.fixture
def fc(golden_relighter: Load) -> Relighter:
    return golden_relighter("fc")


@pytest.fixture
def fbc(golden_relighter: Load) -> Relighter:
    return golden_relighter("fbc")


@pytest.fixture(scope="session")
def mini() -> Load:
    """workflow -> the model that ships, likewise."""
    return _loader("mini")


@pytest.fixture(scope="session")
def env_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden model with an env offset of random tokens beside its others, at home at 192 px. Not to be changed."""
    from golden_data import GOLDEN, write_env_offset

    folder = tmp_path_factory.mktemp("env") / "model"
    shutil.copytree(GOLDEN / "model", folder)
    (folder / "iclight.json").write_text(json.dumps({"native_size": [192, 192]}))
    write_env_offset(folder / "iclight_sd15_env.safetensors")
    return folder


@pytest.fixture(scope="session")
def env(env_model: Path) -> Relighter:
    """That model, loaded for env like the others. Not to be changed."""
    return _loader(str(env_model))("env")
