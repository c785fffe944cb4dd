"""Make the README's results picture: three photos that no training saw, relit by the model that ships.

python tools/make_gallery.py [--model mini] [--output docs/results.jpg]

Columns: the photo; words with light from left, right, top and bottom (fc); two backgrounds (fbc); a panorama (env).
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from iclight import Relighter, Settings
from iclight.images import resize_and_center_crop
from iclight.studio.examples import asset

PHOTOS = ("astronaut.png", "coffee.jpg", "cat.jpg")
LIGHTS = ("left", "right", "top", "bottom")
BACKGROUNDS = ("sunset.jpg", "neon.jpg")
ENVIRONMENTS = ("dusk.hdr",)
CELL = (256, 256)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mini")
    parser.add_argument("--output", default="docs/results.jpg")
    parser.add_argument("--cell", type=int, default=224, help="pixels of a cell's side")
    options = parser.parse_args()
    columns = [[np.array(Image.open(asset(photo)).convert("RGB")) for photo in PHOTOS]]
    for workflow, lights in (
        ("fc", [{"light": light} for light in LIGHTS]),
        ("fbc", [{"background": name} for name in BACKGROUNDS]),
        ("env", [{"environment": name} for name in ENVIRONMENTS]),
    ):
        relighter = Relighter.load(options.model, workflow=workflow, matting="grabcut")
        for how in lights:
            column = []
            for photo in PHOTOS:
                settings = Settings.for_workflow(workflow, prompt="soft studio lighting")
                if "light" in how:
                    settings = settings.replace(light=how["light"])
                around = {name: asset(how[name]) if name in how else None for name in ("background", "environment")}
                result = relighter.relight(
                    asset(photo), settings, around["background"], environment=around["environment"]
                )
                column.append(result.images[0])
                print(workflow, *how.values(), photo, flush=True)
            columns.append(column)
    cell = (options.cell, options.cell)
    rows = [
        np.hstack([resize_and_center_crop(picture, *cell) for picture in row]) for row in zip(*columns, strict=True)
    ]
    Image.fromarray(np.vstack(rows)).save(options.output, quality=88, optimize=True)


if __name__ == "__main__":
    main()
