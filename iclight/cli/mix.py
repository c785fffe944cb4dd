"""`iclight mix`: relight a picture once per light, then mix the lights; another mix of the same stack costs nothing."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError, SettingsError, plain, quoted
from ..parameters import LIGHTS, WORKFLOWS
from .options import engine_arguments, settings_from
from .outputs import add_sixteen_bit, check_folder, check_name, check_output, output_path
from .terminal import bar_over, load_relighter, report_of

if TYPE_CHECKING:
    from ..editing.mixing import LightMix, LightWeight
    from ..olat import OLATResult


MATTE = "matte.png"


def add_mix(commands: Any) -> argparse.ArgumentParser:
    """The parser of `iclight mix`."""
    mix: argparse.ArgumentParser = commands.add_parser(
        "mix",
        help="relight once per light, then mix the lights",
        description="Relight once per light, then mix the lights in linear light. The relightings are kept with "
        "--stack and mixed again without a model.",
    )
    mix.add_argument("input", metavar="IN", help="the picture; or with --from a folder that --stack filled")
    mix.add_argument("-o", "--output", metavar="OUT", help="a .png file, a .tif of 16 bits a value, or a folder")
    add_sixteen_bit(mix)
    mix.add_argument(
        "--mix",
        action="append",
        default=[],
        metavar="NAME=STRENGTH[,#RRGGBB]",
        help="one light of the mix: its name (left, right, top, bottom, ambient ...), strength from 0 to 4, and its "
        "colour; repeat it for more lights; those not named are off",
    )
    mix.add_argument(
        "--angle",
        dest="turn",
        type=float,
        metavar="DEGREES",
        help="instead of --mix, one light from any side, mixed of the four: 0 right, 90 top, 180 left, 270 bottom",
    )
    mix.add_argument("--exposure", type=float, default=0.0, metavar="STOPS", help="of the whole mix (default 0)")
    mix.add_argument(
        "--own-light",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a light map (fc), background picture (fbc) or environment map (env) of yours as one more light, to be "
        "named in --mix",
    )
    mix.add_argument(
        "--stack",
        metavar="FOLDER",
        help="keep every light's picture there, to be mixed again with --from; and all in linear light for other "
        "programs: stack.exr (float) and stack.tiff (16 bits)",
    )
    mix.add_argument("--from", dest="kept", action="store_true", help="IN is such a folder: no model runs")
    mix.add_argument(
        "--over", metavar="PHOTO", help="with --from: put the mix on this photo's own pixels, at its own size"
    )
    mix.add_argument(
        "--mask", metavar="M", help="a matte of your own, of the picture's size: white is subject, black is not"
    )
    mix.add_argument("--workflow", choices=WORKFLOWS, default="fbc", help="whose lights are mixed (default fbc)")
    mix.set_defaults(run=run_mix)
    return mix


def run_mix(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight mix`: the mixture, at the model's size, or with --finish native at the picture's own."""
    from ..request import decode_inputs

    channels = _channels(options)
    if options.kept:
        return _again(options, channels)
    target = (
        output_path(options.output, Path(options.input)) if options.output else check_name(_beside(Path(options.input)))
    )
    settings = settings_from(options, options.workflow)
    own = dict(_own_light(text) for text in options.own_light)
    pictures = decode_inputs({"image": options.input, "mask": options.mask})
    kind = "environment" if options.workflow == "env" else "background"
    lights_of_own = {name: decode_inputs({kind: path})[kind] for name, path in own.items()}
    sources = (options.input, options.mask, *own.values())
    check_output(target, *sources)
    names = [name for name in channels if name not in own]
    if unknown := [name for name in names if name not in LIGHTS[options.workflow] or name.startswith("upload")]:
        known = [name for name in LIGHTS[options.workflow] if not name.startswith("upload")]
        raise SettingsError(
            f"There is no light {plain(', '.join(unknown))}; {options.workflow} has {', '.join(known)}."
        )
    from ..olat import desk_lights, relight_olat

    lights = desk_lights(options.workflow) if options.stack else names
    if options.stack:
        check_folder(Path(options.stack))
        for file in (*(_kept_as(name) for name in (*lights, *names, *own)), MATTE):
            check_output(check_name(Path(options.stack) / file), *sources)
    relighter = load_relighter(options, options.workflow, engine_arguments(options))
    settings = settings_from(options, options.workflow, defaults=relighter.defaults)
    with bar_over(options.quiet) as on_step:
        made = relight_olat(
            relighter,
            pictures["image"],
            settings,
            [*dict.fromkeys([*lights, *names])],
            pictures["mask"],
            on_step,
            own=lights_of_own,
        )
    outputs = [_save(made, channels, options, target, pictures)]
    if options.stack:
        outputs += _keep(made, Path(options.stack))
    residual = made.residual
    if residual is not None and not options.quiet and not options.json:
        print(f"The lights add up to the ambient picture within {100 * residual:.0f} %.")
    return {**report_of(options, outputs, made), "residual": residual}


def _channels(options: argparse.Namespace) -> dict[str, LightWeight]:
    from ..editing.mixing import dial, parse_channel

    if options.turn is not None and options.mix:
        raise SettingsError("Give --angle or --mix, not both.")
    if options.turn is not None:
        return {name: channel for name, channel in dial(options.turn).items() if channel.strength > 0}
    if not options.mix:
        raise SettingsError("Say what to mix: --mix left=1 --mix top=0.4,#88aaff, or --angle 45.")
    return dict(parse_channel(text) for text in options.mix)


def _save(
    made: OLATResult,
    channels: dict[str, LightWeight],
    options: argparse.Namespace,
    target: Path,
    inputs: Mapping[str, Any],
) -> str:
    from ..recipes import recipe_of, save_picture

    icc = None
    if made.settings.finish == "native":
        picture, icc = made.export(channels, options.exposure), made.icc
    else:
        picture = made.stack.mix(channels, options.exposure)
    recipe = recipe_of(made, inputs, "mix", target.parent)
    mix = {name: dataclasses.asdict(channel) for name, channel in channels.items()}
    recipe = dataclasses.replace(recipe, mix={"channels": mix, "exposure": options.exposure})
    save_picture(target, picture, recipe, icc, options.sixteen_bit)
    return str(target)


def _keep(made: OLATResult, folder: Path) -> list[str]:
    from ..editing.gain_map import fit_matte
    from ..editing.mixing import save_stack
    from ..recipes import save_png

    outputs = []
    for name, picture in made.stack.pictures.items():
        save_png(folder / _kept_as(name), picture)
        outputs.append(str(folder / _kept_as(name)))
    matte = fit_matte(made.alpha, made.picture.shape, *made.stack.size)
    save_png(folder / MATTE, (matte[..., 0] * 255 + 0.5).astype("uint8"))
    for ending in ("exr", "tiff"):
        outputs += [str(path) for path in save_stack(made.stack, folder / f"stack.{ending}")]
    return [*outputs, str(folder / MATTE)]


def _again(options: argparse.Namespace, channels: dict[str, LightWeight]) -> dict[str, Any]:
    """Mix what an earlier --stack kept, at its size or over the photo at the photo's."""
    from ..editing.mixing import read_stack
    from ..recipes import save_picture
    from ..request import decode_inputs

    folder = Path(options.input)
    lights = sorted(folder.glob("light-*.png")) if os.path.isdir(folder) else []
    kept = {path.stem.removeprefix("light-"): path for path in lights}
    if not kept:
        folder = Path(plain(folder))  # may be no path at all
        raise ImageError(f"{folder} holds no light-NAME.png; fill it with: iclight mix PICTURE --stack {folder} ...")
    target = output_path(options.output, folder / "mix.png") if options.output else folder / "mix.png"
    if options.mask and not options.over:
        raise SettingsError("--mask belongs to the photo of --over: give that too, or leave the mask out.")
    pictures = decode_inputs({"image": options.over, "mask": options.mask})
    check_output(target, options.over, options.mask, *(str(path) for path in (*kept.values(), folder / MATTE)))
    stack = read_stack(kept)
    picture, icc = stack.mix(channels, options.exposure), None
    if options.over is not None:
        picture, icc = _over(stack, channels, options.exposure, pictures, folder)
    save_picture(target, picture, icc=icc, sixteen_bit=options.sixteen_bit)
    if not options.quiet and not options.json:
        print(target)
    return {"outputs": [str(target)]}


def _over(
    stack: LightMix, channels: dict[str, LightWeight], exposure: float, inputs: Mapping[str, Any], folder: Path
) -> tuple[Any, bytes | None]:
    """The mix on a photo's own pixels, and its profile: with the mask given, the photo's alpha, or the matte kept."""
    import numpy as np

    from ..imaging import images
    from ..imaging.crop import enlarged

    photo, alpha = images.read_own_matte(inputs["image"], inputs["mask"], "The photo")
    height, width = photo.shape[:2]
    if alpha is None and os.path.exists(folder / MATTE):
        small = images.read_mask(folder / MATTE, *stack.size)
        alpha = enlarged(small, slice(0, height), width, height)
    if alpha is None:
        alpha = np.ones((height, width, 1), np.float32)
    native = inputs["image"].native
    return stack.export(channels, photo, alpha, exposure, native), None if native is None else native.space.icc


def _own_light(text: str) -> tuple[str, str]:
    name, given, path = text.partition("=")
    if not (name and given and path):
        raise SettingsError(f"{quoted(text)} is no light of your own; write NAME=FILE.")
    return name, path


def _kept_as(name: str) -> str:
    """The name of a light's picture in a stack's folder. Raises SettingsError for a light's name that is no file's."""
    if os.path.basename(name) != name or "\\" in name:
        raise SettingsError(f"{quoted(name)} is no name for a light that is kept: leave slashes out.")
    return f"light-{name}.png"


def _beside(source: Path) -> Path:
    return source.with_name(f"{source.stem}-mix.png")
