"""Rows through one worker, its three stages overlapped: while the model lights one, the next is read, the last written.

Three pictures are in memory at most, however many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..errors import Cancelled
from .rows import OnRecord, Record, Row
from .worker import Work, Worker


def run_rows(worker: Worker, rows: Iterator[Row], on_record: OnRecord, stop: Callable[[], bool]) -> None:
    """Run every row and hand its record to `on_record`, in the order of the rows but for those that need no writing.

    Once `stop()` holds, no row is begun, the one that is being lit is dropped, and what is lit is still written.
    `on_record` is called from several threads, one at a time.
    """
    lock = threading.Lock()

    def report(record: Record) -> None:
        with lock:
            on_record(record)

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        coming: Future[Work | Record | None] = reader.submit(_read_next, worker, rows, stop)
        writing: Future[None] | None = None
        while (work := coming.result()) is not None and not stop():
            coming = reader.submit(_read_next, worker, rows, stop)
            try:
                lit = worker.light(work, lambda _: not stop()) if isinstance(work, Work) else work
            except Cancelled:
                break
            if not isinstance(lit, Work):
                report(lit)
                continue
            if writing is not None:
                writing.result()
            writing = writer.submit(_write, worker, lit, report)
            del work, lit  # held by the writer alone, and let go with it
        if writing is not None:
            writing.result()


def _read_next(worker: Worker, rows: Iterator[Row], stop: Callable[[], bool]) -> Work | Record | None:
    row = None if stop() else next(rows, None)
    return None if row is None else worker.read(row)


def _write(worker: Worker, work: Any, on_record: OnRecord) -> None:
    on_record(worker.write(work))
