"""What a small file may cost: memory is promised before anything is decoded, and nothing but files is opened."""

from __future__ import annotations

import ast
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iclight.editing.exports import read_layer
from iclight.editing.normal_maps import read_normals
from iclight.errors import ImageError
from iclight.imaging import budgets, images
from iclight.imaging.environment import read_environment
from iclight.weights import files

ROOT = Path(__file__).parents[2]
READERS = {
    "image": images.read_image,
    "environment": read_environment,
    "layer": read_layer,
    "normals": read_normals,
}
GROWTH = 1.5e9

# Reads a file and says what came of it, and how much memory that took at most beyond what there was before.
CHILD = """
import sys
from iclight.imaging.environment import read_environment as environment
from iclight.errors import ImageError
from iclight.imaging.images import read_image as image
from iclight.editing.exports import read_layer as layer
from iclight.editing.normal_maps import read_normals as normals
import cv2, OpenEXR

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak()
try:
    {reader}(sys.argv[1])
    said = "taken"
except ImageError as error:
    said = str(error)
print(peak() - before)
print(said)
"""


def png(path: Path, width: int, height: int, depth: int, colour: int, whole: bool = True) -> Path:
    """A PNG of zeros: `whole`, or its header with no rows behind it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    stride = 1 + width * {0: 1, 2: 3, 4: 2, 6: 4}[colour] * depth // 8
    packer = zlib.compressobj(1)
    left = stride * height if whole else 0
    block = bytes(1 << 24)
    packed = [packer.compress(block[: min(left - at, 1 << 24)]) for at in range(0, left, 1 << 24)] + [packer.flush()]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(packed)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def exr(path: Path, parts: list[tuple[int, int, int]]) -> Path:
    """An OpenEXR file's headers, (width, height, channels) of each part, and tables of zeros."""

    def attribute(name: str, kind: str, body: bytes) -> bytes:
        return f"{name}\0{kind}\0".encode() + struct.pack("<i", len(body)) + body

    data = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | (0x1000 if len(parts) > 1 else 0))
    for number, (width, height, channels) in enumerate(parts):
        names = "".join(f"C{channel:03d}\0" for channel in range(channels)).split("\0")[:-1]
        listed = b"".join(name.encode() + b"\0" + struct.pack("<iIii", 2, 0, 1, 1) for name in names) + b"\0"
        window = struct.pack("<4i", 0, 0, width - 1, height - 1)
        data += attribute("channels", "chlist", listed) + attribute("compression", "compression", b"\3")
        data += attribute("dataWindow", "box2i", window) + attribute("displayWindow", "box2i", window)
        data += attribute("lineOrder", "lineOrder", b"\0") + attribute(
            "pixelAspectRatio", "float", struct.pack("<f", 1)
        )
        data += attribute("screenWindowCenter", "v2f", bytes(8))
        data += attribute("screenWindowWidth", "float", struct.pack("<f", 1))
        if len(parts) > 1:
            data += attribute("name", "string", b"part%d" % number) + attribute("type", "string", b"scanlineimage")
            data += attribute("chunkCount", "int", struct.pack("<i", -(-height // 16)))
        data += b"\0"
    path.write_bytes(data + (b"\0" if len(parts) > 1 else b"") + bytes(8 * sum(part[1] for part in parts)))
    return path


def exif_bomb(entries: int, size: int) -> bytes:
    """EXIF whose entries all point at the same bytes."""
    head = b"II*\0" + struct.pack("<IH", 8, entries)
    return head + b"".join(struct.pack("<HHII", 1000 + n, 1, size, 14) for n in range(entries)) + bytes(size + 40)


def jpeg_with_exif(path: Path) -> Path:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    bomb = exif_bomb(5000, 3_000_000)
    pieces = [bomb[at : at + 65_000] for at in range(0, len(bomb), 65_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(piece) + 8) + b"Exif\0\0" + piece for piece in pieces)
    path.write_bytes(b"\xff\xd8" + segments + buffer.getvalue()[2:])
    return path


def png_with_exif(path: Path) -> Path:
    png(path, 8, 8, 8, 2)
    body = exif_bomb(5000, 3_000_000)
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk + data[33:])
    return path


def tiff(path: Path, width: int, height: int) -> Path:
    """A TIFF of zeros, 16-bit RGBA, deflated in one strip."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(width * 8)) for _ in range(height)) + packer.flush()
    tags = [(256, width), (257, height), (258, 16), (259, 8), (262, 2), (273, 8), (277, 4), (279, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (338, 2)])
    head = b"II*\0" + struct.pack("<I", 8 + len(packed))
    path.write_bytes(head + packed + struct.pack("<H", len(tags) + 1) + entries + bytes(4))
    return path


HOSTILE = {
    "grey of 16 bits": ("image", lambda path: png(path, 10_000, 10_000, 16, 0), "taken"),
    "one row": ("image", lambda path: png(path, 50_000_000, 1, 8, 2), "taken"),
    "TIFF in one strip": ("image", lambda path: tiff(path, 7_000, 7_000), "fully transparent"),
    "EXIF of a JPEG": ("image", jpeg_with_exif, "over and over"),
    "EXIF of a PNG": ("image", png_with_exif, "over and over"),
    "large panorama": ("environment", lambda path: png(path, 10_000, 10_000, 8, 2), "36 megapixels"),
    "second part": ("environment", lambda path: exr(path, [(16, 8, 3), (12_000, 12_000, 3)]), "36 megapixels"),
    "many channels": ("environment", lambda path: exr(path, [(6_000, 6_000, 80)]), "too much memory"),
    "many parts": ("environment", lambda path: exr(path, [(4_000, 4_000, 4)] * 50), "too much memory"),
    "layer": ("layer", lambda path: png(path, 6_000, 6_000, 16, 6), "taken"),
    "large layer": ("layer", lambda path: png(path, 16_384, 16_384, 16, 6, whole=False), "36 megapixels"),
    "normals": ("normals", lambda path: png(path, 8_000, 8_000, 16, 6), "faces away"),
    "large normals": ("normals", lambda path: png(path, 25_000, 25_000, 8, 2, whole=False), "megapixels"),
}

# What is said of files that are decoded; the others are refused from their header.
DECODED = ("taken", "fully transparent", "faces away")
DEAR = ("layer", "normals", "TIFF in one strip", "grey of 16 bits")  # half a minute each


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured by /proc")
@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] * (k in DEAR)) for k in HOSTILE])
def test_a_small_file_takes_no_more_than_its_memory(kind, tmp_path):
    reader, write, words = HOSTILE[kind]
    path = write(tmp_path / "a.png")
    assert path.stat().st_size < 20e6
    code = CHILD.format(reader=reader)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, cwd=ROOT)
    grown, said = done.stdout.split("\n", 1)
    assert words in said
    assert int(grown) < (GROWTH if words in DECODED else 60e6), "or refused from the header"


@pytest.mark.parametrize("reader", READERS)
def test_only_regular_files_are_opened(reader, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    names = [tmp_path / "pipe", "/dev/null", tmp_path, "a" * 5000, "a\0b", tmp_path / "none", "\ud800"]
    for name in names:
        with pytest.raises(ImageError):
            READERS[reader](name)


@pytest.mark.parametrize("reader", READERS)
def test_a_file_of_gigabytes_is_refused_before_it_is_read(reader, tmp_path):
    for ending in (".png", ".exr"):
        with open(tmp_path / f"sparse{ending}", "wb") as file:
            file.truncate(4 << 30)
        with pytest.raises(ImageError, match="MB"):
            READERS[reader](tmp_path / f"sparse{ending}")


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_may_not_be_read_is_refused(reader, tmp_path, monkeypatch):
    path = png(tmp_path / "a.png", 8, 8, 8, 2)

    def forbidden(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "open", forbidden)
    with pytest.raises(ImageError, match=r"cannot be read \(Permission denied\)"):
        READERS[reader](path)


def test_a_name_that_became_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    regular, pipe = tmp_path / "a", tmp_path / "pipe"
    regular.write_bytes(b"x")
    os.mkfifo(pipe)
    status = os.stat(regular)
    monkeypatch.setattr(files, "check_regular", lambda *_: status)
    with pytest.raises(ImageError, match="not a regular file"):
        files.open_regular(pipe, "The picture", 100)


def test_errors_are_of_the_callers_kind(tmp_path):
    from iclight.errors import WeightsError

    with pytest.raises(WeightsError, match="The weights 'none' does not exist"):
        files.check_regular("none", "The weights", WeightsError)
    assert files.check_regular(__file__, "The test").st_size > 0


def test_what_is_allowed_is_within_the_budget():
    budgets.check_decode(10_000, 10_000, 13, "The picture")
    for width, height, each in ((10_001, 10_000, 1), (10_000, 10_000, 14), (0, 5, 1)):
        with pytest.raises(ImageError):
            budgets.check_decode(width, height, each, "The picture")


def opened_without_formats(path: Path) -> list[int]:
    """Lines that call Pillow's open without saying which formats it may try."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("Image.open", "PIL.Image.open"):
            continue
        if not any(keyword.arg == "formats" for keyword in node.keywords):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("folder", ["iclight", "briarmbg", "training", "benchmarks", "tools"])
def test_pillow_is_told_which_formats_to_open(folder):
    """Of all that it knows, some run other programs, and some read whatever they are told."""
    found = {str(path): opened_without_formats(path) for path in (ROOT / folder).rglob("*.py")}
    assert not {path: lines for path, lines in found.items() if lines}


def test_pillow_is_never_told_to_make_up_what_is_missing():
    from PIL import ImageFile

    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    for folder in ("iclight", "briarmbg"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "LOAD_TRUNCATED_IMAGES" not in path.read_text(encoding="utf-8"), path


def test_reading_pictures_costs_no_import_of_codecs():
    reads = "iclight.imaging.images, iclight.imaging.environment"
    code = f"import sys, {reads}; print({{'cv2', 'OpenEXR', 'tifffile'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_conversions_of_16_bits_are_what_they_were():
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rgb, _ = images.read_image(np.dstack([deep] * 3))
    assert np.array_equal(rgb[..., 0], np.rint(deep / 257).astype(np.uint8))
