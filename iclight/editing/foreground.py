"""The subject's own colours where its edge is soft: there a photo's pixels hold some of the old background.

Over another background they would show it, as a green rim. What the subject would be alone is estimated by blur-fusion
(Forte, "Approximate Fast Foreground Colour Estimation", 2021), in linear light, in which colours mix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imaging import crop
from ..imaging.crop import enlarged, stripes
from ..imaging.depths import Stored, to_depth
from ..imaging.guided_filter import box_mean
from ..imaging.spaces import SRGB, Space
from .gain_map import fit_matte

Floats = NDArray[np.float32]

WORK_SIDE = 1024  # means are taken at this longer side; they are smooth
# The windows' reaches as shares of the longer side: from far, to know both sides of a broad edge, to near. Two, as in
# the paper, leave twice as much of the old background.
REACHES = (0.16, 0.08, 0.04, 0.02, 0.01, 0.005)


def foreground_colours(image: Stored, alpha: Floats, space: Space = SRGB) -> Any:
    """A photo (HxWx3, uint8 or uint16) with the old background taken out of its soft edges.

    `alpha` HxWx1 is the subject's matte. Pixels that are wholly the subject, or none of it, stay to the byte. A
    stripe at a time: memory is the result's.
    """
    height, width = image.shape[:2]
    subject, behind = _means(image, alpha, space)
    pure = image.copy()
    for rows in stripes(height):
        cover = alpha[rows]
        soft = (cover > 0) & (cover < 1)
        if not soft.any():
            continue
        near, far = enlarged(subject, rows, width, height), enlarged(behind, rows, width, height)
        alone = near + cover * (space.light(image[rows]) - cover * near - (1 - cover) * far)
        pure[rows] = np.where(soft, space.pixels(alone, image.dtype), image[rows])
    return pure


def _means(image: Stored, alpha: Floats, space: Space) -> tuple[Floats, Floats]:
    """The subject's and the background's colours near each pixel, hxwx3 linear light, at `WORK_SIDE`."""
    height, width = image.shape[:2]
    shrink = min(1.0, WORK_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    light = space.light(crop.resize_and_center_crop(to_depth(image, np.uint8), *size))
    cover = fit_matte(alpha, image.shape, *size)
    subject = behind = light
    for reach in REACHES:
        mean = box_mean(max(1, round(reach * max(size))))
        share = mean(cover)
        near = mean(subject * cover) / (share + np.float32(1e-5))
        far = mean(behind * (1 - cover)) / (1 - share + np.float32(1e-5))
        subject = (near + cover * (light - cover * near - (1 - cover) * far)).clip(0, 1)
        behind = far
    return near, far
