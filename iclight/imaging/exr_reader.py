"""OpenEXR's colours, found by the names of channels and never by their order in the alphabet, as linear sRGB.

A file's colours are R, G and B of its first part that has them, else luminance Y, with its chroma RY and BY if they are
there, else those of a layer ("diffuse.R"): the only one, or one that is called as a finished picture is.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, plain
from ..weights.files import open_regular
from .exr_header import BadHeader, check_exr, threads_of
from .primaries import BT709, is_srgb, luminance_weights, to_linear_srgb

# Last parts of names that programs give to the layer of the finished picture.
_FINISHED = ("combined", "beauty", "rgba", "rgb", "color", "colour", "image", "final", "main", "")
_COLOURS, _CHROMA = ("R", "G", "B"), ("Y", "RY", "BY")
_LONG = {"RED": "R", "GREEN": "G", "BLUE": "B", "ALPHA": "A"}
_OUTPUT = threading.Lock()


def read_exr(source: bytes | str | os.PathLike[str], what: str, most: int, limit: int) -> NDArray[Any]:
    """HxWx3 RGB, HxWx4 RGBA or HxW luminance: floats, linear, in sRGB's primaries; the display window, 0 around data.

    `source`: a path, or the file's bytes. `what`: opens messages. `most`: pixels that it may have. `limit`: bytes that
    it may have. Raises ImageError for what is damaged, too large or without colours. (OpenCV's builds often cannot.)
    """
    if isinstance(source, (bytes, bytearray)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "picture.exr")
            path.write_bytes(source)
            return read_exr(path, what, most, limit)
    import OpenEXR

    try:
        with open_regular(source, what, limit) as file:
            count = check_exr(file, what, most, threads_of(OpenEXR))
        with _quiet():
            decoded = OpenEXR.File(os.fspath(source), separate_channels=True)
        with decoded:
            if len(decoded.parts) < count:  # the library leaves out what it cannot read
                raise BadHeader("a part is damaged")
            part, layer = _chosen(decoded.parts, what)
            planes = {name: part.channels[stored] for name, stored in layer.items()}
            pixels = _framed(_joined(planes, part.header), part.header)
    except ImageError:
        raise
    except Exception as error:  # the library raises bare RuntimeError, ValueError and others
        raise ImageError(
            "{what} is broken or cut short and cannot be decoded as {kind}. Export it again.", what=what, kind="OpenEXR"
        ) from error
    return pixels


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While the library reads: it prints what it warns of on Python's standard output, which is `--json`'s.

    One at a time: the output is the whole process's, and each must put back the one that it found.
    """
    with _OUTPUT, contextlib.redirect_stdout(sys.stderr):
        yield


def _chosen(parts: list[Any], what: str) -> tuple[Any, dict[str, str]]:
    """The part, and the names of its channels by what they are: "R" -> "diffuse.R"."""
    found = []
    for part in parts:
        for layer, channels in _layers(part.channels).items():
            wanted = next((kind for kind in (_COLOURS, _CHROMA, ("Y",)) if set(kind) <= set(channels)), None)
            if wanted is not None:
                kept = {name: channels[name] for name in (*wanted, "A") if name in channels}
                found.append((layer, wanted is _COLOURS, part, kept))
    if not found:
        raise ImageError("{what} holds no colours (R, G, B or Y); export it as RGB.", what=what)
    for colours in (True, False):
        for layer, is_rgb, part, kept in found:
            if layer == "" and is_rgb == colours:
                return part, kept
    names = list(dict.fromkeys(layer for layer, *_ in found))
    finished = [one for end in _FINISHED for one in found if one[0].lower().split(".")[-1] == end]
    if len(names) > 1 and not finished:
        raise ImageError(
            "{what} holds several layers ({layers}) and none called R, G, B; export one of them as RGB.",
            what=what,
            layers=plain(", ".join(names)),
        )
    _, _, part, kept = (finished or found)[0]
    return part, kept


def _layers(channels: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Floating point channels by their layers' names ("" for none), then by what they are."""
    layers: dict[str, dict[str, str]] = {}
    for name, channel in channels.items():
        layer, _, last = name.rpartition(".")
        last = _LONG.get(last.upper(), last.upper())
        if channel.pixels is None or channel.pixels.dtype.kind == "f":
            layers.setdefault(layer, {}).setdefault(last, name)
    return layers


def _joined(planes: Mapping[str, Any], header: Mapping[str, Any]) -> NDArray[Any]:
    """HxW, HxWx3 or HxWx4 of channels, all at full size, in sRGB's primaries."""
    corners = header.get("chromaticities")
    primaries = BT709 if corners is None else tuple(float(value) for value in np.ravel(corners))
    values = {name: _full_size(channel, header) for name, channel in planes.items()}
    if "R" not in values and "RY" not in values:
        return values["Y"]
    depth = np.result_type(*values.values())
    names = [name for name in ("R", "G", "B", "A") if name != "A" or "A" in values]
    height, width = next(iter(values.values())).shape
    pixels = np.empty((height, width, len(names)), np.float32 if "RY" in values or depth.itemsize > 2 else depth)
    if "RY" in values:
        _from_chroma(values, luminance_weights(primaries), pixels)
    for number, name in enumerate(names):
        if name in values:
            pixels[..., number] = values[name]
    values.clear()
    matrix = to_linear_srgb(primaries)
    if not is_srgb(matrix):
        pixels = pixels.astype(np.float32, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):
            for row in pixels:
                row[:, :3] = row[:, :3] @ matrix.T.astype(np.float32)
    return pixels


def _from_chroma(values: Mapping[str, NDArray[Any]], weights: NDArray[np.float64], pixels: NDArray[Any]) -> None:
    """RY = (R - Y) / Y, BY = (B - Y) / Y, and Y the weighted sum of red, green and blue; `pixels` is filled."""
    luminance = values["Y"].astype(np.float32)
    red, blue = ((values[name].astype(np.float32) + 1) * luminance for name in ("RY", "BY"))
    pixels[..., 0], pixels[..., 2] = red, blue
    pixels[..., 1] = (luminance - red * np.float32(weights[0]) - blue * np.float32(weights[2])) / np.float32(weights[1])


def _full_size(channel: Any, header: Mapping[str, Any]) -> NDArray[Any]:
    """A channel that may be stored at every second pixel, at every pixel: linear in between."""
    plane: NDArray[Any] | None = channel.pixels
    (left, top), (right, bottom) = header["dataWindow"]
    if plane is None:
        raise BadHeader("pixels are missing")
    sides = (channel.ySampling, bottom - top + 1), (channel.xSampling, right - left + 1)
    for axis, (steps, length) in enumerate(sides):
        if steps == 1 and plane.shape[axis] == length:
            continue
        at = np.arange(int(length)) / max(int(steps), 1)
        low = at.astype(int).clip(0, plane.shape[axis] - 1)
        high = (low + 1).clip(0, plane.shape[axis] - 1)
        share = (at - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        plane = np.take(plane, low, axis) * (1 - share) + np.take(plane, high, axis) * share
    return plane


def _framed(pixels: NDArray[Any], header: Mapping[str, Any]) -> NDArray[Any]:
    """The data as they lie in the display window: nothing where there are none, and nothing of what is beyond it."""
    (left, top), (right, bottom) = (np.asarray(corner, int) for corner in header["dataWindow"])
    (start, first), (end, last) = (np.asarray(corner, int) for corner in header["displayWindow"])
    if (left, top, right, bottom) == (start, first, end, last):
        return pixels
    x, y = slice(max(left, start), min(right, end) + 1), slice(max(top, first), min(bottom, last) + 1)
    if x.start >= x.stop or y.start >= y.stop:
        raise BadHeader("no data in the display window")
    frame = np.zeros((last - first + 1, end - start + 1, *pixels.shape[2:]), pixels.dtype)
    frame[y.start - first : y.stop - first, x.start - start : x.stop - start] = pixels[
        y.start - top : y.stop - top, x.start - left : x.stop - left
    ]
    return frame
