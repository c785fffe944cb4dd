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

from ..errors import ImageError
from ..imaging import crop
from ..imaging.colour import LINEAR
from ..imaging.crop import enlarged, stripes
from ..imaging.depths import Stored, to_depth
from ..imaging.guided_filter import Mean, local_fit
from ..imaging.spaces import SRGB, Space

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# Added to both sides of the ratio, and taken off again where the gain is applied: below this much linear light a ratio
# says nothing, and where the model drew light into black, multiplying black would not.
FLOOR = 0.004
# How readily the gain follows edges (He et al. 2013: the regulariser of a local linear fit), of the source's and of the
# relit picture's log luminance. Smaller follows noise, larger blurs shadows' edges; by `benchmarks.finish`.
EDGES = 0.005
# Gains are clamped to this many stops: beyond it, noise is all that would be brightened.
LIMIT = 4.0
# Both pictures are blurred by this many of the model's pixels before they are compared: what it redrew, smeared or
# sharpened, is texture and no light. Without it the ratio would take away just the texture that the model had lost.
SOFT = 1.0
# The smoothing window's reach as a share of the shorter side.
RADIUS = 1 / 24


@dataclass(frozen=True)
class GainMap:
    """What a relighting did to a picture: `gain` hxwx3 in stops (log2), and `matte` hxwx1, where it holds.

    It covers the source as the engine cropped it: scaled to fill h x w, cut at the centre.
    """

    gain: Floats
    matte: Floats


def measure_gain(relit: Sequence[Pixels], source: Pixels, alpha: Floats, radius: float = RADIUS) -> GainMap:
    """The light that the relightings (hxwx3, all of one size) put on a source picture (HxWx3) with its matte (HxWx1).

    Several relightings of one request are averaged in the log, which their blotches do not survive and the light does.
    `radius` is the smoothing window's, as a share of the shorter side. The smoothing is a local linear fit to two
    guides (guided filter, He et al. 2013): the source's log luminance, whose edges are the subject's, and the relit
    picture's, whose strong edges are shadows'. The matte weighs it, so that nothing leaks over the silhouette.
    Raises ImageError when there is nothing to measure.
    """
    if not relit or any(picture.shape != relit[0].shape for picture in relit):
        raise ImageError("A light is measured from one relit picture or more, all of one size.")
    height, width = relit[0].shape[:2]
    shown = crop.resize_and_center_crop(source, width, height)
    matte = fit_matte(alpha, source.shape, width, height)
    if float(matte.max()) < 0.01:
        raise ImageError("The matte is empty: there is no subject to light. Paint one, or use matting none.")
    before, after = _stops(shown), _mean([_stops(picture) for picture in relit])
    soft = _weighed_mean(matte, SOFT)
    guides = soft(_guide(shown)), soft(_mean([_guide(picture) for picture in relit]))
    gain = soft(np.clip(after - before, -LIMIT, LIMIT))
    return GainMap(_smoothed(gain, guides, matte, max(1.0, radius * min(width, height) / 2)), matte)


def fit_matte(alpha: Floats, shape: tuple[int, ...], width: int, height: int) -> Floats:
    """A picture's matte, cropped and scaled as the engine crops the picture: height x width x 1."""
    if alpha.shape[:2] != tuple(shape[:2]):
        raise ImageError(
            "The matte is {size}, the picture {wanted}.",
            size=f"{alpha.shape[1]}x{alpha.shape[0]}",
            wanted=f"{shape[1]}x{shape[0]}",
        )
    # A stripe at a time: a camera file's matte as floats is large enough once.
    grey = np.empty(alpha.shape[:2], np.uint8)
    for rows in stripes(alpha.shape[0]):
        grey[rows] = np.clip(alpha[rows, :, 0], 0, 1) * 255 + 0.5
    return (crop.resize_and_center_crop(grey, width, height)[..., None] / 255).astype(np.float32)


def _stops(pixels: Pixels) -> Floats:
    """Log2 of linear light, HxWx3."""
    return np.log2(LINEAR[pixels] + np.float32(FLOOR))


def _mean(planes: Sequence[Floats]) -> Floats:
    return np.mean(planes, axis=0, dtype=np.float32)


def _guide(pixels: Stored, space: Space = SRGB) -> Floats:
    """Log luminance, HxWx1: the edges that light may have."""
    luminance = cv2.transform(space.light(pixels), np.array([space.luminance], np.float32))
    return (np.log2(luminance + np.float32(0.02)) / 4)[..., None]


def _smoothed(gain: Floats, guides: tuple[Floats, Floats], matte: Floats, sigma: float) -> Floats:
    """The gain (hxwx3) as locally linear in two guides (hxwx1 each), over Gaussian windows weighed by the matte."""
    mean = _weighed_mean(matte, sigma)
    slopes, offset = local_fit(guides, gain, mean, EDGES)
    smooth = mean(slopes[0]) * guides[0] + mean(slopes[1]) * guides[1] + mean(offset)
    return np.clip(smooth, -LIMIT, LIMIT)


def _weighed_mean(matte: Floats, sigma: float) -> Mean:
    # Far from the subject no weight is left; there the nearest light goes on.
    weight = matte + np.float32(1e-4)
    total = blurred(weight, sigma)
    return lambda x: blurred(weight * x, sigma) / total


def gain_planes(light: GainMap, source: Stored, space: Space = SRGB) -> Callable[[Stored, slice], Floats]:
    """The gain at the source's own resolution: a function of a stripe of it (rxWx3) and of its rows, rxWx3 in stops.

    Near each place the gain goes up and down with the source's log luminance by some slope; what is finer than the
    gain's own pixels follows it by that slope (He and Sun 2015). At the gain's own size it is the gain, unchanged.
    `space`: the source's colours.
    """
    small_height, small_width = light.gain.shape[:2]
    guide = _guide(crop.resize_and_center_crop(to_depth(source, np.uint8), small_width, small_height), space)
    mean = _weighed_mean(light.matte, max(1.0, min(small_width, small_height) / 192))
    slope = mean(local_fit([guide], light.gain, mean, EDGES)[0][0])
    planes = slope, light.gain - slope * guide
    height, width = source.shape[:2]

    def gain_of(part: Stored, rows: slice) -> Floats:
        slope, offset = (enlarged(plane, rows, width, height) for plane in planes)
        return np.clip(slope * _guide(part, space) + offset, -LIMIT, LIMIT)

    return gain_of


def blurred(x: Floats, sigma: float) -> Floats:
    """A Gaussian's smoothing of hxwxC, mirrored at the borders."""
    made = cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return (made if made.ndim == 3 else made[..., None]).astype(np.float32)
