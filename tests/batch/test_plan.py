"""What a batch is given becomes rows: found, checked by name and range, placed; before any model is loaded."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from golden_data import BACKGROUND

from iclight.batch.plan import Common, Plan, make_plan
from iclight.batch.sources import gather
from iclight.errors import ImageError, SettingsError


def planned(*given: object, output: object = "out", **common: object) -> Plan:
    folder = None if output is None else str(output)
    return make_plan(gather([str(one) for one in given], folder), Common(folder, **common))


def outputs(plan: Plan, start: object) -> list[str]:
    return [os.path.relpath(row.output, start) for row in plan.rows]


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_folder_keeps_its_shape_and_only_its_pictures_are_taken(photos, tmp_path):
    plan = planned(photos, output=tmp_path / "out")
    assert outputs(plan, tmp_path / "out") == ["a-relit.png", "b-relit.png", "sub/a-relit.png"]
    assert not plan.failures


def test_results_inside_a_folder_are_not_its_pictures_next_time(photos):
    out = photos / "lit"
    first = planned(photos, output=out)
    for row in first.rows:
        Path(row.output).parent.mkdir(parents=True, exist_ok=True)
        Path(row.output).write_bytes(b"")
    assert planned(photos, output=out) == first
    with pytest.raises(SettingsError, match="would lie among the pictures"):
        planned(photos, output=photos)


def test_files_and_patterns_are_taken_in_order(photos, tmp_path):
    plan = planned(photos / "b.jpg", f"{photos}/**/a.png", output=tmp_path)
    assert [os.path.relpath(row.inputs["image"], photos) for row in plan.rows] == ["b.jpg", "a.png", "sub/a.png"]
    with pytest.raises(ImageError, match="No file is called like"):
        planned(f"{photos}/*.bmp", output=tmp_path)
    with pytest.raises(ImageError, match=r"nothing\.png' does not exist"):
        planned(photos / "nothing.png", output=tmp_path)


def test_outputs_never_meet_and_get_the_same_names_each_time(photos, tmp_path):
    twice = [photos / "a.png", photos / "sub" / "a.png", photos / "a.png"]
    names = outputs(planned(*twice, output=tmp_path), tmp_path)
    assert names == ["a-relit.png", "a-relit-2.png", "a-relit-3.png"]
    assert names == outputs(planned(*twice, output=tmp_path), tmp_path)


def test_the_numbers_of_several_images_count_as_names(photos, tmp_path):
    rows = ({"input": "a.png", "output": "x.png", "num_images": 2}, {"input": "b.jpg", "output": "x-2.png"})
    plan = planned(write_lines(photos / "list.jsonl", *rows), output=tmp_path)
    assert outputs(plan, tmp_path) == ["x.png", "x-2-2.png"]


def test_no_picture_that_is_read_is_written_over(photos, tmp_path):
    (photos / "a-relit.png").write_bytes((photos / "a.png").read_bytes())
    plan = planned(photos / "a.png", photos / "a-relit.png", output=photos)
    assert outputs(plan, photos) == ["a-relit-2.png", "a-relit-relit.png"]
    named = write_lines(photos / "list.jsonl", {"input": "a.png", "output": "sub/../b.png"}, {"input": "b.png"})
    (photos / "b.png").symlink_to(photos / "a.png")
    plan = planned(named, output=None)
    assert "is an input of this batch" in plan.failures[-1]["error"]


TABLE = [
    {"input": "a.png", "output": "one.png", "light": "left", "steps": "3", "seed": "7"},
    {"input": "sub/a.png", "output": "deep/", "background": BACKGROUND, "prompt": "neon, rain"},
]


def write_table(path: Path) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            names = sorted({name for row in TABLE for name in row})
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(TABLE)
        return path
    rows = [{name: int(value) if name in ("steps", "seed") else value for name, value in row.items()} for row in TABLE]
    if path.suffix == ".parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist([{**dict.fromkeys(TABLE[1]), **row} for row in rows]), path)
        return path
    return write_lines(path, *rows)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_manifest_names_inputs_settings_and_outputs_from_its_own_folder(photos, kind, monkeypatch):
    table = write_table(photos / f"list.{kind}")
    monkeypatch.chdir(photos.parent)
    plan = planned(os.path.relpath(table), output=None)
    assert not plan.failures
    first, second = plan.rows
    assert first.output == os.path.join("photos", "one.png") and first.workflow == "fc"
    assert first.inputs == {"image": os.path.join("photos", "a.png")}
    wanted = {"light": "left", "steps": 3, "seed": 7}
    assert {name: first.settings[name] for name in wanted} == wanted
    assert second.workflow == "fbc" and second.settings["prompt"] == "neon, rain"
    assert second.output == os.path.join("photos", "deep/", "a-relit.png")
    assert planned(table, output="elsewhere").rows[0].output == os.path.join("elsewhere", "one.png")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"promt": "sun"}, "There is no column named promt"),
        ({"steps": 0}, "steps is 0, but it takes a whole number"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"light": "sideways"}, "light is 'sideways'"),
        ({"light": "back", "workflow": "fc"}, "light is 'back'"),
        ({"workflow": "fbc"}, "give a background"),
        ({"background": "none.png"}, "The background "),
        ({"background": BACKGROUND, "environment": BACKGROUND}, "belongs to the env workflow"),
        ({"matting": "magic"}, "matting is 'magic'"),
        ({"output": "x.jpg"}, "a name ending in .png"),
        ({"input": "none.png"}, "none.png' does not exist"),
        ({"input": 5}, "is 5, but it takes a text"),
        ({"prompt": 5}, "prompt is 5"),
        ({"input": None}, "names no picture"),
        ([], "Line 2 is no JSON object"),
    ],
)
def test_what_is_wrong_with_a_row_is_its_own_record_and_the_others_stay(photos, row, words):
    row = {"input": "b.jpg", **row} if isinstance(row, dict) else row
    plan = planned(write_lines(photos / "list.jsonl", {"input": "a.png", "_id": 1}, row))
    assert [one.index for one in plan.rows] == [0]
    (record,) = plan.failures
    assert record["row"] == 1 and record["status"] == "failed" and words in record["error"] and record["key"]


def test_a_manifest_that_is_none_is_refused_as_a_whole(photos):
    (photos / "list.csv").write_bytes(b"input\n\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        planned(photos / "list.csv")
    pytest.importorskip("pyarrow")
    (photos / "list.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ImageError, match="cannot be read as Parquet"):
        planned(photos / "list.parquet")


def test_a_row_without_a_prompt_draws_one_that_stays_its_own(photos, tmp_path):
    words = [f"light {number}" for number in range(50)]
    rows = [{"input": name} for name in ("a.png", "b.jpg", "sub/a.png")]

    def prompts(seed: int, *rows: dict) -> dict[str, str]:
        table = write_lines(photos / "list.jsonl", *rows)
        plan = planned(table, output=tmp_path, prompts=words, prompts_seed=seed)
        return {os.path.basename(row.output): row.settings["prompt"] for row in plan.rows}

    drawn = prompts(0, *rows)
    assert set(drawn.values()) <= set(words) and len(set(drawn.values())) > 1
    assert prompts(1, *rows) != drawn
    fewer = prompts(0, rows[1], {**rows[0], "prompt": "mine"})
    assert fewer == {"b-relit.png": drawn["b-relit.png"], "a-relit.png": "mine"}
