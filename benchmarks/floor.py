"""How near the UNet runs to what the machine can do, and how a request grows with what is asked for.

    make bench ARGS="--stages floor"

A step's floor is the longer of two: its operations at the rate of one large product in the same format, and one look at
its weights at the rate of a copy. Growth is that of mini's whole requests. On a CPU seconds are the processor's, which
a busy machine blurs less; on CUDA those until the device is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from iclight import Relighter, Settings
from iclight.diffusion import devices
from iclight.diffusion.devices import Placement
from iclight.diffusion.unet import INPUT_CHANNELS
from iclight.imaging import crop
from iclight.networks.unet import UNet

from .models import SEED, SIZES
from .speeds import request_for

TOKENS = 77
PIXELS = ((256, 320), (512, 640))
IMAGES = (1, 4, 8)
LIGHTS = ("left", "right", "top", "bottom")
# Of a request that is to show how it grows: enough steps that the passes are most of it.
GROWN = {"width": 192, "height": 192, "steps": 3, "highres_scale": 1.0, "light_strength": 1.0}


@dataclass(frozen=True)
class Peaks:
    """What the machine was measured to do: floating-point operations, and bytes read or written, per second."""

    operations: float
    bytes: float


@dataclass(frozen=True)
class Step:
    """One call of a UNet: its picture's size, its samples, its operations, its weights' bytes, its seconds."""

    model: str
    width: int
    height: int
    samples: int
    operations: int
    weights: int
    seconds: float

    def floor(self, peaks: Peaks) -> float:
        """Seconds that it takes at least."""
        return max(self.operations / peaks.operations, self.weights / peaks.bytes)


@dataclass(frozen=True)
class Growth:
    """A request with one option at one value. `units`: how many times the first value it asks for."""

    option: str
    value: str
    units: float
    seconds: float


def fastest(work: Callable[[], Any], device: torch.device, repeat: int) -> float:
    """The least of `repeat` runs; the first of them warms up, so two tell more than one."""

    def clock() -> float:
        if device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize(device)
        return time.perf_counter()

    times = []
    for _ in range(repeat):
        started = clock()
        work()
        times.append(clock() - started)
    return min(times)


def measure_peaks(placement: Placement, repeat: int = 5) -> Peaks:
    """Of a square product in the placement's format, and of copying; both too large for any cache."""
    device, is_cuda = placement.device, placement.device.type == "cuda"
    side, room = (8192, 1 << 31) if is_cuda else (2048, 1 << 28)
    one, other = (torch.randn(side, side, device=device, dtype=placement.dtype) for _ in range(2))
    product = torch.empty_like(one)
    source = torch.zeros(room, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    with devices.exact_float32(placement):
        seconds = fastest(lambda: torch.mm(one, other, out=product), device, repeat)
    return Peaks(2 * side**3 / seconds, 2 * room / fastest(lambda: target.copy_(source), device, repeat))


def operations_of(work: Callable[[], Any]) -> int:
    """Floating-point operations of the products and convolutions in `work`, a multiply-add being two."""
    # Attention as plain products: not every backend's own kernel is known to the counter.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return int(counter.get_total_flops())


@torch.no_grad()
def measure_step(
    model: str, unet: UNet, size: tuple[int, int], factor: int, samples: int, placement: Placement, repeat: int
) -> Step:
    """One call of `unet` for pictures of a size; `factor` pixels are a latent."""
    generator = torch.Generator().manual_seed(SEED)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(placement.device, placement.dtype)

    latents = noise(samples, unet.config["in_channels"], size[1] // factor, size[0] // factor)
    text = noise(samples, TOKENS, unet.config["cross_attention_dim"])
    timestep = torch.tensor(500, device=placement.device)

    def call() -> Any:
        return unet(latents, timestep, text, return_dict=False)

    with devices.exact_float32(placement):
        operations, seconds = operations_of(call), fastest(call, placement.device, repeat)
    weights = sum(parameter.nbytes for parameter in unet.parameters())
    return Step(model, *size, samples, operations, weights, seconds)


def measure_steps(size: str, settings: Settings, placement: Placement, repeat: int) -> list[Step]:
    """Both passes' steps, of mini and of a UNet with random weights of a `size`."""
    mini = load_mini(placement)
    torch.manual_seed(SEED)
    with placement.device:
        unet = UNet({**SIZES[size].unet, "in_channels": INPUT_CHANNELS["fc"]})
    unet = unet.to(placement.dtype).requires_grad_(False).eval()
    factor = 2 ** (len(SIZES[size].vae["block_out_channels"]) - 1)
    small = settings.width or 0, settings.height or 0
    samples = settings.num_images * (2 if settings.cfg > 1 else 1)
    return [
        measure_step(name, network, picture, latent, samples, placement, repeat)
        for name, network, latent in (("mini", mini.unet, mini.vae.factor), (size, unet, factor))
        for picture in dict.fromkeys((small, crop.highres_size(*small, settings.highres_scale)))
    ]


def load_mini(placement: Placement) -> Relighter:
    """For the words of fc, at a placement."""
    dtype = str(placement.dtype).removeprefix("torch.")
    return Relighter.load("mini", "fc", matting="none", device=str(placement.device), dtype=dtype)


def measure_growth(placement: Placement, repeat: int, **changes: Any) -> Iterator[Growth]:
    """mini's requests by pixels, by images, and by lights that are drawn together."""
    relighter = load_mini(placement)
    base = {**GROWN, **changes}

    def request(**asked: Any) -> float:
        photo, settings = request_for(relighter, **{**base, **asked})
        return fastest(lambda: relighter.relight(photo, settings, matting="none"), placement.device, repeat)

    first = PIXELS[0][0] * PIXELS[0][1]
    for width, height in PIXELS:
        yield Growth("pixels", f"{width}x{height}", width * height / first, request(width=width, height=height))
    for count in IMAGES:
        yield Growth("images", str(count), count, request(num_images=count))
    photo, settings = request_for(relighter, **base)
    for count in range(1, len(LIGHTS) + 1):
        runs = [(light, None, None) for light in LIGHTS[:count]]
        draw = lambda runs=runs: relighter.passes.render_each(photo, settings, runs)  # noqa: E731
        yield Growth("lights", str(count), count, fastest(draw, placement.device, repeat))


def table(peaks: Peaks, steps: list[Step], growth: list[Growth]) -> str:
    """Markdown: the floor of each step, then the growth."""
    lines = [
        f"A product runs at {peaks.operations / 1e9:.0f} GFLOP/s, a copy at {peaks.bytes / 1e9:.1f} GB/s.",
        "",
        "| UNet, picture, samples | GFLOP | weights, MB | floor, s | one step, s | of the floor reached |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for step in steps:
        floor = step.floor(peaks)
        lines.append(
            f"| {step.model}, {step.width}x{step.height}, {step.samples} | {step.operations / 1e9:.1f} "
            f"| {step.weights / 1e6:.0f} | {floor:.4f} | {step.seconds:.4f} | {floor / step.seconds:.2f} |"
        )
    lines += ["", "| mini's request | seconds | of the first | of the first, each |", "| --- | ---: | ---: | ---: |"]
    firsts: dict[str, float] = {}
    for one in growth:
        ratio = one.seconds / firsts.setdefault(one.option, one.seconds)
        lines.append(f"| {one.option} {one.value} | {one.seconds:.2f} | {ratio:.2f} | {ratio / one.units:.2f} |")
    return "\n".join(lines)


def as_dict(peaks: Peaks, steps: list[Step], growth: list[Growth]) -> dict[str, Any]:
    """For machines; `reached` is the floor over the seconds."""
    return {
        "peaks": asdict(peaks),
        "steps": [
            {**asdict(step), "floor": step.floor(peaks), "reached": step.floor(peaks) / step.seconds} for step in steps
        ],
        "growth": [asdict(one) for one in growth],
    }
