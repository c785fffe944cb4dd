"""Make the README's pictures: three photos that no training saw, relit by the model that ships.

python tools/make_gallery.py [results finish] [--model mini] [--folder docs]

results.jpg: the photo; words with light from left, right, top and bottom (fc); two backgrounds (fbc); a panorama (env).
finish.jpg: the photo; the model's picture; that light on the photo's own pixels, before its own background; and by a
background, before that. All by the settings of the model's card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iclight import Relighter, Settings
from iclight.imaging.crop import resize_and_center_crop
from iclight.studio.tabs.examples import asset

PHOTOS = ("astronaut.png", "coffee.jpg", "cat.jpg")
PROMPT = "soft studio lighting"
Column = tuple[str, dict[str, str], dict[str, str]]
# A column: workflow, settings, inputs besides the photo.
RESULTS: list[Column] = [
    *(("fc", {"light": light}, {}) for light in ("left", "right", "top", "bottom")),
    *(("fbc", {}, {"background": name}) for name in ("sunset.jpg", "neon.jpg")),
    ("env", {}, {"environment": "dusk.hdr"}),
]
MODEL, NATIVE = {"finish": "model"}, {"finish": "native"}
FINISH: list[Column] = [
    ("fc", {"light": "left", **MODEL}, {}),
    ("fc", {"light": "left", **NATIVE, "finish_background": "original"}, {}),
    ("fbc", MODEL, {"background": "sunset.jpg"}),
    ("fbc", NATIVE, {"background": "sunset.jpg"}),
]
# File: its columns, and the pixels of a cell's side.
SHEETS = {"results": (RESULTS, 224), "finish": (FINISH, 340)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheets", nargs="*", default=list(SHEETS), help=f"of {', '.join(SHEETS)} (default: all)")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    options = parser.parse_args()
    for name in options.sheets:
        columns, side = SHEETS[name]
        made = [[np.array(Image.open(asset(photo), formats=["PNG", "JPEG"]).convert("RGB")) for photo in PHOTOS]]
        made += relit(options.model, columns)
        rows = [np.hstack([resize_and_center_crop(one, side, side) for one in row]) for row in zip(*made, strict=True)]
        Image.fromarray(np.vstack(rows)).save(options.folder / f"{name}.jpg", quality=88, optimize=True)


def relit(model: str, columns: list[Column]) -> list[list[NDArray[np.uint8]]]:
    """Every photo in every column's way."""
    made = []
    relighter: Relighter | None = None
    for workflow, parameters, inputs in columns:
        if relighter is None or relighter.workflow != workflow:
            relighter = Relighter.load(model, workflow=workflow, matting="u2netp")
        settings = Settings.for_workflow(workflow, prompt=PROMPT, **{**relighter.defaults, **parameters})
        given = {name: asset(file) for name, file in inputs.items()}
        column = []
        for photo in PHOTOS:
            result = relighter.relight(
                asset(photo), settings, given.get("background"), environment=given.get("environment")
            )
            column.append(result.images[0])
            print(workflow, *parameters.values(), *inputs.values(), photo, f"{result.seconds:.1f} s", flush=True)
        made.append(column)
    return made


if __name__ == "__main__":
    main()
