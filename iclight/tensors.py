"""Tensors by name, one at a time: the shape of each before any is read, and never more in memory than asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .errors import ModelError, WeightsError


class TensorSource(ABC):
    """A named set of tensors. `label` is how messages call it."""

    label: str
    shapes: dict[str, tuple[int, ...]]

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

        self.label = str(path)
        self._path = path
        self._open = safe_open
        self._file: Any = None
        self._touched = 0
        try:
            with safe_open(path, framework="pt") as file:
                self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except Exception as error:  # the library raises its own, undocumented types
            raise WeightsError(f"{path} is not a readable .safetensors file ({error}). Fetch it again.") from error

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

    def read(self, name: str) -> torch.Tensor:
        return self._tensors.pop(name)


class SelectedSource(TensorSource):
    """Some of another source's tensors, under names of their own: `names` maps ours to the other's."""

    def __init__(self, source: TensorSource, names: Mapping[str, str]) -> None:
        self.label = source.label
        self._source = source
        self._names = dict(names)
        self.shapes = {ours: source.shapes[theirs] for ours, theirs in self._names.items()}

    def read(self, name: str) -> torch.Tensor:
        return self._source.read(self._names[name])


def check_names(source: TensorSource, expected: Mapping[str, tuple[int, ...]], whose: str) -> None:
    """Raise ModelError unless `source` holds exactly the tensors of `whose` names and shapes."""
    missing = sorted(expected.keys() - source.shapes.keys())
    extra = sorted(source.shapes.keys() - expected.keys())
    other = [n for n, shape in expected.items() if n in source.shapes and source.shapes[n] != shape]
    if missing or extra:
        names = ", ".join([f"-{n}" for n in missing[:2]] + [f"+{n}" for n in extra[:2]])
        raise ModelError(
            f"{source.label} does not fit {whose}: {len(missing)} tensors missing, {len(extra)} unknown "
            f"({names}, ...). It was made for another architecture."
        )
    if other:
        raise ModelError(
            f"{source.label} does not fit {whose}: {other[0]} has shape {source.shapes[other[0]]}, "
            f"expected {expected[other[0]]} ({len(other)} such tensors). It was made for another architecture."
        )


def open_tensors(path: Path) -> TensorSource:
    """A .safetensors file, or a PyTorch file (.bin, .pt, .pth, .ckpt) read without executing anything in it.

    Raises WeightsError when it is neither, or when the pickle holds more than tensors.
    """
    if path.suffix == ".safetensors":
        return SafetensorsSource(path)
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{path} could not be read as plain weights ({str(error).splitlines()[0]}). "
            "Code inside such files is never run; get the .safetensors version of it."
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{path} holds something other than named tensors; get the .safetensors version of it.")
    return MemorySource(content, str(path))
