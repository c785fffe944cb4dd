"""Recipes: a picture says how it was made, and is made again from that."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from iclight import Settings
from iclight.errors import IclightError, ImageError, RecipeError
from iclight.recipes import (
    Recipe,
    check_model,
    describe_input,
    find_input,
    png_bytes,
    read_recipe,
    save_picture,
    save_png,
    software_versions,
)

PICTURE = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
MODEL = {"name": "mini", "workflow": "fc", "base_sha256": "b" * 64, "offset_sha256": "o" * 64, "lora": []}
MODEL |= {"vae_sha256": "v" * 64, "text_encoder_sha256": "t" * 64, "asked": {"model": "mini"}}


def recipe(**changes) -> Recipe:
    settings = Settings.for_workflow("fc", prompt="日落 🌅", light="left", width=64, height=64)
    return Recipe(settings, MODEL, "grabcut", {"image": describe_input(PICTURE, "a.png")}, **changes)


def test_a_recipe_survives_its_png_and_the_pixels_do_too(tmp_path):
    made = recipe(index=2, software=software_versions())
    save_png(tmp_path / "new" / "out.png", PICTURE, made)
    assert read_recipe(tmp_path / "new" / "out.png") == made
    assert np.array_equal(np.array(Image.open(tmp_path / "new" / "out.png")), PICTURE)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.png"], "no part files stay behind"


def test_a_picture_without_a_recipe_says_so(tmp_path):
    (tmp_path / "plain.png").write_bytes(png_bytes(PICTURE))
    with pytest.raises(RecipeError, match="carries no recipe"):
        read_recipe(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match="not a picture"):
        read_recipe(tmp_path / "text.png")
    with pytest.raises(ImageError, match="does not exist"):
        read_recipe(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values.pop("settings"), "broken"),
        (lambda values: values.update(format=99), "newer iclight"),
        (lambda values: values["settings"].update(steps=10**9), "steps is 1000000000"),
        (lambda values: values["settings"].update(brightness=1), "no setting named brightness"),
        (lambda values: values.update(settings=3), "broken"),
        (lambda values: values.update(inputs=[1]), "broken"),
    ],
)
def test_a_recipe_that_was_altered_is_refused_with_a_reason(change, words):
    values = json.loads(recipe().to_json())
    change(values)
    with pytest.raises(RecipeError, match=words):
        Recipe.from_json(json.dumps(values))


def test_text_that_is_no_json_is_refused():
    with pytest.raises(RecipeError, match="broken"):
        Recipe.from_json("{not json")


@pytest.mark.parametrize("key", ["workflow", "base_sha256", "offset_sha256"])
def test_another_model_than_the_recipes_is_refused(key):
    check_model(recipe(), dict(MODEL))
    with pytest.raises(RecipeError, match="is not the loaded one"):
        check_model(recipe(), {**MODEL, key: "other"})


def test_another_matting_network_than_the_recipes_is_refused_where_it_would_cut_out():
    cut = Recipe(recipe().settings, {**MODEL, "matting_sha256": "m" * 64}, "u2netp")
    check_model(cut, {**MODEL, "matting_sha256": "m" * 64})
    check_model(cut, {**MODEL, "matting_sha256": None})  # another matting was asked for
    with pytest.raises(RecipeError, match="matting network"):
        check_model(cut, {**MODEL, "matting_sha256": "n" * 64})


def test_missing_lora_files_are_named():
    with_lora = Recipe(
        recipe().settings, {**MODEL, "lora": [{"file": "x.safetensors", "scale": 0.5, "sha256": "s"}]}, "none"
    )
    with pytest.raises(RecipeError, match=r"x\.safetensors:0\.5"):
        check_model(with_lora, MODEL)


def test_an_input_is_found_by_name_and_known_by_its_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = describe_input(PICTURE, "photos/a.png")
    with pytest.raises(RecipeError, match="is not here"):
        find_input(entry, tmp_path, "picture")
    Image.fromarray(PICTURE[::-1].copy()).save(tmp_path / "a.png")
    with pytest.raises(RecipeError, match="pixels differ"):
        find_input(entry, tmp_path, "picture")
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    assert find_input(entry, tmp_path, "picture") == tmp_path / "a.png"


def test_a_recipe_holds_no_folder_of_the_machine_it_was_made_on(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "secret.png")
    assert describe_input(tmp_path / "secret.png")["file"] == "secret.png"


def test_a_picture_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "out.png").mkdir()
    with pytest.raises(ImageError, match="cannot be written"):
        save_png(tmp_path / "out.png", PICTURE)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(index=-1),
        lambda values: values.update(kind="video"),
        lambda values: values["inputs"].pop("image"),
        lambda values: values["inputs"]["image"].pop("sha256"),
        lambda values: values["inputs"]["image"].update(file=5),
        lambda values: values["model"].update(lora=[1]),
        lambda values: values.update(model=None),
    ],
)
def test_a_recipe_of_the_wrong_shape_is_refused_when_it_is_read(change):
    values = json.loads(recipe().to_json())
    change(values)
    with pytest.raises(RecipeError, match="broken"):
        Recipe.from_json(json.dumps(values))


def test_what_was_asked_for_is_remembered_as_a_way_and_found_again(tmp_path):
    from iclight.recipes import describe_asked, find_asked

    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "style.safetensors").touch()
    asked = {
        "model": str(tmp_path / "models" / "mine"),
        "offset": "fcon",
        "lora": [f"{tmp_path / 'style.safetensors'}:0.5"],
    }
    kept = describe_asked(asked, tmp_path / "out")
    assert str(tmp_path) not in json.dumps(kept)
    assert kept["lora"] == ["../style.safetensors:0.5"]
    again = find_asked(Recipe(recipe().settings, {**MODEL, "asked": kept}, "none"), tmp_path / "out")
    assert again["offset"] == "fcon"
    assert (tmp_path / "out" / kept["model"]).samefile(again["model"])
    assert again["lora"][0].endswith("style.safetensors:0.5")
    assert describe_asked(asked, None)["model"] == "mine", "a page tells no folder at all"


# --- files that are no picture of ours, and fields that are none ------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "BMP", "JPEG", "EPS", "DDS"])
def test_nothing_but_a_png_or_a_tiff_is_opened_whatever_it_is_called(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.open", None)
    Image.fromarray(PICTURE).save(tmp_path / "a.png", kind)
    with pytest.raises(ImageError, match="not a picture that can be read"):
        read_recipe(tmp_path / "a.png")


def test_a_tiff_carries_its_recipe_too(tmp_path):
    made = dataclasses.replace(recipe(), inputs={"image": {"file": "灯 💡.png", "sha256": "0" * 64}})
    save_picture(tmp_path / "a.tif", PICTURE, made)
    assert read_recipe(tmp_path / "a.tif") == made
    data = (tmp_path / "a.tif").read_bytes()
    for length in (*range(60), *range(60, len(data), 97)):
        (tmp_path / "cut.tif").write_bytes(data[:length])
        with contextlib.suppress(IclightError):
            assert read_recipe(tmp_path / "cut.tif") == made, "its directory may stand before what is cut"
    for description in (None, "iclight", "iclight {", "iclight []", "a holiday"):
        tifffile.imwrite(tmp_path / "b.tif", PICTURE, description=description, metadata=None)
        with pytest.raises(RecipeError):
            read_recipe(tmp_path / "b.tif")


def test_a_png_that_is_cut_short_anywhere_is_no_picture(tmp_path):
    data = png_bytes(PICTURE, recipe())
    for length in (*range(60), *range(60, len(data), 97), len(data) - 1):
        (tmp_path / "cut.png").write_bytes(data[:length])
        with pytest.raises(ImageError, match="not a picture"):
            read_recipe(tmp_path / "cut.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_recipe(tmp_path / "pipe.png")
    with pytest.raises(RecipeError, match="is not here"):
        find_input({"file": "pipe.png", "sha256": "0"}, tmp_path, "picture")


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"packed"])
def test_a_recipe_is_found_in_every_kind_of_text_and_on_either_side_of_the_pixels(kind, tmp_path):
    text = json.dumps(json.loads(recipe().to_json())).encode()
    body = {
        b"tEXt": text,
        b"zTXt": b"\0" + zlib.compress(text),
        b"iTXt": bytes(4) + text,
        b"packed": b"\1\0\0\0" + zlib.compress(text),
    }[kind]
    named = (b"iTXt" if kind == b"packed" else kind) + b"iclight\0" + body
    chunk = struct.pack(">I", len(named) - 4) + named + struct.pack(">I", zlib.crc32(named))
    data = png_bytes(PICTURE)
    for at in (33, len(data) - 12):
        (tmp_path / "a.png").write_bytes(data[:at] + chunk + data[at:])
        assert read_recipe(tmp_path / "a.png") == recipe()


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["model"].update(dtype=["a"]),
        lambda values: values["model"].update(device=1),
        lambda values: values["model"].update(lora=[{}]),
        lambda values: values["model"].update(lora=[{"file": "a", "scale": "b", "sha256": "c"}]),
        lambda values: values["model"].update(lora=[{"file": 1, "scale": 1, "sha256": "c"}]),
        lambda values: values["model"].update(asked=[1]),
        lambda values: values["model"].update(asked={"model": ["mini"]}),
        lambda values: values["model"].update(asked={"lora": "a"}),
        lambda values: values["model"].update(asked={"offset": "n" * 300}),
        lambda values: values["inputs"]["image"].update(file="n" * 300),
        lambda values: values["inputs"]["image"].update(file="a\0b"),
        lambda values: values["inputs"]["image"].update(file="\ud800"),
        lambda values: values["inputs"].update(mask=["a", "b"]),
        lambda values: values.update(matting={}),
        lambda values: values.update(index=True),
        lambda values: values.update(software=[["a", "b"]]),
        lambda values: values.update(mix=1),
        lambda values: values.update(normals=float("nan")),
        lambda values: values.update(settings=[["steps", 1]]),
        lambda values: values.update(mix={"a": json.loads("[" * 50 + "]" * 50)}),
        lambda values: values.update(mix={"a": 10**200}),
        lambda values: values.update(mix={"a": "x" * 3_000_000}),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_in_a_short_sentence(change):
    values = json.loads(recipe().to_json())
    change(values)
    with pytest.raises(RecipeError, match="recipe is broken") as caught:
        Recipe.from_json(json.dumps(values))
    assert len(str(caught.value)) < 200


def test_json_of_any_depth_is_refused():
    with pytest.raises(RecipeError, match="nested too deeply"):
        Recipe.from_json("[" * 100_000)


def test_an_input_at_an_absolute_path_is_not_opened(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Image.fromarray(PICTURE).save(tmp_path / "there" / "a.png")
    entry = {**describe_input(PICTURE), "file": str(tmp_path / "there" / "a.png")}
    with pytest.raises(RecipeError, match="is not here"):
        find_input(entry, tmp_path / "here", "picture")


def test_a_name_that_is_no_text_can_be_written():
    made = Recipe(recipe().settings, MODEL, "none", {"image": describe_input(PICTURE, "x\udcff.png")})
    assert b'"x?.png"' in png_bytes(PICTURE, made)


def test_a_picture_says_that_it_is_srgb_or_carries_its_profile():
    with Image.open(io.BytesIO(png_bytes(PICTURE, recipe()))) as saved:
        assert "srgb" in saved.info and "icc_profile" not in saved.info
    with Image.open(io.BytesIO(png_bytes(PICTURE, icc=b"a profile"))) as saved:
        assert saved.info["icc_profile"] == b"a profile" and "srgb" not in saved.info
