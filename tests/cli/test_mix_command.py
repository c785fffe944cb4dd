"""`iclight mix`: lights mixed, kept and mixed again."""

from __future__ import annotations

import numpy as np
import pytest
from command import BACKGROUND, QUICK, pixels, run
from PIL import Image

from iclight.imaging.declared_colours import icc_of_code
from iclight.imaging.images import read_picture
from iclight.imaging.profiles import profile_of
from iclight.recipes import read_recipe, save_picture


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


@pytest.mark.parametrize("deep", [False, True], ids=["8", "16"])
def test_a_mix_over_a_photo_stays_in_its_colours_and_depth(photo, tmp_path, deep):
    """As a native finish does; looked at, it is the mix over the same photo in sRGB."""
    icc, plain = icc_of_code(12, 13), pixels(photo)
    stored = profile_of(icc).space.of_srgb(plain)
    save_picture(tmp_path / "wide.png", stored, icc=icc, sixteen_bit=deep)
    folder, lights = tmp_path / "stack", ["--mix", "left=1"]
    assert run("mix", tmp_path / "wide.png", "--stack", folder, *lights, *QUICK, "--finish", "native") == 0
    for name, over in (("plain", photo), ("wide", tmp_path / "wide.png")):
        out = tmp_path / f"{name}.tif"
        assert run("mix", folder, "--from", "--over", over, "-o", out, *lights) == 0
    wide = read_picture(tmp_path / "wide.tif")
    assert wide.native.space.icc == icc
    values = wide.native.pixels
    assert (values % 257 != 0).any() == deep, "no more bits than the photo has"
    assert np.abs(wide.rgb.astype(int) - read_picture(tmp_path / "plain.tif").rgb).mean() < 1.5
    first = read_picture(tmp_path / "wide-mix.png")
    assert first.native.space.icc == icc and first.native.pixels.dtype == np.uint8
    assert np.abs(first.native.pixels - values / 257).mean() < 2, "but for the matte, which is kept at the small size"


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
