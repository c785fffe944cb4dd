"""A batch on a Ray cluster: the same rows through the same worker, an actor for each GPU (or processor).

    for record in run_on_ray(plan, engine, address="auto"): ...

Rows travel to the actors in small blocks, and each actor writes its pictures itself: to a file system that all nodes
share, or to an address. A node that is lost leaves its blocks to others, which find by their recipes what it wrote.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import DeviceError, SettingsError, first_line, quoted
from . import storage
from .pipeline import run_rows
from .plan import Plan
from .rows import Record, Row
from .worker import Worker

# Rows in a block: what an actor is handed at once, and what is done again when it is lost. At most BLOCKS of them.
BLOCK, BLOCKS = 8, 10_000
# Seconds that a cluster has to answer at all.
ANSWER = 10


class RayWorker:
    """The actor: a `Worker` whose rows and records are JSON, a column each."""

    def __init__(self, engine: Mapping[str, Any]) -> None:
        self._worker = Worker(engine, print)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        records: list[Record] = []
        rows = (Row(**json.loads(text)) for text in batch["row"])
        run_rows(self._worker, rows, records.append, lambda: False)
        return {"record": [json.dumps(record) for record in records]}


def run_on_ray(
    plan: Plan,
    engine: Mapping[str, Any],
    address: str = "auto",
    workers: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """The records of a plan's rows, as blocks of them are finished.

    `engine`: keyword arguments of `Relighter.load` but the workflow. `address`: of a cluster; "auto" is the one this
    machine belongs to, or a new one of this machine alone. `workers`: actors, None for one for each GPU of the
    cluster, on a cluster without any for each node; with device "cuda" a GPU is waited for. Once `stop()` holds, no
    record follows.

    Raises SettingsError where Ray is not installed, DeviceError where no cluster answers or the run fails as a whole.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SettingsError("--ray needs Ray: pip install 'iclight[ray]'.") from error
    started_here = not ray.is_initialized()
    try:
        if started_here:
            _connect(ray, address)
        yield from _records(ray, plan, engine, workers, stop)
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise DeviceError("The run on Ray failed ({reason}).", reason=first_line(error)) from error
    finally:
        if started_here:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": True, "logging_level": "WARNING"}
    if address != "auto":
        try:
            place = urlsplit(address if "://" in address else f"//{address}")
            # Ray itself tries for minutes.
            socket.create_connection((place.hostname or "", place.port or 0), ANSWER).close()
            ray.init(address=address, **quiet)
        except (OSError, ValueError) as error:
            raise DeviceError(
                "No Ray cluster answers at {address} ({reason}); give HOST:PORT, or ray://HOST:PORT.",
                address=quoted(address),
                reason=first_line(error),
            ) from error
        return
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        ray.init(include_dashboard=False, **quiet)


def _records(
    ray: Any, plan: Plan, engine: Mapping[str, Any], workers: int | None, stop: Callable[[], bool]
) -> Iterator[Record]:
    rows = [{"row": json.dumps(dataclasses.asdict(_absolute(row)))} for row in plan.rows]
    if not rows:
        return
    gpus = int(ray.cluster_resources().get("GPU", 0))
    device = str(engine.get("device", "auto"))
    on_gpu = device.startswith("cuda") or (gpus > 0 and device == "auto")
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    size = workers or (gpus if on_gpu else len(nodes)) or 1
    ray.data.DataContext.get_current().enable_progress_bars = False
    blocks = max(-(-len(rows) // BLOCK) if len(rows) <= BLOCK * BLOCKS else BLOCKS, 1)
    done = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        RayWorker,
        fn_constructor_args=(_absolute_engine(engine),),
        batch_size=None,  # a block
        compute=ray.data.ActorPoolStrategy(size=size),
        num_gpus=1 if on_gpu else 0,
        num_cpus=1,
    )
    for one in done.iter_rows():
        yield json.loads(one["record"])
        if stop():
            return


def _absolute(row: Row) -> Row:
    """Paths that hold wherever an actor runs."""
    inputs = {name: _path(path) for name, path in row.inputs.items()}
    return dataclasses.replace(row, inputs=inputs, output=_path(row.output))


def _absolute_engine(engine: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _path(one) if isinstance(one, str) and os.path.exists(one) else one for name, one in engine.items()}


def _path(path: str) -> str:
    return path if storage.is_remote(path) else os.path.abspath(path)
