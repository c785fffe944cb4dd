"""Whether a file of weights is whole, and which one it is; and JSON from elsewhere, read within limits.

Safetensors are held against their own header; sha256s are computed once and remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import struct
import sys
from pathlib import Path
from typing import Any

from ..errors import WeightsError, first_line, plain
from .files import open_regular, read_regular, write_whole

# Bytes of JSON that are read. A header of SD1.5 has 0.1 MB, its largest small file (a tokenizer's) 3 MB; parsed, JSON
# takes up to thirty times as much memory.
HEADER_BYTES = 32 << 20
JSON_BYTES = 16 << 20
# Objects within objects; no file of ours or of the libraries nests more than six.
JSON_LEVELS = 32
# Some tokenizers state a length of 10 ** 30.
JSON_DIGITS = 100


def cache_root() -> Path:
    """$ICLIGHT_CACHE, else ~/.cache/iclight. Not created."""
    return Path(os.environ.get("ICLIGHT_CACHE") or "~/.cache/iclight").expanduser()


def check_safetensors(path: str | os.PathLike[str]) -> None:
    """Raise WeightsError unless `path` is a whole safetensors file: header and tensors must fill it to the byte."""
    again = "Delete it and fetch or copy it again."
    with open_regular(path, "The file of weights", sys.maxsize, WeightsError) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= size - 8:
                raise WeightsError(f"{path} is not a whole safetensors file ({size} bytes). {again}")
            if length > HEADER_BYTES:
                raise WeightsError(f"{path} has a header of {length} bytes; at most {HEADER_BYTES} are read. {again}")
            expected = 8 + length + _end_of(parse_json(file.read(length)))
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({error.strerror or error}).") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WeightsError(f"{path} is not a safetensors file: its header is broken. {again}") from error
    if size != expected:
        what = "is truncated" if size < expected else "is too long"
        raise WeightsError(f"{path} {what}: {size} bytes, its header promises {expected}. {again}")


def _end_of(header: Any) -> int:
    """Bytes of all tensors; ValueError (or what a strange header trips over) unless they follow one another."""
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if type(begin) is not int or type(end) is not int or not 0 <= begin <= end:
            raise ValueError("offsets that are none")
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise ValueError("tensors overlap or leave a gap")
        at = end
    return at


# ---------------------------------------------------------------- JSON


def parse_json(text: str | bytes, finite: bool = True) -> Any:
    """The value of a text in JSON. Raises ValueError for anything else, and for what no file of ours says.

    That is whole numbers of more than `JSON_DIGITS` digits, more than `JSON_LEVELS` levels, and where `finite` is asked
    for, NaN and infinities.
    """
    number = _finite if finite else float
    try:
        value = json.loads(text, parse_int=_whole, parse_float=number, parse_constant=number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level = [value]
    for _ in range(JSON_LEVELS):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def _parts(value: Any) -> list[Any]:
    return [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []


def _whole(digits: str) -> int:
    if len(digits) > JSON_DIGITS:
        raise ValueError("it holds a number of too many digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("it holds a number that is not finite")
    return number


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """The object in a JSON file. Raises WeightsError, ending with `advice`, for anything else (`parse_json`)."""
    data = read_regular(path, path.name, JSON_BYTES, WeightsError)
    try:
        value = parse_json(data, finite=False)  # schedulers' configs hold infinities
    except ValueError as error:
        raise WeightsError(f"{path} is broken ({first_line(error)}). {advice}") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path} is broken: it should hold an object. {advice}")
    return value


# ---------------------------------------------------------------- shards


def is_index(path: str | os.PathLike[str]) -> bool:
    """Whether a file is the index of weights in shards, by its name."""
    return ".safetensors.index." in os.path.basename(path)


def shards(index: Path) -> list[Path]:
    """The files that an index of shards names, beside it. Raises WeightsError for names that are no such files'."""
    names = read_json(index, "Fetch it again.").get("weight_map")
    files = sorted({str(name) for name in names.values()}) if isinstance(names, dict) else []
    if not files or not all(name.endswith(".safetensors") and Path(name).name == name for name in files):
        raise WeightsError(f"{index} is broken: it names no .safetensors files beside it. Fetch it again.")
    if missing := [name for name in files if not os.path.isfile(index.with_name(name))]:
        raise WeightsError(f"{index.parent} is not whole: {plain(missing[0])} is missing. Fetch it again.")
    return [index.with_name(name) for name in files]


# ---------------------------------------------------------------- fingerprints


_hashes: dict[str, tuple[int, int, str]] = {}


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The file's sha256 in hex, remembered by path, size and mtime: gigabytes are read once, not at every start.

    Of an index of shards: that of its shards' own, in their order. Raises OSError where a file cannot be read.
    """
    if is_index(path):
        return hashlib.sha256("".join(map(sha256_of, shards(Path(path)))).encode()).hexdigest()
    path = Path(path).resolve()
    stat = path.stat()
    for known in (_hashes, _remembered()):
        size, mtime, digest = known.get(str(path), (0, 0, ""))
        if digest and (size, mtime) == (stat.st_size, stat.st_mtime_ns):
            return digest
    digest = digest_of(path, hashlib.sha256())
    remember(path, digest)
    return digest


def digest_of(path: Path, hasher: Any) -> str:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return str(hasher.hexdigest())


def _remembered() -> dict[str, tuple[int, int, str]]:
    try:
        data = parse_json((cache_root() / "sha256.json").read_bytes())
        return {str(path): (int(size), int(mtime), str(digest)) for path, (size, mtime, digest) in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember(path: Path, digest: str) -> None:
    path = path.resolve()
    stat = path.stat()
    _hashes[str(path)] = (stat.st_size, stat.st_mtime_ns, digest)
    known = {name: entry for name, entry in _remembered().items() if os.path.exists(name)}
    with contextlib.suppress(WeightsError):  # a memory that cannot be kept costs time, not truth
        write_json(cache_root() / "sha256.json", {**known, str(path): _hashes[str(path)]})


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file whole or not at all. Raises WeightsError where it cannot be written."""
    write_whole(path, json.dumps(data, indent=1).encode(), WeightsError)
