"""The light that a relighting put on a picture, measured as a gain: log2(relit / source) in linear light.

A relit picture is small and redrawn; what it knows is the light. The gain is smoothed by an edge-aware filter, so that
redrawn texture stays out of it, and brought to the source's own resolution along the source's own edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from . import images
from .colour import LINEAR, LUMINANCE
from .errors import ImageError
from .placing import enlarged

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# What a gain is measured against: below this much linear light a ratio says nothing.
FLOOR = 0.004
# How much the gain may follow the source's own edges (He et al. 2013: the regulariser of a local linear fit).
EDGES = 0.02
# Gains are clamped to this many stops: beyond it, noise is all that would be brightened.
LIMIT = 4.0


@dataclass(frozen=True)
class Light:
    """What a relighting did to a picture: `gain` hxwx3 in stops (log2), and `matte` hxwx1, where it holds.

    It covers the source as the engine cropped it: scaled to fill h x w, cut at the centre.
    """

    gain: Floats
    matte: Floats


def light_of(relit: Sequence[Pixels], source: Pixels, alpha: Floats, radius: float = 1 / 24) -> Light:
    """The light that the relightings (hxwx3, all of one size) put on a source picture (HxWx3) with its matte (HxWx1).

    Several relightings of one request are averaged in the log, which their blotches do not survive and the light does.
    `radius` is the smoothing window's, as a share of the shorter side; the fit follows the edges of the source's log
    luminance (guided filter, He et al. 2013), with the matte as weights so that nothing leaks over the silhouette.
    Raises ImageError when there is nothing to measure.
    """
    if not relit or any(picture.shape != relit[0].shape for picture in relit):
        raise ImageError("A light is measured from one relit picture or more, all of one size.")
    height, width = relit[0].shape[:2]
    shown = images.resize_and_center_crop(source, width, height)
    matte = fit_matte(alpha, source.shape, width, height)
    if float(matte.max()) < 0.01:
        raise ImageError("The matte is empty: there is no subject to light. Paint one, or use matting none.")
    before = np.log2(LINEAR[shown] + FLOOR)
    after = np.mean([np.log2(LINEAR[picture] + FLOOR) for picture in relit], axis=0)
    gain = np.clip(after - before, -LIMIT, LIMIT).astype(np.float32)
    reach = max(2, round(radius * min(width, height)))
    return Light(_guided(gain, _guide(shown), matte, reach), matte)


def fit_matte(alpha: Floats, shape: tuple[int, ...], width: int, height: int) -> Floats:
    """A picture's matte, cropped and scaled as the engine crops the picture: height x width x 1."""
    if alpha.shape[:2] != tuple(shape[:2]):
        raise ImageError(f"The matte is {alpha.shape[1]}x{alpha.shape[0]}, the picture {shape[1]}x{shape[0]}.")
    grey = np.repeat((np.clip(alpha, 0, 1) * 255 + 0.5).astype(np.uint8), 3, axis=2)
    return (images.resize_and_center_crop(grey, width, height)[..., :1] / 255).astype(np.float32)


def _guide(pixels: Pixels) -> Floats:
    """Log luminance, HxWx1: the edges that light may have."""
    luminance = cv2.transform(LINEAR[pixels], np.array([LUMINANCE], np.float32))
    return (np.log2(luminance + np.float32(0.02)) / 4)[..., None]


def _fit(gain: Floats, guide: Floats, weight: Floats, reach: int) -> tuple[Floats, Floats]:
    """Slope and offset (hxwx3 each) of the weighted local fit gain = slope * guide + offset."""
    # Far from the subject no weight is left; there the nearest light goes on.
    weight = weight + np.float32(1e-4)
    total = blurred(weight, reach / 2)

    def mean(x: Floats) -> Floats:
        return blurred(weight * x, reach / 2) / total

    centre, level = mean(guide), mean(gain)
    variance = mean(guide * guide) - centre * centre
    slope = (mean(guide * gain) - centre * level) / (variance.clip(0) + np.float32(EDGES))
    return mean(slope), mean(level - slope * centre)


def _guided(gain: Floats, guide: Floats, weight: Floats, reach: int) -> Floats:
    slope, offset = _fit(gain, guide, weight, reach)
    return np.clip(slope * guide + offset, -LIMIT, LIMIT).astype(np.float32)


def gain_planes(light: Light, source: Pixels) -> Callable[[Pixels, slice], Floats]:
    """The gain at the source's own resolution: a function of a stripe of it (rxWx3) and of its rows, rxWx3 in stops.

    The gain is fitted to the source's edges at the gain's size; slope and offset, enlarged, keep them sharp at any
    (He and Sun 2015).
    """
    small_height, small_width = light.gain.shape[:2]
    guide = _guide(images.resize_and_center_crop(source, small_width, small_height))
    planes = _fit(light.gain, guide, light.matte, max(2, round(min(small_width, small_height) / 96)))
    height, width = source.shape[:2]

    def gain_of(part: Pixels, rows: slice) -> Floats:
        slope, offset = (enlarged(plane, rows, width, height) for plane in planes)
        return np.clip(slope * _guide(part) + offset, -LIMIT, LIMIT)

    return gain_of


def blurred(x: Floats, sigma: float) -> Floats:
    """A Gaussian's smoothing of hxwxC, mirrored at the borders."""
    made = cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return (made if made.ndim == 3 else made[..., None]).astype(np.float32)
