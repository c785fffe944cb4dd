"""The command line: light help, honest exit statuses, words and JSON for what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from command import QUICK, run

from iclight.cli.normals import FILES as NORMALS_FILES
from iclight.parameters import PARAMETERS
from iclight.recipes import read_recipe

HEAVY = ("torch", "diffusers", "transformers", "gradio", "cv2", "numpy", "PIL", "huggingface_hub")


@pytest.mark.parametrize("command", [[], ["relight"], ["batch"], ["mix"], ["shade"], ["models"], ["doctor"]])
def test_help_answers_before_anything_heavy_is_loaded(command):
    code = (
        "import atexit, sys; from iclight.cli.main import main\n"
        f"atexit.register(lambda: print('loaded', {{*{HEAVY}}} & {{*sys.modules}}))\n"
        f"main({[*command, '--help']})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("usage: iclight") and out.endswith("loaded set()\n")


def test_every_setting_is_an_option():
    out = subprocess.run(
        [sys.executable, "-m", "iclight", "relight", "--help"], capture_output=True, text=True, check=True
    )
    assert all(f"--{name.replace('_', '-')}" in out.stdout for name in PARAMETERS)


def test_app_opens_the_page_that_was_asked_for(monkeypatch):
    opened = []
    monkeypatch.setattr("iclight.cli.serve.run_page", lambda workflow, rest: opened.append((workflow, rest)) or 0)
    for flag in ([], ["--bg"], ["--env"]):
        assert run("app", *flag, "--port", 7861) == 0
    assert opened == [(workflow, ["--port", "7861"]) for workflow in ("fc", "fbc", "env")]


def test_json_is_one_object_for_machines(photo, tmp_path, capsys):
    assert run("relight", photo, "-o", tmp_path / "out.png", "--json", *QUICK) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outputs"] == [str(tmp_path / "out.png")]
    assert report["settings"]["steps"] == 2
    assert report["seconds"] > 0
    assert run("relight", tmp_path / "none.png", "--json") == 1
    refusal = json.loads(capsys.readouterr().out)
    assert "none.png' does not exist" in refusal["error"] and refusal["key"] == "{what} {name} does not exist."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "abc"], "steps is 'abc'"),
        (["--steps", "nan"], "steps is nan"),
        (["--steps", "-3"], "steps is -3"),
        (["--cfg", "1e99"], "cfg is 1e+99"),
        (["--width", "100"], "in steps of 64"),
        (["--light", "sideways"], "'sideways'"),
        (["-o", "out.jpg"], ".png"),
        (["--background", "/no/such.png"], "The background"),
        (["--mask", "/no/such.png"], "The mask"),
        (["--model", "/no/such/model"], "/no/such/model"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_written(arguments, words, photo, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("relight", photo, "-o", "new/out.png", *arguments) == 1  # an -o among the arguments comes later and wins
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_broken_picture_is_refused_before_a_model_is_loaded(tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    assert run("relight", tmp_path / "broken.png", "--model", "/no/such/model") == 1
    assert "not an image" in capsys.readouterr().err


def test_a_wrong_call_exits_with_two():
    with pytest.raises(SystemExit) as caught:
        run("relight", "a.png", "--no-such-option")
    assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        run("relite")
    assert caught.value.code == 2


def test_an_interrupt_stops_after_the_step_and_writes_nothing(photo, tmp_path, monkeypatch, capsys):
    import signal

    from iclight.diffusion.sampler import NoisePredictor

    calls = []
    real = NoisePredictor.__call__

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *arguments)

    monkeypatch.setattr(NoisePredictor, "__call__", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert run("relight", photo, "-o", tmp_path / "out.png", *QUICK, "--steps", "50") == 130
    assert len(calls) == 2
    assert not (tmp_path / "out.png").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_normals_writes_its_nine_pictures(photo, tmp_path):
    assert run("normals", photo, "-o", tmp_path / "n", "--matting", "none", *QUICK) == 0
    assert {path.stem for path in (tmp_path / "n").iterdir()} == set(NORMALS_FILES)
    assert read_recipe(tmp_path / "n" / "normal.png").kind == "normals"


def test_models_lists_what_is_here_and_how_to_get_the_rest(capsys):
    assert run("models") == 0
    out = capsys.readouterr().out
    assert "mini" in out
    assert "iclight models --download sd15" in out
    assert "non-commercial" in out
    assert run("models", "--json") == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["models"]}
    assert entries["mini"]["present"]
    assert not entries["sd15"]["present"] or entries["sd15"]["where"]


def test_without_a_hub_a_model_that_is_not_here_is_an_error_that_says_what_to_do(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ICLIGHT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    out = tmp_path / "out.png"
    assert run("relight", photo, "-o", out, "--model", "sd15", "--device", "cpu", "--json") == 1
    said = json.loads(capsys.readouterr().out)["error"]
    assert "sd15" in said and "HF_HUB_OFFLINE" in said
    assert not out.exists()


def test_doctor_says_what_would_run_and_how_fast(capsys):
    assert run("doctor", "--json", "--device", "cpu", "--model", "mini") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "mini"
    assert report["problem"] is None
    assert report["seconds_per_step"] > 0
    assert report["seconds_per_picture"] > report["seconds_per_step"]
    assert run("doctor", "--device", "cpu", "--model", "/no/such") == 0
    assert "no/such" in capsys.readouterr().out
