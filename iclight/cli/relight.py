"""`iclight relight`: one picture, or the picture that a recipe describes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import errors
from ..errors import IclightError, ImageError, RecipeError, SettingsError
from ..parameters import SPEEDS
from ..settings import INPUTS, check_lights, implied_by, workflow_for
from ..weights import catalogue
from .batch import BATCH_DEFAULTS, run_batch
from .options import add_input_options, engine_arguments, settings_from
from .outputs import add_sixteen_bit, check_layer, check_name, check_output, output_path, save_pictures
from .terminal import bar_over, load_relighter, report_of

if TYPE_CHECKING:
    from ..recipes import Recipe
    from ..relighter import Relighter
    from ..results import Result
    from ..settings import Settings


def add_relight(commands: Any) -> argparse.ArgumentParser:
    """The parser of `iclight relight`."""
    relight: argparse.ArgumentParser = commands.add_parser(
        "relight", help="relight one picture, or several alike", description="Relight one picture, or several alike."
    )
    relight.add_argument(
        "inputs",
        nargs="*",
        metavar="IN",
        help="the picture (with --recipe it may be left out); several, or a folder, run as `iclight batch` does",
    )
    relight.add_argument("-o", "--output", metavar="OUT", help="a .png file, a .tif of 16 bits a value, or a folder")
    add_sixteen_bit(relight)
    add_input_options(relight)
    relight.add_argument(
        "--save-light",
        metavar="FILE",
        help="with --finish native: keep its light as a .png (16 bits) or .exr, for another export of the same photo",
    )
    relight.add_argument(
        "--mask",
        metavar="M",
        help="a matte of your own, of the picture's size: white is subject, black is not (without one, the picture's "
        "own alpha is used, else --matting cuts the subject out)",
    )
    relight.add_argument(
        "--recipe", metavar="FILE", help="make the picture that this PNG or TIFF carries the recipe of"
    )
    relight.set_defaults(run=run_relight, **BATCH_DEFAULTS)
    return relight


def run_relight(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight relight`: one picture, or the picture a recipe describes."""
    from ..request import decode_inputs

    if len(options.inputs) > 1 or any(map(os.path.isdir, options.inputs)):
        if options.recipe or options.save_light or options.sixteen_bit:
            raise SettingsError(
                "--recipe, --save-light and --sixteen-bit belong to one picture; give one, without a folder."
            )
        return run_batch(options)
    options.input = next(iter(options.inputs), None)
    if options.recipe:
        return _replay(options)
    if not options.input:
        raise ImageError("Give a picture: iclight relight IN -o OUT.png")
    target = output_path(options.output, Path(options.input))
    inputs = {name: getattr(options, "input" if name == "image" else name) for name in INPUTS}
    given = [name for name, source in inputs.items() if source]
    if options.save_light and options.finish is None:
        options.finish = "native"  # which measures it
    for name, value in implied_by(given).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    settings = settings_from(options, workflow_for(options.workflow, options.light, given))
    check_lights(settings, given)
    pictures = decode_inputs(inputs)
    check_output(target, *inputs.values())
    check_layer(options.save_light, settings, *inputs.values())
    relighter = load_relighter(options, settings.workflow, engine_arguments(options))
    settings = settings_from(options, settings.workflow, defaults=relighter.defaults)
    result = _relight(relighter, settings, pictures, options.quiet)
    outputs = save_pictures(result, pictures, target, sixteen_bit=options.sixteen_bit)
    if options.save_light and result.light is not None:
        from ..editing.exports import save_layer

        save_layer(result.light, options.save_light)
        outputs.append(options.save_light)
    return report_of(options, outputs, result)


def _relight(relighter: Relighter, settings: Settings, inputs: dict[str, Any], quiet: bool) -> Result:
    with bar_over(quiet) as on_step:
        return relighter.relight(settings=settings, on_step=on_step, **inputs)


def _replay(options: argparse.Namespace) -> dict[str, Any]:
    """Make the picture a PNG carries the recipe of; options given beside --recipe change it."""
    from ..recipes import check_model, find_input, read_recipe
    from ..request import decode_inputs

    made = Path(options.recipe)
    recipe = read_recipe(made)
    if recipe.kind != "relight":
        raise RecipeError(f"{made} is a {recipe.kind} picture; run `iclight {recipe.kind}` with its settings.")
    target = (
        output_path(options.output, made) if options.output else check_name(made.with_name(f"{made.stem}-again.png"))
    )

    settings = settings_from(options, recipe.settings.workflow, recipe.settings)
    changed = settings != recipe.settings
    inputs: dict[str, str | None] = {}
    for name, what in INPUTS.items():
        inputs[name] = getattr(options, "input" if name == "image" else name)
        if not inputs[name] and name in recipe.inputs and settings.looks_at(name):
            inputs[name] = str(find_input(recipe.inputs[name], made.parent, what))
    check_lights(settings, [name for name, source in inputs.items() if source])
    pictures = decode_inputs(inputs)
    check_output(target, str(made), *inputs.values())
    relighter = load_relighter(options, settings.workflow, _recipe_engine(options, recipe, made.parent))
    if not changed:
        check_model(recipe, relighter.identity(recipe.matting))
    result = _relight(relighter, settings, pictures, options.quiet)
    only = recipe.index if recipe.index < len(result.images) else None
    return report_of(options, save_pictures(result, pictures, target, only, options.sixteen_bit), result)


def _check_here(options: argparse.Namespace, arguments: dict[str, Any]) -> None:
    """Raise WeightsError for a file that a recipe asks for and that would have to be fetched."""
    from ..diffusion.embeddings import parse_embedding
    from ..diffusion.lora import parse_lora
    from ..weights import resolve as weights

    if arguments["vae"] and not options.vae:
        weights.resolve_vae(arguments["vae"], download=False)
    for part, parse in (("lora", parse_lora), ("embedding", parse_embedding)):
        for one in () if getattr(options, part) else arguments[part]:
            weights.resolve_file(parse(one)[0], download=False)


def _recipe_engine(options: argparse.Namespace, recipe: Recipe, beside: Path) -> dict[str, Any]:
    """What to load for a recipe: its own model, formats and matting, unless the command line names others."""
    from ..diffusion import devices
    from ..recipes import find_asked
    from ..weights import resolve as weights

    arguments = engine_arguments(options)
    asked = find_asked(recipe, beside)
    if arguments["model"] == "auto":
        arguments["model"] = str(recipe.model.get("name") if asked["model"] == "auto" else asked["model"])
    by_hand = bool(arguments["offset"])
    for part in ("offset", "vae", "lora", "embedding"):
        arguments[part] = arguments[part] or asked[part]
    # A picture from elsewhere may name any repository: what is not here is not fetched on its word.
    try:
        _check_here(options, arguments)
    except errors.WeightsError as error:
        raise RecipeError(
            f"A file that the recipe names is not here. {error} Or name it with --vae, --lora and --embedding."
        ) from error
    strange_offset = not by_hand and "/" in (arguments["offset"] or "")
    if strange_offset or (options.model == "auto" and arguments["model"] not in catalogue.MODELS):
        try:
            weights.resolve_model(arguments["model"], recipe.settings.workflow, arguments["offset"], download=False)
        except errors.WeightsError as error:
            raise RecipeError(
                f"The recipe's model or offset is not here. {error} Or name them with --model and --offset."
            ) from error
    if options.device == "auto" and options.dtype == "auto":
        try:
            auto = devices.choose(str(recipe.model.get("device", "auto")))
        except IclightError:
            print("The recipe's device is not here; the pixels will differ a little.", file=sys.stderr)
        else:
            made_in = recipe.model.get("dtype")
            arguments["device"] = str(auto.device)
            # A named dtype rules the VAE too, so the automatic choice is kept where it was the recipe's.
            if made_in in devices.DTYPES and made_in != str(auto.dtype).removeprefix("torch."):
                arguments["dtype"] = made_in
    if options.speed is None and recipe.model.get("speed") in SPEEDS:
        arguments["speed"] = recipe.model["speed"]
    if options.matting == "auto" and recipe.matting in catalogue.MATTINGS:
        arguments["matting"] = recipe.matting
    return arguments
