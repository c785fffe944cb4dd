"""Which device runs the engine, in which number formats, and what to do when memory runs out.

The policy: CUDA as the reference (float16, VAE in bfloat16); MPS in float16 with a float32 VAE; a CPU in bfloat16
where it multiplies that natively (AMX or AVX-512 BF16), otherwise float32. Everything can be overridden.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..errors import DeviceError, Message, OutOfMemory, quoted

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DEVICES = ("auto", "cuda", "mps", "cpu")


@dataclass(frozen=True)
class Placement:
    """Where the parts live and compute. With `offload`, a part is on the device only while it works."""

    device: torch.device
    dtype: torch.dtype
    vae_dtype: torch.dtype
    offload: bool = False

    @property
    def home(self) -> torch.device:
        """Where weights rest between uses."""
        return torch.device("cpu") if self.offload else self.device

    @property
    def noise_device(self) -> torch.device:
        """Where random numbers are drawn: on CUDA as the reference does, elsewhere on the CPU."""
        return self.device if self.device.type == "cuda" else torch.device("cpu")

    def in_words(self) -> Message:
        """One line, e.g. "CPU, 2 threads (float32)"."""
        names = (str(self.dtype).removeprefix("torch."), str(self.vae_dtype).removeprefix("torch."))
        formats = names[0] if names[0] == names[1] else f"{names[0]}, VAE {names[1]}"
        formats += ", offload" if self.offload else ""
        return Message("{device} ({formats})", device=describe_device(self.device), formats=formats)

    def __str__(self) -> str:
        return str(self.in_words())


def choose(device: str = "auto", dtype: str = "auto", offload: bool = False) -> Placement:
    """The placement for "auto", "cuda", "cuda:1", "mps" or "cpu", and "auto" or a name in `DTYPES`.

    A dtype that is named holds for every part. Raises DeviceError for what is not there.
    """
    place = _device(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise DeviceError(
            "dtype {dtype} is not known; give auto, {dtypes}.", dtype=quoted(dtype), dtypes=", ".join(DTYPES)
        )
    if dtype != "auto":
        half, vae = DTYPES[dtype], DTYPES[dtype]
    elif place.type == "cuda":
        # Cards before Ampere have no bfloat16; the VAE overflows in float16, so it goes to float32 there.
        half, vae = torch.float16, torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float32
    elif place.type == "mps":
        half, vae = torch.float16, torch.float32
    else:
        half = vae = torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32
    return Placement(place, half, vae, offload and place.type != "cpu")


def _device(name: str) -> torch.device:
    if name == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    try:
        place = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(
            "device {name} is not known; give one of {devices}.", name=quoted(name), devices=", ".join(DEVICES)
        ) from error
    if place.type not in DEVICES:
        raise DeviceError(
            "device {name} is not supported; give one of {devices}.", name=quoted(name), devices=", ".join(DEVICES)
        )
    if place.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device cuda was asked for, but this PyTorch sees no CUDA GPU; see `iclight doctor`.")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            "device {name} was asked for, but there are {count} CUDA GPUs.", name=name, count=torch.cuda.device_count()
        )
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps was asked for, but it needs an Apple GPU and macOS 14 or newer.")
    return place


def cpu_multiplies_bfloat16() -> bool:
    """Whether this processor has AMX or AVX-512 instructions for bfloat16."""
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("flags"):
                return not {"avx512_bf16", "amx_bf16"}.isdisjoint(line.split())
    return False


def describe_device(device: torch.device) -> Message:
    """A device in words, e.g. "NVIDIA H100" or "CPU, 2 threads"."""
    if device.type == "cuda":
        return Message(torch.cuda.get_device_name(device))
    if device.type == "mps":
        return Message("Apple GPU (MPS)")
    return Message("CPU, {threads} threads", threads=torch.get_num_threads())


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on the device, or None where nobody can tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _cgroup_room())
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return None


def _cgroup_room() -> int:
    """What a container's memory limit leaves, or a very large number where there is none."""
    with contextlib.suppress(OSError, ValueError):
        with open("/sys/fs/cgroup/memory.max", encoding="utf-8") as limit:
            ceiling = int(limit.read())
        with open("/sys/fs/cgroup/memory.current", encoding="utf-8") as current:
            used = int(current.read())
        with open("/sys/fs/cgroup/memory.stat", encoding="utf-8") as stat:
            # Cached file pages (a model just read, for one) are given up when memory is needed.
            used -= sum(int(line.split()[1]) for line in stat if line.startswith(("inactive_file", "active_file")))
        return max(ceiling - used, 0)
    return sys.maxsize


@contextlib.contextmanager
def resident(module: torch.nn.Module, placement: Placement) -> Iterator[torch.nn.Module]:
    """The module on its device for the length of the block; with offload it leaves again afterwards."""
    if not placement.offload:
        yield module
        return
    try:
        module.to(placement.device)  # inside: a move that runs out of memory is undone, too
        yield module
    finally:
        module.to(placement.home)
        release_memory(placement.device)


def release_memory(device: torch.device) -> None:
    """Give cached blocks back, so that the next request starts from a clean slate."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on whichever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, RuntimeError) and any(sign in words for sign in signs)


@contextlib.contextmanager
def exact_float32(placement: Placement) -> Iterator[None]:
    """Where float32 was asked for on CUDA, keep convolutions from rounding to TF32 behind our back."""
    if placement.device.type != "cuda" or placement.dtype != torch.float32:
        yield
        return
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
        yield


@contextlib.contextmanager
def memory_errors_explained(placement: Placement, advice: str) -> Iterator[None]:
    """Turn any out-of-memory inside the block into an OutOfMemory that gives `advice`, and free what can be freed."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # The traceback holds the frames, and they hold the tensors: drop it before freeing.
        error.__traceback__ = None
        release_memory(placement.device)
        raise OutOfMemory(
            "{device} ran out of memory. {advice}", device=describe_device(placement.device), advice=advice
        ) from None
