"""Captions of training pictures: subject, mood, direction of light, in the words that the pages' quick lists use.

`tests/training/test_training_loss.py` holds this file to it: every quick entry must be made of words trained on.
"""

from __future__ import annotations

import torch

from ..randomness import choose, uniform

# The words for each mood of `lighting.MOODS`. Entries of the pages' quick lists stand here letter for letter.
MOOD_WORDS: dict[str, tuple[str, ...]] = {
    "natural": ("natural lighting", "daylight", "neutral white light", "overcast light", "light"),
    "studio": ("soft studio lighting", "studio light", "soft light", "bright even light"),
    "hard": ("light and shadow", "hard light", "dramatic lighting", "strong shadow"),
    "window": ("sunshine from window", "shadow from window", "sunlight through a window", "sunshine, indoor"),
    "warm": (
        "warm atmosphere, at home, bedroom",
        "home atmosphere, cozy bedroom illumination",
        "warm light",
        "candle light",
        "warm atmosphere",
    ),
    "golden": ("golden time", "golden hour", "sunshine, outdoor, warm atmosphere", "golden light"),
    "sunset": ("sunset over sea", "sunset", "orange sunset light", "dusk"),
    "cool": ("cool light", "moonlight", "cold blue light", "blue light"),
    "gothic": ("evil, gothic, Yharnam", "night, dark", "dark, gloomy", "midnight"),
    "neon": ("neon light, city", "neon, Wong Kar-wai, warm", "neon light, red and blue", "city night"),
    "rgb": ("sci-fi RGB glowing, cyberpunk", "cyberpunk", "neo punk lighting, cyberpunk", "sci-fi glowing"),
    "magic": ("magic lit", "magic, purple light", "fairy tale light", "mystic glow"),
    "forest": ("forest, green light", "green glow", "toxic green light", "light in the woods"),
}
SIDE_WORDS: dict[str, tuple[str, ...]] = {
    "left": ("left light", "light from the left", "lit from the left"),
    "right": ("right light", "light from the right", "lit from the right"),
    "top": ("top light", "light from above", "overhead light"),
    "bottom": ("bottom light", "light from below", "underlight"),
    "front": ("front light", "light from the front", "frontal light"),
    "back": ("back light", "rim light", "backlit"),
    "ambient": ("ambient light", "flat light", "light from all around"),
}
SUBJECT_WORDS: dict[str, tuple[str, ...]] = {
    "woman": ("beautiful woman, detailed face", "woman", "portrait of a woman", "beautiful woman", "astronaut"),
    "man": ("handsome man, detailed face", "man", "portrait of a man", "handsome man", "astronaut"),
    "cat": ("cat", "a cat", "cat, detailed face"),
    "dog": ("dog", "a dog", "dog, detailed face"),
    "toy": ("toy", "a toy", "toy, detailed face"),
    "cup": ("coffee cup", "a cup", "cup"),
    "vase": ("vase", "a vase", "a bottle"),
    "object": ("object", "a thing", "product", "statue", "Buddha, detailed face"),
    "still life": ("still life", "fruit", "things on a table"),
    "photograph": ("photo", "picture", "landscape", ""),
}
QUALITY = "best quality"
NEGATIVE = "lowres, bad anatomy, bad hands, cropped, worst quality"
# Prompts without a word of the picture, as guidance has them on its two sides (the engine adds QUALITY to any prompt).
SILENT = (NEGATIVE, NEGATIVE, "", QUALITY, f"{QUALITY}, {QUALITY}")
# Words that people type and no mood has; the tokenizer should know them whole.
MORE_WORDS = (
    "red green blue yellow orange purple pink cyan white black lamp fire sun moon sky sea beach mountain snow rain room"
    " street house kitchen office garden tree flower animal bird horse car sofa chair table bag shoe bottle girl boy"
    " child baby hair eyes hand face head skin shirt dress glasses hat near far bright dark warm cold soft hard rim key"
    " fill spot side evening morning noon spring summer autumn winter"
)


def caption(subject: str, mood: str, side: str, workflow: str, random: torch.Generator) -> str:
    """Words for a picture.

    `subject`, `mood`, `side`: keys of the tables above; a mood of "" has no words.
    `workflow`: "fc", "fbc" or "env".
    `random`: chooses the words, and what is left out.

    Where a condition tells the light already (fbc, env) words of light are often left out, so that a high guidance on
    words, as fbc's default is, does not overdo the light. Words that say nothing go with any picture: were praise left
    over for photographs, whose subjects have no names, guidance would ask for a photograph.
    """
    told = workflow != "fc"
    if uniform(0, 1, random) < (0.6 if told else 0.2):
        return choose(SILENT, random)
    parts: list[str] = []
    if uniform(0, 1, random) < 0.85:
        parts.append(choose(SUBJECT_WORDS[subject], random))
    if uniform(0, 1, random) < (0.2 if told else 0.85) and mood:
        parts.append(choose(MOOD_WORDS[mood], random))
    if uniform(0, 1, random) < (0.1 if told else 0.6):
        parts.append(choose(SIDE_WORDS[side], random))
    if uniform(0, 1, random) < 0.75:
        parts.append(QUALITY)
    return ", ".join(part for part in parts if part)


def corpus() -> list[str]:
    """Everything a caption may say, for building a tokenizer."""
    words = [text for group in (MOOD_WORDS, SIDE_WORDS, SUBJECT_WORDS) for texts in group.values() for text in texts]
    return [*words, QUALITY, NEGATIVE, MORE_WORDS]
