"""The guided filter (He et al. 2013): a plane made locally linear in its guides, so that its edges become theirs.

Near each pixel a target is fitted as slope . guides + offset; the window that "near" means is the caller's, a box or
anything else that averages. A fit on a small picture may be enlarged and applied to the large one (He and Sun 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mean = Callable[[Floats], Floats]


def box_mean(radius: int) -> Mean:
    """The mean over a square of 2 radius + 1 pixels, mirrored at the borders, for HxWxC float32."""

    def mean(x: Floats) -> Floats:
        average = cv2.boxFilter(x, -1, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)
        return average.reshape(x.shape)

    return mean


def local_fit(guides: Sequence[Floats], target: Floats, mean: Mean, ridge: float) -> tuple[list[Floats], Floats]:
    """Each pixel's linear fit of the target to the guides over its window: a slope for each guide, and the offset.

    `guides` HxWx1 each, `target` HxWxC, all float32; slopes and offset are HxWxC, and not smoothed yet: He et al. take
    their `mean` before they are applied. `ridge`, in squared units of the guides, is the variance below which a window
    counts as flat: larger smooths more, smaller follows noise.
    """
    centres, level = [mean(guide) for guide in guides], mean(target)
    count = len(guides)
    # The normal equations, a row for each guide: covariances with the guides from itself on, then with the target.
    rows: list[list[Floats]] = [
        [mean(guides[i] * guides[j]) - centres[i] * centres[j] for j in range(i, count)]
        + [mean(guides[i] * target) - centres[i] * level]
        for i in range(count)
    ]
    for row in rows:
        row[0] = row[0].clip(0) + np.float32(ridge)
    for i, row in enumerate(rows):  # Gauss: what is under the diagonal is in the rows above, by symmetry
        for j in range(i + 1, count):
            share = row[j - i] / row[0]
            rows[j] = [one - share * other for one, other in zip(rows[j], row[j - i :], strict=True)]
    slopes: list[Floats] = []
    for variance, *shared, rest in reversed(rows):
        for covariance, slope in zip(shared, slopes, strict=True):
            rest = rest - covariance * slope
        slopes.insert(0, rest / variance)
    offset = level
    for slope, centre in zip(slopes, centres, strict=True):
        offset = offset - slope * centre
    return slopes, offset


def enlarged_fit(slopes: Sequence[Floats], offset: Floats, image: NDArray[np.uint8]) -> Floats:
    """A fit (hxwx1 each) to the channels in [0, 1] of a small picture, applied to the large HxWx3 uint8 one: HxW."""
    size = (image.shape[1], image.shape[0])
    applied = cv2.resize(offset, size)
    for channel, slope in enumerate(slopes):  # one by one: three maps of a large picture at once are too much
        applied += cv2.resize(slope, size) * (image[..., channel] * np.float32(1 / 255))
    return applied
