"""Make the example pictures, backgrounds and environment maps that the pages ship.

    python tools/make_assets.py            (needs scikit-image, for its public-domain photographs)

Backgrounds and maps are drawn here from noise and gradients; photographs are scikit-image's, cropped and scaled.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iclight.imaging.environment import directions

ASSETS = Path(__file__).resolve().parents[1] / "iclight" / "studio" / "assets"
WIDTH, HEIGHT = 768, 768
Picture = NDArray[np.float32]

Y, X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
U, V = X / WIDTH, Y / HEIGHT


def noise(rng: np.random.Generator, scale: tuple[int, int], octaves: int = 5) -> Picture:
    """Fractal noise in about [0, 1]; `scale` is the coarsest grid (rows, columns)."""
    total, weight = np.zeros((HEIGHT, WIDTH), np.float32), 0.0
    for octave in range(octaves):
        grid = rng.random((scale[0] * 2**octave + 2, scale[1] * 2**octave + 2), np.float32)
        total += cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) / 2**octave
        weight += 1 / 2**octave
    return total / weight


def ramp(stops: list[tuple[float, tuple[float, float, float]]], along: Picture) -> Picture:
    """Colours interpolated along a coordinate."""
    places = [place for place, _ in stops]
    channels = [np.interp(along, places, [colour[c] for _, colour in stops]) for c in range(3)]
    return np.stack(channels, axis=2).astype(np.float32)


def glow(x: float, y: float, radius: float) -> Picture:
    """A soft blob of light, 1 in its middle."""
    distance = np.hypot(U - x, (V - y) * HEIGHT / WIDTH)
    return np.exp(-((distance / radius) ** 2))[..., None]


def blur(picture: Picture, sigma: float) -> Picture:
    return cv2.GaussianBlur(picture, (0, 0), sigma)


def sunset(rng: np.random.Generator) -> Picture:
    horizon = 0.6
    sky = ramp(
        [(0, (0.16, 0.2, 0.42)), (0.3, (0.55, 0.36, 0.45)), (0.5, (0.96, 0.55, 0.28)), (0.6, (1, 0.82, 0.48))], V
    )
    clouds = np.clip((noise(rng, (7, 3)) - 0.5) * 4, 0, 1)[..., None] * np.clip(1.2 - V, 0, 1)[..., None]
    sky = sky * (1 - 0.5 * clouds) + clouds * 0.5 * np.array([0.9, 0.45, 0.4], np.float32)
    sun = 0.9 * glow(0.3, horizon - 0.06, 0.05) ** 0.6 + 0.5 * glow(0.3, horizon - 0.06, 0.3)
    sky = sky + sun * np.array([1, 0.8, 0.5], np.float32)
    depth = np.clip((V - horizon) / (1 - horizon), 1e-3, 1)
    waves = noise(rng, (60, 6), 4)
    sea = ramp([(0, (0.75, 0.5, 0.36)), (0.25, (0.3, 0.27, 0.36)), (1, (0.06, 0.09, 0.18))], depth)
    path = np.exp(-(((U - 0.3) / (0.03 + 0.12 * depth)) ** 2)) * np.clip((waves - 0.42) * 5, 0, 1)
    sea = sea * (0.75 + 0.5 * waves[..., None]) + path[..., None] * np.array([1, 0.7, 0.35], np.float32)
    return np.where((horizon < V)[..., None], sea, sky)


def window(rng: np.random.Generator) -> Picture:
    wall = np.array([0.42, 0.33, 0.25], np.float32) * (0.55 + 0.25 * noise(rng, (3, 3)))[..., None]
    slant = U + 0.35 * V
    light = np.zeros((HEIGHT, WIDTH), np.float32)
    for column in range(3):
        for row in range(3):
            left, top = 0.3 + column * 0.21, 0.1 + row * 0.24
            light += ((slant > left) & (slant < left + 0.18) & (top < V) & (top + 0.21 > V)).astype(np.float32)
    leaves = np.clip((noise(rng, (6, 6)) - 0.47) * 8, 0, 1)
    light = blur(light * (0.45 + 0.55 * leaves), 7)[..., None]
    return wall + light * np.array([0.95, 0.72, 0.42], np.float32) + glow(0.02, 0.25, 0.5) * np.array([0.4, 0.27, 0.13])


def neon(rng: np.random.Generator) -> Picture:
    picture = ramp([(0, (0.05, 0.03, 0.12)), (0.7, (0.1, 0.05, 0.18)), (1, (0.03, 0.02, 0.08))], V)
    signs = np.zeros_like(picture)
    for _ in range(16):
        colour = np.array(((1, 0.15, 0.65), (0.1, 0.75, 1), (0.65, 0.2, 1), (1, 0.5, 0.1))[rng.integers(4)], np.float32)
        x, y = int(rng.integers(WIDTH)), int(rng.integers(int(HEIGHT * 0.62)))
        w, h = (int(rng.integers(4, 14)), int(rng.integers(60, 220)))
        if rng.random() < 0.5:
            w, h = h, w
        signs[y : y + h, x : x + w] = colour
    signs[int(0.72 * HEIGHT) :] = 0
    reflection = blur(np.flipud(signs), 14) * (V > 0.72)[..., None] * (0.4 + noise(rng, (50, 5)))[..., None]
    lit = 1.1 * blur(signs, 3) + 1.8 * blur(signs, 20) + 2.2 * blur(signs, 70) + np.roll(reflection, 160, 0) * 2
    return blur(picture + lit, 2.5)


def forest(rng: np.random.Generator) -> Picture:
    picture = ramp([(0, (0.75, 0.86, 0.55)), (0.5, (0.36, 0.52, 0.22)), (1, (0.12, 0.18, 0.07))], V)
    picture = picture * (0.5 + noise(rng, (8, 8)))[..., None]
    for _ in range(7):
        x, w = rng.random(), 0.01 + 0.03 * rng.random()
        trunk = np.exp(-(((U - x + 0.01 * np.sin(6 * V)) / w) ** 4))[..., None]
        picture = picture * (1 - 0.75 * trunk) + trunk * np.array([0.06, 0.05, 0.03], np.float32)
    rays = np.clip(noise(rng, (1, 12), 3)[0][((X + 0.8 * Y) % WIDTH).astype(int)] - 0.45, 0, 1)[..., None]
    picture = blur(picture, 7) + rays * np.clip(1 - V, 0, 1)[..., None] * np.array([1.3, 1.25, 0.7], np.float32)
    return picture + 0.5 * glow(0.75, 0.05, 0.35) * np.array([1, 0.95, 0.65], np.float32)


def studio(rng: np.random.Generator) -> Picture:
    picture = np.full((HEIGHT, WIDTH, 3), 0.2, np.float32)
    picture += 0.62 * glow(0.7, 0.3, 0.55) + 0.12 * (V > 0.82)[..., None] * glow(0.6, 0.9, 0.6)
    return blur(picture, 9) + 0.012 * rng.standard_normal((HEIGHT, WIDTH, 1)).astype(np.float32)


def night(rng: np.random.Generator) -> Picture:
    picture = ramp([(0, (0.02, 0.04, 0.12)), (0.6, (0.1, 0.15, 0.3)), (1, (0.16, 0.16, 0.26))], V)
    picture = picture + 0.9 * glow(0.8, 0.16, 0.04) ** 0.4 + 0.25 * glow(0.8, 0.16, 0.25)
    for layer in range(3):
        x = 0
        while x < WIDTH:
            w, top = int(rng.integers(50, 110)), int(HEIGHT * (0.42 + 0.13 * layer + 0.18 * rng.random()))
            picture[top:, x : x + w] = np.array([0.05, 0.06, 0.11], np.float32) * (1.3 - 0.35 * layer)
            for wy in range(top + 10, HEIGHT - 8, 18):
                for wx in range(x + 8, min(x + w, WIDTH) - 10, 16):
                    if rng.random() < 0.33:
                        picture[wy : wy + 8, wx : wx + 7] = np.array([1, 0.78, 0.4]) * rng.uniform(0.4, 1)
            x += w + int(rng.integers(0, 14))
    return blur(picture, 2.5) + 0.6 * blur(picture, 25)


def towards(x: float, y: float, z: float) -> Picture:
    """128 x 256 x 1 cosines between a panorama's pixels and a direction: x right, y up, z towards the camera."""
    axis = np.array([x, y, z], np.float32)
    return (directions(128, 256) @ (axis / np.linalg.norm(axis)))[..., None]


def dusk() -> Picture:
    """A low sun behind the subject's left shoulder, an orange horizon, a blue sky, dark ground. Linear radiance."""
    up = towards(0, 1, 0)
    sky = np.where(up > 0, 0.25 + 0.2 * up, 0.06) * np.array([0.35, 0.5, 1], np.float32)
    band = np.exp(-((up / 0.12) ** 2)) * (0.4 + 0.6 * towards(-1, 0.1, -0.6).clip(0, 1))
    sun = np.exp(400 * (towards(-1, 0.12, -0.6) - 1)) * 120
    return sky + (band * 1.2 + sun) * np.array([1, 0.5, 0.18], np.float32)


def softboxes() -> Picture:
    """A studio: a warm square of light in front on the right, a dim blue one behind on the left, grey walls."""
    warm = (towards(1, 0.5, 0.7) > 0.93) * 14.0
    cold = (towards(-1, 0.2, -0.5) > 0.95) * 5.0
    wall = 0.08 + 0.04 * towards(0, 1, 0)
    return wall + warm * np.array([1, 0.86, 0.7], np.float32) + cold * np.array([0.35, 0.55, 1], np.float32)


def save(name: str, picture: NDArray[np.uint8], quality: int = 95, subsampling: int = 0) -> None:
    # Photographs keep their colours whole: the matte hangs on them.
    Image.fromarray(picture).save(ASSETS / name, quality=quality, subsampling=subsampling, optimize=True)
    print(name, picture.shape)


def main() -> None:
    ASSETS.mkdir(exist_ok=True)
    for index, draw in enumerate((sunset, window, neon, forest, studio, night)):
        picture = draw(np.random.default_rng(index))
        save(f"{draw.__name__}.jpg", (picture.clip(0, 1) * 255).astype(np.uint8), 88, 2)

    for paint in (dusk, softboxes):
        cv2.imwrite(str(ASSETS / f"{paint.__name__}.hdr"), paint().astype(np.float32)[..., ::-1])

    from skimage import data

    save("astronaut.png", data.astronaut())
    save("coffee.jpg", data.coffee())
    save("cat.jpg", data.chelsea())


if __name__ == "__main__":
    main()
