"""Light sources as pictures: the ramps that tell the model where the light comes from.

In the fc workflow a ramp is the first pass's initial latent; in the fbc workflow it is the background condition. The
env workflow has maps instead (`environment`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# (bright end, dark end) of a ramp, and the grey of fbc's ambient light, as the reference has them.
RAMP_ENDS = {"fc": (255, 0), "fbc": (224, 32)}
AMBIENT_GREY = 64


def light_map(light: str, workflow: str, width: int, height: int) -> NDArray[np.uint8] | None:
    """The picture that stands for a light: height x width x 3 uint8, or None where there is none to make.

    `light` is one of `settings.LIGHTS[workflow]`. "none", "upload" and "upload-flipped" have no picture of their own,
    nor has any light of a workflow without ramps. The ramp is bright on the side the light comes from and linear in
    grey values, truncated to uint8.
    """
    if workflow not in RAMP_ENDS:
        return None
    bright, dark = RAMP_ENDS[workflow]
    if light == "ambient":
        return np.full((height, width, 3), AMBIENT_GREY, np.uint8)
    if light in ("left", "right"):
        ends = (bright, dark) if light == "left" else (dark, bright)
        ramp = np.linspace(*ends, width)[None, :, None]
    elif light in ("top", "bottom"):
        ends = (bright, dark) if light == "top" else (dark, bright)
        ramp = np.linspace(*ends, height)[:, None, None]
    else:
        return None
    return np.broadcast_to(ramp.astype(np.uint8), (height, width, 3)).copy()
