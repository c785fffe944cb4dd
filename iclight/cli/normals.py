"""`iclight normals`: surface normals into a folder. `iclight shade`: a picture lit by its normals, at once."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError
from ..parameters import NORMAL_LIGHTS, NORMAL_PARAMETERS, SHADE_PARAMETERS, check_parameters
from .options import add_parameters, engine_arguments, settings_from
from .outputs import add_sixteen_bit, check_folder, check_name, check_output, output_path
from .terminal import bar_over, load_relighter, report_of

if TYPE_CHECKING:
    from ..imaging.environment import Floats
    from ..normals import Normals

FILES = ("normal", *(f"gain-{light}" for light in NORMAL_LIGHTS), *NORMAL_LIGHTS)
DEEP = "normal-16bit.png"


def add_normals(commands: Any) -> argparse.ArgumentParser:
    """The parser of `iclight normals`."""
    normals: argparse.ArgumentParser = commands.add_parser(
        "normals",
        help="estimate surface normals from four relightings",
        description="Estimate which way each place of the subject faces, from four relightings: nine pictures, "
        "normal.png first.",
    )
    normals.add_argument("input", metavar="IN", help="the picture")
    normals.add_argument("-o", "--output", metavar="DIR", required=True, help="a folder for the pictures")
    normals.add_argument("--mask", metavar="M", help="a matte of your own: white is subject, black is not")
    add_parameters(normals, NORMAL_PARAMETERS)
    normals.add_argument(
        "--sixteen-bit", action="store_true", help=f"write {DEEP} as well: unit vectors, 65536 steps a channel"
    )
    normals.set_defaults(run=run_normals)
    return normals


def add_shade(commands: Any) -> argparse.ArgumentParser:
    """The parser of `iclight shade`."""
    shade: argparse.ArgumentParser = commands.add_parser(
        "shade",
        help="light a picture by its normals: a quick preview",
        description="Light a picture from any direction by its surface normals: plain physics of matt surfaces, no "
        "shadows cast. With --normals no model runs and it takes a moment; without, they are estimated first.",
    )
    shade.add_argument("input", metavar="IN", help="the picture")
    shade.add_argument("-o", "--output", metavar="OUT", help="a .png file, a .tif of 16 bits a value, or a folder")
    add_sixteen_bit(shade)
    shade.add_argument("--normals", metavar="MAP", help="its normal map, or the folder that `iclight normals` filled")
    add_parameters(shade, NORMAL_PARAMETERS)
    shade.add_argument("--mask", metavar="M", help="a matte of your own: white is lit, black stays as it is")
    add_parameters(shade, SHADE_PARAMETERS, {"angle": "turn"})
    shade.set_defaults(run=run_shade)
    return shade


def run_normals(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight normals`: nine pictures into a folder, and a tenth of 16 bits if asked for."""
    from ..recipes import KEY, recipe_of, save_png

    folder = Path(options.output)
    check_folder(folder)
    for name in (*(f"{name}.png" for name in FILES), DEEP):
        check_output(folder / name, options.input, options.mask)
    result, inputs = _estimated(options)
    recipe = replace(
        recipe_of(result, inputs, "normals", folder), normals={"exponent": options.exponent, "green": options.green}
    )
    from ..editing.normal_maps import encode, flip_green, write_normals

    pictures = list(result.images)
    if options.green != "opengl":
        pictures[0] = encode(flip_green(result.normal, options.green))
    outputs = []
    for index, (name, picture) in enumerate(zip(FILES, pictures, strict=True)):
        save_png(folder / f"{name}.png", picture, replace(recipe, index=index))
        outputs.append(str(folder / f"{name}.png"))
    if options.sixteen_bit:
        write_normals(folder / DEEP, result.normal, options.green, {KEY: recipe.to_json()})
        outputs.append(str(folder / DEEP))
    return report_of(options, outputs, result)


def _estimated(options: argparse.Namespace) -> tuple[Normals, dict[str, Any]]:
    """The normals, and the inputs as they were decoded."""
    from ..request import decode_inputs

    settings = settings_from(options, "fbc")
    check_parameters(NORMAL_PARAMETERS, {"exponent": options.exponent})
    inputs = decode_inputs({"image": options.input, "mask": options.mask})
    relighter = load_relighter(options, "fbc", engine_arguments(options))
    settings = settings_from(options, "fbc", defaults=relighter.defaults)
    from ..normals import estimate_normals

    with bar_over(options.quiet) as on_step:
        exponent = options.exponent
        normals = estimate_normals(relighter, inputs["image"], settings, inputs["mask"], on_step, exponent=exponent)
    return normals, inputs


def run_shade(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight shade`: the picture under one light, at its own size."""
    from ..editing.shading import shade
    from ..imaging import images
    from ..imaging.spaces import SRGB, Native
    from ..recipes import save_picture
    from ..request import decode_inputs

    source = Path(options.input)
    beside = source.with_name(f"{source.stem}-shaded.png")
    target = output_path(options.output, source) if options.output else check_name(beside)
    light = {name: options.turn if name == "angle" else getattr(options, name) for name in SHADE_PARAMETERS}
    check_parameters(SHADE_PARAMETERS, light)
    inputs = decode_inputs({"image": options.input, "mask": options.mask})
    given = None if options.normals is None else _given_map(Path(options.normals))
    check_output(target, options.input, options.mask, None if given is None else str(given))
    picture, alpha = images.read_own_matte(inputs["image"], inputs["mask"])
    native = images.read_picture(inputs["image"]).native or Native(picture, SRGB)

    def save(normal: Floats, alpha: Floats | None) -> None:
        shaded = shade(native.pixels, normal, alpha, **light, space=native.space)
        save_picture(target, shaded, icc=native.space.icc, sixteen_bit=options.sixteen_bit)

    if given is not None:
        from ..editing.normal_maps import read_normals

        save(read_normals(given, options.green), alpha)
        if not options.quiet and not options.json:
            print(target)
        return {"outputs": [str(target)], "light": light}
    result, _ = _estimated(options)
    save(result.normal, result.alpha)
    return {**report_of(options, [str(target)], result), "light": light}


def _given_map(path: Path) -> Path:
    """The map at `path`, or the best one in the folder `path`."""
    if not os.path.isdir(path):
        return path
    kept = [path / name for name in (DEEP, "normal.png") if os.path.isfile(path / name)]
    if not kept:
        raise ImageError(f"{path} holds no normal.png; fill it with: iclight normals PICTURE -o {path}")
    return kept[0]
