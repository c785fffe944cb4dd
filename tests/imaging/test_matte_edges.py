"""A coarse matte follows the photo's edges, and stays what it was where it was sure."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from iclight.imaging.matte_edges import refine_edges


def star(height: int = 400, width: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """A textured star on a textured wall, and its matte."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, away = np.arctan2(y - height / 2, x - width / 2), np.hypot(y - height / 2, x - width / 2)
    matte = np.clip(120 + 40 * np.cos(7 * angle) - away + 0.5, 0, 1)[..., None]
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 40, (height, width, 3)), (0, 0), 1.5)
    photo = (noise + matte * (210, 150, 60) + (1 - matte) * (70, 100, 150)).clip(0, 255).astype(np.uint8)
    return photo, matte


def test_a_coarse_matte_follows_the_photos_edges() -> None:
    photo, matte = star()
    coarse = cv2.GaussianBlur(cv2.resize(matte, (150, 100), interpolation=cv2.INTER_AREA), (0, 0), 1)
    refined = refine_edges(photo, coarse)
    assert refined.shape == (400, 600, 1) and refined.dtype == np.float32
    enlarged = cv2.resize(coarse, (600, 400))[..., None]
    assert np.abs(refined - matte).mean() < np.abs(enlarged - matte).mean() / 3


def test_only_the_uncertain_band_changes() -> None:
    photo, matte = star()
    coarse = cv2.GaussianBlur(matte, (0, 0), 3)
    refined = refine_edges(photo, coarse)[..., 0]
    reach = np.ones((41, 41))
    assert (refined[cv2.erode(matte, reach) == 1] == 1).all()
    assert (refined[cv2.dilate(matte, reach) == 0] == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2100, 3), (40, 50)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_matte_stays_flat_at_any_size(size: tuple[int, int], level: float) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    refined = refine_edges(photo, np.full((20, 20), level, np.float32))
    assert refined.shape == (*size, 1)
    assert np.allclose(refined, level, atol=1e-3)
