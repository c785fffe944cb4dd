"""A batch on Ray: the same rows, the same pictures, and none lost with a node."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from batch_rows import ENGINE, plan_of, write_picture
from command import QUICK, pixels, run

from iclight.batch.run import run_plan
from iclight.recipes import read_recipe

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _nodes_import_this_copy(monkeypatch):
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]))
    yield
    ray.shutdown()


def test_the_command_on_ray_makes_what_it_makes_here_and_logs_in_parquet(photos, tmp_path, capsys):
    from pyarrow import parquet

    arguments = ["batch", photos, "--quiet", "--matting", "none", *QUICK]
    (photos / "broken.png").write_bytes(b"nonsense")
    assert run(*arguments, "-o", tmp_path / "here") == 1
    for status in ("written", "there"):
        assert run(*arguments, "-o", tmp_path / "there", "--ray", "--json") == 1
        report = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (report[status], report["failed"], report["left"]) == (3, 1, 0)
        log = parquet.read_table(report["log"]).to_pylist()
        assert sorted((one["row"], one["status"]) for one in log) == [
            (0, status), (1, status), (2, "failed"), (3, status)
        ]  # fmt: skip
    for path in (tmp_path / "here").rglob("*.png"):
        other = tmp_path / "there" / path.relative_to(tmp_path / "here")
        assert np.array_equal(pixels(path), pixels(other))
        assert read_recipe(path).digest == read_recipe(other).digest


def test_a_node_that_is_lost_in_the_middle_loses_no_row(tmp_path):
    from ray.cluster_utils import Cluster

    from iclight.batch.on_ray import run_on_ray

    photos = tmp_path / "photos"
    for number in range(24):
        write_picture(photos / f"{number}.png", number)
    plan = plan_of(photos, tmp_path / "out")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        doomed = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        records = []
        for record in run_on_ray(plan, ENGINE, workers=2):
            if not records:
                cluster.remove_node(doomed, allow_graceful=False)
            records.append(record)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert sorted(record["row"] for record in records) == list(range(24)), "each once"
    assert {record["status"] for record in records} <= {"written", "there"}
    assert len(list((tmp_path / "out").glob("*-relit.png"))) == 24
    run_plan(plan_of(photos, tmp_path / "here"), ENGINE, records.append)
    for path in (tmp_path / "here").glob("*.png"):
        assert np.array_equal(pixels(path), pixels(tmp_path / "out" / path.name))


def test_without_ray_or_a_cluster_the_way_out_is_said(photos, tmp_path, capsys, monkeypatch):
    command = ["batch", photos, "-o", tmp_path / "out", "--ray"]
    assert run(*command, "127.0.0.1:1", *QUICK) == 1
    assert "No Ray cluster answers at '127.0.0.1:1'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(*command, *QUICK) == 1
    assert "pip install 'iclight[ray]'" in capsys.readouterr().err
