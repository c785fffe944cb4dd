"""From a picture to its subject: a network's matte, and the subject on grey, as the reference has them to the digit.

A picture is HxWx3 uint8 RGB, a matte HxWx1 float32 in [0, 1]. Where there is no network, `grabcut` makes the matte.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from briarmbg import BriaRMBG, U2NetP
from briarmbg.u2net import SIDE

from .diffusion.acceleration import Memory, fingerprints
from .diffusion.tensors import SelectedSource, check_names, open_tensors
from .errors import ImageError, ModelError, WeightsError
from .imaging import crop, images
from .imaging.matte_edges import refine_edges

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Flags = NDArray[np.bool_]

# The network halves its input six times, so sides come in steps of 64; 16 x 16 of them make the megapixel it expects.
CELL, CELLS = 64, 256
FULL_WIDTH = 64  # channels of RMBG's first layer
# ImageNet's mean and deviation, channel by channel, which U²-Net was trained with.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def feed_size(width: int, height: int) -> tuple[int, int]:
    """The (width, height) at which the network sees a picture: multiples of 64 of its aspect, about one megapixel.

    The reference fails where a side rounds to 0; here a side is at least one cell. Since such strips no longer keep to
    the area, the longer side is at most all the cells (the area laid out in one row), which bounds the memory.
    """
    scale = math.sqrt(CELLS / (width * height))
    across, down = (min(max(round(side * scale), 1), CELLS) for side in (width, height))
    return CELL * across, CELL * down


@torch.inference_mode()
def estimate_matte(
    network: torch.nn.Module, image: Pixels, *, unit_range: bool = False, memory: Memory | None = None
) -> Floats:
    """The network's matte of a HxWx3 uint8 picture: HxWx1 float32 in [0, 1].

    `network`: a `BriaRMBG` in eval mode; it runs on its own device, in float32, at about a megapixel. It is fed
    x / 127 - 1, as the reference feeds RMBG; with `unit_range` x / 255, which is what Open RMBG (ormbg) was trained on.
    What it answers stays in `memory`, where there is one.
    Raises ImageError for anything but such a picture, ModelError when the network's output is not finite.
    """
    height, width = images.check_pixels(image)
    resized = crop.resize(image, *feed_size(width, height))
    feed = torch.from_numpy(resized).to(next(network.parameters()).device).float()[None].movedim(-1, 1)
    feed = feed / 255.0 if unit_range else feed / 127.0 - 1.0
    matte = _remembered(memory, network, feed, lambda: network(feed)[0][0])
    _check_finite(matte)
    matte = torch.nn.functional.interpolate(matte, size=(height, width), mode="bilinear", align_corners=False)
    return matte[0].movedim(0, -1).clamp(0, 1).float().cpu().numpy()


@torch.inference_mode()
def estimate_saliency(network: torch.nn.Module, image: Pixels, *, memory: Memory | None = None) -> Floats:
    """A `U2NetP`'s matte of a HxWx3 uint8 picture: HxWx1 float32 in [0, 1].

    As its authors run it: fed by `saliency_feed`, the output stretched to fill [0, 1]; then its edges follow the
    picture's (`refine_edges`). `memory` and what is raised: as for `estimate_matte`.
    """
    images.check_pixels(image)
    feed = saliency_feed(image).to(next(network.parameters()).device)
    saliency = _remembered(memory, network, feed, lambda: network(feed))
    low, high = saliency.min(), saliency.max()
    _check_finite(high)
    return refine_edges(image, ((saliency - low) / (high - low).clamp(min=1e-6))[0, 0].cpu().numpy())


def saliency_feed(image: Pixels) -> torch.Tensor:
    """What a `U2NetP` is fed of a HxWx3 uint8 picture: 1x3x320x320, its brightest value 1, then ImageNet's scale."""
    feed = crop.resize(image, SIDE, SIDE).astype(np.float32)
    feed = (feed / max(feed.max(), 1) - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return torch.from_numpy(feed)[None].movedim(-1, 1)


def _remembered(
    memory: Memory | None, network: torch.nn.Module, feed: torch.Tensor, ask: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """What `ask` gives, which is the network's answer to `feed`: a megapixel at most, however large the photo is."""
    return ask() if memory is None else memory((network, fingerprints([feed.cpu().numpy()])), ask)


def _check_finite(matte: torch.Tensor) -> None:
    if not bool(torch.isfinite(matte).all()):
        raise ModelError("The matting network's output is not finite; its weights are damaged. Fetch them again.")


def load_matting_network(path: str | Path, device: str | torch.device = "cpu") -> BriaRMBG | U2NetP:
    """The matting network in a .safetensors or PyTorch file, float32, in eval mode, on `device`.

    A PyTorch file may hold the tensors as they are or under "state_dict" or "model", with or without a "module."
    prefix; nothing in it is executed. Which network it is, and how wide, is told by its layers. Raises WeightsError
    when the file cannot be read, ModelError when it holds some other network.
    """
    if not os.path.isfile(path):
        raise WeightsError(
            "The matting weights {path} are not there; `iclight models` says how to get them.", path=path
        )
    file = open_tensors(Path(path))
    source = SelectedSource(file, {name.removeprefix("module."): name for name in file.shapes})
    first = source.shapes.get("conv_in.weight", ())
    narrow = len(first) == 4 and first[0] in range(4, FULL_WIDTH, 4)
    with torch.device("meta"):  # filling 44 M parameters at random first would be for nothing
        if "outconv.weight" in source.shapes:
            network: BriaRMBG | U2NetP = U2NetP()
        else:
            network = BriaRMBG(width=first[0] if narrow else FULL_WIDTH)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check_names(source, expected, f"{type(network).__name__}, the matting network")
    weights = {name: source.read(name) for name in expected}
    network.load_state_dict({k: w.float() if w.is_floating_point() else w for k, w in weights.items()}, assign=True)
    return network.eval().requires_grad_(False).to(device)


def prepare_foreground(image: Pixels, alpha: NDArray[Any], sigma: float = 0.0) -> Pixels:
    """The subject on grey: 127 + (image - 127 + sigma) * alpha, clipped and truncated to HxWx3 uint8.

    `image`: HxWx3 uint8. `alpha`: HxW or HxWx1; floats in [0, 1], bool, or integers that fill their range (uint8 0-255,
    uint16 0-65535; other integers only as 0 and 1). `sigma` brightens the subject, in grey levels (16 for normals).
    Raises ImageError when the shapes do not fit or alpha leaves its range.
    """
    images.check_pixels(image)
    matte = _unit_alpha(np.asarray(alpha))
    if matte.shape[:2] != image.shape[:2]:
        raise ImageError(
            "The matte is {size}, the picture {wanted}; give a matte of the picture's size.",
            size=f"{matte.shape[1]}x{matte.shape[0]}",
            wanted=f"{image.shape[1]}x{image.shape[0]}",
        )
    foreground = np.empty_like(image)
    for rows in crop.stripes(image.shape[0], 32):  # what a stripe takes stays in the processor's cache
        part = image[rows].astype(np.float32)
        part += np.float32(sigma) - np.float32(127)
        part *= matte[rows]
        part += 127
        foreground[rows] = part.clip(0, 255, out=part)
    return foreground


def _unit_alpha(alpha: NDArray[Any]) -> Floats:
    if alpha.ndim == 2:
        alpha = alpha[..., None]
    if alpha.ndim != 3 or alpha.shape[2] != 1:
        raise ImageError("The matte has shape {shape}; give HxW or HxWx1.", shape=alpha.shape)
    if alpha.dtype in (np.uint8, np.uint16):
        return alpha.astype(np.float32) / np.float32(np.iinfo(alpha.dtype).max)
    if alpha.dtype.kind not in "biuf":
        raise ImageError(
            "The matte has values of type {type}; give floats from 0 to 1, uint8 or bool.", type=alpha.dtype
        )
    if not np.isfinite(alpha).all():
        raise ImageError("The matte has values that are not finite (NaN or infinity); replace them by 0 to 1.")
    if alpha.min(initial=0) < 0 or alpha.max(initial=0) > 1:
        raise ImageError(
            "The matte has values from {lowest:g} to {highest:g} as {type}; scale it to 0 to 1, or give uint8 "
            "from 0 to 255.",
            lowest=alpha.min(),
            highest=alpha.max(),
            type=alpha.dtype,
        )
    return alpha.astype(np.float32, copy=False)
