"""`iclight normals`: surface normals into a folder. `iclight shade`: a picture lit by its normals, at once."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ImageError
from .files import check_folder, check_inputs, check_output, output_path, recipe_of
from .options import engine_arguments, settings_from
from .settings import NORMAL_LIGHTS
from .terminal import bar_over, load_relighter, report_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .normals import Normals

FILES = ("normal", *(f"gain-{light}" for light in NORMAL_LIGHTS), *NORMAL_LIGHTS)
DEEP = "normal-16bit.png"
GREENS = ("opengl", "directx")


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
    _add_exponent(normals)
    normals.add_argument(
        "--green",
        choices=GREENS,
        default="opengl",
        help="how the map's green channel stores up and down: opengl (y up: Blender, Unity) or directx (y down: "
        "Unreal); default opengl",
    )
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
    shade.add_argument("-o", "--output", metavar="OUT", help="a .png file, or a folder")
    shade.add_argument("--normals", metavar="MAP", help="its normal map, or the folder that `iclight normals` filled")
    shade.add_argument(
        "--green", choices=GREENS, default="opengl", help="how that map stores up and down (default opengl)"
    )
    _add_exponent(shade)
    shade.add_argument("--mask", metavar="M", help="a matte of your own: white is lit, black stays as it is")
    shade.add_argument(
        "--angle",
        dest="turn",
        type=float,
        default=135.0,
        metavar="DEGREES",
        help="where the light stands around the picture: 0 right, 90 top, 180 left, 270 bottom (default 135)",
    )
    shade.add_argument(
        "--elevation",
        type=float,
        default=35.0,
        metavar="DEGREES",
        help="how far it comes forward: 0 beside the subject, 90 at the camera, below 0 behind (default 35)",
    )
    shade.add_argument("--colour", default="#ffffff", metavar="#RRGGBB", help="of the light (default #ffffff)")
    shade.add_argument(
        "--ambient", type=float, default=0.2, metavar="N", help="share of light from everywhere, 0 to 1 (default 0.2)"
    )
    shade.add_argument(
        "--strength", type=float, default=1.0, metavar="N", help="0 leaves the picture as it is, up to 1.5 (default 1)"
    )
    shade.set_defaults(run=run_shade)
    return shade


def _add_exponent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--exponent",
        type=float,
        default=5.0,
        metavar="N",
        help="how steep the relief is, from 0 (flat) to 20; the reference uses 5 (default 5)",
    )


def run_normals(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight normals`: nine pictures into a folder, and a tenth of 16 bits if asked for."""
    from .recipes import save_png, with_recipe

    folder = Path(options.output)
    check_folder(folder)
    result = _estimated(options)
    inputs = {"image": options.input, "mask": options.mask}
    recipe = replace(
        recipe_of(result, inputs, folder, "normals"), normals={"exponent": options.exponent, "green": options.green}
    )
    from .normals import encode, flip_green, write_normals

    pictures = list(result.images)
    if options.green != "opengl":
        pictures[0] = encode(flip_green(result.normal, options.green))
    outputs = []
    for index, (name, picture) in enumerate(zip(FILES, pictures, strict=True)):
        save_png(folder / f"{name}.png", picture, replace(recipe, index=index))
        outputs.append(str(folder / f"{name}.png"))
    if options.sixteen_bit:
        write_normals(folder / DEEP, result.normal, options.green)
        (folder / DEEP).write_bytes(with_recipe((folder / DEEP).read_bytes(), recipe))
        outputs.append(str(folder / DEEP))
    return report_of(options, outputs, result)


def _estimated(options: argparse.Namespace) -> Normals:
    from .normal_maps import check_exponent

    settings = settings_from(options, "fbc")
    check_exponent(options.exponent)
    check_inputs({"image": options.input, "mask": options.mask})
    relighter = load_relighter(options, "fbc", engine_arguments(options))
    from .normals import estimate_normals

    with bar_over(options.quiet) as on_step:
        return estimate_normals(relighter, options.input, settings, options.mask, on_step, exponent=options.exponent)


def run_shade(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight shade`: the picture under one light, at its own size."""
    from . import images
    from .recipes import save_png
    from .shading import check_light, shade

    source = Path(options.input)
    target = output_path(options.output, source) if options.output else source.with_name(f"{source.stem}-shaded.png")
    light = {
        "angle": options.turn,
        "elevation": options.elevation,
        "colour": options.colour,
        "ambient": options.ambient,
        "strength": options.strength,
    }
    check_light(**light)
    check_inputs({"image": options.input, "mask": options.mask})
    check_output(target, options.input, options.mask, options.normals)
    picture, alpha = images.read_image(options.input)
    if options.mask is not None:
        alpha = images.read_mask(options.mask, picture.shape[1], picture.shape[0])
    if options.normals is not None:
        normal = _given_map(Path(options.normals), options.green)
        save_png(target, shade(picture, normal, alpha, **light))
        if not options.quiet and not options.json:
            print(target)
        return {"outputs": [str(target)], "light": light}
    result = _estimated(options)
    save_png(target, shade(picture, result.normal, result.alpha, **light))
    return {**report_of(options, [str(target)], result), "light": light}


def _given_map(path: Path, green: str) -> NDArray[np.float32]:
    """The map at `path`, or the best one in the folder `path`."""
    from .normal_maps import read_normals

    if path.is_dir():
        kept = [path / name for name in (DEEP, "normal.png") if (path / name).is_file()]
        if not kept:
            raise ImageError(f"{path} holds no normal.png; fill it with: iclight normals PICTURE -o {path}")
        path = kept[0]
    return read_normals(path, green)
