"""The `iclight` command: relight, mix, normals, shade, models, doctor, app.

Nothing heavy is imported until a command needs it, so that --help answers at once. Exit status: 0 only when every
output was written, 1 for an error, 2 for a wrong call, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__
from .errors import (
    MESSAGE_LIMIT,
    Cancelled,
    IclightError,
    ImageError,
    RecipeError,
    SettingsError,
    first_line,
    plain,
    quoted,
)
from .files import INPUTS, check_inputs, check_layer, check_name, check_output, output_path, save_pictures
from .mix_command import add_mix
from .normals_command import add_normals, add_shade
from .options import add_engine_options, add_setting_options, engine_arguments, settings_from
from .settings import FINISHING, LIGHT_INPUTS, LIGHTS, SHAPING, WORKFLOWS
from .terminal import bar_over, load_relighter, report_of

if TYPE_CHECKING:
    from .recipes import Recipe
    from .relighter import Relighter, Result
    from .settings import Settings

# Settings that mean nothing to a command: mix's and shade's dials turn the light themselves.
UNUSED = {"mix": ("angle",), "shade": ("light", *SHAPING, *FINISHING, "num_images")}


class Parser(argparse.ArgumentParser):
    """Argument errors, too, repeat what was given without what a terminal obeys."""

    def error(self, message: str) -> NoReturn:
        super().error(plain(message, MESSAGE_LIMIT))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that is no text is no reason to fail at the end
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    options.status = 0  # a command may set another without raising
    if options.command == "app":
        options.rest = rest
    elif rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    try:
        report = options.run(options)
    except Cancelled:
        return _fail(options, "Stopped; nothing was written.", 130)
    except KeyboardInterrupt:
        return _fail(options, "Stopped.", 130)
    except IclightError as error:
        return _fail(options, str(error), 1)
    except OSError as error:  # what the system refuses where no reader or writer of ours has words for it
        name = f"{quoted(error.filename)} " if error.filename else ""
        return _fail(options, f"A file {name}could not be read or written ({error.strerror or first_line(error)}).", 1)
    if options.json and report is not None:
        print(json.dumps(report, ensure_ascii=False))
    return options.status


def _fail(options: argparse.Namespace, message: str, status: int) -> int:
    print(f"iclight: {message}", file=sys.stderr)
    if options.json:
        print(json.dumps({"error": message}, ensure_ascii=False))
    return status


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="iclight", description="Relight a picture: IC-Light, open and faithful.")
    parser.add_argument("--version", action="version", version=f"iclight {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    relight = commands.add_parser("relight", help="relight one picture", description="Relight one picture.")
    relight.add_argument("input", nargs="?", metavar="IN", help="the picture; with --recipe it may be left out")
    relight.add_argument("-o", "--output", metavar="OUT", help="a .png file, or a folder")
    relight.add_argument("--background", metavar="BG", help="a background picture: runs the fbc workflow")
    relight.add_argument(
        "--environment",
        metavar="MAP",
        help="a panorama, .hdr, .exr or an ordinary picture: runs the env workflow",
    )
    relight.add_argument(
        "--light-map",
        metavar="PICTURE",
        help="a light you painted, for the fc workflow: bright where light comes from (any size; its middle is used)",
    )
    relight.add_argument(
        "--behind", metavar="PICTURE", help="a picture to put behind the subject (as --finish-background own does)"
    )
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
        "--workflow", choices=WORKFLOWS, help="follows from --background, --environment and --light where it can"
    )
    relight.add_argument("--recipe", metavar="PNG", help="make the picture that this PNG carries the recipe of")
    relight.set_defaults(run=run_relight)

    mix = add_mix(commands)

    normals, shade = add_normals(commands), add_shade(commands)

    for command in (relight, mix, normals, shade):
        add_setting_options(command, without=UNUSED.get(command.prog.split()[-1], ()))
        add_engine_options(command)
        command.add_argument("--quiet", action="store_true", help="no bar, no notes")

    models = commands.add_parser("models", help="what is installed, where, and how to get the rest")
    models.add_argument("--download", metavar="NAME", help="fetch sd15, rmbg or ormbg, or a hub id")
    models.set_defaults(run=run_models)

    doctor = commands.add_parser("doctor", help="device, memory, versions; what would run and how fast")
    add_engine_options(doctor)
    doctor.set_defaults(run=run_doctor)

    app = commands.add_parser("app", help="open the page in a browser", add_help=False)
    pages = app.add_mutually_exclusive_group()
    pages.add_argument("--bg", action="store_true", help="the page that lights by a background")
    pages.add_argument("--env", action="store_true", help="the page that lights by an environment map")
    app.set_defaults(run=run_app)

    for command in (relight, mix, normals, shade, models, doctor, app):
        command.add_argument("--json", action="store_true", help="print one JSON object for machines")
    return parser


# --- relight --------------------------------------------------------------------------------------------------------


def run_relight(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight relight`: one picture, or the picture a recipe describes."""
    if options.recipe:
        return _replay(options)
    if not options.input:
        raise ImageError("Give a picture: iclight relight IN -o OUT.png")
    target = output_path(options.output, Path(options.input))
    if options.behind and options.finish_background is None:
        options.finish_background = "own"
    if options.light_map and options.light is None:
        options.light = "upload"
    settings = settings_from(options, _workflow(options))
    inputs = {name: getattr(options, "input" if name == "image" else name) for name in INPUTS}
    _check_lights(settings, inputs)
    check_inputs(inputs)
    check_output(target, *inputs.values())
    check_layer(options.save_light, settings, *inputs.values())
    relighter = load_relighter(options, settings.workflow, engine_arguments(options))
    result = _relight(relighter, settings, inputs, options.quiet)
    outputs = save_pictures(result, inputs, target)
    if options.save_light and result.light is not None:
        from .finish import save_layer

        save_layer(result.light, options.save_light)
        outputs.append(options.save_light)
    return report_of(options, outputs, result)


def _workflow(options: argparse.Namespace) -> str:
    """The one asked for, else the one whose input is given, else the first that knows the light."""
    if options.workflow:
        return options.workflow
    given = (workflow for workflow, name in LIGHT_INPUTS.items() if getattr(options, name))
    knowing = (workflow for workflow in WORKFLOWS if options.light in LIGHTS[workflow])
    return next(given, next(knowing, "fc"))


def _check_lights(settings: Settings, inputs: dict[str, str | None]) -> None:
    """Raise SettingsError for a light's input that would not be looked at."""
    for workflow, name in LIGHT_INPUTS.items():
        if not inputs[name] or settings.light_input == name:
            continue
        if settings.workflow != workflow:
            raise SettingsError(f"--{name} belongs to the {workflow} workflow, but {settings.workflow} was asked for.")
        raise SettingsError(
            f"light is {settings.light!r}, which does not look at --{name}: leave one of them out, or use --light "
            f"{' or '.join(light for light in LIGHTS[workflow] if light.startswith('upload'))}."
        )


def _relight(relighter: Relighter, settings: Settings, inputs: dict[str, str | None], quiet: bool) -> Result:
    with bar_over(quiet) as on_step:
        return relighter.relight(settings=settings, on_step=on_step, **inputs)


def _replay(options: argparse.Namespace) -> dict[str, Any]:
    """Make the picture a PNG carries the recipe of; options given beside --recipe change it."""
    from .recipes import check_model, find_input, read_recipe

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
        unneeded = name in LIGHT_INPUTS.values() and name != settings.light_input
        unneeded |= name == "behind" and settings.finish_background != "own"
        if not inputs[name] and name in recipe.inputs and not unneeded:
            inputs[name] = str(find_input(recipe.inputs[name], made.parent, what))
    _check_lights(settings, inputs)
    check_inputs(inputs)
    check_output(target, str(made), *inputs.values())
    relighter = load_relighter(options, settings.workflow, _recipe_engine(options, recipe, made.parent))
    if not changed:
        check_model(recipe, relighter.identity())
    result = _relight(relighter, settings, inputs, options.quiet)
    only = recipe.index if recipe.index < len(result.images) else None
    return report_of(options, save_pictures(result, inputs, target, only), result)


def _recipe_engine(options: argparse.Namespace, recipe: Recipe, beside: Path) -> dict[str, Any]:
    """What to load for a recipe: its own model, formats and matting, unless the command line names others."""
    from . import devices, weights
    from .recipes import find_asked

    arguments = engine_arguments(options)
    asked = find_asked(recipe, beside)
    if arguments["model"] == "auto":
        arguments["model"] = str(recipe.model.get("name") if asked["model"] == "auto" else asked["model"])
    by_hand = bool(arguments["offset"])
    for part in ("offset", "lora"):
        arguments[part] = arguments[part] or asked[part]
    strange_offset = not by_hand and "/" in (arguments["offset"] or "")
    if strange_offset or (options.model == "auto" and arguments["model"] not in weights.MODELS):
        # A picture from elsewhere may name any repository: what is not here is not fetched on its word.
        try:
            weights.resolve_model(arguments["model"], recipe.settings.workflow, arguments["offset"], download=False)
        except weights.WeightsError as error:
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
    if options.matting == "auto" and recipe.matting in weights.MATTINGS:
        arguments["matting"] = recipe.matting
    return arguments


# --- models, doctor, app ----------------------------------------------------------------------------------------------


def run_models(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight models`: the catalogue, what of it is here, and `--download`."""
    from . import weights

    if options.download:
        where = weights.download(options.download)
        if not options.json:
            print(f"{options.download} is ready in {where}")
        return {"downloaded": options.download, "where": str(where)}
    entries = [entry.as_dict() for entry in weights.installed()]
    if not options.json:
        for entry in entries:
            mark = "installed" if entry["present"] else "not here"
            print(f"{entry['name']:<8} {entry['kind']:<8} {mark:<10} {entry['about']}")
            print(f"{'':<28}licence: {entry['license']}")
            print(f"{'':<28}{entry['where'] if entry['present'] else 'get it: ' + entry['command']}")
    return {"models": entries, "folder": str(weights.models_root())}


def run_doctor(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight doctor`: what this machine has and what would run on it."""
    from .doctor import examine, in_words

    report = examine(engine_arguments(options))
    if not options.json:
        print(in_words(report))
    options.status = 1 if report["problem"] else 0
    return report


def run_app(options: argparse.Namespace) -> None:
    """`iclight app`: the pages' own options follow."""
    from .studio.launch import run_page

    options.status = run_page("fbc" if options.bg else "env" if options.env else "fc", options.rest)


if __name__ == "__main__":
    sys.exit(main())
