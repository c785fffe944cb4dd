"""The command's files: inputs looked at and outputs placed before a model is loaded, pictures saved with recipes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError, SettingsError, quoted

if TYPE_CHECKING:
    from ..imaging.depths import Stored
    from ..imaging.images import ImageLike
    from ..results import Result
    from ..settings import Settings


def output_path(output: str | None, source: Path) -> Path:
    """Where the (first) picture goes. Raises SettingsError for a name that cannot carry a recipe."""
    if output is None:
        return check_name(source.with_name(f"{source.stem}-relit.png"))
    target = Path(output)
    if os.path.isdir(target) or output.endswith(("/", "\\")):
        return check_name(target / f"{source.stem}-relit.png")
    if target.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise SettingsError(
            f"output is {quoted(output)}, but it takes a name ending in .png, or in .tif for 16 bits a value: both are "
            "lossless and keep the recipe."
        )
    return check_name(target)


def add_sixteen_bit(command: argparse.ArgumentParser) -> None:
    """The option of commands that write pictures."""
    command.add_argument(
        "--sixteen-bit",
        action="store_true",
        help="write PNGs of 16 bits a value, as TIFFs always are: the photo's own depth where it has more than 8 bits "
        "and --finish is native, else values of 8 bits widened",
    )


def check_name(target: Path) -> Path:
    """`target`; SettingsError for a name that no file system takes, with room for what is put before and after it."""
    try:
        length = len(os.fsencode(target.name))
    except UnicodeEncodeError as error:
        raise SettingsError(f"output is {quoted(str(target))}, which is no name for a file.") from error
    if length > 200:
        raise SettingsError(f"output is a name of {length} bytes, but it takes at most 200.")
    if "\0" in str(target):
        raise SettingsError(f"output is {quoted(str(target))}, which is no name for a file.")
    return target


def check_output(target: Path, *inputs: str | None) -> None:
    """Raise before any work is done if the output cannot be written, or would replace an input."""
    if os.path.isdir(target):
        raise ImageError(f"{target} is a folder; give a name for the picture, or end it with a slash.")
    if os.path.exists(target) and not os.path.isfile(target):
        raise ImageError(f"{target} is a pipe or a device; give a name for the picture.")
    for source in inputs:
        if source and os.path.exists(target) and os.path.exists(source) and os.path.samefile(target, source):
            raise ImageError(f"{target} is an input of this request; give the output another name.")
    check_folder(target.parent)


def check_folder(folder: Path) -> None:
    """Look whether a folder is there or can be made, without making it: nothing is left behind by a refusal."""
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
    if any(len(os.fsencode(part)) > 255 or "\0" in part for part in folder.parts):
        raise ImageError(f"{quoted(str(folder))} is no name for a folder: it is too long, or holds a zero byte.")
    if not os.path.isdir(there) or not os.access(there, os.W_OK):
        raise ImageError(f"{folder} cannot be written to: {there} is no folder, or not yours to write in.")


def check_layer(path: str | None, settings: Settings, *inputs: str | None) -> None:
    """Raise before any work is done if a light cannot be saved as `path`, or there will be none to save."""
    if path is None:
        return
    if Path(path).suffix.lower() not in (".png", ".exr"):
        raise SettingsError(f"save_light is {quoted(path)}, but a light layer is a .png (16 bits) or an .exr.")
    if settings.finish != "native":
        raise SettingsError("--save-light saves the light that --finish native measures; ask for that too.")
    check_output(check_name(Path(path)), *inputs)


def save_pictures(
    result: Result,
    inputs: Mapping[str, ImageLike | None],
    target: Path,
    only: int | None = None,
    sixteen_bit: bool = False,
) -> list[str]:
    """Write a result's pictures with their recipes: OUT.png, or OUT-1.png, OUT-2.png, ... for several.

    `sixteen_bit`: PNGs of 16 bits a value, as TIFFs always are.
    """
    from ..recipes import recipe_of, save_picture

    outputs = []
    recipe = recipe_of(result, inputs, folder=target.parent)
    pictures: Sequence[Stored] = result.deep or result.images
    for index, picture in enumerate(pictures):
        if only is not None and index != only:
            continue
        several = len(pictures) > 1 and only is None
        path = target.with_name(f"{target.stem}-{index + 1}{target.suffix}") if several else target
        save_picture(path, picture, replace(recipe, index=index), result.icc, sixteen_bit)
        outputs.append(str(path))
    return outputs
