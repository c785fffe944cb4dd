"""Light in files of many kinds: channels go by their names, windows, primaries and axes by what the header says."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import OpenEXR
import pytest
from test_budgets import exr as header_only

from iclight.errors import ImageError
from iclight.imaging.environment import read_environment

HEIGHT, WIDTH = 8, 16
RGB = (np.random.default_rng(1).random((HEIGHT, WIDTH, 3)) * 5 + 0.1).astype(np.float32)
FLAT = np.ones((HEIGHT, WIDTH), np.float32)


def exr(path, channels, **header):
    with OpenEXR.File({"type": OpenEXR.scanlineimage, **header}, channels) as file:
        file.write(str(path))
    return path


def layer(name, pixels=RGB):
    return {f"{name}{letter}": np.ascontiguousarray(pixels[..., n]) for n, letter in enumerate("RGB")}


@pytest.mark.parametrize(
    "channels",
    [
        layer(""),
        {**layer("AO.", RGB * 0.1), **layer("")},
        {"A": FLAT * 0.25, "AO": FLAT * 9, "Z": FLAT * 7, **layer("")},
        layer("diffuse."),
        {**layer("AO.", RGB * 0.1), **layer("ViewLayer.Combined."), "ViewLayer.Depth.Z": FLAT},
        {**layer("a.", RGB * 2), **layer("beauty.")},
        {**layer(""), "Y": FLAT},
        {"red": RGB[..., 0].copy(), "green": RGB[..., 1].copy(), "blue": RGB[..., 2].copy()},
    ],
    ids=["RGB", "a layer before it", "alpha, AO and Z", "a layer alone", "Blender", "beauty", "beside Y", "long names"],
)
def test_colours_are_found_by_name(channels, tmp_path):
    assert np.allclose(read_environment(exr(tmp_path / "a.exr", channels)), RGB, rtol=1e-3)


def test_luminance_alone_is_grey(tmp_path):
    read = read_environment(exr(tmp_path / "a.exr", {"A": FLAT * 0.25, "Y": FLAT * 5}))
    assert (read == 5).all()


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ({"Z": FLAT}, "no colours"),
        ({"A": FLAT}, "no colours"),
        ({"R": FLAT, "G": FLAT}, "no colours"),
        ({"ao": FLAT, "id.X": FLAT}, "no colours"),
        ({**layer("one."), **layer("two.")}, "several layers .one, two."),
    ],
)
def test_what_has_no_colours_of_its_own_is_refused(channels, words, tmp_path):
    with pytest.raises(ImageError, match=words):
        read_environment(exr(tmp_path / "a.exr", channels))


def test_halves_and_floats_may_be_mixed(tmp_path):
    channels = {**layer(""), "G": RGB[..., 1].astype(np.float16)}
    assert np.allclose(read_environment(exr(tmp_path / "a.exr", channels)), RGB, rtol=1e-3)


def attribute(name: str, kind: str, body: bytes) -> bytes:
    return f"{name}\0{kind}\0".encode() + struct.pack("<i", len(body)) + body


def plain_exr(planes: dict[str, np.ndarray]) -> bytes:
    """Scan lines of floats, as they are; planes that are smaller lie at every second pixel of every second line."""
    height, width = planes["Y"].shape
    steps = {name: width // plane.shape[1] for name, plane in planes.items()}
    listed = b"".join(name.encode() + b"\0" + struct.pack("<iIii", 2, 0, step, step) for name, step in steps.items())
    box, one = struct.pack("<4i", 0, 0, width - 1, height - 1), struct.pack("<f", 1)
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2) + attribute("channels", "chlist", listed + b"\0")
    head += attribute("compression", "compression", b"\0") + attribute("dataWindow", "box2i", box)
    head += attribute("displayWindow", "box2i", box) + attribute("lineOrder", "lineOrder", b"\0")
    head += attribute("pixelAspectRatio", "float", one) + attribute("screenWindowCenter", "v2f", bytes(8))
    head += attribute("screenWindowWidth", "float", one) + b"\0"
    lines = []
    for y in range(height):
        rows = [plane[y // steps[name]] for name, plane in planes.items() if y % steps[name] == 0]
        body = b"".join(row.astype("<f4").tobytes() for row in rows)
        lines.append(struct.pack("<ii", y, len(body)) + body)
    first = len(head) + 8 * height
    places = [first + sum(map(len, lines[:y])) for y in range(height)]
    return head + struct.pack(f"<{height}Q", *places) + b"".join(lines)


def test_chroma_at_half_the_size_is_enlarged(tmp_path):
    weights = np.array([0.2126, 0.7152, 0.0722])
    smooth = np.linspace(1, 3, WIDTH)[None, :, None] * np.array([0.5, 1.0, 0.8]) * np.ones((HEIGHT, 1, 1))
    luminance = smooth @ weights
    chroma = (smooth[..., [0, 2]] - luminance[..., None]) / luminance[..., None]
    path = tmp_path / "a.exr"
    path.write_bytes(plain_exr({"BY": chroma[::2, ::2, 1], "RY": chroma[::2, ::2, 0], "Y": luminance}))
    assert np.allclose(read_environment(path), smooth, rtol=2e-3)


def window(left, top, right, bottom):
    return np.array([left, top], np.int32), np.array([right, bottom], np.int32)


def test_data_lie_in_the_display_window(tmp_path):
    whole = {"dataWindow": window(0, 0, WIDTH - 1, HEIGHT - 1)}
    larger = read_environment(exr(tmp_path / "a.exr", {"RGB": RGB}, displayWindow=window(-2, -1, WIDTH, 8), **whole))
    assert larger.shape == (10, WIDTH + 3, 3)
    assert np.array_equal(larger[1:9, 2 : WIDTH + 2], RGB)
    assert larger[0].sum() == larger[:, :2].sum() == 0
    smaller = read_environment(exr(tmp_path / "b.exr", {"RGB": RGB}, displayWindow=window(3, 2, 12, 6), **whole))
    assert np.array_equal(smaller, RGB[2:7, 3:13])
    with pytest.raises(ImageError, match="broken"):
        read_environment(exr(tmp_path / "c.exr", {"RGB": RGB}, displayWindow=window(90, 90, 99, 99), **whole))


def test_a_display_window_of_gigabytes_is_refused(tmp_path):
    path = header_only(tmp_path / "a.exr", [(16, 8, 3)])
    data = path.read_bytes()
    at = data.index(b"displayWindow\0box2i\0") + 24
    path.write_bytes(data[:at] + struct.pack("<4i", 0, 0, 60_000, 60_000) + data[at + 16 :])
    with pytest.raises(ImageError, match="megapixels"):
        read_environment(path)


def test_primaries_become_those_of_srgb(tmp_path):
    wide = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
    white = read_environment(exr(tmp_path / "w.exr", {"RGB": RGB * 0 + 2}, chromaticities=wide))
    assert np.allclose(white, 2, atol=1e-3), "white stays white"
    red = read_environment(exr(tmp_path / "r.exr", {"RGB": RGB * 0 + np.float32([1, 0, 0])}, chromaticities=wide))
    assert np.allclose(red[0, 0], (1.6605, 0, 0), atol=2e-3), "ITU-R BT.2087"
    xyz = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3)
    grey = read_environment(exr(tmp_path / "x.exr", {"RGB": RGB * 0 + 1}, chromaticities=xyz))
    assert np.allclose(grey, 1, atol=2e-3)


def test_what_the_library_says_of_a_damaged_file_is_not_on_the_standard_output(tmp_path, capfd):
    path = tmp_path / "damaged.exr"
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    light = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    with OpenEXR.File(header, {"RGB": light}) as file:
        file.write(str(path))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(value ^ 0x5A for value in data[middle : middle + 400])
    path.write_bytes(data)
    with pytest.raises(ImageError, match="broken or cut short"):
        read_environment(path)
    said = capfd.readouterr()
    assert said.out == ""
    assert "Exception raised reading pixel data" in said.err


def test_the_first_part_with_colours_counts(tmp_path):
    kind = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
    parts = [
        OpenEXR.Part({**kind}, {"Z": FLAT}, "depth"),
        OpenEXR.Part({**kind}, {"RGB": RGB}, "light"),
        OpenEXR.Part({**kind}, {"RGB": RGB * 9}, "another"),
    ]
    with OpenEXR.File(parts) as file:
        file.write(str(tmp_path / "a.exr"))
    assert np.array_equal(read_environment(tmp_path / "a.exr"), RGB)


def hdr(first: str, second: str, stored: np.ndarray, header: bytes = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n") -> bytes:
    """A .hdr of flat lines, as they are stored: lines x length x 3."""
    mantissa, exponent = np.frexp(stored.max(axis=2))
    scale = np.ldexp(1.0, 8 - exponent)[..., None]
    rgbe = np.concatenate([np.floor(stored * scale), (exponent + 128)[..., None]], axis=2).astype(np.uint8)
    assert mantissa.max() < 1
    return header + b"\n" + f"{first} {stored.shape[0]} {second} {stored.shape[1]}\n".encode() + rgbe.tobytes()


SMALL = RGB[:5, :7]  # lines shorter than 8 are never packed


@pytest.mark.parametrize("y", "+-")
@pytest.mark.parametrize("x", "+-")
@pytest.mark.parametrize("columns", [False, True])
def test_axes_may_run_any_way(y, x, columns):
    stored = SMALL[::-1] if y == "+" else SMALL
    stored = stored[:, ::-1] if x == "-" else stored
    names = (f"{x}X", f"{y}Y") if columns else (f"{y}Y", f"{x}X")
    read = read_environment(hdr(*names, stored.swapaxes(0, 1) if columns else stored))
    assert np.abs(read - SMALL).max() <= SMALL.max() / 100


@pytest.mark.parametrize(
    "header",
    [
        b"#?RADIANCE\n# " + b"c" * 9000 + b"\nFORMAT=32-bit_rle_rgbe\n",
        b"#?AUTOPANO\nFORMAT=32-bit_rle_rgbe\n",
        b"#?RGBE\r\nSOFTWARE=x\r\nFORMAT=32-bit_rle_rgbe\r\n",
        b"#?RADIANCE\nEXPOSURE=2\npcomb -e 'ro=ri(1)'\n" * 40,
        b"#?RADIANCE\nPRIMARIES= .640 .330 .300 .600 .150 .060 .3127 .3290\n",
    ],
    ids=["long", "Autopano", "CRLF", "no format", "primaries"],
)
def test_any_header_will_do(header):
    read = read_environment(hdr("-Y", "+X", SMALL, header))
    assert np.abs(read - SMALL).max() <= SMALL.max() / 100


def test_xyz_becomes_rgb():
    grey = np.full((5, 7, 3), 0.75)
    read = read_environment(hdr("-Y", "+X", grey, b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n"))
    assert np.allclose(read, 0.75, atol=0.01), "equal energy is white"


@pytest.mark.parametrize("lines", [b"-Y 5 -Y 7\n", b"-Y 5\n", b"", b"-Y 99999999 +X 99999999\n", b"-Y 0 +X 7\n"])
def test_a_hdr_without_sides_is_refused(lines):
    with pytest.raises(ImageError):
        read_environment(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n" + lines + bytes(200))


def test_packed_lines_are_read_as_before():
    wide = np.resize(RGB, (8, 64, 3)).astype(np.float32)
    data = bytes(cv2.imencode(".hdr", wide[..., ::-1])[1])
    assert np.abs(read_environment(data) - wide).max() <= wide.max() / 100
