"""Uploads and results: whose they are, what they may take, and that nothing of them stays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from iclight.studio.service.storage import DRAFT, KEPT, SMALLEST, Storage, open_storage


def filled(storage: Storage, visitor: str, size: int) -> Path:
    folder = storage.new_folder(visitor)
    (folder / "picture.png").write_bytes(bytes(size))
    return folder


def test_a_visitors_own_oldest_results_make_room_and_nobody_elses(tmp_path):
    storage = Storage(tmp_path, per_visitor=4 * SMALLEST)
    others = filled(storage, "b", SMALLEST)
    mine = [filled(storage, "a", SMALLEST) for _ in range(7)]
    assert not any(folder.exists() for folder in mine[:2])
    assert all(folder.exists() for folder in mine[-4:]) and others.exists()


def test_many_small_files_are_not_free(tmp_path):
    storage = Storage(tmp_path, per_visitor=8 * SMALLEST)
    for number in range(100):
        path = tmp_path / f"{number}.img"
        path.write_bytes(b"x")
        storage.keep(path, "a")
    assert len(list(tmp_path.iterdir())) <= 9


def test_above_the_limit_for_all_the_oldest_go(tmp_path):
    storage = Storage(tmp_path, in_all=5 * SMALLEST)
    folders = []
    for number in range(9):
        folders.append(filled(storage, f"visitor {number}", SMALLEST))
        os.utime(folders[-1] / "picture.png", (time.time() - 100 + number,) * 2)
    storage.sweep()
    assert [(folder / "picture.png").exists() for folder in folders] == [False] * 4 + [True] * 5


def test_old_files_and_what_broken_uploads_left_are_swept(tmp_path):
    storage = Storage(tmp_path / "files")
    ages = {"tmpleft": 5, "old.img": KEPT + 9, "young.img": DRAFT + 9}
    for name, age in ages.items():
        (storage.root / name).write_bytes(b"x")
        os.utime(storage.root / name, (time.time() - age,) * 2)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "tmppart").write_bytes(b"x")
    with open(storage.root / "tmpcoming", "wb") as coming:
        coming.write(b"x")
        storage.sweep()
        assert (storage.root / "tmpleft").exists(), "it may be about to be moved"
        storage.sweep()
        assert sorted(path.name for path in storage.root.iterdir()) == ["tmpcoming", "young.img"]
    assert not list((tmp_path / "tmp").iterdir())


def test_an_upload_counts_while_it_comes_and_until_what_it_left_is_gone(tmp_path):
    storage = Storage(tmp_path, per_visitor=100)
    with contextlib.suppress(OSError), storage.uploading("a") as room:
        assert room(90) and not room(20)
        raise OSError("gone")
    (tmp_path / "tmpleft").write_bytes(b"x")
    with storage.uploading("a") as room:
        assert not room(1)
    with storage.uploading("b") as room:
        assert room(1)
    storage.sweep()
    storage.sweep()
    with storage.uploading("a") as room:
        assert room(90)


def test_a_file_that_is_asked_with_is_among_the_last_to_go(tmp_path):
    storage = Storage(tmp_path, per_visitor=3 * SMALLEST)
    photo = tmp_path / "photo.img"
    photo.write_bytes(b"x")
    storage.keep(photo, "a")
    for _ in range(5):
        storage.used(photo, "a")
        filled(storage, "a", SMALLEST)
    assert photo.exists()


@pytest.mark.parametrize("name", ["pipe", "link", "folder", "missing", "up", "nul", "long", "none"])
def test_only_regular_files_below_the_folder_are_held(tmp_path, name):
    storage = Storage(tmp_path / "files")
    inside = storage.root / "inside.png"
    inside.write_bytes(b"x")
    (tmp_path / "outside.png").write_bytes(b"x")
    os.mkfifo(storage.root / "pipe")
    (storage.root / "link").symlink_to(tmp_path / "outside.png")
    paths = {
        "pipe": storage.root / "pipe",
        "link": storage.root / "link",
        "folder": storage.root,
        "missing": storage.root / "missing",
        "up": storage.root / ".." / "outside.png",
        "nul": f"{inside}\0",
        "long": storage.root / ("a" * 5000),
        "none": None,
    }
    assert storage.holds(inside) and storage.holds(str(inside))
    assert not storage.holds(paths[name])


def test_nothing_is_left_and_what_a_killed_page_left_goes_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    code = (
        "import time, tempfile\nfrom iclight.studio.service.storage import open_storage\n"
        "with open_storage() as storage:\n"
        "    storage.new_folder('a'); tempfile.mkdtemp(); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    (left,) = tmp_path.glob("page-*/")
    assert left.stat().st_mode & 0o077 == 0
    with open_storage():
        assert left.exists()  # its page still runs
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left.exists()
    for _ in range(3):
        with open_storage() as storage:
            assert storage.new_folder("a").is_relative_to(tmp_path) and not left.exists()
    assert list(tmp_path.iterdir()) == []
