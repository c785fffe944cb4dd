"""What the commands do at a terminal: load with a word about it, draw a bar, print what was made."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import MESSAGE_LIMIT, plain

if TYPE_CHECKING:
    from ..diffusion.progress import OnStep
    from ..relighter import Relighter

# For a matte that may be wrong.
WAYS_OUT = "Give a matte of your own with --mask FILE, or light the whole picture with --matting none."


def load_relighter(options: argparse.Namespace, workflow: str, arguments: dict[str, Any]) -> Relighter:
    from ..relighter import Relighter

    relighter = Relighter.load(workflow=workflow, **arguments)
    if not options.quiet:
        if relighter.model.notice:
            print(plain(relighter.model.notice, MESSAGE_LIMIT), file=sys.stderr)
        print(plain(f"{relighter.model.name} on {relighter.placement}"), file=sys.stderr)
    return relighter


@contextmanager
def bar_over(quiet: bool) -> Iterator[OnStep]:
    """A bar over the whole request. Ctrl-C ends the work after the running step; a second one at once."""
    from tqdm import tqdm

    stop = threading.Event()
    handler: Any = None
    if threading.current_thread() is threading.main_thread():

        def interrupt(*_: Any) -> None:
            stop.set()
            signal.signal(signal.SIGINT, handler)

        handler = signal.signal(signal.SIGINT, interrupt)
    with tqdm(total=100, disable=quiet, bar_format="{desc:<16}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}") as bar:

        def on_step(event: Any) -> bool:
            bar.set_description_str(f"{event.stage} {event.step}/{event.steps}", refresh=False)
            bar.update(event.overall * 100 - bar.n)
            return not stop.is_set()

        try:
            yield on_step
        finally:
            if handler is not None:
                signal.signal(signal.SIGINT, handler)


def report_of(options: argparse.Namespace, outputs: list[str], result: Any) -> dict[str, Any]:
    if not options.quiet and not options.json:
        for path in outputs:
            print(path)
        print(f"{result.seconds:.1f} s, seed {result.settings.seed}, matting {result.matting}", file=sys.stderr)
        for doubt in result.matte_doubts:
            print(f"WARNING: {doubt} {WAYS_OUT}", file=sys.stderr)
    return {
        "outputs": outputs,
        "settings": result.settings.to_dict(),
        "model": result.model,
        "matting": result.matting,
        "matte_doubts": list(result.matte_doubts),
        "seconds": round(result.seconds, 3),
    }
