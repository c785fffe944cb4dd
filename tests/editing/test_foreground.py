"""A soft edge over another background shows the subject's colours, and no rim of the old background."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from iclight.editing.finish import finished
from iclight.editing.foreground import foreground_colours
from iclight.imaging.colour import LINEAR, quick_srgb

HEIGHT, WIDTH = 300, 400
GREEN = LINEAR[np.array([30, 200, 40], np.uint8)]


def over(subject: np.ndarray, matte: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Linear colours mixed in linear light: HxWx3 uint8."""
    return quick_srgb((ground + matte * (subject - ground)).astype(np.float32))


@pytest.fixture(scope="module")
def studio() -> dict[str, np.ndarray]:
    """A textured ellipse with an edge 24 pixels soft: its own colours (linear), its matte, and a photo before green."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    random = np.random.default_rng(0)
    texture = cv2.GaussianBlur(random.normal(0, 1, (HEIGHT, WIDTH, 3)).astype(np.float32), (0, 0), 12)
    subject = np.clip(np.array([0.5, 0.2, 0.1]) + 0.1 * texture / texture.std(), 0.02, 0.9).astype(np.float32)
    away = np.hypot((x - WIDTH / 2) / 1.2, y - HEIGHT / 2) - 95
    matte = np.clip(0.5 - away / 24, 0, 1)[..., None].astype(np.float32)
    return {"subject": subject, "matte": matte, "photo": over(subject, matte, GREEN)}


def rim(pixels: np.ndarray, studio: dict[str, np.ndarray]) -> float:
    """Mean error in levels where the edge is soft, of a picture over white (or of RGBA, put over white)."""
    matte, white = studio["matte"], np.ones(3, np.float32)
    shown = over(LINEAR[pixels[..., :3]], matte, white) if pixels.shape[2] == 4 else pixels
    soft = (matte[..., 0] > 0.02) & (matte[..., 0] < 0.98)
    return float(np.abs(shown.astype(float) - over(studio["subject"], matte, white))[soft].mean())


def test_a_soft_edge_before_green_keeps_a_sixth_of_the_green_at_most(studio: dict[str, np.ndarray]) -> None:
    alpha = (studio["matte"] * 255).astype(np.uint8)
    pure = foreground_colours(studio["photo"], studio["matte"])
    assert rim(np.dstack([pure, alpha]), studio) < rim(np.dstack([studio["photo"], alpha]), studio) / 6


def test_what_is_wholly_subject_or_background_stays_to_the_byte(studio: dict[str, np.ndarray]) -> None:
    pure = foreground_colours(studio["photo"], studio["matte"])
    sure = (studio["matte"][..., 0] == 0) | (studio["matte"][..., 0] == 1)
    assert np.array_equal(pure[sure], studio["photo"][sure])
    hard = (studio["matte"] > 0.5).astype(np.float32)
    assert np.array_equal(foreground_colours(studio["photo"], hard), studio["photo"])


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 3)])
def test_any_size_is_taken(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), 90, np.uint8)
    assert foreground_colours(photo, np.full((*size, 1), 0.5, np.float32)).shape == photo.shape


@pytest.mark.parametrize("kind", ["model", "native"])
@pytest.mark.parametrize("background", ["own", "transparent"])
def test_a_replaced_background_leaves_no_rim(studio: dict[str, np.ndarray], kind: str, background: str) -> None:
    photo, white = studio["photo"], np.full_like(studio["photo"], 255)
    (pure,), _ = finished([photo], photo, studio["matte"], kind, 1.0, background, white)
    (rimmed,), _ = finished([photo], photo, studio["matte"], "native", 1.0, background, white, cut_out_already=True)
    assert rim(pure, studio) < rim(rimmed, studio) / 4


def test_a_cut_outs_own_colours_are_taken_as_they_are(studio: dict[str, np.ndarray]) -> None:
    photo = quick_srgb(studio["subject"].copy())
    (made,), _ = finished([photo], photo, studio["matte"], "native", 0.0, "transparent", cut_out_already=True)
    assert np.array_equal(made[..., :3], photo)


def test_a_new_backgrounds_strength_goes_evenly_from_the_photo(studio: dict[str, np.ndarray]) -> None:
    photo, matte = studio["photo"], studio["matte"]
    relit = np.ascontiguousarray(photo[:, ::-1] // 2)
    made = [finished([relit], photo, matte, "native", k, "new")[0][0].astype(float) for k in (0.0, 0.01, 1.0)]
    assert np.array_equal(made[0], photo)
    assert np.abs(made[1] - made[0]).max() <= 0.05 * np.abs(made[2] - made[0]).max() + 1
