"""What a newcomer can click: quick prompts of the reference's pages, example pictures, backgrounds, environment maps.

Pictures are in `assets/`; where each comes from is told in `assets/README.md`.
"""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parents[1] / "assets"

SUBJECTS = ("beautiful woman, detailed face", "handsome man, detailed face")
LIGHTING = (
    "sunshine from window",
    "neon light, city",
    "sunset over sea",
    "golden time",
    "sci-fi RGB glowing, cyberpunk",
    "natural lighting",
    "warm atmosphere, at home, bedroom",
    "magic lit",
    "evil, gothic, Yharnam",
    "light and shadow",
    "shadow from window",
    "soft studio lighting",
    "home atmosphere, cozy bedroom illumination",
    "neon, Wong Kar-wai, warm",
)

# (picture, prompt, light) for fc; with a background or an environment map after the picture for fbc and env.
FC_EXAMPLES = (
    ("astronaut.png", "astronaut, sunshine from window", "left"),
    ("coffee.jpg", "coffee cup, sunset over sea", "right"),
    ("cat.jpg", "cat, warm atmosphere, at home, bedroom", "bottom"),
)
FBC_EXAMPLES = (
    ("astronaut.png", "sunset.jpg", "astronaut, sunset over sea", "upload"),
    ("coffee.jpg", "neon.jpg", "coffee cup, neon light, city", "upload"),
    ("cat.jpg", "window.jpg", "cat, sunshine from window", "upload"),
)
ENV_EXAMPLES = (
    ("astronaut.png", "dusk.hdr", "astronaut, sunset over sea", "upload"),
    ("coffee.jpg", "softboxes.hdr", "coffee cup, soft studio lighting", "upload"),
    ("cat.jpg", None, "cat, natural lighting", "back"),
)
EXAMPLES = {"fc": FC_EXAMPLES, "fbc": FBC_EXAMPLES, "env": ENV_EXAMPLES}
BACKGROUNDS = ("sunset.jpg", "window.jpg", "neon.jpg", "forest.jpg", "studio.jpg", "night.jpg")


def asset(name: str) -> str:
    """The path of a picture that ships."""
    return str(ASSETS / name)


def filled(cell: str | None) -> str | None:
    """An example's cell with the names of pictures turned into their paths."""
    return asset(cell) if cell is not None and cell.endswith((".jpg", ".png", ".hdr")) else cell


def pick_subject(subject: str, prompt: str) -> str:
    """A subject pick replaces the prompt."""
    return subject


def pick_lighting(lighting: str, prompt: str) -> str:
    """A lighting pick keeps the prompt's first two comma-separated parts and appends itself."""
    kept = [part for part in prompt.split(", ")[:2] if part.strip()]
    return ", ".join([*kept, lighting])
