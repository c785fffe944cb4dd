"""The guided filter's fit is the least-squares one, for any number of guides."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from iclight.imaging.guided_filter import box_mean, enlarged_fit, local_fit

RANDOM = np.random.default_rng(0)


def planes(count: int, height: int = 24, width: int = 31) -> list[np.ndarray]:
    return [RANDOM.random((height, width, 1), np.float32) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_fit_is_the_least_squares_one_of_each_window(count: int) -> None:
    guides, target, ridge = planes(count), RANDOM.random((24, 31, 2), np.float32), 1e-3
    slopes, offset = local_fit(guides, target, box_mean(3), ridge)
    window = np.s_[5:12, 9:16]
    inside = np.stack([guide[window].ravel() for guide in guides]).astype(float)
    values = target[window].reshape(-1, 2).astype(float)
    covariance = np.cov(inside, bias=True).reshape(count, count) + ridge * np.eye(count)
    away = inside - inside.mean(1, keepdims=True)
    expected = np.linalg.solve(covariance, away @ (values - values.mean(0)) / inside.shape[1])
    assert np.allclose([slope[8, 12] for slope in slopes], expected, atol=1e-4)
    assert np.allclose(offset[8, 12], values.mean(0) - inside.mean(1) @ expected, atol=1e-4)


def test_what_is_linear_in_the_guides_comes_back() -> None:
    one, two = planes(2)
    slopes, offset = local_fit([one, two], 2 * one - two + np.float32(0.3), box_mean(4), 1e-7)
    assert np.allclose(slopes[0] * one + slopes[1] * two + offset, 2 * one - two + 0.3, atol=1e-2)


def test_a_fit_on_a_small_picture_holds_for_the_large_one() -> None:
    large = cv2.GaussianBlur(RANDOM.integers(0, 256, (120, 90, 3), np.uint8), (0, 0), 9)
    small = cv2.resize(large, (45, 60), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mean, guides = box_mean(5), np.split(small, 3, axis=2)
    slopes, offset = local_fit(guides, 0.5 * guides[0] + 0.25 * guides[2], mean, 1e-7)
    whole = enlarged_fit([mean(slope) for slope in slopes], mean(offset), large)
    assert np.abs(whole - (0.5 * large[..., 0] + 0.25 * large[..., 2]) / 255).max() < 0.02
