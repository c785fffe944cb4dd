"""The `iclight` command: relight, batch, mix, normals, shade, models, doctor, serve, app.

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

from .. import __version__
from ..errors import (
    MESSAGE_LIMIT,
    Cancelled,
    IclightError,
    Message,
    first_line,
    plain,
    quoted,
)
from ..parameters import FINISHING, SHAPING
from ..weights import folders
from .batch import add_batch
from .mix import add_mix
from .normals import add_normals, add_shade
from .options import add_engine_options, add_setting_options, engine_arguments
from .relight import add_relight
from .serve_api import add_serve
from .surroundings import mend_proxies

if TYPE_CHECKING:
    pass

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
        return _fail(options, Message("Stopped; nothing was written."), 130)
    except KeyboardInterrupt:
        return _fail(options, Message("Stopped."), 130)
    except IclightError as error:
        return _fail(options, error.message, 1)
    except OSError as error:  # what the system refuses where no reader or writer of ours has words for it
        name = f"{quoted(error.filename)} " if error.filename else ""
        reason = error.strerror or first_line(error)
        said = Message("A file {name}could not be read or written ({reason}).", name=name, reason=reason)
        return _fail(options, said, 1)
    if options.json and report is not None:
        print(json.dumps(report, ensure_ascii=False))
    return options.status


def _fail(options: argparse.Namespace, message: Message, status: int) -> int:
    print(f"iclight: {message}", file=sys.stderr)
    if options.json:
        print(json.dumps({"error": message, "key": message.key}, ensure_ascii=False))
    return status


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="iclight", description="Relight a picture: IC-Light, open and faithful.")
    parser.add_argument("--version", action="version", version=f"iclight {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    relight, batch = add_relight(commands), add_batch(commands)
    mix = add_mix(commands)

    normals, shade = add_normals(commands), add_shade(commands)

    for command in (relight, batch, mix, normals, shade):
        add_setting_options(command, without=UNUSED.get(command.prog.split()[-1], ()))
        add_engine_options(command)
        command.add_argument("--quiet", action="store_true", help="no bar, no notes")

    models = commands.add_parser("models", help="what is installed, where, and how to get the rest")
    models.add_argument("--download", metavar="NAME", help="fetch sd15, rmbg or ormbg, or a hub id")
    models.add_argument(
        "--convert",
        metavar="FILE",
        help="write a .ckpt, .pt or .bin as .safetensors beside it; no code in it runs",
    )
    models.set_defaults(run=run_models)

    doctor = commands.add_parser("doctor", help="device, memory, versions; what would run and how fast")
    add_engine_options(doctor)
    doctor.set_defaults(run=run_doctor)

    serve = add_serve(commands)

    app = commands.add_parser("app", help="open the page in a browser", add_help=False)
    pages = app.add_mutually_exclusive_group()
    pages.add_argument("--bg", action="store_true", help="the page that lights by a background")
    pages.add_argument("--env", action="store_true", help="the page that lights by an environment map")
    app.set_defaults(run=run_app)

    for command in (relight, batch, mix, normals, shade, models, doctor, serve, app):
        command.add_argument("--json", action="store_true", help="print one JSON object for machines")
    return parser


# --- models, doctor, app ----------------------------------------------------------------------------------------------


def run_models(options: argparse.Namespace) -> dict[str, Any]:
    """`iclight models`: the catalogue, what of it is here, `--download` and `--convert`."""
    from ..weights import resolve as weights

    if options.download:
        mend_proxies(weights.print_to_stderr)
        where = weights.download(options.download)
        if not options.json:
            print(f"{options.download} is ready in {where}")
        return {"downloaded": options.download, "where": str(where)}
    if options.convert:
        from ..diffusion.tensors import convert

        where = convert(Path(options.convert))
        if not options.json:
            print(f"{where} holds the same weights")
        return {"converted": options.convert, "where": str(where)}
    entries = [entry.as_dict() for entry in weights.installed()]
    if not options.json:
        for entry in entries:
            mark = "installed" if entry["present"] else "not here"
            print(f"{entry['name']:<8} {entry['kind']:<8} {mark:<10} {entry['about']}")
            print(f"{'':<28}licence: {entry['license']}")
            print(f"{'':<28}{entry['where'] if entry['present'] else 'get it: ' + entry['command']}")
    return {"models": entries, "folder": str(folders.models_root())}


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
    from .serve import run_page

    options.status = run_page("fbc" if options.bg else "env" if options.env else "fc", options.rest)


if __name__ == "__main__":
    sys.exit(main())
