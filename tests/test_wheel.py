"""The wheel, as pip and pipx install it: whole without the clone, with the models that ship; and a Space's copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from attacks import TOY, httpx, png
from command import write_photo
from pages import running

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
# Megabytes: what ships is small enough for a package index, which takes 100.
MOST = 60


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a fresh environment with the wheel in it; the libraries are this environment's."""
    place = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    found = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # A folder named in a .pth comes after the environment's own, and its own .pth files (this clone's) are not read.
    (Path(found.stdout.strip()) / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def tracked(*folders: str) -> list[str]:
    """What of the repository is in it, not beside it."""
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def run(installed: Path, folder: Path, *arguments: str) -> Any:
    """`iclight` in an empty folder, by somebody who has no models, with no clone in sight."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ICLIGHT", "HF_"))}
    environment = {**kept, "HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(installed / "iclight"), *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_wheel_holds_the_models_that_ship_the_pages_files_and_no_tests(wheel):
    size = wheel.stat().st_size / 1e6
    print(f"\n{wheel.name}: {size:.1f} MB")
    assert size < MOST
    names = zipfile.ZipFile(wheel).namelist()
    expected = {name.replace("models/", "iclight/models/", 1) for name in tracked("models")}
    assert {*expected, *tracked("iclight", "briarmbg")} <= set(names)
    metadata = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    assert {name.split("/")[0] for name in names} == {"iclight", "briarmbg", metadata}


def test_what_was_installed_relights_a_picture_from_an_empty_folder(installed, tmp_path):
    write_photo(tmp_path)
    (photo,) = tmp_path.glob("*.*")
    small = ("--width", "64", "--height", "64", "--steps", "1")
    report = run(installed, tmp_path, "relight", photo.name, "-o", "lit.png", *small, "--device", "cpu", "--json")
    assert report["outputs"] == ["lit.png"] and (tmp_path / "lit.png").stat().st_size > 1000
    models = {one["name"]: one for one in run(installed, tmp_path, "models", "--json")["models"]}
    for name in ("mini", "u2netp"):
        assert models[name]["present"] and "site-packages" in models[name]["where"]


def test_an_extra_is_named_for_each_thing_that_may_be_left_out(wheel):
    (path,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("METADATA"))
    text = zipfile.ZipFile(wheel).read(path).decode()
    extras = {line.split(": ")[1] for line in text.splitlines() if line.startswith("Provides-Extra: ")}
    assert {"app", "ray", "raw", "test"} <= extras


def test_a_spaces_copy_has_what_it_needs_and_its_page_answers(tmp_path):
    copy = tmp_path / "space"
    for name in tracked():
        if not name.startswith(("tests/", "docs/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    tomllib = pytest.importorskip("tomllib")
    requirements = pytest.importorskip("packaging.requirements")
    lines = [line.partition("#")[0].strip() for line in (copy / "requirements.txt").read_text().splitlines()]
    needed = {one.name: one for one in map(requirements.Requirement, filter(None, lines))}
    for name, one in needed.items():
        assert one.specifier.contains(version(name), prereleases=True), f"{name} here is what a Space gets"
    project = tomllib.loads((copy / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {requirements.Requirement(one).name for one in project["dependencies"]} <= set(needed)
    front = (copy / "README.md").read_text(encoding="utf-8").split("---")[1]
    fields = dict(line.split(": ", 1) for line in front.splitlines() if ": " in line)
    assert (copy / fields["app_file"]).is_file() and fields["sdk"] == "gradio"
    space = {"SPACE_ID": "anna/light", "SPACE_HOST": "anna-light.hf.space"}
    with running(fields["app_file"], tmp_path, root=copy, environment=space) as page:
        http = httpx.Client(base_url=page.url, headers={"host": space["SPACE_HOST"]}, trust_env=False, timeout=120)
        assert "iclight" in http.get("/").text
        answer = http.post("/v1/images/edits", files={"image": png()}, data=TOY)
        assert answer.status_code == 200, answer.text
