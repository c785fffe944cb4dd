"""The one way into a batch: a plan and an engine in, pictures and records out, here or in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .plan import Plan
from .processes import cores, run_in_processes
from .rows import OnRecord


def run_plan(
    plan: Plan,
    engine: Mapping[str, Any],
    on_record: OnRecord,
    stop: Callable[[], bool] = lambda: False,
    workers: int = 1,
    devices: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Run a plan's rows and hand a record of each to `on_record`, one at a time; its failures are the caller's to log.

    `engine`: keyword arguments of `Relighter.load` but the workflow. `stop`: asked often; once it holds, what is lit is
    still written and the rest is left. `workers`: processes on the engine's device, 1 for this one. `devices`: a
    process for each of these instead. `say` hears which model runs, and what is to be known about it.

    Raises what loading the first row's model raises; later trouble is the record of the row that has it.
    """
    engines = [{**engine, "device": device} for device in devices] or [dict(engine)] * workers
    if not plan.rows:
        return
    if len(engines) == 1:
        from .pipeline import run_rows  # torch, which the one who only hands out rows does without
        from .worker import Worker

        worker = Worker(engines[0], say)
        worker.relighter(plan.rows[0].workflow)
        run_rows(worker, iter(plan.rows), on_record, stop)
    else:
        run_in_processes(plan.rows, engines, on_record, stop, say, max(1, cores() // len(engines)))
