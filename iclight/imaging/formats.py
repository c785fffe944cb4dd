"""What kind of file one is by its opening bytes, whatever its name says: to be read as that, or refused by its name."""

from __future__ import annotations

from ..errors import ImageError

OPENING = 512  # bytes that are looked at
# Brands of HEIC among the files of boxes (ISO 14496-12); "mif1" may also be AVIF's.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_STILLS = (b"mif1", b"msf1")
_RAW_BRANDS = {b"crx ": "Canon CR3"}
# (place, bytes, name): cameras' raw files that are no ordinary TIFF.
_RAW = (
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (0, b"IIU\0", "Panasonic RW2"),
    (0, b"IIRO", "Olympus ORF"),
    (0, b"IIRS", "Olympus ORF"),
    (0, b"MMOR", "Olympus ORF"),
    (0, b"FOVb", "Sigma X3F"),
    (0, b"\0MRM", "Minolta MRW"),
    (6, b"HEAPCCDR", "Canon CRW"),
    (8, b"CR\x02\0", "Canon CR2"),
)
_OTHERS = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"8BPS", "Photoshop (PSD)"),
    (0, b"gimp xcf", "GIMP (XCF)"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?", "Radiance .hdr"),
    (0, b"PF\n", "PFM"),
    (0, b"PF ", "PFM"),
    (0, b"P7\n", "PAM"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (8, b"AVI ", "AVI video"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
)
_TEXTS = ((b"<svg", "SVG"), (b"<html", "HTML"), (b"<!doctype html", "HTML"))


def is_heic(opening: bytes) -> bool:
    """Whether a file's opening bytes are those of a HEIC picture, or another of HEIF's but AVIF."""
    brands = _brands(opening)
    return bool(brands) and b"avif" not in brands and (brands[0] in (*_HEIC, *_STILLS))


def raw_of(opening: bytes) -> str | None:
    """The name of a camera's raw format, None for anything else."""
    brand = next(iter(_brands(opening)), b"")
    return _RAW_BRANDS.get(brand) or _found(_RAW, opening)


def refuse(opening: bytes, what: str) -> ImageError:
    """What is said of a file that no reader takes, by its opening bytes."""
    name = _found(_OTHERS, opening) or next((name for text, name in _TEXTS if text in opening.lower()), None)
    brands = _brands(opening)
    if name is None and brands and b"avif" not in brands and not is_heic(opening):
        name = "video"
    if name is None:
        return ImageError(
            "{what} is not an image this can read; give a PNG, JPEG, WebP or another common format.", what=what
        )
    return ImageError(
        "{what} is {format}, a format that is not read here; save it as PNG, JPEG or TIFF.", what=what, format=name
    )


def refuse_raw(name: str, what: str) -> ImageError:
    """What is said of a camera's raw file where nothing reads it."""
    return ImageError(
        "{what} is a camera's raw file ({format}), for which {package} is missing: install it ({command}), or develop "
        "the picture, and give the TIFF or JPEG.",
        what=what,
        format=name,
        package="rawpy",
        command="pip install 'iclight[raw]'",
    )


def _brands(opening: bytes) -> list[bytes]:
    """The major brand of a file of boxes, then the compatible ones."""
    if opening[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(opening[:4], "big"), len(opening))
    return [opening[8:12], *(opening[at : at + 4] for at in range(16, end - 3, 4))]


def _found(table: tuple[tuple[int, bytes, str], ...], opening: bytes) -> str | None:
    return next((name for place, magic, name in table if opening[place:].startswith(magic)), None)
