"""`deploy/`: what its files copy is there, what they start is understood, and what belongs together fits."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from command import write_photo

from iclight.cli.main import build_parser, main

if sys.version_info < (3, 11):
    pytest.skip("tomllib reads pyproject.toml", allow_module_level=True)
import tomllib

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
LINES = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def containers() -> dict[str, dict[str, Any]]:
    (job,) = documents("rayjob.yaml")
    deployment, _ = documents("service.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    groups = {"head": cluster["headGroupSpec"]} | {one["groupName"]: one for one in cluster["workerGroupSpecs"]}
    pods = {name: group["template"]["spec"] for name, group in groups.items()}
    pods["service"] = deployment["spec"]["template"]["spec"]
    return {name: {**pod["containers"][0], "volumes": pod.get("volumes", [])} for name, pod in pods.items()}


def commands() -> dict[str, list[str]]:
    """Every command line that a file of deploy/ starts, without the program's name."""
    (compose,) = documents("compose.yaml")
    (job,) = documents("rayjob.yaml")
    program, *entry = shlex.split(job["spec"]["entrypoint"])
    assert [program] == json.loads(instructions("ENTRYPOINT")[0]) == ["iclight"]
    services = {f"compose {name}": service["command"] for name, service in compose["services"].items()}
    return {
        "Dockerfile": json.loads(instructions("CMD")[0]),
        "rayjob": entry,
        "service": containers()["service"]["args"],
        **services,
    }


@pytest.mark.parametrize("where", commands())
def test_every_command_is_understood(where):
    command = commands()[where]
    if command[0] == "app":
        from iclight.cli.serve import parse_options

        options = parse_options("fc", command[1:])
        assert options.host == "0.0.0.0"
        return
    options, rest = build_parser().parse_known_args(command)
    assert not rest and callable(options.run)


@pytest.mark.parametrize("where", ["rayjob", "compose batch"])
def test_every_batch_can_be_planned(where, tmp_path, capsys):
    write_photo(tmp_path)
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"input": ["photo.png"]}), tmp_path / "manifest.parquet")
    places = {"s3://BUCKET/photos": str(tmp_path), "/photos": str(tmp_path), "/results": f"{tmp_path}/lit"}
    line = [places.get(part, part.replace("s3://BUCKET/photos", str(tmp_path))) for part in commands()[where]]
    assert main([*line, "--dry-run"]) == 0
    assert "photo.png -> " in capsys.readouterr().out


def test_the_image_copies_what_is_there_and_installs_what_is_declared():
    sources = [source for line in instructions("COPY") for source in line.split()[:-1]]
    assert sources and all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*included["packages"], *included["force-include"]} <= set(sources), "all that the wheel is made of"
    arguments = dict(one.partition("=")[::2] for one in instructions("ARG"))
    assert set(arguments["EXTRAS"].split(",")) <= set(project["project"]["optional-dependencies"])
    (compose,) = documents("compose.yaml")
    assert set(compose["x-iclight"]["build"]["args"]) <= set(arguments)
    torch = next(one for one in project["project"]["dependencies"] if one.startswith("torch>"))
    assert torch in DOCKERFILE
    (ray,) = (one for one in project["project"]["optional-dependencies"]["ray"] if one.startswith("ray"))
    (job,) = documents("rayjob.yaml")
    least, used = (tuple(map(int, re.findall(r"\d+", text)[:2])) for text in (ray, cluster_version(job)))
    assert used >= least


def cluster_version(job: dict[str, Any]) -> str:
    return str(job["spec"]["rayClusterSpec"]["rayVersion"])


def test_names_ports_and_places_fit_each_other():
    (job,) = documents("rayjob.yaml")
    deployment, service = documents("service.yaml")
    (compose,) = documents("compose.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    served = build_parser().parse_args(containers()["service"]["args"])
    assert service["metadata"]["name"] in served.allow_host
    ports = {one["containerPort"] for one in containers()["service"]["ports"]}
    assert ports == {served.port} == {one["targetPort"] for one in service["spec"]["ports"]}
    exposed = set(instructions("EXPOSE")[0].split())
    for name in ("page", "api"):
        (published,) = compose["services"][name]["ports"]
        address, outside, inside = published.split(":")
        assert address == "127.0.0.1" and outside == inside and inside in exposed
        assert inside == commands()[f"compose {name}"][-1]
    environment = dict(re.findall(r"(\w+)=(\S+)", instructions("ENV")[0]))
    mounted = {
        one["mountPath"] for one in (*containers()["gpu"]["volumeMounts"], *containers()["service"]["volumeMounts"])
    }
    assert mounted == {environment["ICLIGHT_MODELS"], *instructions("VOLUME")}
    assert all(
        environment[name].startswith(f"{environment['ICLIGHT_MODELS']}/") for name in ("HF_HOME", "ICLIGHT_CACHE")
    )
    for container in containers().values():
        named = {one["name"] for one in container["volumes"]}
        assert {one["name"] for one in container.get("volumeMounts", [])} == named
        assert container["image"] == compose["x-iclight"]["image"]
