"""A matte's edges: a coarse matte brought to a photo's own resolution along the photo's own edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .guided_filter import box_mean, enlarged_fit, local_fit

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

WORK_SIDE = 1024  # edges are followed at this longer side and the fit is applied to the whole picture
# The window's reach as a share of the longer side: as far as a network of 320 pixels errs. By `benchmarks.matting`.
REACH = 0.015
# The variance of colours in [0, 1] below which a window has no edge to follow.
FLAT = 1e-4
STEEPER = 1.4  # the filter seldom reaches 0 and 1 by itself
# A network is sure of a pixel beyond these values.
SURE_BEHIND, SURE_SUBJECT = 0.02, 0.98


def refine_edges(image: Pixels, coarse: Floats) -> Floats:
    """The matte of a HxWx3 uint8 photo from a coarse one (hxw or hxwx1 in [0, 1], any size): HxWx1 float32 in [0, 1].

    A guided filter (He et al. 2013) makes the matte locally linear in the photo's colours. Only the uncertain band and
    what is near it change; what is surely subject is 1, and what surely is not, 0.
    """
    height, width = image.shape[:2]
    shrink = min(1.0, WORK_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    work = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    matte = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    radius = max(2, round(REACH * max(size)))
    mean = box_mean(radius)
    guides = np.split(work.astype(np.float32) / np.float32(255), 3, axis=2)
    slopes, offset = local_fit(guides, matte[..., None], mean, FLAT)
    refined = enlarged_fit([mean(slope) for slope in slopes], mean(offset), image)
    refined = (refined - np.float32(0.5)) * np.float32(STEEPER) + np.float32(0.5)
    # Far from the outline the coarse matte decides: texture inside must not turn into holes.
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    least = cv2.erode((matte > SURE_SUBJECT).astype(np.float32), near)
    most = cv2.dilate((matte > SURE_BEHIND).astype(np.float32), near)
    bounds = (cv2.resize(bound, (width, height)) for bound in (least, most))
    return refined.clip(*bounds).clip(0, 1)[..., None]
