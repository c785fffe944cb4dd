"""Decodes one file in a process that holds nothing else, which `decoded_apart` starts with this file as its program.

Reads the file from the standard input; writes mode, width, height and bytes of profile on a line of their own, then the
profile and the pixels. Arguments: where packages lie, the kind of file ("TIFF", "HEIF", "RAW"), the bytes of addresses
that it may have, seconds, and the most pixels.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

BAND = 1 << 20
TOO_LARGE = "it is too large"
Bands = Iterator[bytes | memoryview]


class Decoded:
    """A picture: its mode as Pillow calls it, or "RGB;n" or "RGBA;n" for values whose n bits are the upper ones of 16.

    `holder`: keeps alive what the bands look into.
    """

    def __init__(
        self, mode: str, sides: tuple[int, int], bands: Callable[[], Bands], icc: bytes = b"", holder: object = None
    ) -> None:
        self.mode, self.sides, self.bands, self.icc, self.holder = mode, sides, bands, icc, holder


def from_pillow(data: bytes, kind: str, most: int) -> Decoded:
    """Upright, in a mode that `decoded_apart` knows."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = most
    image: Any = Image.open(io.BytesIO(data), formats=[kind])
    check(image.size, most)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") and image.mode != "I;16":
        image = image.convert("I")
    if image.mode not in ("L", "RGB", "RGBA", "CMYK", "I", "F", "I;16"):
        has_alpha = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")

    def bands() -> Bands:
        rows = max(1, BAND // image.width)
        for top in range(0, image.height, rows):
            yield image.crop((0, top, image.width, min(top + rows, image.height))).tobytes()

    return Decoded(image.mode, image.size, bands, image.info.get("icc_profile") or b"" if kind == "HEIF" else b"")


def from_heif(data: bytes, kind: str, most: int) -> Decoded:
    """HEIC by Pillow, but for more than 8 bits, for which it has no mode."""
    import pi_heif

    pi_heif.register_heif_opener(thumbnails=False)
    pi_heif.options.DECODE_THREADS = 2
    heif = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    check(heif.size, most)
    bits = heif.info.get("bit_depth", 8)
    if bits <= 8 or heif.mode not in ("RGB;16", "RGBA;16"):
        return from_pillow(data, kind, most)
    icc = heif.info.get("icc_profile") or b""
    return Decoded(heif.mode.replace("16", str(bits)), heif.size, lambda: pieces(heif.data), icc, heif)


def from_raw(data: bytes, kind: str, most: int) -> Decoded:
    """A camera's raw file, developed: by the camera's white balance, upright, sRGB of 16 bits.

    As bright as dcraw has it: the brightest hundredth of the pixels is white.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each of its threads would map memory
    import rawpy

    with rawpy.imread(io.BytesIO(data)) as raw:
        check((raw.sizes.width, raw.sizes.height), most)
        pixels = raw.postprocess(
            use_camera_wb=True, output_color=rawpy.ColorSpace.sRGB, output_bps=16, gamma=(2.4, 12.92)
        )
    height, width, channels = pixels.shape
    return Decoded("RGB;16" if channels == 3 else "I;16", (width, height), lambda: pieces(pixels.data.cast("B")))


def check(sides: tuple[int, int], most: int) -> None:
    """Raise ValueError for more than `most` pixels."""
    if sides[0] * sides[1] > most:
        raise ValueError(TOO_LARGE)


def pieces(whole: memoryview) -> Bands:
    """Bytes, a megabyte at a time."""
    return (whole[at : at + BAND] for at in range(0, len(whole), BAND))


def passed_on(picture: Decoded, write: Callable[[Any], object]) -> bytes:
    """A digest of the pixels that were written."""
    digest = hashlib.sha256()
    for band in picture.bands():
        digest.update(band)
        write(band)
    return digest.digest()


def filler() -> Callable[[int, int], object] | None:
    """glibc's mallopt, which can fill fresh memory; None where there is none."""
    try:
        import ctypes

        return ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError, TypeError):
        return None


def main() -> None:
    """Decode what stands on the standard input."""
    home, kind = sys.argv[1:3]
    addresses, seconds, most = map(int, sys.argv[3:])
    sys.path.append(home)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    warnings.simplefilter("ignore")
    decode = {"HEIF": from_heif, "RAW": from_raw}.get(kind, from_pillow)
    # Developing takes seconds, and LibRaw clears its memory itself.
    perturb = None if kind == "RAW" else filler()
    try:
        data, out = sys.stdin.buffer.read(), sys.stdout.buffer
        before = None
        if perturb is not None:
            perturb(-6, 0x55)  # M_PERTURB: memory that nobody has written to shows the byte's complement
            before = passed_on(decode(data, kind, most), len)
            perturb(-6, 0xAA)
        picture = decode(data, kind, most)
        out.write(f"{picture.mode} {picture.sides[0]} {picture.sides[1]} {len(picture.icc)}\n".encode() + picture.icc)
        if passed_on(picture, out.write) != before and before is not None:
            raise ValueError("rows of it were not decoded")
        out.flush()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}"[:500])


if __name__ == "__main__":
    main()
