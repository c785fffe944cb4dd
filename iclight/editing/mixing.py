"""Mix lights after the relighting: light adds, so pictures lit by one light each add up to any mixture of them.

A stack holds one picture for each light, in linear light. `LightMix.mix` is sum of strength * colour * picture, as many
times a second as one likes; no model runs. How far the stack really adds up is measured, not promised: `residual`
compares the sum of its directions with the picture lit from everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, SettingsError, plain, quoted
from ..imaging.colour import LINEAR, linear_colour, quick_srgb
from ..imaging.files import write_exr
from ..imaging.spaces import SRGB, Native
from ..parameters import DIRECTIONS, MIX_PARAMETERS
from ..weights.files import whole_file
from .finish import apply_light
from .gain_map import LIMIT, GainMap, fit_matte, measure_gain

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Colour = tuple[float, float, float]

WHITE: Colour = (1.0, 1.0, 1.0)
AMBIENT = "ambient"
PAGE_NAME = 285  # a tag of TIFF 6.0
# Of a stack's files, all lights together: twelve bytes each in linear light. Five lights of 6144 x 6144 have fewer.
STACK_PIXELS = 200_000_000


@dataclass(frozen=True)
class LightWeight:
    """One light of a mix: how strong (0 to 4), which colour (linear red, green, blue, 0 to 1), heard or not."""

    strength: float = 1.0
    colour: Colour = WHITE
    muted: bool = False
    solo: bool = False

    def __post_init__(self) -> None:
        MIX_PARAMETERS["strength"].check("strength", self.strength)
        if len(self.colour) != 3 or not all(math.isfinite(part) and 0 <= part <= 1 for part in self.colour):
            raise SettingsError(
                "A light's colour is {colour}, but it takes three numbers from 0 to 1.", colour=quoted(self.colour)
            )


@dataclass(frozen=True)
class LightMix:
    """Pictures of one subject, one for each light: name -> HxWx3 uint8 sRGB, all of one size.

    `linear` is made of them: the same in linear light, float32.
    """

    pictures: Mapping[str, Pixels]
    linear: dict[str, Floats] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shapes = {picture.shape for picture in self.pictures.values()}
        if not self.pictures or len(shapes) != 1:
            raise ImageError("A stack takes one picture or more, all of one size: one for each light.")
        for name, picture in self.pictures.items():
            self.linear[name] = LINEAR[picture]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = next(iter(self.pictures.values())).shape[:2]
        return width, height

    def weights(self, channels: Mapping[str, LightWeight], exposure: float = 0.0) -> dict[str, Colour]:
        """Each light's red, green and blue factor; what is muted, or not solo where one is, has none.

        Lights that `channels` does not name are off. `exposure` in stops. Raises SettingsError for unknown names.
        """
        if unknown := sorted(set(channels) - set(self.pictures)):
            raise SettingsError(
                "There is no light {unknown} here; there are {lights}.",
                unknown=plain(", ".join(unknown)),
                lights=plain(", ".join(self.pictures)),
            )
        MIX_PARAMETERS["exposure"].check("exposure", exposure)
        alone = any(channel.solo for channel in channels.values())
        gain = 2.0**exposure
        found: dict[str, Colour] = {}
        for name, channel in channels.items():
            if channel.muted or (alone and not channel.solo) or channel.strength == 0:
                continue
            red, green, blue = (gain * channel.strength * part for part in channel.colour)
            found[name] = (red, green, blue)
        return found

    def light(self, channels: Mapping[str, LightWeight], exposure: float = 0.0) -> Floats:
        """The mixture in linear light, HxWx3, above 1 where it is brighter than white."""
        width, height = self.size
        total = np.zeros((height, width, 3), np.float32)
        for name, weight in self.weights(channels, exposure).items():
            # In place, one pass each: a frame must not take longer than a slider's next move.
            if weight[0] == weight[1] == weight[2]:
                cv2.scaleAdd(self.linear[name], weight[0], total, total)
            else:
                cv2.add(total, cv2.transform(self.linear[name], np.diag(weight).astype(np.float32)), total)
        return total

    def mix(self, channels: Mapping[str, LightWeight], exposure: float = 0.0) -> Pixels:
        """The mixture as a picture: HxWx3 uint8 sRGB, clipped at white."""
        return quick_srgb(self.light(channels, exposure))

    def relative(
        self, channels: Mapping[str, LightWeight], source: Pixels, alpha: Floats, exposure: float = 0.0
    ) -> GainMap:
        """The mixture as a light over the source picture, to export at the source's own resolution (`finish`).

        Each light's gain is measured for itself, and the gains are added as light adds: what is brighter than white in
        the mixture is not clipped before it is put on the file.
        """
        width, height = self.size
        total = np.zeros((height, width, 3), np.float32)
        for name, weight in self.weights(channels, exposure).items():
            total += np.exp2(measure_gain([self.pictures[name]], source, alpha).gain) * np.array(weight, np.float32)
        matte = fit_matte(alpha, source.shape, width, height)
        return GainMap(np.log2(total.clip(2.0**-LIMIT, 2.0**LIMIT)), matte)

    def export(
        self,
        channels: Mapping[str, LightWeight],
        source: Pixels,
        alpha: Floats,
        exposure: float = 0.0,
        native: Native | None = None,
    ) -> Any:
        """The mixture over the original file (HxWx3) at its own resolution, its background as it was.

        `native`: the source in its own colours and depth, in which the result then is, too.
        """
        light = self.relative(channels, source, alpha, exposure)
        native = native or Native(source, SRGB)
        return apply_light(native.pixels, light, alpha, space=native.space)

    def residual(self, alpha: Floats | None = None) -> float | None:
        """How far light fails to add up: |c * (left + right + top + bottom) - ambient| / ambient, inside the matte.

        The four directions and the ambient run are exposed each for itself, so the sum is scaled by the one factor c
        (for each colour) that fits best. 0 is a stack that adds up exactly. None when one of the five is missing.
        """
        if any(name not in self.linear for name in (*DIRECTIONS, AMBIENT)):
            return None
        weight = np.ones((*self.size[::-1], 1), np.float32) if alpha is None else alpha
        together = sum(self.linear[name] for name in DIRECTIONS)
        around = self.linear[AMBIENT]
        scale = (weight * together * around).sum((0, 1)) / np.maximum((weight * together**2).sum((0, 1)), 1e-9)
        gap = np.abs(scale * together - around)
        return float((weight * gap).sum() / max(float((weight * around).sum()), 1e-9))


def dial(angle: float, elevation: float = 0.0, ambient: float = 0.15) -> dict[str, LightWeight]:
    """Strengths of the stack's lights for a light from any angle.

    `angle` in degrees, counter-clockwise from the right: 0 right, 90 top, 180 left, 270 bottom. `elevation`, 0 to 1,
    brings the light towards the viewer: 1 is all ambient. A direction counts with the cosine of the angle to it where
    that is positive, which is what additivity makes of a light between two others.
    """
    if not (math.isfinite(angle) and 0 <= elevation <= 1 and 0 <= ambient <= MIX_PARAMETERS["strength"].maximum):
        raise SettingsError("The dial takes an angle in degrees, an elevation from 0 to 1 and an ambient from 0 to 4.")
    x, y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    side = math.cos(elevation * math.pi / 2)
    found = {name: LightWeight(round(max(0.0, x * dx + y * dy) * side, 6)) for name, (dx, dy) in DIRECTIONS.items()}
    return {**found, AMBIENT: LightWeight(round(min(4.0, ambient + (1 - side)), 6))}


def parse_channel(text: str) -> tuple[str, LightWeight]:
    """ "left=0.8", "top=1.2,#ffcc88": a light of the command line -> its name and channel. Raises SettingsError."""
    name, given, rest = text.partition("=")
    strength, _, colour = rest.partition(",")
    try:
        channel = LightWeight(float(strength) if strength else 1.0, parse_colour(colour) if colour else WHITE)
    except ValueError as error:
        if isinstance(error, SettingsError):
            raise
        given = ""
    if not given or not name:
        raise SettingsError(
            "{text} is no light of a mix; write NAME=STRENGTH or NAME=STRENGTH,#RRGGBB.", text=quoted(text)
        )
    return name.strip(), channel


def parse_colour(text: str) -> Colour:
    """ "#ffcc88", or "rgba(255, 204, 136, 1)", as pickers give it (sRGB) -> linear red, green, blue.

    Raises SettingsError.
    """
    return linear_colour(text)


def save_stack(stack: LightMix, path: str | Path) -> list[Path]:
    """Write a stack in linear light: one multi-channel .exr (float), or one 16-bit .tiff of a page for each light.

    A page's description is its light's name. Raises ImageError for other endings and what cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() == ".exr":
        channels: dict[str, Floats] = {}
        for name, light in stack.linear.items():
            for index, letter in enumerate("RGB"):
                channels[f"{name}.{letter}"] = np.ascontiguousarray(light[..., index])
        write_exr(target, channels)
    elif target.suffix.lower() in (".tif", ".tiff"):
        import tifffile

        with whole_file(target) as draft, tifffile.TiffWriter(draft) as file:
            for name, light in stack.linear.items():
                page = np.clip(light * 65535 + 0.5, 0, 65535).astype(np.uint16)
                label = name.encode("ascii", "replace").decode()  # what TIFF's texts hold
                named = [(PAGE_NAME, "s", 0, label, True)]
                file.write(page, photometric="rgb", description=label, metadata=None, contiguous=False, extratags=named)
    else:
        raise ImageError("A stack is a .exr or a .tiff, not {name}.", name=target.name)
    return [target]


def read_stack(paths: Mapping[str, str | Path] | Sequence[str | Path]) -> LightMix:
    """Pictures of one subject from files: name -> path, or paths whose stems end in the light's name."""
    from ..imaging.images import read_image

    named = paths if isinstance(paths, Mapping) else {Path(path).stem.split("-")[-1]: path for path in paths}
    pictures: dict[str, Pixels] = {}
    for name, path in named.items():
        pictures[name] = read_image(str(path), f"The picture lit by {plain(name)}")[0]
        if sum(picture.size for picture in pictures.values()) > 3 * STACK_PIXELS:
            raise ImageError(
                "A stack of more than {most:.0f} megapixels, all lights together, is refused.", most=STACK_PIXELS / 1e6
            )
    return LightMix(pictures)
