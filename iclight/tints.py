"""Colours as people and pickers write them."""

from __future__ import annotations

import re

from .errors import SettingsError, quoted


def hex_colour(text: str) -> str:
    """A colour as pickers and people write it -> "#rrggbb": "#fc8", "ffcc88", "rgba(255, 204.2, 136, 1)".

    Raises ValueError for anything else. Alpha is left out: a light has none.
    """
    if parts := re.fullmatch(r"\s*rgba?\(([\d.]+),\s*([\d.]+),\s*([\d.]+)(?:,\s*[\d.]+)?\)\s*", text):
        return "#" + "".join(f"{round(min(255.0, float(part))):02x}" for part in parts.groups())
    digits = text.strip().removeprefix("#").lower()
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    if not re.fullmatch("[0-9a-f]{6}", digits):
        raise ValueError(f"{quoted(text)} is no colour; write #RRGGBB.")
    return f"#{digits}"


def channels_of(colour: str) -> tuple[int, int, int]:
    """ "#rrggbb" -> red, green, blue from 0 to 255."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue


def linear_colour(colour: str) -> tuple[float, float, float]:
    """ "#rrggbb" (sRGB), or any other way `hex_colour` reads -> linear red, green, blue from 0 to 1.

    Raises SettingsError for what is no colour.
    """
    from .colour import LINEAR  # here, because this module loads without NumPy

    try:
        red, green, blue = (float(LINEAR[part]) for part in channels_of(hex_colour(colour)))
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return red, green, blue
