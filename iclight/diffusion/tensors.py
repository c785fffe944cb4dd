"""Tensors by name, one at a time: the shape of each before any is read, and never more in memory than asked for."""

from __future__ import annotations

import contextlib
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ..errors import ModelError, WeightsError, first_line, plain
from ..weights.files import check_regular, whole_file
from ..weights.manifest import check_safetensors, is_index, shards

# How .safetensors files name the types that weights may have.
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


class TensorSource(ABC):
    """A named set of tensors.

    `label` is how messages call it; `others`: type by name, of those not of real numbers; `metadata`: the file's own.
    """

    label: str
    shapes: dict[str, tuple[int, ...]]
    others: dict[str, str]
    metadata: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def read(self, name: str) -> torch.Tensor:
        """The tensor of that name, in the type it is stored in."""


class SafetensorsSource(TensorSource):
    """A .safetensors file, read tensor by tensor.

    The file is mapped into memory, and pages once touched count as ours until it is unmapped; so the mapping is
    renewed whenever more than `window` bytes were read through it.
    """

    window = 64 * 2**20

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        check_safetensors(path)
        self.label = str(path)
        self._path = path
        self._open = safe_open
        self._file: Any = None
        self._touched = 0
        try:
            with safe_open(path, framework="pt") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                self.shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
                types = {name: str(part.get_dtype()) for name, part in slices.items()}
                self.metadata = file.metadata() or {}
        except Exception as error:  # the library raises its own, undocumented types
            raise WeightsError(
                "{path} is not a readable .safetensors file ({reason}). Fetch it again.",
                path=path,
                reason=first_line(error),
            ) from error
        self.others = {
            name: stored
            for name, stored in types.items()
            if stored not in FLOATS and not self._is_nothing(name, stored)
        }

    def _is_nothing(self, name: str, stored: str) -> bool:
        """Whether a tensor stands for zeros: what an offset does not change takes one byte a number (`export`)."""
        return stored == "U8" and not bool(self.read(name).any())

    def read(self, name: str) -> torch.Tensor:
        if self._file is None or self._touched > self.window:
            self._file = None  # unmap before mapping again
            self._file = self._open(self._path, framework="pt")
            self._touched = 0
        tensor = self._file.get_tensor(name)
        self._touched += tensor.nbytes
        return tensor


class MemorySource(TensorSource):
    """Tensors that are in memory already (or mapped by torch); each is let go once read."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], label: str) -> None:
        self.label = label
        self._tensors = dict(tensors)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}
        self.others = {name: str(one.dtype) for name, one in self._tensors.items() if not one.is_floating_point()}

    def read(self, name: str) -> torch.Tensor:
        return self._tensors.pop(name)


class SelectedSource(TensorSource):
    """Some of another source's tensors, under names of their own: `names` maps ours to the other's.

    `shapes` names those to be read in another shape of as many numbers: old VAEs hold matrices as 1x1 convolutions.
    """

    def __init__(
        self,
        source: TensorSource,
        names: Mapping[str, str],
        shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    ) -> None:
        self.label = source.label
        self.metadata = source.metadata
        self._source = source
        self.names = dict(names)
        self.shapes = {ours: shapes.get(ours, source.shapes[theirs]) for ours, theirs in self.names.items()}
        self.others = {ours: source.others[name] for ours, name in self.names.items() if name in source.others}

    def read(self, name: str) -> torch.Tensor:
        return self._source.read(self.names[name]).reshape(self.shapes[name])


class ShardedSource(TensorSource):
    """The tensors of several files as one: a model saved in shards, by its `.index.json`."""

    def __init__(self, index: Path) -> None:
        self.label = str(index)
        self._sources = [open_tensors(path) for path in shards(index)]
        self._of = {name: source for source in self._sources for name in source.shapes}
        self.shapes = {name: source.shapes[name] for name, source in self._of.items()}
        self.others = {name: kind for source in self._sources for name, kind in source.others.items()}

    def read(self, name: str) -> torch.Tensor:
        return self._of[name].read(name)


def named_alike(
    source: TensorSource, expected: Mapping[str, tuple[int, ...]], candidates: Callable[[str], Iterable[str]]
) -> SelectedSource:
    """`source` under the names of `expected`, each taken from the first of its `candidates` that is there.

    Names that are not found are left out; others of the source do not come along. A 1x1 convolution and a matrix of the
    same numbers stand for one another.
    """
    names, shapes = {}, {}
    for name, shape in expected.items():
        found = next((one for one in candidates(name) if one in source.shapes), None)
        if found is None:
            continue
        names[name] = found
        held = source.shapes[found]
        if held != shape and _squeezed(held) == _squeezed(shape):
            shapes[name] = shape
    return SelectedSource(source, names, shapes)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] in ((), (1, 1)) else shape


def check_names(source: TensorSource, expected: Mapping[str, tuple[int, ...]], whose: str) -> None:
    """Raise ModelError unless `source` holds exactly the tensors of `whose` names and shapes, as real numbers."""
    missing = sorted(expected.keys() - source.shapes.keys())
    extra = sorted(source.shapes.keys() - expected.keys())
    other = [n for n, shape in expected.items() if n in source.shapes and source.shapes[n] != shape]
    if missing or extra:
        names = ", ".join([f"-{plain(n)}" for n in missing[:2]] + [f"+{plain(n)}" for n in extra[:2]])
        raise ModelError(
            "{file} does not fit {whose}: {missing} tensors missing, {extra} unknown ({names}, ...). It was "
            "made for another architecture.",
            file=source.label,
            whose=whose,
            missing=len(missing),
            extra=len(extra),
            names=names,
        )
    if other:
        raise ModelError(
            "{file} does not fit {whose}: {name} has shape {shape}, expected {wanted} ({count} such tensors). "
            "It was made for another architecture.",
            file=source.label,
            whose=whose,
            name=other[0],
            shape=source.shapes[other[0]],
            wanted=expected[other[0]],
            count=len(other),
        )
    check_floats(source, expected)


def check_floats(source: TensorSource, names: Collection[str]) -> None:
    """Raise ModelError unless every tensor of `names` is stored as real numbers (no integers, no complex ones)."""
    # Batch norms count their batches in integers.
    if strange := sorted(n for n in source.others.keys() & set(names) if not n.endswith("num_batches_tracked")):
        raise ModelError(
            "{file} holds {name} as {stored} ({count} such tensors), but weights are float16, bfloat16 or "
            "float32 here. Get a version that was not quantised.",
            file=source.label,
            name=plain(strange[0]),
            stored=source.others[strange[0]],
            count=len(strange),
        )


def open_tensors(path: Path) -> TensorSource:
    """A .safetensors file, or a PyTorch file (.bin, .pt, .pth, .ckpt) read without executing anything in it.

    An `.index.json` stands for its shards. Raises WeightsError when it is none of these, or when the pickle holds more
    than tensors.
    """
    if is_index(path):
        return ShardedSource(path)
    if path.suffix.lower() == ".safetensors":
        return SafetensorsSource(path)
    check_regular(path, "The file of weights", WeightsError)
    try:
        check_unpacked(path)
        # Files of PyTorch before 1.6 are no archives, and cannot be mapped.
        content = torch.load(path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
    except Exception as error:
        raise WeightsError(
            "{path} could not be read as plain weights ({reason}). Code inside such files is never run; get "
            "the .safetensors version of it.",
            path=path,
            reason=first_line(error),
        ) from error
    for wrapper in ("state_dict", "model", "string_to_param"):  # the last: A1111's embeddings
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(n, str) and is_plain(one) for n, one in content.items()):
        raise WeightsError(
            "{path} holds something other than named tensors; get the .safetensors version of it.", path=path
        )
    return MemorySource(content, str(path))


def convert(path: Path) -> Path:
    """Write a PyTorch file's tensors as .safetensors beside it; returns that file. Nothing in it is executed.

    Raises WeightsError where it cannot be read, holds more than tensors, or the new file is there or cannot be written.
    """
    from safetensors.torch import save_file

    target = path.with_suffix(".safetensors")
    if os.path.lexists(target):
        raise WeightsError("{path} is there already.", path=plain(target))
    source = open_tensors(path)
    # Cloned: names may share one memory, which the format does not know.
    tensors = {name: source.read(name).clone().contiguous() for name in list(source.shapes)}
    with whole_file(target, WeightsError) as draft:
        save_file(tensors, draft, metadata={"format": "pt"})
    return target


def check_unpacked(path: Path) -> None:
    """Raise ValueError for an archive with compressed parts: PyTorch writes none, and a few kilobytes could unfold."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("it holds compressed parts")


def is_plain(value: object) -> bool:
    """Is this a tensor whose numbers are there, each in a place of its own?"""
    return isinstance(value, torch.Tensor) and value.device.type == "cpu" and value.layout is torch.strided
