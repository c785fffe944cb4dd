"""The command line: quick help, honest exit statuses, outputs that can be made again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from golden_data import GOLDEN
from PIL import Image

from iclight.cli.main import main
from iclight.cli.normals import FILES as NORMALS_FILES
from iclight.parameters import PARAMETERS
from iclight.recipes import read_recipe

MODEL = ["--model", str(GOLDEN / "model"), "--device", "cpu", "--dtype", "float32"]
QUICK = ["--width", "64", "--height", "64", "--steps", "2", "--highres-scale", "1", *MODEL]
PICTURE = str(GOLDEN / "cases" / "foreground.png")
BACKGROUND = str(GOLDEN / "cases" / "background.png")


def pixels(path):
    return np.array(Image.open(path))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.open(PICTURE).convert("RGB").save(path)
    return path


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def test_help_answers_in_under_a_second_and_a_half():
    for command in ([], ["relight"], ["mix"], ["shade"], ["models"], ["doctor"]):
        best = 99.0
        for _ in range(2):  # the first run may pay for compiling
            started = time.perf_counter()
            out = subprocess.run(
                [sys.executable, "-m", "iclight", *command, "--help"], capture_output=True, text=True, check=True
            )
            best = min(best, time.perf_counter() - started)
        assert best < 1.5
        assert "usage: iclight" in out.stdout


def test_every_setting_is_an_option():
    out = subprocess.run(
        [sys.executable, "-m", "iclight", "relight", "--help"], capture_output=True, text=True, check=True
    )
    assert all(f"--{name.replace('_', '-')}" in out.stdout for name in PARAMETERS)


def test_a_relit_picture_carries_its_recipe_and_is_made_again_from_it(photo, tmp_path, capsys):
    out = tmp_path / "out.png"
    assert run("relight", photo, "-o", out, "--light", "left", "--prompt", "日落", "--seed", "random", *QUICK) == 0
    assert str(out) in capsys.readouterr().out
    made = read_recipe(out)
    assert made.settings.light == "left"
    assert made.settings.prompt == "日落"
    assert made.settings.seed is not None
    again = tmp_path / "again.png"
    assert run("relight", "--recipe", out, "-o", again, *MODEL) == 0
    assert np.array_equal(pixels(again), pixels(out))
    assert read_recipe(again).settings == made.settings


def test_the_default_output_stands_beside_the_picture(photo, tmp_path):
    assert run("relight", photo, *QUICK) == 0
    assert (tmp_path / "photo-relit.png").exists()
    assert run("relight", photo, "-o", f"{tmp_path}/folder/", *QUICK) == 0
    assert (tmp_path / "folder" / "photo-relit.png").exists()


def test_several_images_are_numbered_and_each_can_be_made_again(photo, tmp_path):
    assert run("relight", photo, "-o", tmp_path / "out.png", "--num-images", 2, *QUICK) == 0
    second = tmp_path / "out-2.png"
    assert not np.array_equal(pixels(tmp_path / "out-1.png"), pixels(second))
    assert run("relight", "--recipe", second, "-o", tmp_path / "again.png", *MODEL) == 0
    assert np.array_equal(pixels(tmp_path / "again.png"), pixels(second))


def test_a_background_runs_the_fbc_workflow(photo, tmp_path):
    out = tmp_path / "out.png"
    assert run("relight", photo, "-o", out, "--background", BACKGROUND, *QUICK) == 0
    assert read_recipe(out).settings.workflow == "fbc"
    assert run("relight", "--recipe", out, "-o", tmp_path / "again.png", *MODEL) == 0
    assert np.array_equal(pixels(tmp_path / "again.png"), pixels(out))


def environment_file(folder):
    light = np.full((16, 32, 3), 0.1, np.float32)
    light[4:8, 4:12] = 40
    cv2.imwrite(str(folder / "studio.hdr"), light)
    return folder / "studio.hdr"


def test_an_environment_runs_the_env_workflow_and_is_replayed(photo, tmp_path, env_model, capsys):
    hdr, out = environment_file(tmp_path), tmp_path / "out.png"
    env_quick = [*QUICK, "--model", env_model]
    assert run("relight", photo, "-o", out, "--environment", hdr, *env_quick) == 0
    made = read_recipe(out)
    assert (made.settings.workflow, made.settings.light) == ("env", "upload")
    assert made.inputs["environment"]["file"] == "studio.hdr"
    assert run("relight", "--recipe", out, "-o", tmp_path / "again.png") == 0
    assert np.array_equal(pixels(tmp_path / "again.png"), pixels(out))
    assert run("relight", "--recipe", out, "-o", tmp_path / "left.png", "--light", "left") == 0
    assert "environment" not in read_recipe(tmp_path / "left.png").inputs, "what was not looked at is not remembered"
    cv2.imwrite(str(hdr), np.ones((16, 32, 3), np.float32))
    assert run("relight", "--recipe", out, "-o", tmp_path / "x.png") == 1
    assert "not the environment map this was made from" in capsys.readouterr().err


def test_an_env_light_of_its_own_needs_no_file(photo, tmp_path, env_model):
    out = tmp_path / "out.png"
    for arguments in (["--workflow", "env", "--light", "left"], ["--light", "back"]):
        assert run("relight", photo, "-o", out, *arguments, *QUICK, "--model", env_model) == 0
        assert read_recipe(out).settings.workflow == "env"
        assert set(read_recipe(out).inputs) == {"image"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--environment", "none.hdr"], "The environment map 'none.hdr' does not exist"),
        (["--environment", "bad.hdr"], "The environment map is broken"),
        (["--environment", "studio.hdr", "--light", "left"], "light is 'left', which does not look at --environment"),
        (["--environment", "studio.hdr", "--background", BACKGROUND], "--environment belongs to the env workflow"),
        (["--environment", "studio.hdr", "--workflow", "fc"], "--environment belongs to the env workflow, but fc"),
        (["--workflow", "env"], "give an environment map, or choose left"),
        (["--light", "back", "--model", "sd15"], "no env offset was ever published for sd15"),
    ],
)
def test_what_the_env_workflow_cannot_do_is_said_before_anything_is_written(
    arguments, words, photo, tmp_path, env_model, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    environment_file(tmp_path)
    (tmp_path / "bad.hdr").write_bytes(b"#?RADIANCE\nnonsense")
    assert run("relight", photo, "-o", "new/out.png", *QUICK, "--model", env_model, *arguments) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_app_opens_the_page_that_was_asked_for(monkeypatch):
    opened = []
    monkeypatch.setattr("iclight.cli.serve.run_page", lambda workflow, rest: opened.append((workflow, rest)) or 0)
    for flag in ([], ["--bg"], ["--env"]):
        assert run("app", *flag, "--port", 7861) == 0
    assert opened == [(workflow, ["--port", "7861"]) for workflow in ("fc", "fbc", "env")]


def test_a_mask_is_used_and_replayed(photo, tmp_path):
    mask = np.zeros((240, 240), np.uint8)
    mask[60:180] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "out.png"
    assert run("relight", photo, "-o", out, "--mask", tmp_path / "mask.png", *QUICK) == 0
    assert read_recipe(out).matting == "mask"
    assert run("relight", "--recipe", out, "-o", tmp_path / "again.png", *MODEL) == 0
    assert np.array_equal(pixels(tmp_path / "again.png"), pixels(out))


def test_a_light_map_lights_the_fc_workflow_and_is_replayed(photo, tmp_path):
    Image.fromarray(np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(64, 0)).save(tmp_path / "light.png")
    out = tmp_path / "out.png"
    assert run("relight", photo, "-o", out, "--light-map", tmp_path / "light.png", *QUICK) == 0
    recipe = read_recipe(out)
    assert (recipe.settings.workflow, recipe.settings.light) == ("fc", "upload")
    assert run("relight", "--recipe", out, "-o", tmp_path / "again.png", *MODEL) == 0
    assert (pixels(out) == pixels(tmp_path / "again.png")).all()


def test_a_recipe_can_be_changed_on_the_way(photo, tmp_path):
    out, other = tmp_path / "out.png", tmp_path / "other.png"
    assert run("relight", photo, "-o", out, "--light", "left", *QUICK) == 0
    assert run("relight", "--recipe", out, "-o", other, "--light", "right", *MODEL) == 0
    assert read_recipe(other).settings == read_recipe(out).settings.replace(light="right")


def test_a_recipe_with_another_picture_or_model_is_refused(photo, tmp_path, capsys):
    out = tmp_path / "out.png"
    assert run("relight", photo, "-o", out, *QUICK) == 0
    assert run("relight", "--recipe", out, "-o", tmp_path / "x.png", "--model", "mini") == 1
    assert "not the loaded one" in capsys.readouterr().err
    Image.new("RGB", (240, 240)).save(photo)
    assert run("relight", "--recipe", out, "-o", tmp_path / "x.png", *MODEL) == 1
    assert "pixels differ" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


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
    import os
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


def test_a_recipe_finds_its_own_model_again_by_its_way_there(photo, tmp_path):
    assert run("relight", photo, "-o", tmp_path / "out.png", *QUICK) == 0
    assert run("relight", "--recipe", tmp_path / "out.png", "-o", tmp_path / "again.png") == 0
    assert np.array_equal(pixels(tmp_path / "again.png"), pixels(tmp_path / "out.png"))


def test_a_recipe_does_not_start_a_download_on_its_word(photo, tmp_path, capsys):
    from dataclasses import replace

    from iclight.recipes import save_png

    assert run("relight", photo, "-o", tmp_path / "out.png", *QUICK) == 0
    made = read_recipe(tmp_path / "out.png")
    for asked in ({"model": "some/repository"}, {"model": "mini", "offset": "some/repository/x.safetensors"}):
        strange = replace(made, model={**made.model, "asked": asked})
        save_png(tmp_path / "strange.png", pixels(tmp_path / "out.png"), strange)
        assert run("relight", "--recipe", tmp_path / "strange.png", "-o", tmp_path / "x.png") == 1
        assert "The recipe's model or offset is not here" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["photo.png", "photo.png/x.png", "/proc/x/y.png", "n" * 300 + ".png"])
def test_an_output_that_cannot_be_written_is_refused_and_inputs_are_kept(output, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = photo.read_bytes()
    assert run("relight", photo, "-o", output, *QUICK) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("iclight: ")
    assert photo.read_bytes() == before


def test_a_background_that_would_not_be_looked_at_is_pointed_out(photo, tmp_path, capsys):
    out = tmp_path / "out.png"
    assert run("relight", photo, "-o", out, "--background", BACKGROUND, "--light", "left", *QUICK) == 1
    assert "does not look at --background" in capsys.readouterr().err


def test_native_finish_saves_its_light_and_is_replayed(photo, tmp_path):
    out, light = tmp_path / "out.png", tmp_path / "light.png"
    finish = ["--finish", "native", "--finish-background", "original"]
    assert run("relight", photo, "-o", out, *finish, "--save-light", light, *QUICK) == 0
    assert Image.open(out).size == Image.open(photo).size
    assert Image.open(light).size == (64, 64)
    assert main(["relight", "--recipe", str(out), "-o", str(tmp_path / "again.png"), "--quiet"]) == 0
    assert np.array_equal(np.array(Image.open(out)), np.array(Image.open(tmp_path / "again.png")))


def test_what_stands_behind_is_taken_and_replayed(photo, tmp_path):
    behind, out = tmp_path / "behind.png", tmp_path / "out.png"
    Image.new("RGB", (50, 40), (10, 200, 90)).save(behind)
    assert main(["relight", str(photo), "-o", str(out), "--behind", str(behind), *QUICK]) == 0
    assert read_recipe(out).settings.finish_background == "own"
    assert main(["relight", "--recipe", str(out), "-o", str(tmp_path / "again.png"), "--quiet"]) == 0
    assert np.array_equal(np.array(Image.open(out)), np.array(Image.open(tmp_path / "again.png")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--save-light", "light.png"], "--finish native measures"),
        (["--finish", "native", "--save-light", "light.jpg"], ".png (16 bits) or an .exr"),
        (["--finish-background", "own"], "no picture to put behind"),
        (["--finish", "better"], "finish is 'better'"),
    ],
)
def test_a_finish_that_cannot_be_is_refused(arguments, words, photo, tmp_path, capsys):
    assert main(["relight", str(photo), "-o", str(tmp_path / "out.png"), *arguments, *QUICK]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


# --- mix ------------------------------------------------------------------------------------------------------------


def test_lights_are_mixed_and_mixed_again_without_a_model(photo, tmp_path, capsys, monkeypatch):
    out, folder = tmp_path / "mix.png", tmp_path / "stack"
    lights = ["--mix", "left=0.8", "--mix", "top=0.4,#88aaff"]
    assert run("mix", photo, "-o", out, *lights, "--stack", folder, *QUICK) == 0
    assert "add up to the ambient picture within" in capsys.readouterr().out
    names = sorted(path.name for path in folder.iterdir())
    lights_kept = [f"light-{name}.png" for name in ("ambient", "bottom", "left", "right", "top")]
    assert names == [*lights_kept, "matte.png", "stack.exr", "stack.tiff"]
    recipe = read_recipe(out)
    assert recipe.kind == "mix"
    assert recipe.mix["channels"]["left"]["strength"] == 0.8
    monkeypatch.setattr("iclight.relighter.Relighter.load", None)
    again = tmp_path / "again.png"
    assert run("mix", folder, "--from", "-o", again, *lights) == 0
    assert np.array_equal(pixels(again), pixels(out))
    brighter = tmp_path / "brighter.png"
    assert run("mix", folder, "--from", "-o", brighter, *lights, "--exposure", 1) == 0
    assert pixels(brighter).mean() > pixels(out).mean()
    large = tmp_path / "large.png"
    assert run("mix", folder, "--from", "--over", photo, "-o", large, *lights) == 0
    assert pixels(large).shape == pixels(photo).shape and not np.array_equal(pixels(large), pixels(photo))


def test_one_light_alone_is_its_relighting(photo, tmp_path):
    assert run("mix", photo, "-o", tmp_path / "mix.png", "--mix", "left=1", *QUICK) == 0
    assert run("relight", photo, "-o", tmp_path / "relit.png", "--light", "left", "--workflow", "fbc", *QUICK) == 0
    apart = pixels(tmp_path / "mix.png").astype(int) - pixels(tmp_path / "relit.png")
    assert np.abs(apart).max() <= 1  # two ways of rounding the decoder's floats


def test_a_mix_at_the_files_own_size(photo, tmp_path):
    options = ["--angle", "45", "--finish", "native", "--workflow", "fbc"]
    assert run("mix", photo, "-o", tmp_path / "mix.png", *options, *QUICK) == 0
    assert Image.open(tmp_path / "mix.png").size == Image.open(photo).size


def test_a_background_is_one_more_light(photo, tmp_path):
    own = ["--own-light", f"wall={BACKGROUND}", "--mix", "wall=1"]
    assert run("mix", photo, "-o", tmp_path / "mix.png", *own, *QUICK) == 0
    assert run("relight", photo, "-o", tmp_path / "relit.png", "--background", BACKGROUND, *QUICK) == 0
    assert np.abs(pixels(tmp_path / "mix.png").astype(int) - pixels(tmp_path / "relit.png")).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Say what to mix"),
        (["--mix", "left"], "NAME=STRENGTH"),
        (["--mix", "left=9"], "0 to 4"),
        (["--mix", "left=1,blue"], "#RRGGBB"),
        (["--mix", "moon=1"], "no light moon"),
        (["--mix", "left=1", "--angle", "3"], "not both"),
        (["--mix", "left=1", "--own-light", "wall"], "NAME=FILE"),
        (["--mix", "left=1", "--from"], "holds no light-NAME.png"),
    ],
)
def test_a_mix_that_cannot_be_is_refused_before_a_model_is_loaded(
    arguments, words, photo, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("iclight.relighter.Relighter.load", None)
    assert run("mix", photo, "-o", tmp_path / "mix.png", *arguments, *QUICK) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "mix.png").exists()


# --- hostile arguments and files --------------------------------------------------------------------------------------

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
