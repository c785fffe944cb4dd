"""What the commands do at a terminal: load with a word about it, draw a bar, print what was made."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
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
def until_interrupted(*signals: signal.Signals) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C, or other of `signals`, sets, for work to end well; a second ends it at once."""
    stop = threading.Event()
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def interrupt(*_: Any) -> None:
        stop.set()
        restore()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *signals):
            before[number] = signal.signal(number, interrupt)
    try:
        yield stop
    finally:
        restore()


@contextmanager
def bar_over(quiet: bool) -> Iterator[OnStep]:
    """A bar over the whole request. Ctrl-C ends the work after the running step; a second one at once."""
    from tqdm import tqdm

    look = "{desc:<16}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with until_interrupted() as stop, tqdm(total=100, disable=quiet, bar_format=look) as bar:

        def on_step(event: Any) -> bool:
            bar.set_description_str(f"{event.stage} {event.step}/{event.steps}", refresh=False)
            bar.update(event.overall * 100 - bar.n)
            return not stop.is_set()

        yield on_step


@contextmanager
def tally_over(total: int, quiet: bool) -> Iterator[Callable[[float], None]]:
    """A bar over many pictures: to be called once for each that is done, with the pictures a minute so far."""
    from tqdm import tqdm

    look = "{n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=total, disable=quiet, bar_format=look) as bar:

        def advance(pictures_per_minute: float) -> None:
            bar.set_postfix_str(f"{pictures_per_minute:.1f} pictures a minute", refresh=False)
            bar.update()

        yield advance


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
