"""A matte that nobody drew says itself when it may be wrong, and not where it is right."""

from __future__ import annotations

import numpy as np
import pytest

from iclight.imaging.matte_doubts import matte_doubts


def disc(radius: float, soft: float = 1.0, height: int = 300, width: int = 400) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y - height / 2, x - width / 2) - radius
    return np.clip(0.5 - away / soft, 0, 1)[..., None].astype(np.float32)


def bust() -> np.ndarray:
    matte = disc(60)
    matte[200:] = 1  # shoulders from side to side, out through the bottom
    return matte


@pytest.mark.parametrize(
    "matte", [disc(80), disc(30), bust(), disc(140, soft=12)], ids=["disc", "small", "bust", "fur"]
)
def test_a_clear_subject_raises_no_doubt(matte: np.ndarray) -> None:
    assert matte_doubts(matte) == ()


@pytest.mark.parametrize(
    ("matte", "words"),
    [
        (disc(8), "Hardly anything"),
        (np.zeros((50, 60, 1), np.float32), "Hardly anything"),
        (np.ones((50, 60, 1), np.float32), "Nearly the whole"),
        (disc(80, soft=90), "uncertain"),
        (1 - disc(120), "three sides"),
        (np.full((1, 1, 1), 0.5, np.float32), "uncertain"),
    ],
)
def test_a_doubtful_matte_says_why(matte: np.ndarray, words: str) -> None:
    doubts = matte_doubts(matte)
    assert len(doubts) == 1 and words in doubts[0]


def test_size_does_not_matter() -> None:
    assert matte_doubts(disc(640, soft=720, height=2400, width=3200)) == matte_doubts(disc(80, soft=90))
