"""Make the thumbnails of the page's moods of light, by the model that ships.

python tools/make_moods.py [--model mini] [--photo cat.jpg]

One photo under each of `iclight.studio.moods.MOODS`, all of one seed, nothing picked; small JPEGs beside the page's
other pictures. Without them the page lists the moods by name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from iclight import Relighter, Settings
from iclight.imaging.crop import resize_and_center_crop
from iclight.studio.tabs.examples import asset
from iclight.studio.tabs.presets import MOODS, parameters_of

SUBJECTS = {"cat.jpg": "cat", "astronaut.png": "astronaut", "coffee.jpg": "coffee cup"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mini")
    parser.add_argument("--photo", default="astronaut.png", choices=SUBJECTS)
    parser.add_argument("--side", type=int, default=192, help="pixels of a thumbnail's side")
    options = parser.parse_args()
    relighter = Relighter.load(options.model, workflow="fc", matting="grabcut")
    written = 0
    for mood in MOODS:
        prompt = f"{SUBJECTS[options.photo]}, {mood.words}"
        settings = Settings.for_workflow("fc", prompt=prompt, **parameters_of(mood, "fc"))
        made = relighter.relight(asset(options.photo), settings).images[0]
        target = Path(mood.thumbnail)
        target.parent.mkdir(exist_ok=True)
        small = resize_and_center_crop(np.ascontiguousarray(made), options.side, options.side)
        Image.fromarray(small).save(target, quality=85, optimize=True)
        written += target.stat().st_size
        print(f"{mood.name}: {target.name}", flush=True)
    print(f"{len(MOODS)} thumbnails, {written / 1000:.0f} kB")


if __name__ == "__main__":
    main()
