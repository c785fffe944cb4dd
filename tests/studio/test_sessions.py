"""What is remembered of a visitor: whose a request is, who has left, who waits, and what a reload may bring back."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio")

from iclight.studio.service import sessions
from iclight.studio.service.progress import time_left
from iclight.studio.service.sessions import CONNECTIONS, HEADER, PerSession, Runs, Visits, session_of
from iclight.studio.service.storage import Storage
from iclight.studio.tabs.memory import read_form

TOKEN = "0123456789abcdef" * 2


def request(session: str, token: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(session_hash=session, headers={HEADER: token} if token else {})


@pytest.mark.parametrize("odd", [None, "", "abc", TOKEN.upper(), TOKEN + "0", "../" + TOKEN])
def test_a_tab_is_known_by_its_token_and_whoever_sends_none_by_the_session(odd):
    assert session_of(request("a", TOKEN)) == session_of(request("b", TOKEN)) == f"tab-{TOKEN}"
    assert session_of(request("a", odd)) == "a"


def until(done) -> None:
    deadline = time.monotonic() + 30
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert done()


def test_a_tab_that_comes_back_loses_nothing_and_one_that_does_not_is_stopped_then_forgotten():
    stopped, dropped = [], []
    visits = Visits(stopped.append, dropped.append, absent=0.2, gone=0.4)
    visits.here(request("before", TOKEN))
    visits.left(request("before", TOKEN))
    visits.here(request("after", TOKEN))  # the reloaded page, under another of Gradio's sessions
    time.sleep(0.6)
    assert not stopped and not dropped
    visits.left(request("after"))  # a connection's end names no token
    until(lambda: dropped)
    assert stopped == dropped == [f"tab-{TOKEN}"]


def test_a_program_that_hangs_up_is_stopped_at_once():
    stopped, dropped = [], []
    Visits(stopped.append, dropped.append).left(request("program"))
    assert stopped == dropped == ["program"]


def test_tokens_by_the_thousand_take_no_memory():
    visits = Visits(lambda session: None, lambda session: None)
    for number in range(CONNECTIONS + 100):
        visits.here(request(f"s{number}", f"{number:032x}"))
    assert len(visits._open) == CONNECTIONS


def test_tabs_that_leave_by_the_thousand_take_no_memory(monkeypatch):
    monkeypatch.setattr(sessions, "AWAY", 100)
    dropped: list[str] = []
    visits = Visits(lambda session: None, dropped.append)
    for number in range(150):
        visits.here(request(f"s{number}", f"{number:032x}"))
        visits.left(request(f"s{number}"))
    assert len(visits._away) == 100
    assert dropped == [f"tab-{number:032x}" for number in range(50)], "what is forgotten goes, the oldest first"


def test_a_place_in_the_line_ends_with_the_connection_that_waits():
    """Gradio takes its request out of the queue; a tab that comes back by another must not wait for ever."""
    runs = Runs()
    runs.wait("tab", "before")
    runs.wait("other", "elsewhere")
    runs.hung_up("before")
    assert runs.ahead("tab") is None and runs.ahead("other") == 0


def test_a_tab_that_comes_back_learns_once_what_it_stood_in_line_for(monkeypatch):
    runs = Runs()
    runs.wait("tab", "before", "relight")
    assert runs.broken("tab", "before") == "", "its connection is whole"
    runs.hung_up("before")
    assert [runs.broken("tab", "after") for _ in range(2)] == ["relight", ""]
    runs.wait("tab", "before", "vary")
    assert runs.broken("tab", "after") == "vary", "it is back before the old connection is known to be gone"
    assert runs.ahead("tab") is None
    runs.wait("tab", "after", "relight")
    runs.stop("tab")
    runs.hung_up("after")
    assert runs.broken("tab", "later") == "", "it was cancelled"
    runs.wait("tab", "later", "relight")
    runs.hung_up("later")
    monkeypatch.setattr(sessions, "ABSENT", 0.0)
    assert runs.broken("tab", "much later") == ""


NAMES = ["image", "prompt", "workflow", "light", "steps"]


def test_a_form_comes_back_with_the_files_that_are_still_there_and_no_others(tmp_path):
    storage = Storage(tmp_path / "files")
    photo, secret = storage.root / "photo.png", tmp_path / "secret.png"
    photo.write_bytes(b"x")
    secret.write_bytes(b"x")
    (storage.root / "link.png").symlink_to(secret)
    link = storage.root / "link.png"
    for path, back in ((photo, str(photo)), (secret, None), (link, None), ("/nothing", None)):
        form = read_form(json.dumps([{"path": str(path)}, "dawn", "fc", "left", 7]), NAMES, [], storage)
        assert form == ({"image": back, "prompt": "dawn", "workflow": "fc", "light": "left", "steps": 7}, [])
    for bare in (str(photo), str(secret), "pyproject.toml", "http://127.0.0.1/x.png", 7, True):
        form = read_form(json.dumps([bare, "dawn", "fc", "left", 7]), NAMES, [], storage)
        assert form is not None and form[0]["image"] is None, "a file is what an upload is named by, never a bare text"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "[" * 90_000, json.dumps(["x"] * 6), json.dumps([None, "", "fc", "ambient", 1]), None, 7],
)
def test_what_is_no_form_of_this_page_brings_nothing_back(tmp_path, text):
    assert read_form(text, NAMES, [], Storage(tmp_path)) is None


def test_faders_come_back_and_what_is_no_fader_stands_as_it_began(tmp_path):
    form = [None, "", "fc", "left", 1, 2, "#ff0000", True]
    started = [0.8, "#ffffff", False]
    kept = read_form(json.dumps(form), NAMES, started, Storage(tmp_path))
    assert kept is not None and kept[1] == [2, "#ff0000", True]
    forged = read_form(json.dumps([*form[:5], "high", 7, [1]]), NAMES, started, Storage(tmp_path))
    assert forged is not None and forged[1] == started


def test_sessions_are_forgotten_longest_unused_first():
    kept: PerSession[int] = PerSession(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert [kept.get(name) for name in "abc"] == [1, None, 3]
    kept.drop("a")
    assert kept.change("a", lambda value: 10 if value is None else value + 1) == 10


def test_a_place_in_the_line_counts_who_waits_and_who_runs_before():
    runs = Runs()
    for name in ("a", "b", "c"):
        runs.wait(name)
    assert [runs.ahead(name) for name in ("a", "b", "c", "d")] == [0, 1, 2, None]
    with runs.of("a") as flag:
        assert [runs.ahead(name) for name in ("a", "b", "c")] == [None, 1, 2]
        assert runs.running("a") == flag and runs.running("b") is None
        runs.stop("b")
        assert not flag.exists() and runs.ahead("c") == 1
        runs.stop("a")
        assert flag.exists() and runs.running("a") is None
    assert not flag.exists() and runs.ahead("c") == 0


def test_time_left_follows_the_share_of_the_work_done():
    assert time_left((10.0, 0.1), (10.0, 0.1)) is None, "nothing to go by yet"
    assert time_left((10.0, 0.1), (14.0, 0.5)) == 5
    assert time_left((10.0, 0.1), (19.0, 1.0)) == 0
