"""Keep the photograph, change its light: what a relighting did, applied to the original pixels.

A relit picture is small and re-drawn; what it knows is the light. `light_of` measures that as a gain, log2(relit /
source) in linear light, smoothed by an edge-aware filter so that the model's redrawn texture stays out of it.
`apply_light` multiplies the original file by it at its own resolution, stripe by stripe, so memory is the picture's own
and a little. `transfer_detail` stays at the model's size: the relighting's low frequencies, the source's high ones.

No model runs here. Pictures are HxWx3 uint8 sRGB, mattes HxWx1 float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from . import images
from .colour import LUMINANCE, to_linear, to_srgb
from .errors import ImageError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# What a gain is measured against: below this much linear light a ratio says nothing.
FLOOR = 0.004
# A light layer's gains reach this many stops either way (16-bit files hold them so).
STOPS = 8.0
# How much the gain may follow the source's own edges (He et al. 2013: the regulariser of a local linear fit).
EDGES = 0.02
# Gains are clamped to this many stops: beyond it, noise is all that would be brightened.
LIMIT = 4.0
STRIPE = 256
# Full-size pixels, through a table: 8-bit sRGB to linear light.
LINEAR = to_linear(np.arange(256, dtype=np.float32) / 255)


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


def apply_light(
    source: Pixels,
    light: Light,
    alpha: Floats | None = None,
    strength: float = 1.0,
    background: Pixels | None = None,
) -> Pixels:
    """The source at its own resolution (HxWx3) under a light; `strength` 0 leaves it as it is, 1.5 overdoes it.

    `alpha` HxWx1 is the source's matte at its own size; None enlarges the light's. Outside of the matte, `background`
    (HxWx3) shows, by default the source itself, unchanged to the byte. Edges are mixed in linear light.
    """
    images.check_pixels(source)
    check_strength(strength)
    height, width = source.shape[:2]
    if background is not None and background.shape != source.shape:
        raise ImageError(
            f"The background is {background.shape[1]}x{background.shape[0]}, the picture {width}x{height}; "
            "give one of the picture's size."
        )
    made = source.copy() if background is None else background.copy()
    if strength == 0 and background is None:
        return made
    planes = _coefficients(light, source)
    matte = light.matte if alpha is None else None
    for rows in stripes(height):
        part = source[rows]
        cover = _enlarged(matte, rows, width, height) if alpha is None else alpha[rows]  # type: ignore[arg-type]
        inside = cover[..., 0] > 0
        if not inside.any():
            continue
        gain = _gain(planes, part, rows, width, height)
        lit = LINEAR[part] * np.exp2(np.float32(strength) * gain)
        behind = made[rows]
        mixed = to_srgb(LINEAR[behind] + cover * (lit.clip(0, 1) - LINEAR[behind]))
        pixels = (mixed * 255 + 0.5).astype(np.uint8)
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
) -> tuple[list[Pixels], Light | None]:
    """A request's relit pictures (hxwx3), finished, and the light that "native" measured, else None.

    `picture` and `alpha` are the source and its matte, whole. `kind`: "model" or "detail" (one picture of the model's
    size for each of `made`), or "native" (one of the source's size for all of them). `background`: "new", "original",
    "own" (`behind`, cropped to fill) or "transparent" (HxWx4). At strength 0 new and original are the source itself.
    """
    check_strength(strength)
    if background == "own" and behind is None:
        raise ImageError("Give the picture to put behind the subject, or choose another background.")
    if kind == "native":
        light = light_of(made, picture, alpha)
        return [_native(made[0], picture, alpha, light, strength, background, behind)], light
    size = made[0].shape[1], made[0].shape[0]
    shown = images.resize_and_center_crop(picture, *size)
    matte = fit_matte(alpha, picture.shape, *size)
    if kind == "detail":
        made = [transfer_detail(one, picture, alpha) for one in made]
    lit = [_towards(one, shown, strength) for one in made]
    if background == "transparent":
        return [cut_out(one, matte) for one in lit], None
    if background == "new":
        return lit, None
    ground = shown if behind is None or background == "original" else images.resize_and_center_crop(behind, *size)
    return [_over(ground, one, matte) for one in lit], None


def _native(
    relit: Pixels, picture: Pixels, alpha: Floats, light: Light, strength: float, background: str, behind: Pixels | None
) -> Pixels:
    height, width = picture.shape[:2]
    if background == "transparent":
        # Colours go on a little way under the matte's edge, so that it stays clean over whatever comes behind.
        return cut_out(apply_light(picture, light, np.ones_like(alpha), strength), alpha)
    ground = None
    if background == "own":
        assert behind is not None
        ground = images.resize_and_center_crop(behind, width, height)
    elif background == "new" and strength > 0:
        ground = placed(relit, width, height, picture)
        if strength < 1:
            ground = cv2.addWeighted(ground, strength, picture, 1 - strength, 0)
    return apply_light(picture, light, alpha, strength, ground)


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
    shown = images.resize_and_center_crop(source, width, height)
    matte = fit_matte(alpha, source.shape, width, height)
    sigma = max(1.0, radius * min(width, height))
    before, after = LINEAR[shown], LINEAR[relit]
    # Weighted by the matte: what is behind the subject is no part of its low frequencies.
    smooth = [_blur(np.log2(x + FLOOR) * matte, sigma) / _blur(matte, sigma).clip(1e-3) for x in (before, after)]
    detail = np.log2(before + FLOOR) - smooth[0]
    lit = np.exp2(smooth[1] + detail) - FLOOR
    mixed = to_srgb(after + matte * (lit.clip(0, 1) - after))
    return (mixed * 255 + 0.5).astype(np.uint8)


def cut_out(pixels: Pixels, alpha: Floats) -> Pixels:
    """HxWx4 uint8: the picture with its matte as transparency (straight alpha)."""
    return np.concatenate([pixels, (alpha * 255 + 0.5).astype(np.uint8)], axis=2)


def check_strength(strength: float) -> None:
    """Raise ImageError unless 0 <= strength <= 1.5."""
    if not 0 <= strength <= 1.5:
        raise ImageError(f"The strength of a finish is {strength:g}, but it takes a number from 0 to 1.5.")


def placed(picture: Pixels, width: int, height: int, background: Pixels) -> Pixels:
    """A small picture enlarged to where it was cropped from, in width x height filled up by `background`."""
    scale, left, top = _crop_of(picture.shape[1], picture.shape[0], width, height)
    inner = images.resize(picture, max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    made = background.copy()
    y, x = max(0, round(top)), max(0, round(left))
    part = inner[: height - y, : width - x]
    made[y : y + part.shape[0], x : x + part.shape[1]] = part
    return made


# --- light layers --------------------------------------------------------------------------------------------------


def save_layer(light: Light, path: str | Path) -> None:
    """Write a light to a file: .exr (float, linear gains) or .png (16 bits: 32768 is no change, 4096 a stop).

    Red, green and blue are gains, alpha is the matte. Raises ImageError for other endings.
    """
    target = Path(path)
    if target.suffix.lower() == ".png":
        coded = np.clip(light.gain * (32768 / STOPS) + 32768, 0, 65535)
        coded = np.concatenate([coded[..., ::-1], light.matte * 65535], axis=2)
        kept, buffer = cv2.imencode(".png", (coded + 0.5).astype(np.uint16))
        assert kept
        target.write_bytes(buffer.tobytes())
    elif target.suffix.lower() == ".exr":
        import OpenEXR

        channels = {"RGBA": np.concatenate([np.exp2(light.gain), light.matte], axis=2).astype(np.float32)}
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        with OpenEXR.File(header, channels) as file:
            file.write(str(target))
    else:
        raise ImageError(f"A light layer is a .png (16 bits) or an .exr, not {target.name}.")


def read_layer(path: str | Path) -> Light:
    """A light from its file. Raises ImageError when the file is none; NaN and infinite gains count as no change."""
    source = Path(path)
    try:
        if source.suffix.lower() == ".exr":
            import OpenEXR

            with OpenEXR.File(str(source)) as file:
                values = np.asarray(file.channels()["RGBA"].pixels, np.float32)
            gain = np.log2(np.where(np.isfinite(values[..., :3]), values[..., :3], 1).clip(2**-STOPS, 2**STOPS))
            matte = np.nan_to_num(values[..., 3:], nan=0, posinf=1, neginf=0).clip(0, 1)
        else:
            coded = cv2.imdecode(np.fromfile(source, np.uint8), cv2.IMREAD_UNCHANGED)
            if coded is None or coded.dtype != np.uint16 or coded.ndim != 3 or coded.shape[2] != 4:
                raise ValueError("not a 16-bit RGBA picture")
            gain = (coded[..., 2::-1].astype(np.float32) - 32768) * (STOPS / 32768)
            matte = coded[..., 3:].astype(np.float32) / 65535
    except Exception as error:  # OpenEXR and OpenCV raise undocumented types on broken files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ImageError(f"{source.name} is not a light layer ({reason}); give a file that iclight saved.") from error
    return Light(np.ascontiguousarray(gain, np.float32), np.ascontiguousarray(matte, np.float32))


# --- the filter ----------------------------------------------------------------------------------------------------


def fit_matte(alpha: Floats, shape: tuple[int, ...], width: int, height: int) -> Floats:
    """A picture's matte, cropped and scaled as the engine crops the picture: height x width x 1."""
    if alpha.shape[:2] != tuple(shape[:2]):
        raise ImageError(f"The matte is {alpha.shape[1]}x{alpha.shape[0]}, the picture {shape[1]}x{shape[0]}.")
    grey = np.repeat((np.clip(alpha, 0, 1) * 255 + 0.5).astype(np.uint8), 3, axis=2)
    return (images.resize_and_center_crop(grey, width, height)[..., :1] / 255).astype(np.float32)


def _guide(pixels: Pixels) -> Floats:
    """Log luminance, HxWx1: the edges that light may have."""
    luminance = LINEAR[pixels] @ np.array(LUMINANCE, np.float32)
    return (np.log2(luminance + 0.02) / 4)[..., None].astype(np.float32)


def _fit(gain: Floats, guide: Floats, weight: Floats, reach: int) -> tuple[Floats, Floats]:
    """Slope and offset (hxwx3 each) of the weighted local fit gain = slope * guide + offset."""
    # Far from the subject no weight is left; there the nearest light goes on.
    weight = weight + np.float32(1e-4)
    total = _blur(weight, reach / 2)

    def mean(x: Floats) -> Floats:
        return _blur(weight * x, reach / 2) / total

    centre, level = mean(guide), mean(gain)
    variance = mean(guide * guide) - centre * centre
    slope = (mean(guide * gain) - centre * level) / (variance.clip(0) + np.float32(EDGES))
    return mean(slope), mean(level - slope * centre)


def _guided(gain: Floats, guide: Floats, weight: Floats, reach: int) -> Floats:
    slope, offset = _fit(gain, guide, weight, reach)
    return np.clip(slope * guide + offset, -LIMIT, LIMIT).astype(np.float32)


def _coefficients(light: Light, source: Pixels) -> tuple[Floats, Floats]:
    """The gain fitted to the source's own edges, at the gain's size: enlarged, it keeps them sharp (He, Sun 2015)."""
    height, width = light.gain.shape[:2]
    guide = _guide(images.resize_and_center_crop(source, width, height))
    return _fit(light.gain, guide, light.matte, max(2, round(min(width, height) / 96)))


def _gain(planes: tuple[Floats, Floats], part: Pixels, rows: slice, width: int, height: int) -> Floats:
    slope, offset = (_enlarged(plane, rows, width, height) for plane in planes)
    return np.clip(slope * _guide(part) + offset, -LIMIT, LIMIT)


def _crop_of(small_width: int, small_height: int, width: int, height: int) -> tuple[float, float, float]:
    """How the engine cropped: full-size pixels per small pixel, and the crop's left and top in full-size pixels."""
    scale = min(width / small_width, height / small_height)
    return scale, (width - small_width * scale) / 2, (height - small_height * scale) / 2


def _enlarged(plane: Floats, rows: slice, width: int, height: int) -> Floats:
    """The rows of a small plane enlarged to where it was cropped from; beyond the crop its border goes on."""
    scale, left, top = _crop_of(plane.shape[1], plane.shape[0], width, height)
    # Pixel centres: small = (full + 0.5 - offset) / scale - 0.5.
    to_small = np.array(
        [[1 / scale, 0, (0.5 - left) / scale - 0.5], [0, 1 / scale, (rows.start + 0.5 - top) / scale - 0.5]]
    )
    size = (width, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    made = cv2.warpAffine(plane, to_small, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return made if made.ndim == 3 else made[..., None]


def stripes(height: int) -> Iterator[slice]:
    """Rows of a picture, a stripe at a time."""
    for start in range(0, height, STRIPE):
        yield slice(start, min(height, start + STRIPE))


def _blur(x: Floats, sigma: float) -> Floats:
    blurred = cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return (blurred if blurred.ndim == 3 else blurred[..., None]).astype(np.float32)
