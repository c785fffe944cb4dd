"""`iclight relight`: pictures that can be made again from their recipes, lights, finishes, backgrounds."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tifffile
from command import BACKGROUND, MODEL, QUICK, pixels, run
from PIL import Image

from iclight.cli.main import main
from iclight.recipes import read_recipe


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


def test_a_background_that_would_not_be_looked_at_is_pointed_out(photo, tmp_path, capsys):
    out = tmp_path / "out.png"
    assert run("relight", photo, "-o", out, "--background", BACKGROUND, "--light", "left", *QUICK) == 1
    assert "does not look at --background" in capsys.readouterr().err


def test_native_finish_saves_its_light_and_is_replayed(photo, tmp_path):
    out, light = tmp_path / "out.png", tmp_path / "light.png"
    finish = ["--finish-background", "original"]  # native, which measures light, goes without saying
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
        (["--save-light", "light.png", "--finish", "model"], "--finish native measures"),
        (["--finish", "native", "--save-light", "light.jpg"], ".png (16 bits) or an .exr"),
        (["--finish-background", "own"], "no picture to put behind"),
        (["--finish", "better"], "finish is 'better'"),
    ],
)
def test_a_finish_that_cannot_be_is_refused(arguments, words, photo, tmp_path, capsys):
    assert main(["relight", str(photo), "-o", str(tmp_path / "out.png"), *arguments, *QUICK]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_a_doubtful_matte_is_warned_of_with_the_ways_out(photo, tmp_path, capsys):
    Image.fromarray(np.full((96, 96, 3), 120, np.uint8)).save(tmp_path / "wall.png")
    assert run("relight", tmp_path / "wall.png", "-o", tmp_path / "out.png", "--matting", "u2netp", *QUICK) == 0
    said = capsys.readouterr().err
    assert "WARNING: Hardly anything" in said and "--mask" in said and "--matting none" in said
    recipe = read_recipe(tmp_path / "out.png")
    assert recipe.matting == "u2netp" and len(recipe.model["matting_sha256"]) == 64
    mask = tmp_path / "mask.png"
    Image.fromarray(np.full((96, 96), 255, np.uint8)).save(mask)
    options = ("--mask", mask, "--json", *QUICK)
    assert run("relight", tmp_path / "wall.png", "-o", tmp_path / "masked.png", *options) == 0
    assert json.loads(capsys.readouterr().out)["matte_doubts"] == [], "whoever draws a matte means it"


def test_a_deep_photo_becomes_a_deep_file_and_is_made_again_from_it(tmp_path):
    photo = tmp_path / "deep.tif"
    values = np.random.default_rng(3).integers(20000, 50000, (60, 80, 3), dtype=np.uint16)
    tifffile.imwrite(photo, values, photometric="rgb")
    native = ["--finish", "native", "--matting", "none"]
    tiff, png, plain = tmp_path / "out.tif", tmp_path / "out.png", tmp_path / "plain.png"
    assert run("relight", photo, "-o", tiff, *native, *QUICK) == 0
    deep = tifffile.imread(tiff)
    assert deep.shape == (60, 80, 3) and deep.dtype == np.uint16 and (deep % 257 != 0).any()
    assert read_recipe(tiff).settings.finish == "native"
    assert run("relight", "--recipe", tiff, "-o", png, "--sixteen-bit", *MODEL) == 0
    assert np.array_equal(cv2.imread(str(png), cv2.IMREAD_UNCHANGED)[..., ::-1], deep)
    assert run("relight", "--recipe", png, "-o", plain, *MODEL) == 0
    assert np.array_equal(pixels(plain), np.rint(deep / 257))
    assert Image.open(plain).mode == "RGB"
