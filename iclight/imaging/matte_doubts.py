"""Whether a matte that nobody drew may be wrong: what its shape gives away, in words for whoever sees the result."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import Message

Floats = NDArray[np.float32]

LOOK_SIDE = 256  # shares are measured at this longer side, however large the matte
# Shares of the picture: a subject smaller than that is seldom what a photo was taken of, and one as large as that
# leaves no background to be cut off.
HARDLY, NEARLY = 0.01, 0.97
# Of the subject's area: fur is uncertain, too, but not as much (the example cat 0.22). Of U²-Net's mattes of sixty
# rendered things four are above it: the three worst (IoU below 0.5) and one that is right.
UNCERTAIN = 0.3
# Of a side's length. Heads and shoulders fill one side, close-ups two; the background fills three.
ALONG = 0.6


def matte_doubts(alpha: Floats) -> tuple[Message, ...]:
    """What speaks against a HxWx1 matte in [0, 1] being the subject's; empty where nothing does."""
    shrink = min(1.0, LOOK_SIDE / max(alpha.shape[:2]))
    size = (max(1, round(alpha.shape[1] * shrink)), max(1, round(alpha.shape[0] * shrink)))
    matte = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    subject = float(matte.mean())
    if subject < HARDLY:
        return (Message("Hardly anything of the picture was taken for the subject."),)
    if subject > NEARLY:
        return (Message("Nearly the whole picture was taken for the subject."),)
    doubts = []
    if float(((matte > 0.1) & (matte < 0.9)).mean()) > UNCERTAIN * subject:
        doubts.append(Message("Where the subject ends is uncertain over a large part of it."))
    sides = (matte[0], matte[-1], matte[:, 0], matte[:, -1])
    if sum(float((side > 0.5).mean()) > ALONG for side in sides) >= 3:
        doubts.append(Message("The subject runs along three sides of the picture, as backgrounds do."))
    return tuple(doubts)
