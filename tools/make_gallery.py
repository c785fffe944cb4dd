"""Make the README's results picture: three photos, lit from four sides by the model that ships.

python tools/make_gallery.py [--model mini] [--output docs/results.jpg]
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
CELL = (256, 256)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mini")
    parser.add_argument("--output", default="docs/results.jpg")
    options = parser.parse_args()
    relighter = Relighter.load(options.model, workflow="fc", matting="grabcut")
    rows = []
    for photo in PHOTOS:
        row = [np.array(Image.open(asset(photo)).convert("RGB"))]
        for light in LIGHTS:
            settings = Settings.for_workflow("fc", light=light, prompt="soft studio lighting")
            row.append(relighter.relight(asset(photo), settings).images[0])
            print(photo, light, flush=True)
        rows.append(np.hstack([resize_and_center_crop(picture, *CELL) for picture in row]))
    Image.fromarray(np.vstack(rows)).save(options.output, quality=88, optimize=True)


if __name__ == "__main__":
    main()
