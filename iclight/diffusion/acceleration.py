"""The one place that decides how a model runs: what a speed stands for on a device, and what that does to the networks.

"exact" leaves everything as it is. Whatever is faster is a lever, each of which can be pulled alone; one that does not
apply on a machine is left, and says why.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import Message, SettingsError, quoted
from ..networks.unet import UNet
from ..parameters import SPEEDS
from .devices import Placement

ATTENTIONS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
# Entries: a request has four conditions at most, one pair of prompts and one matte.
REMEMBERED = 16


@dataclass(frozen=True)
class Levers:
    """Ways of running the same model faster; as they stand here, none is pulled.

    `remember`: keep prompts' embeddings, inputs' latents and the matting network's answers from one request to the
    next; same pixels.
    `channels_last`: the UNet's weights in NHWC order, which tensor cores' and oneDNN's convolutions like; rounding.
    `fused_projections`: one product for queries, keys and values in the UNet, for memory of a copy of them; rounding.
    `attention`: one of `ATTENTIONS`, None for torch's own choice; rounding.
    `tuned_convolutions`: cuDNN tries its algorithms at each new size and keeps the fastest; rounding, and a seed's
    pictures may differ in it from one start to the next.
    `compiled`: the UNet's transformer blocks through torch.compile, any size; the first request waits; rounding.
    """

    remember: bool = False
    channels_last: bool = False
    fused_projections: bool = False
    attention: str | None = None
    tuned_convolutions: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.attention is not None and self.attention not in ATTENTIONS:
            raise SettingsError(
                "attention is {attention}, but it takes one of {choices}.",
                attention=quoted(self.attention),
                choices=", ".join(ATTENTIONS),
            )

    @property
    def pulled(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


def levers_for(speed: str | Levers, placement: Placement) -> Levers:
    """What a speed ("exact", "fast", "max") stands for at a placement; levers of the caller's own stay what they are.

    Raises SettingsError for a speed that does not exist.
    """
    if isinstance(speed, Levers):
        return speed
    if speed not in SPEEDS:
        raise SettingsError(
            "speed is {speed}, but it takes one of {choices}.", speed=quoted(speed, 60), choices=", ".join(SPEEDS)
        )
    if speed == "exact":
        return Levers()
    if placement.device.type == "cuda":
        fast = Levers(remember=True, channels_last=True, fused_projections=True)
        return fast if speed == "fast" else replace(fast, tuned_convolutions=True, compiled=True)
    if placement.device.type != "cpu" or placement.dtype != torch.float32:
        return Levers(remember=True)  # measured in bfloat16 on a CPU: the others gain nothing
    fast = Levers(remember=True, fused_projections=True)
    return fast if speed == "fast" else replace(fast, channels_last=True)


class Memory:
    """The newest `REMEMBERED` answers, by what they were asked with. Safe from any thread: two may compute the same."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: Hashable, answer: Callable[[], Any]) -> Any:
        """The answer that belongs to `key`, from `answer` where it is not remembered."""
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        value = answer()
        with self._lock:
            self._answers[key] = value
            if len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return value


def fingerprints(arrays: Any) -> Hashable:
    """Arrays of any kind -> a key that other contents or shapes do not have."""
    return tuple((one.shape, one.dtype.str, hashlib.sha256(one.tobytes()).digest()) for one in arrays)


@dataclass(frozen=True)
class Acceleration:
    """How one model runs: the levers in effect, and why others that were asked for are not."""

    levers: Levers = Levers()
    notices: tuple[Message, ...] = ()

    def new_memory(self) -> Memory | None:
        """For one relighter; None where nothing is to be remembered."""
        return Memory() if self.levers.remember else None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Around the networks' work: what is not in their weights."""
        cudnn = torch.backends.cudnn
        before = cudnn.benchmark
        with contextlib.ExitStack() as stack:
            if self.levers.attention is not None:
                stack.enter_context(sdpa_kernel(ATTENTIONS[self.levers.attention]))
            if self.levers.tuned_convolutions:
                stack.callback(setattr, cudnn, "benchmark", before)
                cudnn.benchmark = True
            yield


EXACT = Acceleration()


def accelerate(levers: Levers, unet: UNet, device: torch.device, offload: bool = False) -> Acceleration:
    """Change a loaded UNet by what `levers` ask for and this machine can do."""
    notices = {name: reason for name in levers.pulled if (reason := _obstacle(name, levers, device, offload))}
    kept: dict[str, Any] = {name: getattr(levers, name) for name in levers.pulled if name not in notices}
    levers = Levers(**kept)
    if levers.channels_last:
        unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if levers.fused_projections:
        unet.fuse_projections()
    if levers.compiled:
        # What repeats, in minutes less than the whole, and with sizes left open: both passes use one result.
        for block in unet.transformer_blocks():
            block.compile(dynamic=True)
    return Acceleration(levers, tuple(notices.values()))


def _obstacle(name: str, levers: Levers, device: torch.device, offload: bool) -> Message | None:
    """Why a lever does not apply here, or None."""
    reason = None
    if name == "compiled" and offload:
        reason = "parts that move between devices are compiled again"
    elif name == "compiled" and device.type == "cuda" and importlib.util.find_spec("triton") is None:
        reason = "torch.compile needs Triton"
    elif name == "compiled" and device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        reason = "torch.compile needs a C++ compiler"
    elif name == "compiled" and device.type == "mps":
        reason = "torch.compile is young there"
    elif name == "tuned_convolutions" and device.type != "cuda":
        reason = "it is cuDNN's"
    elif name == "attention" and device.type != "cuda" and levers.attention in ("cudnn", "efficient"):
        reason = "only CUDA has that backend"
    if reason is None:
        return None
    return Message("{lever} is left out on {device}: {reason}.", lever=name, device=device.type, reason=Message(reason))
