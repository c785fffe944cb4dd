"""What browsers paint: pictures of a canvas, sent a moment before the event that uses them, and how they are read."""

from __future__ import annotations

import io
import threading
import time
import warnings
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError

FORMATS, MOST_PIXELS = ("PNG", "WEBP", "JPEG"), 16_000_000
# Of one painting, and of all that wait for their event: pictures, bytes, and seconds until what nobody took goes.
MOST_LAYERS, LARGEST, ALL, WAITS = 4, 16 << 20, 128 << 20, 120.0


class Paintings:
    """Pictures that wait for their event, by the number that the browser gave their painting. Safe from any thread."""

    def __init__(self, room: int = ALL) -> None:
        self._room = room
        self._waiting: OrderedDict[str, tuple[float, dict[str, bytes]]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, name: str, kind: str, index: str, picture: bytes) -> None:
        """Keep a painting's "background", "composite" or, at an index, "layer"; the oldest paintings make room."""
        if kind == "layer" and index in map(str, range(MOST_LAYERS)):
            kind = f"layer {index}"
        elif kind not in ("background", "composite"):
            return
        if len(picture) > LARGEST:
            return
        with self._lock:
            now = time.monotonic()
            _, pictures = self._waiting.pop(name[:64], (now, {}))
            pictures[kind] = bytes(picture)
            self._waiting[name[:64]] = now, pictures
            used = sum(len(one) + 1024 for _, known in self._waiting.values() for one in known.values())
            while self._waiting and (used > self._room or now - next(iter(self._waiting.values()))[0] > WAITS):
                _, (_, gone) = self._waiting.popitem(last=False)
                used -= sum(len(one) + 1024 for one in gone.values())

    def take(self, name: str) -> dict[str, bytes]:
        """A painting's pictures; it is not kept any longer."""
        with self._lock:
            return self._waiting.pop(name[:64], (0.0, {}))[1]


# One for all canvases of all pages: what they hold together is what counts.
PAINTINGS = Paintings()


def read_painting(source: bytes | str) -> NDArray[np.uint8]:
    """A picture that a canvas hands over (a file's bytes or path) as HxWx4 uint8, transparent where nothing is painted.

    Raises ImageError for anything else.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise ImageError("The painting is too large.")
                return np.array(picture.convert("RGBA"))
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever their parsers trip over
        raise ImageError("The painting cannot be read; paint it again.") from error
