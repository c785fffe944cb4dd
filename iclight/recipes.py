"""Recipes: what made a picture, written into its PNG or TIFF, so that the picture can be made again.

A recipe names the settings, the model and matting with their hashes, and the inputs by file name and fingerprint.
It never holds the input's pixels, and no folder beyond the way from the picture to its input.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from .errors import IclightError, ImageError, RecipeError, first_line, plain, quoted
from .imaging.budgets import PICTURE_FILE
from .imaging.declared_colours import srgb_icc
from .imaging.depths import Stored, to_depth
from .imaging.environment import fingerprint
from .imaging.files import deep_png, deep_tiff
from .imaging.images import ImageLike, Picture
from .imaging.png_chunks import chunk
from .imaging.png_text import text_chunk, text_of
from .imaging.tiff_directory import MAGIC as TIFF_MAGIC
from .imaging.tiff_directory import description_of
from .settings import Settings
from .weights.files import check_bytes, open_regular, write_whole
from .weights.manifest import parse_json

KEY = "iclight"
FORMAT = 1
HASHED = {
    "workflow": "workflow",
    "base_sha256": "base model",
    "vae_sha256": "VAE",
    "text_encoder_sha256": "text encoder",
    "offset_sha256": "offset",
    "embedding_sha256": "embeddings",
}
TIFF_ENDINGS = (".tif", ".tiff")
KINDS = ("relight", "normals", "mix")
SOFTWARE = ("torch", "diffusers", "transformers")
# Bytes of a recipe's JSON: three prompts of 20,000 characters have 0.4 MB at most.
RECIPE_BYTES = 2_000_000


@dataclass(frozen=True)
class Recipe:
    """`kind` is "relight", "normals" (`normals` then holds exponent and green) or "mix" (`mix` then says how the lights
    were mixed); `index` says which of the request's pictures this is, from 0.

    `inputs` maps "image", "background", "environment", "mask" and "behind" to {"file": name or relative path,
    "sha256": fingerprint}.
    """

    settings: Settings
    model: dict[str, Any]
    matting: str
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    kind: str = "relight"
    index: int = 0
    software: dict[str, str] = field(default_factory=dict)
    mix: dict[str, Any] = field(default_factory=dict)
    normals: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over what decides the pixels: the same for the same work, wherever its files lie, whatever they are
        called, and whichever device does it."""
        model = {name: value for name, value in self.model.items() if name not in ("name", "offset", "asked", "device")}
        model["lora"] = [[one["scale"], one["sha256"]] for one in self.model.get("lora", [])]
        inputs = {name: entry["sha256"] for name, entry in self.inputs.items()}
        work = [self.kind, self.index, self.settings.to_dict(), model, self.matting, inputs, self.mix, self.normals]
        return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Text that can be encoded: of a file's name, what is no text is lost."""
        text = json.dumps(
            {
                "format": FORMAT,
                "kind": self.kind,
                "index": self.index,
                "settings": self.settings.to_dict(),
                "model": self.model,
                "matting": self.matting,
                "inputs": self.inputs,
                "software": self.software,
                **({"mix": self.mix} if self.mix else {}),
                **({"normals": self.normals} if self.normals else {}),
            },
            ensure_ascii=False,
        )
        return text.encode("utf-8", "replace").decode("utf-8")

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The inverse of `to_json`; raises RecipeError naming what is wrong."""
        try:
            if len(text) > RECIPE_BYTES:
                raise ValueError("it is too long")
            values = _object_in(parse_json(text))
            if values["format"] > FORMAT:
                raise RecipeError("The recipe was written by a newer iclight; update to read it.")
            if values["kind"] not in KINDS or type(values["index"]) is not int or not 0 <= values["index"] < 12:
                raise ValueError("kind or index out of range")
            if "image" not in values["inputs"]:
                raise ValueError("no picture is named")
            return cls(
                # Brackets were words before there was a setting for them.
                settings=Settings.from_dict({"emphasis": "never", **_object_in(values["settings"])}),
                model=_model_in(values["model"]),
                matting=_text_in(values["matting"]),
                inputs={
                    _text_in(name): {"file": _path_in(entry["file"]), "sha256": _text_in(entry["sha256"])}
                    for name, entry in _object_in(values["inputs"]).items()
                },
                kind=values["kind"],
                index=values["index"],
                software={
                    _text_in(name): _text_in(version) for name, version in _object_in(values["software"]).items()
                },
                mix=_object_in(values.get("mix", {})),
                normals=_object_in(values.get("normals", {})),
            )
        except RecipeError:
            raise
        except IclightError as error:
            raise RecipeError(
                "The recipe asks for something that does not exist: {reason}", reason=error.message
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecipeError(
                "The recipe is broken ({kind}: {reason}).", kind=type(error).__name__, reason=first_line(error)
            ) from error


def software_versions() -> dict[str, str]:
    """Versions of what computes the pixels."""
    from . import __version__

    return {"iclight": __version__, **{name: metadata.version(name) for name in SOFTWARE}}


def way_from(folder: Path, path: str | os.PathLike[str]) -> str:
    """How a file or folder is remembered: its way from where the recipe lies, so that no other folder is told."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # another drive on Windows
        return os.path.basename(path)


def describe_asked(asked: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """What was asked for (model, offset, VAE, LoRA): names as they are, paths as ways from `folder`, or bare names."""

    def described(text: str | None) -> str | None:
        if text is None:
            return None
        path, scale = (text, "") if os.path.exists(text) else _split_scale(text)
        if not os.path.exists(path):
            return text
        return (os.path.basename(os.path.normpath(path)) if folder is None else way_from(folder, path)) + scale

    return {
        "model": described(asked.get("model")),
        "offset": described(asked.get("offset")),
        "vae": described(asked.get("vae")),
        **{name: [described(one) for one in asked.get(name, [])] for name in ("lora", "embedding")},
    }


def find_asked(recipe: Recipe, beside: Path) -> dict[str, Any]:
    """The inverse of `describe_asked`: paths that are there from `beside` or from here, else names as they are."""

    def found(text: Any) -> Any:
        if not isinstance(text, str):
            return None
        path, scale = _split_scale(text)
        for whole, rest in ((text, ""), (path, scale)):
            if os.path.exists(beside / whole):
                return str(beside / whole) + rest
        return text

    asked = recipe.model.get("asked")
    asked = asked if isinstance(asked, dict) else {"model": recipe.model.get("name")}
    lists = {name: asked.get(name) for name in ("lora", "embedding")}
    return {
        "model": found(asked.get("model")) or "auto",
        "offset": found(asked.get("offset")),
        "vae": found(asked.get("vae")),
        **{
            name: [one for one in map(found, held if isinstance(held, list) else []) if one]
            for name, held in lists.items()
        },
    }


def _split_scale(text: str) -> tuple[str, str]:
    path, colon, scale = text.rpartition(":")
    return (path, colon + scale) if colon else (text, "")


def describe_input(image: ImageLike, name: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """How a recipe remembers an input: a file name (or relative path) and a fingerprint of its pixels."""
    source = image.name if isinstance(image, Picture) else image
    if name is None and isinstance(source, (str, os.PathLike)):
        name = os.path.basename(source)
    return {"file": os.fspath(name) if name else "", "sha256": fingerprint(image)}


def recipe_of(
    result: Any, inputs: Mapping[str, ImageLike | None], kind: str = "relight", folder: Path | None = None
) -> Recipe:
    """The recipe of a `Result`, an `OLATResult` or `Normals`.

    `inputs`: names of `INPUTS` -> pictures as they were decoded, or files; those that the settings look at are
    remembered. `folder`: where the picture will lie, from which files are named by their way; without it, by their bare
    names.
    """
    described = {}
    for name, source in inputs.items():
        if source is not None and result.settings.looks_at(name):
            path = source.name if isinstance(source, Picture) else source
            described[name] = describe_input(source, None if folder is None else way_from(folder, path))
    model = {**result.model, "asked": describe_asked(result.model["asked"], folder)}
    return Recipe(result.settings, model, result.matting, described, kind, software=software_versions())


def png_bytes(image: Stored, recipe: Recipe | None = None, quick: bool = False, icc: bytes | None = None) -> bytes:
    """HxW, HxWx3 or HxWx4 uint8, or uint16 but HxW, as a PNG file with its recipe inside, and what its colours are.

    `quick` for what nobody keeps: larger, in half of the time. `icc`: the colours' profile; None is sRGB.
    """
    if image.dtype == np.uint16:
        colours = chunk(b"sRGB", bytes(1)) if icc is None else chunk(b"iCCP", b"ICC\0\0" + zlib.compress(icc))
        text = b"" if recipe is None else text_chunk(KEY, recipe.to_json())
        return deep_png(np.asarray(image, np.uint16), colours + text)
    info = PngImagePlugin.PngInfo()
    if recipe is not None:
        info.add_itxt(KEY, recipe.to_json())
    if icc is None:
        info.add(b"sRGB", bytes(1))  # to be shown with the perceptual intent, where that makes a difference
    buffer = io.BytesIO()
    # Level 4: a fifth larger than the default 6 at half of its time.
    Image.fromarray(image).save(buffer, "PNG", pnginfo=info, compress_level=1 if quick else 4, icc_profile=icc)
    return buffer.getvalue()


def save_png(
    path: str | os.PathLike[str],
    image: Stored,
    recipe: Recipe | None = None,
    quick: bool = False,
    icc: bytes | None = None,
) -> None:
    """Write a PNG (`png_bytes`) whole or not at all. Raises ImageError where it cannot be written."""
    write_whole(path, png_bytes(image, recipe, quick, icc))


def picture_bytes(
    name: str | os.PathLike[str],
    image: Stored,
    recipe: Recipe | None = None,
    icc: bytes | None = None,
    sixteen_bit: bool = False,
) -> bytes:
    """HxWx3 or HxWx4 by the name's ending: as a TIFF, always of 16 bits a value, or as a PNG (`png_bytes`), of 8.

    `sixteen_bit`: PNGs of 16, too. Pixels of another depth are brought to it.
    """
    is_tiff = os.fspath(name).lower().endswith(TIFF_ENDINGS)
    image = to_depth(image, np.uint16 if is_tiff or sixteen_bit else np.uint8)
    if not is_tiff:
        return png_bytes(image, recipe, icc=icc)
    # TIFF's texts are ASCII.
    text = "" if recipe is None else f"{KEY} {json.dumps(json.loads(recipe.to_json()))}"
    return deep_tiff(np.asarray(image, np.uint16), icc or srgb_icc(), text)


def save_picture(
    path: str | os.PathLike[str],
    image: Stored,
    recipe: Recipe | None = None,
    icc: bytes | None = None,
    sixteen_bit: bool = False,
) -> None:
    """Write `picture_bytes` whole or not at all. Raises ImageError where it cannot be written."""
    write_whole(path, picture_bytes(path, image, recipe, icc, sixteen_bit))


def read_recipe(source: str | os.PathLike[str] | bytes) -> Recipe:
    """The recipe inside a PNG or TIFF that iclight made, a path or a file's bytes.

    Raises RecipeError if it has none, ImageError if it is no picture.
    """
    name = "The picture" if isinstance(source, bytes) else quoted(os.fspath(source))
    with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source, "The picture", sys.maxsize) as file:
        try:
            text = _text_of(file)
        except RecipeError:
            raise
        except (OSError, ValueError, IndexError, zlib.error) as error:
            raise ImageError("{name} is not a picture that can be read.", name=name) from error
    if text is None:
        raise RecipeError(
            "{name} carries no recipe: it was not made by iclight, or a program on the way removed it.", name=name
        )
    return Recipe.from_json(text)


def _text_of(file: BinaryIO) -> str | None:
    is_tiff = file.read(4) in TIFF_MAGIC
    file.seek(0)
    if not is_tiff:
        return text_of(file, KEY, RECIPE_BYTES)
    check_bytes(file.seek(0, os.SEEK_END), PICTURE_FILE, "The picture")
    file.seek(0)
    key, _, text = description_of(file.read()).partition(" ")
    return text if key == KEY else None


def check_model(recipe: Recipe, identity: dict[str, Any]) -> None:
    """Raise RecipeError unless the loaded model (`Relighter.identity()`) is the one the recipe names, by hash.

    Matting networks are compared where both name one: a mask or another matting takes the place of the recipe's.
    """
    for key, what in HASHED.items():
        if recipe.model.get(key) != identity.get(key):
            raise RecipeError(
                "The recipe's {what} is not the loaded one: it was made by {name} ({digest}), loaded is {loaded} "
                "({loaded_digest}). Give the right files with --model and --offset.",
                what=what,
                name=quoted(recipe.model.get("name")),
                digest=plain(str(recipe.model.get(key))[:12]),
                loaded=quoted(identity.get("name")),
                loaded_digest=str(identity.get(key))[:12],
            )
    networks = recipe.model.get("matting_sha256"), identity.get("matting_sha256")
    if None not in networks and networks[0] != networks[1]:
        raise RecipeError(
            "The recipe's matting network is not the one here ({digest}, here {own_digest}), so its matte "
            "would be another. Get the same weights, or give the matte with --mask.",
            digest=plain(str(networks[0])[:12]),
            own_digest=str(networks[1])[:12],
        )
    if recipe.model.get("lora", []) != identity.get("lora", []):
        wanted = ", ".join(f"{one['file']}:{one['scale']:g}" for one in recipe.model.get("lora", [])) or "none"
        raise RecipeError(
            "The recipe was made with these LoRA files: {files}. Give the same with --lora.", files=plain(wanted)
        )


def find_input(entry: dict[str, str], beside: Path, what: str) -> Path:
    """The input a recipe names, looked for beside the recipe's picture and in the current folder.

    Raises RecipeError when it is not there, or when the file of that name holds other pixels.
    """
    name = entry.get("file", "")
    # No recipe of ours names an absolute path: what does is looked for by its last name alone.
    names = [one for one in (name, os.path.basename(name)) if one and not os.path.isabs(one)]
    present = [path for base in (beside, Path.cwd()) for path in (base / one for one in names) if os.path.isfile(path)]
    for path in present:
        with contextlib.suppress(ImageError):  # a file that is no picture is not this one
            if fingerprint(path) == entry["sha256"]:
                return path
    if present:
        raise RecipeError(
            "{path} is not the {what} this was made from: its pixels differ. Give the right one.",
            path=present[0],
            what=what,
        )
    raise RecipeError(
        "The {what} this was made from ({name}) is not here; give it on the command line.",
        what=what,
        name=plain(name) or "no name kept",
    )


# --- what fields may hold: each function gives a value back as it is, or raises ValueError or TypeError ---


def _object_in(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{quoted(value, 60)} where an object belongs")
    return value


def _text_in(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000 or "\0" in value:
        raise TypeError(f"{quoted(value, 60)} where a short text belongs")
    value.encode()  # lone surrogates are no text: UnicodeEncodeError is a ValueError
    return value


def _path_in(value: Any) -> str:
    """A path or a name that a file system would take."""
    if any(len(part.encode()) > 255 for part in re.split(r"[/\\]", _text_in(value))):
        raise ValueError(f"{quoted(value, 60)} is too long for a file's name")
    return str(value)


def _number_in(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e9:
        raise TypeError(f"{quoted(value, 60)} where a number belongs")
    return value


def _model_in(value: Any) -> dict[str, Any]:
    """A model's fields are texts or null, but for its LoRA files and for what was asked for."""
    fields = {
        name: one if one is None or name in ("lora", "asked") else _text_in(one)
        for name, one in _object_in(value).items()
    }
    lora = [
        {"file": _path_in(one["file"]), "scale": _number_in(one["scale"]), "sha256": _text_in(one["sha256"])}
        for one in _list_in(fields["lora"])
    ]
    asked = _object_in(fields.get("asked") or {})
    for name in ("model", "offset", "vae"):
        if asked.get(name) is not None:
            _path_in(asked[name])
    for one in [*_list_in(asked.get("lora") or []), *_list_in(asked.get("embedding") or [])]:
        _path_in(one)
    return {**fields, "lora": lora}


def _list_in(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{quoted(value, 60)} where a list belongs")
    return value
