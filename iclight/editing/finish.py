"""Keep the photograph, change its light: what a relighting did, applied to the original pixels.

A relit picture is small and re-drawn; what it knows is the light. `measure_gain` measures that as a gain, log2(relit /
source) in linear light, smoothed by an edge-aware filter so that the model's redrawn texture stays out of it.
`apply_light` multiplies the original file by it at its own resolution, stripe by stripe, so memory is the picture's own
and a little. `transfer_detail` stays at the model's size: the relighting's low frequencies, the source's high ones.

No model runs here. Pictures are HxWx3 uint8 sRGB, mattes HxWx1 float32 in [0, 1]. A native finish is in the photo's
colours, and in its depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..imaging import crop, images
from ..imaging.colour import LINEAR, to_srgb
from ..imaging.crop import enlarged, placed, stripes
from ..imaging.depths import Stored, to_depth
from ..imaging.spaces import SRGB, Native, Space
from ..parameters import PARAMETERS
from .foreground import foreground_colours
from .gain_map import FLOOR, GainMap, blurred, fit_matte, gain_planes, measure_gain

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def apply_light(
    source: Stored,
    light: GainMap,
    alpha: Floats | None = None,
    strength: float = 1.0,
    background: Stored | None = None,
    space: Space = SRGB,
) -> Any:
    """The source at its own resolution (HxWx3, uint8 or uint16, as is the result) under a light.

    `strength` 0 leaves it as it is, more than 1 overdoes it.
    `alpha` HxWx1 is the source's matte at its own size; None enlarges the light's. Outside of the matte, `background`
    (HxWx3) shows, by default the source itself, unchanged to the byte. Edges are mixed in linear light. `space`: the
    colours of the source and of the background, in which the result is, too.
    """
    images.check_pixels(source, (np.uint8, np.uint16))
    check_strength(strength)
    height, width = source.shape[:2]
    if background is not None and background.shape != source.shape:
        raise ImageError(
            "The background is {size}, the picture {wanted}; give one of the picture's size.",
            size=f"{background.shape[1]}x{background.shape[0]}",
            wanted=f"{width}x{height}",
        )
    made = source.copy() if background is None else background.copy()
    if strength == 0 and background is None:
        return made
    gain_of = gain_planes(light, source, space)
    matte = light.matte if alpha is None else None
    for rows in stripes(height):
        part = source[rows]
        cover = enlarged(matte, rows, width, height) if alpha is None else alpha[rows]  # type: ignore[arg-type]
        inside = cover[..., 0] > 0
        if not inside.any():
            continue
        gain = gain_of(part, rows)
        lit = space.brightened(space.light(part), np.exp2(np.float32(strength) * gain), FLOOR)
        behind = made[rows]
        ground = space.light(behind)
        pixels = space.pixels(ground + cover * (lit.clip(0, 1) - ground), made.dtype)
        made[rows] = np.where(inside[..., None], pixels, behind)
    return made


def finished(
    made: Sequence[Pixels],
    picture: Pixels,
    alpha: Floats,
    kind: str = "native",
    strength: float = 1.0,
    background: str = "new",
    behind: Pixels | None = None,
    cut_out_already: bool = False,
    native: Native | None = None,
) -> tuple[list[Any], GainMap | None]:
    """A request's relit pictures (hxwx3), finished, and the light that "native" measured, else None.

    `picture` and `alpha` are the source and its matte, whole. `kind`: "model" or "detail" (one picture of the model's
    size for each of `made`), or "native" (one of the source's size for all of them). `background`: "new", "original",
    "own" (`behind`, cropped to fill) or "transparent" (HxWx4). At strength 0 new and original are the source itself.
    Where the background is replaced, the old one is taken out of soft edges (`foreground_colours`), unless the picture
    is `cut_out_already`: with alpha of its own, its colours are the subject's alone. `native`: the source in its own
    space, in which a "native" finish then is, too, and in as many bits.
    """
    check_strength(strength)
    if background == "own" and behind is None:
        raise ImageError("Give the picture to put behind the subject, or choose another background.")
    if kind == "native":
        light = measure_gain(made, picture, alpha)
        native = native or Native(picture, SRGB)
        return [_native(made[0], native, alpha, light, strength, background, behind, cut_out_already)], light
    size = made[0].shape[1], made[0].shape[0]
    shown = crop.resize_and_center_crop(picture, *size)
    matte = fit_matte(alpha, picture.shape, *size)
    if kind == "detail":
        made = [transfer_detail(one, picture, alpha) for one in made]
    lit = [_towards(one, shown, strength) for one in made]
    if background == "new":
        return lit, None
    if background == "transparent":
        return [cut_out(foreground_colours(one, matte), matte) for one in lit], None
    ground = shown if behind is None or background == "original" else crop.resize_and_center_crop(behind, *size)
    if background == "own":
        lit = [foreground_colours(one, matte) for one in lit]
    return [_over(ground, one, matte) for one in lit], None


def _native(
    relit: Pixels,
    native: Native,
    alpha: Floats,
    light: GainMap,
    strength: float,
    background: str,
    behind: Pixels | None,
    cut_out_already: bool,
) -> Any:
    picture, space = native.pixels, native.space
    height, width = picture.shape[:2]
    if background == "original" or (background == "new" and strength == 0):
        return apply_light(picture, light, alpha, strength, space=space)
    subject = picture if cut_out_already else foreground_colours(picture, alpha, space)
    if background == "transparent":
        # Colours go on a little way under the matte's edge, so that it stays clean over whatever comes behind.
        everywhere = np.broadcast_to(np.float32(1), alpha.shape)
        return cut_out(apply_light(subject, light, everywhere, strength, space=space), alpha)
    if background == "own":
        assert behind is not None
        ground = to_depth(space.of_srgb(crop.resize_and_center_crop(behind, width, height)), picture.dtype)
    else:
        hidden = fit_matte(alpha, picture.shape, relit.shape[1], relit.shape[0])
        ground = to_depth(placed(space.of_srgb(relit), width, height, hidden), picture.dtype)
        if strength < 1:  # on the way to the photo itself, which is what strength 0 gives
            ground = cv2.addWeighted(ground, strength, picture, 1 - strength, 0)
            subject = cv2.addWeighted(subject, strength, picture, 1 - strength, 0)
    return apply_light(subject, light, alpha, strength, ground, space)


def _towards(made: Pixels, shown: Pixels, strength: float) -> Pixels:
    """From the source to its relighting and beyond, in stops; exactly either at 0 and 1."""
    if strength in (0, 1):
        return (made if strength else shown).copy()
    before, after = np.log2(LINEAR[shown] + FLOOR), np.log2(LINEAR[made] + FLOOR)
    lit = np.exp2(before + np.float32(strength) * (after - before)) - FLOOR
    return (to_srgb(lit) * 255 + 0.5).astype(np.uint8)


def _over(ground: Pixels, subject: Pixels, matte: Floats) -> Pixels:
    """The subject over a ground, mixed in linear light; the ground stays to the byte where the matte is 0."""
    mixed = to_srgb(LINEAR[ground] + matte * (LINEAR[subject] - LINEAR[ground]))
    return np.where(matte > 0, (mixed * 255 + 0.5).astype(np.uint8), ground)


def transfer_detail(relit: Pixels, source: Pixels, alpha: Floats, radius: float = 1 / 48) -> Pixels:
    """The relit picture (hxwx3) with the source's detail: its low frequencies, times the source's high ones.

    The source (HxWx3) is cropped as the engine crops it, so the two lie on one another. `radius` is the Gaussian's
    sigma as a share of the shorter side. Ratios of linear light; only inside the matte, with its feather.
    """
    height, width = relit.shape[:2]
    shown = crop.resize_and_center_crop(source, width, height)
    matte = fit_matte(alpha, source.shape, width, height)
    sigma = max(1.0, radius * min(width, height))
    before, after = LINEAR[shown], LINEAR[relit]
    # Weighted by the matte: what is behind the subject is no part of its low frequencies.
    smooth = [blurred(np.log2(x + FLOOR) * matte, sigma) / blurred(matte, sigma).clip(1e-3) for x in (before, after)]
    detail = np.log2(before + FLOOR) - smooth[0]
    lit = np.exp2(smooth[1] + detail) - FLOOR
    mixed = to_srgb(after + matte * (lit.clip(0, 1) - after))
    return (mixed * 255 + 0.5).astype(np.uint8)


def cut_out(pixels: Stored, alpha: Floats) -> Any:
    """HxWx4: the picture (HxWx3, uint8 or uint16) with its matte as transparency (straight alpha)."""
    made = np.empty((*pixels.shape[:2], 4), pixels.dtype)
    made[..., :3] = pixels
    opaque = np.float32(np.iinfo(pixels.dtype).max)
    for rows in stripes(len(made)):
        made[rows, :, 3] = alpha[rows, :, 0] * opaque + np.float32(0.5)
    return made


def check_strength(strength: float) -> None:
    """Raise ImageError unless a strength is within the range of `finish_strength`."""
    known = PARAMETERS["finish_strength"]
    if not known.minimum <= strength <= known.maximum:
        raise ImageError(
            "The strength of a finish is {strength:g}, but it takes {range}.",
            strength=strength,
            range=known.range_text(),
        )
