"""A light made stronger: by as many stops as asked, without a change of level, burnt whites or seams."""

from __future__ import annotations

import numpy as np
import pytest

from iclight.editing.strengthen import expose, strengthen
from iclight.imaging.colour import LINEAR

SIDE = 96


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grey disc lit from the left by a stop from edge to edge, the same under even light, and its matte."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    matte = (np.hypot(x, y) < 0.7).astype(np.float32)[..., None]
    even = np.full((SIDE, SIDE, 3), 110, np.uint8)
    lit = (110 * 2 ** (-x / 2 / 2.2)).astype(np.uint8)[..., None].repeat(3, axis=2)
    return lit, even, matte


def slope(picture: np.ndarray, matte: np.ndarray) -> float:
    """Stops by which the left half of the matte is brighter than the right."""
    stops, inside = np.log2(LINEAR[picture].mean(axis=2) + 1e-4), matte[..., 0] > 0.5
    half = SIDE // 2
    return float(stops[:, :half][inside[:, :half]].mean() - stops[:, half:][inside[:, half:]].mean())


def test_strength_one_is_the_picture_itself():
    lit, even, matte = scene()
    assert strengthen(lit, lit, even, matte, 1.0) is lit


@pytest.mark.parametrize(("strength", "times"), [(0.0, 0.0), (0.5, 0.5), (2.0, 2.0), (3.0, 3.0)])
def test_the_light_is_as_many_times_as_strong_as_asked(strength, times):
    lit, even, matte = scene()
    assert slope(strengthen(lit, lit, even, matte, strength), matte) == pytest.approx(
        times * slope(lit, matte), abs=0.12 * slope(lit, matte) * max(1, times)
    )


def test_the_subjects_level_stays():
    lit, even, matte = scene()
    inside = matte[..., 0] > 0.5
    before, after = (
        np.log2(LINEAR[picture][inside]).mean() for picture in (lit, strengthen(lit, lit, even, matte, 3.0))
    )
    assert after == pytest.approx(before, abs=0.1)


def test_a_picture_larger_than_the_first_pass_is_lit_alike():
    lit, even, matte = scene()
    large = lit.repeat(2, axis=0).repeat(2, axis=1)
    made = strengthen(large, lit, even, matte, 2.0)
    small = strengthen(lit, lit, even, matte, 2.0)
    assert made.shape == large.shape
    assert np.abs(made[::2, ::2].astype(int) - small).mean() < 2


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_matte_of_nothing_or_everything_is_no_matter(alpha):
    lit, even, _ = scene()
    assert strengthen(lit, lit, even, np.full((SIDE, SIDE, 1), alpha, np.float32), 2.0).any()


def test_exposure_never_burns_and_is_exact_in_the_shadows():
    x = np.linspace(0, 1, 101, dtype=np.float32)
    brighter = expose(x, np.full_like(x, 2.0))
    assert (np.diff(brighter) >= 0).all() and brighter.max() <= 1
    assert expose(np.float32([0.001]), np.float32([2.0]))[0] == pytest.approx(0.004, rel=0.01)
    np.testing.assert_allclose(expose(x, np.full_like(x, -1.0)), x / 2, atol=1e-6)
    np.testing.assert_allclose(expose(x, np.zeros_like(x)), x, atol=1e-6)
