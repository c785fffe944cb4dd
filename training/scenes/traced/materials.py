"""What path-traced things are made of: random paints, plastics, cloths and metals, plain or patterned.

A material is a description a renderer can be built from: Mitsuba's own BSDF dictionaries, with a texture written as a
NumPy picture (H x W x 3, linear reflectance in [0, 1], tileable), so that this module needs no Mitsuba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iclight.imaging.colour import to_linear

Floats = NDArray[np.float32]

# sRGB, none near black or pure white: paint reflects between some 3 and 85 % of the light.
COLOURS = (
    (0.84, 0.22, 0.18),
    (0.89, 0.48, 0.16),
    (0.90, 0.78, 0.25),
    (0.34, 0.68, 0.36),
    (0.24, 0.68, 0.68),
    (0.28, 0.47, 0.86),
    (0.62, 0.42, 0.80),
    (0.90, 0.56, 0.64),
    (0.60, 0.43, 0.31),
    (0.83, 0.75, 0.62),
    (0.90, 0.89, 0.87),
    (0.64, 0.65, 0.67),
    (0.27, 0.27, 0.29),
)
METALS = ("Au", "Cu", "Ag")
Material = dict[str, Any]  # Mitsuba's BSDF, textures as arrays
KINDS = {"matte": 0.34, "glossy": 0.34, "satin": 0.24, "metal": 0.08}


def random_material(rng: np.random.Generator, metals: bool = True) -> Material:
    """Any of the kinds, plain two times of five, else with a pattern of two colours."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "metal" and metals:
        name = str(rng.choice(METALS))
        # Rough enough that a soft light is seen across the shape, not in a few pixels of it.
        return {"type": "roughconductor", "material": name, "alpha": float(rng.uniform(0.2, 0.4))}
    colour = _colour(rng)
    if rng.random() < 0.6:
        colour = _patterned(str(rng.choice(list(PATTERNS))), colour, rng)
    roughness = float(rng.uniform(0.08, 0.35))
    if kind == "glossy":
        return {"type": "roughplastic", "alpha": roughness, "nonlinear": True, "diffuse_reflectance": colour}
    if kind == "satin":
        sheen, coat = (float(rng.uniform(0, 0.8)) for _ in range(2))
        principled = {"roughness": 0.3 + roughness, "specular": 0.5, "sheen": sheen, "clearcoat": coat}
        return {"type": "principled", "base_color": colour, **principled}
    return {"type": "diffuse", "reflectance": colour}


def _colour(rng: np.random.Generator) -> Floats:
    """1 x 1 x 3 linear reflectance, a little off one of `COLOURS`."""
    srgb = np.asarray(COLOURS[int(rng.choice(len(COLOURS)))]) * rng.uniform(0.9, 1.05) + rng.normal(0, 0.03, 3)
    return to_linear(srgb.clip(0.12, 0.93)).astype(np.float32)[None, None]


def _patterned(pattern: str, first: Floats, rng: np.random.Generator, side: int = 256) -> Floats:
    """side x side x 3: the first colour and a second, apart enough in lightness for the pattern to be seen."""
    second = max((_colour(rng) for _ in range(3)), key=lambda c: float(np.abs(np.sqrt(c) - np.sqrt(first)).sum()))
    middles = ((np.arange(side) + 0.5) / side).astype(np.float32)
    v, u = np.meshgrid(middles, middles, indexing="ij")
    share = PATTERNS[pattern](u, v, rng)[..., None].clip(0, 1)
    grain = 1 + 0.06 * cloud(rng, side, 0.8)[..., None]
    return ((first * (1 - share) + second * share) * grain).clip(0.02, 0.88).astype(np.float32)


def cloud(rng: np.random.Generator, side: int, slope: float = 1.6) -> Floats:
    """side x side tileable noise of mean 0 and deviation 1, whose amplitudes fall as frequency ** -slope."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side) * side] * 2))
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) * np.maximum(frequency, 1) ** -slope
    spectrum[0, 0] = 0
    field = np.fft.ifft2(spectrum).real
    return (field / field.std()).astype(np.float32)


def _checks(u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    count = int(rng.integers(1, 4)) * 2
    return (np.floor(u * count) + np.floor(v * count)) % 2


def _stripes(u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    along, count = ((u, v, u + v)[int(rng.integers(3))], int(rng.integers(2, 7)))
    return (((along * count) % 1 - rng.uniform(0.3, 0.7)) * 30).clip(0, 1)


def _dots(u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    count = int(rng.integers(2, 6))
    from_centre = np.hypot((u * count) % 1 - 0.5, (v * count) % 1 - 0.5)
    return ((rng.uniform(0.2, 0.38) - from_centre) * 20 + 0.5).clip(0, 1)


def _veins(u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    wave = np.sin(2 * np.pi * (int(rng.integers(1, 3)) * u + int(rng.integers(1, 3)) * v) + 2.2 * cloud(rng, len(u)))
    return np.sqrt(np.abs(wave)).astype(np.float32)


def _blots(u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    return 0.5 + float(rng.uniform(0.6, 3)) * cloud(rng, len(u))


PATTERNS: dict[str, Callable[[Floats, Floats, np.random.Generator], Floats]] = {
    "checked": _checks,
    "striped": _stripes,
    "dotted": _dots,
    "marbled": _veins,
    "mottled": _blots,
}
