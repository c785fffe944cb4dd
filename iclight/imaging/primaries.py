"""Which colours red, green, blue and white are: chromaticities, and the matrices between spaces of linear light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]  # 3x3, for column vectors

# x and y of red, green, blue and white (ITU-R BT.709, BT.2020, SMPTE EG 432-1: Display P3).
D65 = (0.3127, 0.3290)
BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *D65)
BT2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65)
P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65)
# What profiles connect by: XYZ of a D50 white (ICC.1).
D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_xyz(chromaticities: Sequence[float]) -> Matrix:
    """Linear RGB of these primaries (x and y of red, green, blue, white) -> XYZ, adapted to D50 (Bradford).

    Raises ValueError for chromaticities that span no space.
    """
    matrix = _own_xyz(chromaticities)
    cones, wanted = _BRADFORD @ matrix.sum(axis=1), _BRADFORD @ D50
    if (np.abs(cones) < 1e-6).any():
        raise ValueError("a white that is none")
    return np.linalg.inv(_BRADFORD) @ np.diag(wanted / cones) @ _BRADFORD @ matrix


def luminance_weights(chromaticities: Sequence[float]) -> NDArray[np.float64]:
    """What red, green and blue of these primaries add to luminance; the sum is 1. Raises ValueError like `to_xyz`."""
    return _own_xyz(chromaticities)[1]


def _own_xyz(chromaticities: Sequence[float]) -> Matrix:
    """Linear RGB -> XYZ, in which white is their own."""
    corners = np.asarray(chromaticities, np.float64).reshape(4, 2)
    if not np.isfinite(corners).all() or corners[3, 1] <= 1e-6:
        raise ValueError("chromaticities that are no colours")
    xyz = np.stack([corners[:, 0], corners[:, 1], 1 - corners.sum(axis=1)])
    try:
        matrix = xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3] / corners[3, 1])
    except np.linalg.LinAlgError as error:
        raise ValueError("chromaticities in one line") from error
    if not np.isfinite(matrix).all():
        raise ValueError("chromaticities that are no colours")
    return matrix


# Linear sRGB from XYZ of D50.
FROM_XYZ = np.linalg.inv(to_xyz(BT709))


def is_srgb(matrix: Matrix) -> bool:
    """Whether colours whose way to linear sRGB is `matrix` are sRGB's, but for how files round chromaticities."""
    return bool(np.abs(matrix - np.eye(3)).max() < 2e-3)


def to_linear_srgb(chromaticities: Sequence[float]) -> Matrix:
    """Linear RGB of these primaries -> linear sRGB. Raises ValueError like `to_xyz`."""
    return FROM_XYZ @ to_xyz(chromaticities)
