"""`iclight batch`: real runs of a small model, and what is left on the disk after each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from batch_rows import ENGINE, SMALL, plan_of, write_picture
from command import BACKGROUND, QUICK, pixels, run
from PIL import Image

from iclight.batch.run import run_plan
from iclight.recipes import read_recipe

MATTED = [*QUICK, "--matting", "none"]


def records(path: Path) -> list[dict]:
    return sorted(map(json.loads, path.read_text().splitlines()), key=lambda record: record["row"])


def batch(*arguments: object) -> int:
    return run("batch", *arguments, "--quiet", *MATTED)


def test_a_folder_is_lit_as_its_pictures_are_one_by_one(photos, tmp_path):
    out = tmp_path / "out"
    assert batch(photos, "-o", out, "--light", "left") == 0
    assert run("relight", photos / "sub" / "a.png", "-o", tmp_path / "one.png", "--light", "left", *MATTED) == 0
    assert np.array_equal(pixels(out / "sub" / "a-relit.png"), pixels(tmp_path / "one.png"))
    recipe = read_recipe(out / "sub" / "a-relit.png")
    assert recipe.digest == read_recipe(tmp_path / "one.png").digest
    log = records(out / "results.jsonl")
    assert [record["status"] for record in log] == ["written"] * 3
    assert {record["seed"] for record in log} == {12345}, "one seed for all: the light of a series is the same"
    assert log[2]["recipe"] == recipe.digest and log[2]["outputs"] == [str(out / "sub" / "a-relit.png")]
    assert log[0]["seconds"] > 0


def test_what_is_there_is_not_made_again_unless_it_would_differ(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert batch(photos, "-o", out) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    write_picture(photos / "a.png", seed=9)
    (out / "sub" / "a-relit.png").unlink()
    assert run("batch", photos, "-o", out, "--json", *MATTED) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["there"], report["failed"], report["left"]) == (2, 1, 0, 0)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert {path.name for path in before if after[path] == before[path]} == {"b-relit.png"}
    assert batch(photos, "-o", out, "--light", "left") == 0
    assert {record["status"] for record in records(out / "results.jsonl")} == {"written"}


def test_a_drawn_seed_stays_when_the_batch_goes_on(photos, tmp_path):
    out = tmp_path / "out"
    for status in ("written", "there"):
        assert batch(photos / "a.png", "-o", out, "--seed", "random", "--num-images", 2) == 0
        (record,) = records(out / "results.jsonl")
        assert record["status"] == status and len(record["outputs"]) == 2
    (out / "a-relit-2.png").unlink()
    assert batch(photos / "a.png", "-o", out, "--seed", "random", "--num-images", 2) == 0
    assert records(out / "results.jsonl")[0]["status"] == "written"


def test_a_bad_row_does_not_stop_the_rest_and_is_told(photos, tmp_path, capsys):
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "b-relit.png"
    Image.new("RGB", (4, 4)).save(mine)
    assert run("batch", photos, "-o", tmp_path / "out", *MATTED) == 1
    by_name = {Path(record["input"]).name: record for record in records(tmp_path / "out" / "results.jsonl")}
    assert "not an image" in by_name["broken.png"]["error"] and by_name["broken.png"]["key"].startswith("{what} is")
    assert "was not written by iclight" in by_name["b.jpg"]["error"]
    assert pixels(mine).shape == (4, 4, 3), "somebody's own picture stays"
    assert by_name["a.png"]["status"] == "written"
    said = capsys.readouterr().err
    assert "2 written, 0 there already, 2 failed" in said and "not an image" in said and "pictures a minute" in said


def test_strict_runs_nothing_where_a_row_is_wrong(photos, tmp_path, capsys):
    table = tmp_path / "list.csv"
    table.write_text("input,steps\nphotos/a.png,2\nphotos/b.jpg,0\n")
    assert run("batch", table, "-o", tmp_path / "out", "--strict", "--model", "/no/such/model") == 1
    assert "1 of 2 rows cannot be done (row 1: steps is 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there_is_said_once(photos, tmp_path, capsys):
    assert run("batch", photos, "-o", tmp_path / "out", "--model", "/no/such/model") == 1
    assert "/no/such/model" in capsys.readouterr().err
    assert records(tmp_path / "out" / "results.jsonl") == []


def test_rows_of_three_workflows_load_each_once_and_are_what_relight_makes(photos, tmp_path, env_model, monkeypatch):
    from iclight import Relighter

    cv2.imwrite(str(photos / "sky.hdr"), np.linspace(0, 9, 16 * 32 * 3, dtype=np.float32).reshape(16, 32, 3))
    cells = [{}, {"background": BACKGROUND}, {"environment": "sky.hdr"}, {"light": "left"}, {"light": "back"}]
    names = ["0.png", "1.png", "2.png", "3.tif", "4.png"]
    rows = [{"image": "a.png", "output": name, **one} for name, one in zip(names, cells, strict=True)]
    (photos / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loads = []
    real = Relighter.load
    monkeypatch.setattr(Relighter, "load", lambda *a, **k: loads.append(k["workflow"]) or real(*a, **k))
    quick = [*MATTED, "--model", env_model]
    assert run("batch", photos / "list.jsonl", "-o", tmp_path / "out", "--quiet", *quick) == 0
    assert loads == ["fc", "fbc", "env"]
    assert read_recipe(tmp_path / "out" / "3.tif").settings.light == "left", "a TIFF carries its recipe, too"
    arguments = ["--environment", photos / "sky.hdr"]
    assert run("relight", photos / "a.png", "-o", tmp_path / "one.png", *arguments, *quick) == 0
    assert np.array_equal(pixels(tmp_path / "out" / "2.png"), pixels(tmp_path / "one.png"))
    assert read_recipe(tmp_path / "out" / "2.png").digest == read_recipe(tmp_path / "one.png").digest


def test_several_pictures_of_relight_are_a_batch(photos, tmp_path, capsys):
    one, two = photos / "a.png", photos / "b.jpg"
    assert run("relight", one, two, "-o", tmp_path / "out", "--quiet", *MATTED) == 0
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a-relit.png", "b-relit.png"}
    assert run("relight", photos, "-o", tmp_path / "out.png", *MATTED) == 1
    assert "several pictures take a folder" in capsys.readouterr().err
    assert run("relight", one, two, *MATTED) == 1
    assert "Say where the results go" in capsys.readouterr().err


def test_pictures_may_come_from_addresses_and_go_to_them(photos, tmp_path, monkeypatch):
    import fsspec

    monkeypatch.chdir(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/in/a.png", (photos / "a.png").read_bytes())
    try:
        given = ["memory://in/a.png", "memory://in/none.png", photos / "b.jpg"]
        assert batch(*given, "-o", "memory://out/lit") == 1
        log = records(tmp_path / "results.jsonl")
        assert [record["status"] for record in log] == ["written", "failed", "written"]
        assert "does not exist" in log[1]["error"]
        recipe = read_recipe(memory.cat_file("/out/lit/a-relit.png"))
        assert recipe.inputs["image"]["file"] == "a.png"
        assert batch(*given, "-o", "memory://out/lit") == 1
        assert [record["status"] for record in records(tmp_path / "results.jsonl")] == ["there", "failed", "there"]
    finally:
        memory.store.clear()


def test_a_stop_drops_what_is_being_lit_and_keeps_the_rest(photos, tmp_path):
    out = tmp_path / "out"
    done = []
    run_plan(plan_of(photos, out), ENGINE, done.append, stop=lambda: bool(done))
    assert 1 <= len(done) < 3 and done[0]["row"] == 0
    assert {str(path) for path in out.rglob("*") if path.is_file()} == {done[0]["outputs"][0]} | {
        record["outputs"][0] for record in done
    }


def test_at_most_three_pictures_are_held_however_many_there_are(photos, tmp_path):
    import weakref

    from iclight.batch.pipeline import run_rows
    from iclight.batch.rows import Row
    from iclight.batch.worker import Work, Worker

    pictures: list[weakref.ref] = []
    most = []

    class Watched(Worker):
        def _read(self, row):
            work = super()._read(row)
            assert isinstance(work, Work)
            pictures.append(weakref.ref(work.request.picture.rgb))
            most.append(sum(picture() is not None for picture in pictures))
            return work

    image = {"image": str(photos / "a.png")}
    rows = [Row(index, image, str(tmp_path / f"{index}.png"), "fc", SMALL) for index in range(8)]
    done = []
    run_rows(Watched(ENGINE), iter(rows), done.append, lambda: False)
    assert [record["row"] for record in done] == list(range(8))
    assert {record["status"] for record in done} == {"written"}
    assert max(most) <= 3


@pytest.mark.slow
def test_several_workers_make_the_same_pictures_as_one(photos, tmp_path):
    done: dict[int, list] = {1: [], 2: []}
    for workers, records in done.items():
        run_plan(plan_of(photos, tmp_path / f"{workers}"), ENGINE, records.append, workers=workers)
    for records in done.values():
        assert sorted((record["row"], record["status"]) for record in records) == [(k, "written") for k in range(3)]
    for path in (tmp_path / "1").rglob("*.png"):
        other = tmp_path / "2" / path.relative_to(tmp_path / "1")
        assert np.array_equal(pixels(path), pixels(other))
        assert read_recipe(path).digest == read_recipe(other).digest


@pytest.mark.slow
def test_a_worker_that_is_lost_loses_no_row(photos, tmp_path):
    import multiprocessing

    from iclight.batch.processes import run_in_processes

    done: list[dict] = []

    def on_record(record: dict) -> None:
        if not done:
            (child,) = multiprocessing.active_children()
            child.kill()
        done.append(record)

    rows = plan_of(photos, tmp_path / "out").rows
    run_in_processes(rows, [ENGINE], on_record, lambda: False, print, 1)
    assert sorted(record["row"] for record in done) == [0, 1, 2], "each once"
    assert {record["status"] for record in done} <= {"written", "there"}
    assert len(list((tmp_path / "out").rglob("*-relit.png"))) == 3


@pytest.mark.slow
def test_ctrl_c_finishes_cleanly_and_the_same_command_goes_on(photos, tmp_path):
    out = tmp_path / "out"
    for number in range(6):
        write_picture(photos / f"more-{number}.png", seed=10 + number)
    command = [sys.executable, "-m", "iclight", "batch", str(photos), "-o", str(out), *MATTED, "--steps", "60"]
    log = out / "results.jsonl"
    for number in (signal.SIGINT, signal.SIGTERM):
        log.unlink(missing_ok=True)
        run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while run.poll() is None and "written" not in (log.read_text() if log.exists() else ""):
            time.sleep(0.05)
        run.send_signal(number)
        said = run.communicate(timeout=60)[1]
        assert run.returncode == 130 and "left: run the same command again to go on" in said
        written = {one for record in records(log) for one in record["outputs"]}
        assert written == {str(path) for path in out.rglob("*") if path != log and path.is_file()}
        assert all(read_recipe(path) for path in written) and "Traceback" not in said
    assert subprocess.run([*command, "--quiet"]).returncode == 0
    statuses = [record["status"] for record in records(log)]
    assert len(statuses) == 9 and statuses.count("there") == len(written)
