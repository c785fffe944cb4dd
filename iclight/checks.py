"""Whether a file of weights is whole, and which one it is.

Safetensors are held against their own header; sha256s are computed once and remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

from .errors import WeightsError


def cache_root() -> Path:
    """$ICLIGHT_CACHE, else ~/.cache/iclight. Not created."""
    return Path(os.environ.get("ICLIGHT_CACHE") or "~/.cache/iclight").expanduser()


def check_safetensors(path: str | os.PathLike[str]) -> None:
    """Raise WeightsError unless `path` is a whole safetensors file: header and tensors must fill it to the byte."""
    path = Path(path)
    again = "Delete it and fetch or copy it again."
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= size - 8:
                raise WeightsError(f"{path} is not a whole safetensors file ({size} bytes). {again}")
            header = json.loads(file.read(length))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise WeightsError(f"{path} is not a safetensors file: its header is broken. {again}") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        what = "is truncated" if size < expected else "is too long"
        raise WeightsError(f"{path} {what}: {size} bytes, its header promises {expected}. {again}")


_hashes: dict[str, tuple[int, int, str]] = {}


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The file's sha256 in hex, remembered by path, size and mtime: gigabytes are read once, not at every start.

    Raises OSError where the file cannot be read.
    """
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
        data = json.loads((cache_root() / "sha256.json").read_text(encoding="utf-8"))
        return {str(path): (int(size), int(mtime), str(digest)) for path, (size, mtime, digest) in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember(path: Path, digest: str) -> None:
    path = path.resolve()
    stat = path.stat()
    _hashes[str(path)] = (stat.st_size, stat.st_mtime_ns, digest)
    known = {name: entry for name, entry in _remembered().items() if os.path.exists(name)}
    try:
        cache_root().mkdir(parents=True, exist_ok=True)
        write_json(cache_root() / "sha256.json", {**known, str(path): _hashes[str(path)]})
    except OSError:
        pass  # a memory that cannot be kept costs time, not truth


def write_json(path: Path, data: Any) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(data, indent=1), encoding="utf-8")
    os.replace(draft, path)
