"""TIFFs that only libtiff can decode (JPEG, fax, ...), in a process that holds nothing but the file.

libtiff says on the standard error what Pillow does not hear, and what it leaves undecoded is garbage of that process
alone. Whatever it says there, the file is refused. Where the C library can fill fresh memory (glibc), the file is
decoded twice over different fillings: where they show, rows were not decoded.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

import numpy as np
import PIL
from numpy.typing import NDArray

from . import budgets
from .canvas import PART, Canvas
from .errors import ImageError, plain

SECONDS = 60
# The process may address what decoding may take, and what Python and Pillow map before it.
ADDRESSES = budgets.DECODE_BYTES + 400_000_000
# Greys of more than 8 bits, as Pillow calls them.
_DEEP = {"I;16": "<u2", "I": "=i4", "F": "=f4"}

# Reads a file from its standard input; writes mode, width and height on a line of their own, then the pixels.
_CHILD = r"""
import io, sys, warnings
sys.path.append(sys.argv[1])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[3]),) * 2)
except (ImportError, OSError, ValueError):
    pass
from PIL import Image, ImageOps
warnings.simplefilter("ignore")
Image.MAX_IMAGE_PIXELS = int(sys.argv[4])
out = sys.stdout.buffer
try:
    import ctypes
    perturb = ctypes.CDLL(None).mallopt
except (ImportError, OSError, AttributeError, TypeError):
    perturb = None

def decoded(data, fill):
    if perturb is not None:
        perturb(-6, fill)  # M_PERTURB: memory that nobody has written to shows the byte's complement
    image = Image.open(io.BytesIO(data), formats=["TIFF"])
    if image.width * image.height > int(sys.argv[4]):
        raise ValueError("it is too large")
    image.load()
    return image

try:
    data = sys.stdin.buffer.read()
    image = decoded(data, 0x55)
    if perturb is not None and image.tobytes() != decoded(data, 0xAA).tobytes():
        raise ValueError("rows of it were not decoded")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = image if image.mode == "I;16" else image.convert("I")
    elif image.mode not in ("RGB", "RGBA", "I", "F"):
        has_alpha = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    head = f"{image.mode} {image.width} {image.height}\n".encode()
    rows = max(1, (1 << 20) // image.width)
    out.write(head)
    for top in range(0, image.height, rows):
        out.write(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())
    out.flush()
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}"[:500])
"""


def decode_apart(data: bytes, what: str, most: int) -> Canvas | NDArray[np.generic]:
    """The first page of a TIFF, upright: a `Canvas`, or HxW of uint16, int32 or float32 where greys are deep.

    Raises ImageError, opening with `what`, where libtiff complains of anything, and beyond `SECONDS`.
    """
    home = str(Path(PIL.__file__).parents[1])
    limits = [str(limit) for limit in (ADDRESSES, SECONDS, most)]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD, home, *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        clock = threading.Timer(SECONDS, child.kill)
        clock.start()
        assert child.stdin is not None and child.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError), child.stdin:
                child.stdin.write(data)
            picture = _received(child.stdout)
            status = child.wait()
        finally:
            clock.cancel()
            child.kill()
            child.stdout.close()
            child.wait()
        complaints.seek(0)
        said = complaints.read(2000).decode("utf-8", "replace").strip()
    if status != 0 or said or picture is None:
        reason = plain(said.splitlines()[-1] if said else "its decoder did not end well")
        raise ImageError(f"{what} is broken or cut short and cannot be decoded ({reason}). Export it again.")
    return picture


def _received(pipe: IO[bytes]) -> Canvas | NDArray[np.generic] | None:
    """What the process writes; None if that is not whole."""
    head = re.fullmatch(rb"([A-Z;0-9]+) ([0-9]{1,9}) ([0-9]{1,9})\n", pipe.readline(100))
    if head is None:
        return None
    mode, width, height = head[1].decode(), int(head[2]), int(head[3])
    if mode in _DEEP:
        values = np.frombuffer(pipe.read(), _DEEP[mode])
        return values.reshape(height, width) if values.size == width * height else None
    channels = len(mode)
    canvas = Canvas(width, height, channels == 4)
    rows = max(1, PART // width)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        band = pipe.read(count * width * channels)
        if len(band) < count * width * channels:
            return None
        canvas.put(0, top, np.frombuffer(band, np.uint8).reshape(count, width, channels))
    return canvas
