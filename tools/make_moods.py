"""Make the thumbnails of the page's moods of light, by the model that ships.

python tools/make_moods.py [--model mini] [--photo cat.jpg]

One photo under each of `iclight.studio.ui.moods.MOODS`, by the settings of the model's card, all of one seed, nothing
picked; small JPEGs beside the page's other pictures.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from iclight import Relighter, Settings
from iclight.imaging.crop import resize_and_center_crop
from iclight.studio.tabs.examples import ASSETS, asset
from iclight.studio.ui.moods import MOODS, with_mood

SUBJECTS = {"cat.jpg": "cat", "astronaut.png": "astronaut", "coffee.jpg": "coffee cup"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mini")
    parser.add_argument("--photo", default="astronaut.png", choices=SUBJECTS)
    parser.add_argument("--side", type=int, default=192, help="pixels of a thumbnail's side")
    options = parser.parse_args()
    relighter = Relighter.load(options.model, workflow="fc", matting="u2netp")
    written = 0
    for key, mood in MOODS.items():
        settings = Settings.for_workflow(
            "fc", prompt=with_mood(SUBJECTS[options.photo], key), **{**relighter.defaults, **mood.light}
        )
        made = relighter.relight(asset(options.photo), settings).images[0]
        target = ASSETS / "moods" / f"{key}.jpg"
        target.parent.mkdir(exist_ok=True)
        small = resize_and_center_crop(np.ascontiguousarray(made), options.side, options.side)
        Image.fromarray(small).save(target, quality=85, optimize=True)
        written += target.stat().st_size
        print(f"{mood.name}: {target.name}", flush=True)
    print(f"{len(MOODS)} thumbnails, {written / 1000:.0f} kB")


if __name__ == "__main__":
    main()
