"""ComfyUI's tensors and iclight's arrays: IMAGE is BxHxWxC float in [0, 1], MASK BxHxW."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from iclight.errors import ImageError


def pictures_of(image: torch.Tensor) -> list[Any]:
    """An IMAGE as HxWx3 (or HxWx4, with alpha) uint8 arrays, one for each of the batch."""
    pixels = (image.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return list(np.ascontiguousarray(pixels))


def masks_of(mask: torch.Tensor | None, count: int) -> list[Any]:
    """A MASK as HxW float32 arrays, one for each of `count` pictures; one alone is everybody's. None: None for each.

    Raises ImageError for another number of masks.
    """
    if mask is None:
        return [None] * count
    planes = mask.detach().cpu().float().clamp(0, 1)
    planes = planes[None] if planes.ndim == 2 else planes
    if len(planes) not in (1, count):
        raise ImageError(f"There are {len(planes)} masks for {count} pictures; give one, or one for each.")
    each: list[Any] = list(planes.numpy())
    return each * count if len(each) == 1 else each


def each_of(image: torch.Tensor | None, count: int, what: str) -> list[Any]:
    """Like `pictures_of` for an input that one picture may be for all `count`; None: None for each."""
    if image is None:
        return [None] * count
    pictures = pictures_of(image)
    if len(pictures) not in (1, count):
        raise ImageError(f"There are {len(pictures)} of {what} for {count} pictures; give one, or one for each.")
    return pictures * count if len(pictures) == 1 else pictures


def as_image(pictures: Sequence[Any]) -> torch.Tensor:
    """HxWxC uint8 arrays of one size as an IMAGE."""
    return torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)


def as_mask(mattes: Sequence[Any]) -> torch.Tensor:
    """HxWx1 float arrays of one size as a MASK."""
    return torch.from_numpy(np.stack([matte[..., 0] for matte in mattes]).astype(np.float32))
