"""What became of a batch: a log with a line for each row as it is finished, and a summary.

The log is JSON Lines, for a run on Ray Parquet in parts; a run that is cut short leaves what it has finished.
"""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..errors import ImageError
from . import storage
from .rows import STATUSES, Record

# Records in one part of a log in Parquet.
PART = 1000


@dataclass
class Summary:
    """Counts by status, `left` for rows that a stop left undone; the errors that were met, by how often."""

    total: int
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.perf_counter)

    def add(self, record: Record) -> None:
        self.counts[record["status"]] += 1
        if record["error"] is not None:
            self.errors[record["error"]] += 1

    @property
    def left(self) -> int:
        return self.total - self.counts.total()

    @property
    def pictures_per_minute(self) -> float:
        """Rows written, over the whole run's time, loading included."""
        return 60 * self.counts["written"] / max(time.perf_counter() - self.started, 1e-9)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "rows": self.total,
            **{status: self.counts[status] for status in STATUSES},
            "left": self.left,
            "seconds": round(time.perf_counter() - self.started, 3),
            "pictures_per_minute": round(self.pictures_per_minute, 2),
        }


class Log:
    """A file of JSON Lines, opened anew; each record is in it when `add` returns."""

    def __init__(self, path: str) -> None:
        """Raises ImageError where `path` cannot be written."""
        self.path = path
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = open(path, "w", encoding="utf-8", errors="replace")  # noqa: SIM115
        except OSError as error:
            raise ImageError("{path} cannot be written ({reason}).", path=path, reason=error.strerror) from error

    def add(self, record: Record) -> None:
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class ParquetLog:
    """Parts of `PART` records in a folder or at an address."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._records: list[Record] = []
        self._parts = 0

    def add(self, record: Record) -> None:
        self._records.append(record)
        if len(self._records) == PART:
            self.close()

    def close(self) -> None:
        """Write what is left as the last part."""
        import pyarrow
        import pyarrow.parquet as parquet

        if not self._records:
            return
        buffer = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(self._records, schema=_schema()), buffer)
        storage.write(f"{self.path}/part-{self._parts:05d}.parquet", buffer.getvalue())
        self._records, self._parts = [], self._parts + 1


def _schema() -> Any:
    import pyarrow

    from .rows import FIELDS

    texts, whole = pyarrow.string(), pyarrow.int64()
    kinds = {"row": whole, "seed": whole, "outputs": pyarrow.list_(texts), "matte_doubts": pyarrow.list_(texts)}
    numbers = {name: pyarrow.float64() for name in FIELDS if name.endswith("seconds") or name == "light_stops"}
    return pyarrow.schema([(name, {**kinds, **numbers}.get(name, texts)) for name in FIELDS])
