"""Strengthen a light that a model drew too timidly: what it changed against even light, once more.

Where a model takes its light as a condition, the sampler guides it (`sampler.LightGuidance`). Where light is only the
picture that sampling starts from, the gain between two runs of the same noise, one lit and one under even light, says
what the light does; the finished picture is multiplied by it again. Pictures are HxWx3 uint8 sRGB.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..imaging.colour import LINEAR, LUMINANCE, quick_srgb
from ..imaging.crop import stripes
from .gain_map import GainMap, fit_matte, gain_planes, measure_gain

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# What the background takes of the subject's extra light: walls near a lamp burn out long before a face is lit.
BACKGROUND = 0.5
# Below this share of the picture there is no side to measure a light on.
LEAST_SHARE = 0.01


def strengthen(picture: Pixels, lit: Pixels, even: Pixels, alpha: Floats, strength: float) -> Pixels:
    """A picture with its light at another strength.

    `picture`: HxWx3, the relighting. `lit`, `even`: hxwx3, the first pass under the light and under even light, of one
    noise. `alpha`: the source's matte, H'xW'x1 in [0, 1]. `strength`: 1 leaves the picture as it is, 2 adds as many
    stops of difference as the light made, 0 takes them away.

    The subject's mean brightness stays: the gain is taken from its mean over the matte, and so is the background's.
    """
    if strength == 1:
        return picture
    height, width = even.shape[:2]
    matte = fit_matte(alpha, alpha.shape, width, height)
    cover = fit_matte(alpha, alpha.shape, picture.shape[1], picture.shape[0])
    gains = [
        (gain_planes(_times(_anchored(measure_gain([lit], even, part)), share * (strength - 1)), picture), weight)
        for part, weight, share in ((matte, cover, 1.0), (1 - matte, 1 - cover, BACKGROUND))
        if part.mean() >= LEAST_SHARE
    ]
    result = np.empty_like(picture)
    for rows in stripes(len(picture)):
        stops = np.zeros(picture[rows].shape, np.float32)
        for gain_of, weight in gains:
            stops += weight[rows] * gain_of(picture[rows], rows)
        result[rows] = quick_srgb(expose(LINEAR[picture[rows]], stops))
    return result


def expose(linear: Floats, stops: Floats) -> Floats:
    """Linear light in [0, 1] under a gain in stops, without burning: brighter goes towards 1 and never beyond.

    1 - (1 - x)^(2^stops) is 2^stops x in the shadows and bends towards white as film does; darker is plain scaling.
    """
    brighter = 1 - (1 - linear) ** np.exp2(stops.clip(0))
    return brighter * np.exp2(stops.clip(None, 0))


def _anchored(light: GainMap) -> GainMap:
    luminance = light.gain @ np.asarray(LUMINANCE, np.float32)
    return replace(light, gain=light.gain - np.average(luminance, weights=light.matte[..., 0]).astype(np.float32))


def _times(light: GainMap, factor: float) -> GainMap:
    return replace(light, gain=light.gain * np.float32(factor))
