"""Rows through several worker processes of one machine: one for each GPU, or several on its processor.

Each worker has its own models and its own pipeline, and is handed a few rows ahead. A worker that is lost (killed for
memory, crashed in a driver) is replaced; what it held is tried once more, row by row, and then given up by its record.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from ..errors import DeviceError, IclightError
from .rows import OnRecord, Record, Row, failure_of

# Rows that a worker is handed ahead: one is read, one lit, one written.
AHEAD = 3
# How often a stop is looked for while nothing else happens, in seconds.
GLANCE = 0.2


@dataclass
class _Hand:
    """A worker as the one that hands out rows sees it."""

    process: Any
    connection: Connection
    engine: Mapping[str, Any]
    held: dict[int, Row] = field(default_factory=dict)
    is_ready: bool = False
    is_told: bool = False  # that no row will follow


def run_in_processes(
    rows: Sequence[Row],
    engines: Sequence[Mapping[str, Any]],
    on_record: OnRecord,
    stop: Callable[[], bool],
    say: Callable[[str], None],
    threads: int,
) -> None:
    """Run every row by one worker process for each of `engines` (arguments of `Worker`), `threads` of torch's in each.

    Records come as they are finished, in any order. Once `stop()` holds, what is lit is still written and the rest
    dropped. Raises what loading the first model raises, and DeviceError where every worker ends while it loads.
    """
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    waiting, tried = deque(rows), dict.fromkeys((row.index for row in rows), 0)

    def start(engine: Mapping[str, Any]) -> _Hand:
        ours, theirs = context.Pipe()
        arguments = (theirs, dict(engine), rows[0].workflow, threads, stopping)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that its end is seen here
        return _Hand(process, ours, engine)

    hands = [start(engine) for engine in engines[: len(rows)]]
    try:
        while hands:
            if stop() and not stopping.is_set():
                stopping.set()
                waiting.clear()
            for hand in hands:
                _hand_out(hand, waiting, tried)
            for connection in wait([hand.connection for hand in hands], GLANCE):
                hand = next(one for one in hands if one.connection is connection)
                try:
                    said = hand.connection.recv()
                except (EOFError, OSError):
                    hands.remove(hand)
                    if not (hand.is_told or stopping.is_set()):
                        waiting.extendleft(reversed(_lost(hand, tried, on_record)))
                    if waiting and hand.is_ready:
                        hands.append(start(hand.engine))
                    elif waiting and not hands:
                        raise _ended(hand) from None
                    continue
                if isinstance(said, IclightError):
                    raise said
                hand.is_ready = True
                if isinstance(said, str):
                    say(said)
                else:
                    del hand.held[said["row"]]
                    on_record(said)
    finally:
        for hand in hands:
            hand.process.kill()
        for hand in hands:
            hand.process.join()


def _hand_out(hand: _Hand, waiting: deque[Row], tried: Mapping[int, int]) -> None:
    """Rows up to `AHEAD`; one that another worker was lost with comes alone, so that it takes none with it."""
    while waiting and not hand.is_told and len(hand.held) < AHEAD:
        alone = bool(tried[waiting[0].index]) or any(tried[index] for index in hand.held)
        if alone and hand.held:
            return
        row = waiting.popleft()
        hand.held[row.index] = row
        _send(hand, row)
    if not waiting and not hand.held and not hand.is_told:
        hand.is_told = True
        _send(hand, None)


def _send(hand: _Hand, row: Row | None) -> None:
    try:
        hand.connection.send(row)
    except OSError:
        return  # it is lost, which the next wait sees


def _lost(hand: _Hand, tried: dict[int, int], on_record: OnRecord) -> list[Row]:
    """What to try again of a worker that has ended by itself; what was lost twice is given up."""
    again = []
    for row in hand.held.values():
        tried[row.index] += hand.is_ready
        if tried[row.index] < 2:
            again.append(row)
        else:
            on_record(failure_of(row.index, row.inputs["image"], _ended(hand)))
    return again


def _ended(hand: _Hand) -> DeviceError:
    hand.process.join()
    return DeviceError(
        "A worker process ended unexpectedly (exit status {code}); if it was killed for memory, give fewer --workers.",
        code=hand.process.exitcode,
    )


def _work(connection: Connection, engine: Mapping[str, Any], workflow: str, threads: int, stopping: Any) -> None:
    """A worker process: rows in, records out; a text says that a model is loaded."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the one who hands out the rows says when to stop
    import torch

    from .pipeline import run_rows
    from .worker import Worker

    torch.set_num_threads(min(threads, torch.get_num_threads()))
    lock = threading.Lock()

    def send(said: str | Record | IclightError) -> None:
        with lock:  # a model may be loaded on one thread while a record comes from another
            connection.send(said)

    worker = Worker(engine, send)
    try:
        worker.relighter(workflow)
    except IclightError as error:
        send(error)
        return

    def rows() -> Iterator[Row]:
        while (row := connection.recv()) is not None:
            yield row

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # who hands out the rows is gone
        run_rows(worker, rows(), send, stopping.is_set)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
