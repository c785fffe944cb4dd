"""Mattes corrected by hand: green adds, red takes away, everything else stays."""

from __future__ import annotations

import numpy as np
import pytest

from iclight.errors import ImageError
from iclight.imaging.matte_brush import LARGEST, canvas, retouched


def strokes(height: int, width: int, colour: tuple[int, int, int], box: tuple[slice, slice]) -> np.ndarray:
    layer = np.zeros((height, width, 4), np.uint8)
    layer[box] = (*colour, 255)
    return layer


@pytest.fixture
def half() -> np.ndarray:
    alpha = np.zeros((80, 60, 1), np.float32)
    alpha[:, :30] = 1
    return alpha


def test_green_adds_red_takes_and_the_rest_stays(half):
    added = retouched(half, strokes(80, 60, (0, 208, 0), np.s_[:20, 40:]))
    assert (added[:20, 40:] == 1).all() and np.array_equal(added[20:], half[20:])
    taken = retouched(half, strokes(80, 60, (224, 0, 0), np.s_[:20, :20]))
    assert (taken[:20, :20] == 0).all() and np.array_equal(taken[20:], half[20:])


def test_no_strokes_change_nothing_and_soft_ones_blend(half):
    assert np.array_equal(retouched(half, np.zeros((80, 60, 4), np.uint8)), half)
    soft = strokes(80, 60, (0, 208, 0), np.s_[:, 30:])
    soft[..., 3] //= 2
    np.testing.assert_allclose(retouched(half, soft)[:, 31:], 127 / 255, atol=1e-3)


def test_strokes_of_a_smaller_canvas_are_enlarged(half):
    added = retouched(half, strokes(40, 30, (0, 208, 0), np.s_[:10, 20:]))
    assert (added[:18, 43:] == 1).all() and (added[24:, 43:] == 0).all()


def test_a_matte_painted_away_is_refused(half):
    with pytest.raises(ImageError, match="paint green"):
        retouched(half, strokes(80, 60, (224, 0, 0), np.s_[:, :]))


def test_the_canvas_is_small_and_veils_what_is_no_subject():
    picture = np.full((3000, 2000, 3), 200, np.uint8)
    alpha = np.zeros((3000, 2000, 1), np.float32)
    alpha[:1500] = 1
    ground = canvas(picture, alpha)
    assert max(ground.shape) == LARGEST
    assert (ground[:400] == 200).all() and (ground[600:] < 110).all()
