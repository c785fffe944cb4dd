"""A matte without a network: saliency and place seed a colour model, GrabCut draws the outline, a filter softens it."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from . import images
from .matte_edges import refine_edges

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Flags = NDArray[np.bool_]

WORK_SIDE = 320  # the outline is searched for at this longer side, whatever the picture's size
SMALLEST_SIDE = 16  # below this there is no outline to search for
SURE = 2.0  # log-odds beyond which GrabCut may not change a pixel


def grabcut_matte(image: Pixels) -> Floats:
    """A matte without a network: HxWx3 uint8 -> HxWx1 float32, for one subject near the middle.

    Seeds: how far a pixel is from the border in colour and along every path (the minimum barrier distance, Zhang et
    al. 2015), and its place; portraits may leave through the bottom. Rounds of colour models and GrabCut (Rother et al.
    2004), then the edge follows the picture (`refine_edges`). The same picture gives the same
    matte, and never an empty one: a picture without contrast or with hardly a pixel gets a soft ellipse.
    """
    height, width = images.check_pixels(image)
    shrink = min(1.0, WORK_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    work = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    subject = _find_subject(work) if min(size) >= SMALLEST_SIDE and work.std(axis=(0, 1)).max() >= 2 else None
    if subject is None or subject.mean() < 0.005:
        return _ellipse(height, width)
    return refine_edges(image, subject.astype(np.float32))


def _find_subject(work: Pixels) -> Pixels:
    """0 or 1 for each pixel of a small picture."""
    cv2.setRNGSeed(1)  # k-means starts at random, also inside of GrabCut
    u, v = _grid(*work.shape[:2])
    prior, border = _prior(u, v), _border(v)
    smooth = cv2.bilateralFilter(work, 7, 30, 5).astype(np.float32) / 255
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(np.float32, copy=False)
    contrast = 0.5 * _barrier_distance(lab, border) + 0.5 * _border_contrast(lab, border)
    saliency = cv2.GaussianBlur(contrast * (0.35 + 0.65 * prior) + 0.25 * prior, (0, 0), 3).astype(np.float32)

    subject = _cut(work, _first_guess(saliency, border), rounds=2)
    places = np.dstack([lab / 10, 3 * u, 3 * v]).astype(np.float32)
    for turn in range(3):
        # At first the uncertain middle ground teaches neither side: hair taken for background once stays background.
        behind = (subject == 0) & (border | (saliency < np.median(saliency)) | (turn > 0))
        # Colours alone see smooth backgrounds through; colours with places keep apart what is alike and elsewhere.
        odds = 0.6 * _log_odds(places[..., :3], subject > 0, behind) + 0.4 * _log_odds(places, subject > 0, behind)
        score = cv2.boxFilter(odds, -1, (3, 3)) + 0.7 * (2 * prior - 1) + 3 * (contrast - 0.35)
        mask = np.where(score > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        mask[score > SURE] = cv2.GC_FGD
        mask[(score < -SURE) | (border & (score < SURE))] = cv2.GC_BGD
        subject = _tidy(_cut(work, mask, rounds=1), prior)
    thin = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    return _tidy(cv2.morphologyEx(subject, cv2.MORPH_OPEN, thin).astype(np.uint8), prior)


def _grid(height: int, width: int) -> tuple[Floats, Floats]:
    """Each pixel's place, across and down, in [-1, 1]."""
    u, v = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1 for side in (width, height))
    return np.broadcast_to(u, (height, width)), np.broadcast_to(v[:, None], (height, width))


def _prior(u: Floats, v: Floats) -> Floats:
    """How likely the subject is there: narrow above (a head), broad below (shoulders), fading slower downwards."""
    half = np.interp(v, [-1, -0.5, 0.1, 1], [0.38, 0.45, 0.6, 0.7])
    square = (u / half) ** 2 + (np.minimum(v + 0.3, 0) / 0.42) ** 2 + (np.maximum(v - 0.3, 0) / 0.8) ** 2
    return np.exp(-0.5 * square).astype(np.float32)


def _border(v: Floats) -> Flags:
    """The seeds of the background: the top and the upper two thirds of the sides. Subjects may touch the rest."""
    edge = max(2, round(0.015 * max(v.shape)))
    border = np.zeros(v.shape, bool)
    border[:, :edge] = border[:, -edge:] = True
    border &= v < 0.3
    border[:edge] = True
    return border


def _barrier_distance(lab: Floats, border: Flags) -> Floats:
    """Minimum barrier distance to the border in [0, 1]: the smallest colour range on any path there.

    Rows (then columns) are relaxed one after the other, whole rows at once; three rounds come close to the true one.
    """
    size = (lab.shape[1] // 2, lab.shape[0] // 2)
    colour = cv2.resize(lab, size, interpolation=cv2.INTER_AREA)
    seeds = cv2.resize(border.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    distance = np.where(seeds, 0, np.inf).astype(np.float32)
    highest, lowest = colour.copy(), colour.copy()
    for _ in range(3):
        for axes in ((0, 1), (1, 0)):
            d = distance.transpose(axes)  # views: writing to them writes to the maps
            high, low, c = (array.transpose(*axes, 2) for array in (highest, lowest, colour))
            down = [(row - 1, row) for row in range(1, len(d))]
            for before, row in (*down, *((row, before) for before, row in reversed(down))):
                upper, lower = np.maximum(high[before], c[row]), np.minimum(low[before], c[row])
                through = np.where(np.isinf(d[before]), np.inf, (upper - lower).max(axis=-1))
                nearer = through < d[row]
                d[row][nearer], high[row][nearer], low[row][nearer] = through[nearer], upper[nearer], lower[nearer]
    return _stretch(cv2.resize(distance, lab.shape[1::-1]))


def _border_contrast(lab: Floats, border: Flags) -> Floats:
    """Distance in colour to the nearest of the border's main colours, each in units of its own spread; in [0, 1]."""
    clusters = _clusters(lab[border], 5)
    main = [c for c in clusters if len(c) >= 0.04 * border.sum()]
    far = [np.sqrt(((lab - c.mean(axis=0)) ** 2).sum(axis=-1) / (c.var(axis=0).sum() + 30)) for c in main]
    return _stretch(np.min(far, axis=0))


def _first_guess(saliency: Floats, border: Flags) -> Pixels:
    """GrabCut's first mask: Otsu's threshold on the saliency, but neither hardly anything nor nearly everything."""
    level, _ = cv2.threshold((_stretch(saliency) * 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    low, high = np.percentile(saliency, [5, 95])
    threshold = np.clip(low + (high - low) * level / 255, *np.quantile(saliency, [0.45, 0.85]))
    mask = np.where(saliency > threshold, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[border | (saliency < np.quantile(saliency, 0.12))] = cv2.GC_BGD
    return mask


def _cut(work: Pixels, mask: Pixels, rounds: int) -> Pixels:
    """GrabCut from that mask: 1 is the subject. A mask with one side only is left as it is."""
    inside = (mask & 1).astype(np.uint8)  # GC_FGD and GC_PR_FGD are odd
    if not inside.any() or inside.all():
        return inside
    behind, before = np.zeros((2, 1, 65))  # room for GrabCut's own colour models
    cut, _, _ = cv2.grabCut(work, mask, (0, 0, 1, 1), behind, before, rounds, cv2.GC_INIT_WITH_MASK)
    return np.asarray(cut, np.uint8) & np.uint8(1)


def _log_odds(features: Floats, subject: Flags, behind: Flags) -> Floats:
    """log p(features | subject) - log p(features | behind), within +-5, by a mixture of Gaussians for each side."""
    if not subject.any() or not behind.any():
        return np.zeros(subject.shape, np.float32)
    odds = _log_density(features, features[subject], 6) - _log_density(features, features[behind], 8)
    return odds.clip(-5, 5).astype(np.float32)


def _log_density(features: Floats, samples: Floats, parts: int) -> Floats:
    samples = samples[:: max(1, len(samples) // 4000)]
    total = np.full(features.shape[:-1], -1e9, np.float32)
    for cluster in _clusters(samples, parts):
        if len(cluster) < 8:
            continue
        covariance = np.cov(cluster.T) + 0.05 * np.eye(samples.shape[1])
        away = features - cluster.mean(axis=0)
        square = ((away @ np.linalg.inv(covariance).astype(np.float32)) * away).sum(axis=-1)
        constant = math.log(len(cluster) / len(samples)) - 0.5 * np.linalg.slogdet(covariance)[1]
        total = np.logaddexp(total, (constant - 0.5 * square).astype(np.float32))
    return total


def _clusters(samples: Floats, parts: int) -> list[Floats]:
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 15, 0.05)
    samples = np.ascontiguousarray(samples)
    labels = np.zeros((len(samples), 1), np.int32)
    _, labels, _ = cv2.kmeans(samples, min(parts, len(samples)), labels, stop, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[assignment]
    return [samples[labels[:, 0] == part] for part in range(parts)]


def _tidy(subject: Pixels, prior: Floats) -> Pixels:
    """Keep the main part and what stands next to it in weight (size times place); close holes up to 4 % of the area."""
    _, labels = cv2.connectedComponents(subject, connectivity=8)
    weight = np.bincount(labels.ravel(), weights=prior.ravel())
    weight[0] = 0
    kept = ((weight >= 0.12 * weight.max()) & (weight > 0))[labels].astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - kept, connectivity=4)
    x, y, w, h, area = stats.T
    height, width = subject.shape
    enclosed = (x > 0) & (y > 0) & (x + w < width) & (y + h < height) & (area < 0.04 * subject.size)
    enclosed[0] = False
    return (kept | enclosed[labels]).astype(np.uint8)


def _ellipse(height: int, width: int) -> Floats:
    """A soft ellipse around the middle: full at the centre, nothing in the corners."""
    u, v = _grid(height, width)
    radius = np.sqrt((u / 0.8) ** 2 + (v / 0.9) ** 2)
    return ((1.05 - radius) / 0.3).clip(0, 1).astype(np.float32)[..., None]


def _stretch(values: NDArray[Any]) -> Floats:
    """5th percentile -> 0, 95th -> 1."""
    low, high = np.percentile(values, [5, 95])
    return ((values - low) / max(high - low, 1e-6)).clip(0, 1).astype(np.float32)
