"""Manifests: tables with a row for each request, as CSV, JSON Lines or Parquet.

What comes out is a dictionary a row, by column; cells that are empty are left out. A row that cannot be read is its
error, so that the others go on.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from ..errors import ImageError, SettingsError, first_line, quoted
from . import storage

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
# Bytes of a manifest; a row of a million has about 200.
MANIFEST_BYTES = 1 << 30
# Bytes of one row's JSON: a prompt has 20,000 characters at most.
LINE_BYTES = 1 << 20

Cells = dict[str, Any]


def is_table(path: str) -> bool:
    """Whether a name is a manifest's."""
    return path.lower().endswith(SUFFIXES)


def read_table(path: str) -> Iterator[Cells | SettingsError]:
    """The rows of a manifest, in order. Raises ImageError where it cannot be opened, SettingsError where it is none."""
    storage.check_there(path, "The manifest")
    if path.lower().endswith(".parquet"):
        return _parquet(path)
    data = storage.fetch(path, "The manifest", MANIFEST_BYTES)
    if isinstance(data, str):
        from ..weights.files import read_regular

        data = read_regular(path, "The manifest", MANIFEST_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError("The manifest {path} is not UTF-8; save it as that.", path=quoted(path)) from error
    return _csv(text) if path.lower().endswith(".csv") else _json_lines(text)


def _csv(text: str) -> Iterator[Cells | SettingsError]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(lines, [])]
        for cells in lines:
            if not cells:
                continue
            if len(cells) > len(names):
                yield SettingsError(
                    "Line {line} has {count} cells, but there are {columns} columns: quote what holds a comma.",
                    line=lines.line_num,
                    count=len(cells),
                    columns=len(names),
                )
            else:
                yield {name: cell for name, cell in zip(names, cells, strict=False) if cell != ""}
    except csv.Error as error:
        raise SettingsError(
            "The manifest is broken in line {line} ({reason}).", line=lines.line_num, reason=first_line(error)
        ) from error


def _json_lines(text: str) -> Iterator[Cells | SettingsError]:
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            if len(line) > LINE_BYTES:
                raise ValueError("it is too long")
            values = json.loads(line)
            if not isinstance(values, dict):
                raise TypeError("it is no object")
            yield {name: value for name, value in values.items() if value is not None}
        except (ValueError, TypeError, RecursionError) as error:
            yield SettingsError("Line {line} is no JSON object ({reason}).", line=number, reason=first_line(error))


def _parquet(path: str) -> Iterator[Cells | SettingsError]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise SettingsError(
            "A manifest in Parquet needs pyarrow: pip install pyarrow, or give it as CSV or JSON Lines."
        ) from error
    source = storage.fetch(path, "The manifest", MANIFEST_BYTES)
    try:
        with parquet.ParquetFile(source if isinstance(source, str) else pyarrow.BufferReader(source)) as file:
            for batch in file.iter_batches(batch_size=10_000):
                for values in batch.to_pylist():
                    yield {name: value for name, value in values.items() if value is not None}
    except (pyarrow.ArrowException, OSError) as error:
        raise ImageError(
            "The manifest {path} cannot be read as Parquet ({reason}).", path=quoted(path), reason=first_line(error)
        ) from error
