"""Hostile arguments and files: one line that a terminal survives, and no input is lost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from command import QUICK, run

from iclight.recipes import read_recipe


@pytest.mark.parametrize("output", ["photo.png", "photo.png/x.png", "/proc/x/y.png", "n" * 300 + ".png"])
def test_an_output_that_cannot_be_written_is_refused_and_inputs_are_kept(output, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = photo.read_bytes()
    assert run("relight", photo, "-o", output, *QUICK) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("iclight: ")
    assert photo.read_bytes() == before


LONG = "n" * 5000


ESCAPE = "\x1b]0;owned\x07"


@pytest.mark.parametrize(
    "arguments",
    [
        ["relight", "PHOTO", "-o", "a\0b.png"],
        ["relight", "PHOTO", "-o", f"{LONG}.png"],
        ["relight", "PHOTO", "-o", f"{LONG}/a.png"],
        ["relight", "PHOTO", "-o", "日" * 100 + ".png"],
        ["relight", "PHOTO", "-o", ESCAPE],
        ["relight", "PHOTO", "-o", "PIPE"],
        ["relight", LONG],
        ["relight", f"{ESCAPE}.png"],
        ["relight", "PIPE"],
        ["relight", "PHOTO", "--mask", "PIPE"],
        ["relight", "PHOTO", "--light", ESCAPE + LONG],
        ["relight", "PHOTO", "--light-colour", ESCAPE + LONG],
        ["relight", "PHOTO", "--steps", "9" * 5000],
        ["relight", "PHOTO", "--finish", "native", "--save-light", "PHOTO"],
        ["relight", "PHOTO", "--finish", "native", "--save-light", "PIPE"],
        ["relight", "--recipe", "PIPE"],
        ["relight", "--recipe", LONG],
        ["relight", "--recipe", f"{ESCAPE}.png"],
        ["shade", "PHOTO", "--normals", LONG],
        ["shade", "PHOTO", "--normals", "PIPE"],
        ["shade", "PHOTO", "--colour", ESCAPE],
        ["mix", LONG, "--from", "--mix", "left=1"],
        ["mix", "a\0b", "--from", "--mix", "left=1"],
        ["mix", "PHOTO", "--mix", ESCAPE + LONG],
        ["mix", "PHOTO", "--mix", f"{ESCAPE}=1"],
        ["mix", "PHOTO", "--mix", "left=1,rgba(" + "9" * 400 + ",0,0)", "--own-light", ESCAPE],
        ["mix", "PHOTO", "--own-light", "../a=PHOTO", "--mix", "../a=1", "--stack", "kept"],
        ["normals", "PHOTO", "-o", LONG],
        ["models", "--download", ESCAPE + LONG],
    ],
    ids=lambda arguments: " ".join(arguments)[:60].encode("unicode_escape").decode(),
)
def test_no_argument_ends_a_command_in_a_traceback_or_reaches_the_terminal_raw(
    arguments, photo, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("iclight.relighter.Relighter.load", None)
    os.mkfifo("pipe.png")
    known = {"PHOTO": str(photo), "PIPE": "pipe.png"}
    engine = [] if arguments[0] == "models" else ["--quiet"]
    assert run(*(known.get(one, one.replace("=PHOTO", f"={photo}")) for one in arguments), *engine) == 1
    said = capsys.readouterr().err
    assert said.startswith("iclight: ") and said.count("\n") == 1 and len(said) < 1100
    assert said[:-1].isprintable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png", "pipe.png"]


@pytest.mark.parametrize("arguments", [[ESCAPE], ["relight", f"--{ESCAPE}"], ["relight", f"--s={ESCAPE}"]])
def test_a_wrong_call_repeats_nothing_that_a_terminal_obeys(arguments, capsys):
    with pytest.raises(SystemExit):
        run(*arguments)
    assert capsys.readouterr().err.replace("\n", " ").isprintable()


@pytest.mark.parametrize("option", ["--model", "--offset", "--lora"])
@pytest.mark.parametrize(
    "value", [LONG, f"{LONG}.safetensors", ESCAPE, "~nobody-of-this-name/x", "pipe.safetensors", "a\0b"]
)
def test_weights_by_a_hostile_name_are_refused_in_one_line(option, value, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.safetensors")
    assert run("relight", photo, "-o", "out.png", *QUICK, option, value, "--quiet") == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("iclight: ") and said[-1].isprintable() and len(said[-1]) < 1100


def test_no_output_replaces_what_it_is_made_from(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("iclight.relighter.Relighter.load", None)
    stack, maps = tmp_path / "stack", tmp_path / "maps"
    for folder, names in ((stack, ("light-left.png", "matte.png")), (maps, ("left.png", "normal.png"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(photo.read_bytes())
    calls = [
        ["mix", stack, "--from", "--mix", "left=1", "-o", stack / "matte.png"],
        ["mix", stack / "light-left.png", "--mix", "left=1", "-o", tmp_path / "o.png", "--stack", stack],
        ["mix", photo, "--mask", stack / "matte.png", "--mix", "left=1", "-o", tmp_path / "o.png", "--stack", stack],
        ["normals", maps / "left.png", "-o", maps],
        ["shade", photo, "--normals", maps, "-o", maps / "normal.png"],
    ]
    for call in calls:
        assert run(*call) == 1
        assert "is an input of this request" in capsys.readouterr().err
    assert all(path.read_bytes() == photo.read_bytes() for path in (*stack.iterdir(), *maps.iterdir()))


def test_a_name_that_is_no_text_works_all_the_same(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = "odd-\udcff.png"
    try:
        os.replace(photo, odd)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system takes no such name")
    arguments = ["relight", odd, "-o", "out.png", *QUICK, "--steps", "1"]
    done = subprocess.run([sys.executable, "-m", "iclight", *map(os.fsencode, arguments)], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert read_recipe("out.png").inputs["image"]["file"] == "odd-?.png"
