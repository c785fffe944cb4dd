"""Colours are what the file says they are: any profile becomes sRGB, sRGB stays, a broken profile counts as none."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab

from iclight.imaging import images
from iclight.imaging.colour import to_linear
from iclight.imaging.declared_colours import icc_of_code, icc_of_gamma
from iclight.imaging.icc import matrix_icc
from iclight.imaging.png_chunks import chunk
from iclight.imaging.primaries import BT709, to_linear_srgb, to_xyz
from iclight.imaging.profiles import profile_of

LEVELS = np.linspace(20, 235, 12).astype(np.uint8)
# Every mixture of a few levels: what sRGB holds, other spaces hold, too.
SCENE = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS, indexing="ij"), axis=-1).reshape(36, 48, 3)
X = np.linspace(0, 1, 4081)
SPACES = {
    "Display P3": ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329), to_linear(X)),
    "Adobe RGB": ((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.329), X**2.19921875),
    "ProPhoto": ((0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585), X**1.8),
    "BT.2020": ((0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329), to_linear(X)),
}


def icc_of(name: str) -> bytes:
    primaries, curve = SPACES[name]
    return matrix_icc(to_xyz(primaries), curve, name)


def stored(name: str, srgb: np.ndarray = SCENE) -> np.ndarray:
    """An sRGB picture's colours as a space stores them."""
    primaries, curve = SPACES[name]
    light = to_linear(srgb / 255) @ np.linalg.inv(to_linear_srgb(primaries)).T
    return np.rint(np.interp(light.clip(0, 1), curve, X) * 255).astype(np.uint8)


def encoded(pixels: np.ndarray, form: str = "PNG", mode: str | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, form, **options)
    return buffer.getvalue()


def distance(pixels: np.ndarray, wanted: np.ndarray = SCENE) -> float:
    """Mean CIEDE2000."""
    return float(deltaE_ciede2000(rgb2lab(pixels), rgb2lab(wanted)).mean())


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    return png[:33] + b"".join(chunk(name, body) for name, body in chunks) + png[33:]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 98, "subsampling": 0}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 98, "subsampling": "4:4:4"}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "zstd"}),
    ],
)
def test_a_scene_looks_alike_in_whatever_profile_it_is_stored(name, form, options):
    if form == "AVIF":
        pytest.importorskip("PIL._avif")
    data = encoded(stored(name), form, icc_profile=icc_of(name), **options)
    rgb, _ = images.read_image(data)
    assert distance(rgb) < 1
    assert distance(images.read_image(Image.open(io.BytesIO(data)))[0]) < 1, "a Pillow picture carries it, too"


@pytest.mark.parametrize("name", SPACES)
def test_alpha_and_orientation_go_with_a_profile(name):
    alpha = np.linspace(0, 255, SCENE[..., 0].size).reshape(SCENE.shape[:2]).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    data = encoded(np.dstack([stored(name), alpha]), exif=exif, icc_profile=icc_of(name))
    picture = images.read_picture(data)
    assert distance(picture.rgb, np.rot90(SCENE, -1)) < 1
    assert np.array_equal(np.rint(picture.alpha[..., 0] * 255), np.rot90(alpha, -1))
    assert np.array_equal(picture.native.pixels, np.rot90(stored(name), -1))
    assert picture.native.space.icc == icc_of(name)


def test_16_bit_colours_of_a_tiff_are_converted(tmp_path):
    import tifffile

    primaries, curve = SPACES["ProPhoto"]
    light = to_linear(SCENE / 255) @ np.linalg.inv(to_linear_srgb(primaries)).T
    deep = np.rint(np.interp(light.clip(0, 1), curve, X) * 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", iccprofile=icc_of("ProPhoto"))
    assert distance(images.read_image(tmp_path / "deep.tif")[0]) < 1


def test_srgb_in_any_words_stays_to_the_byte():
    littlecms = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    own = matrix_icc(to_xyz(BT709), to_linear(X), "sRGB")
    rounded = matrix_icc(to_xyz(BT709), to_linear(np.linspace(0, 1, 1024)), "a table of 1024")
    for icc in (littlecms, own, rounded):
        assert profile_of(icc) is None
        picture = images.read_picture(encoded(SCENE, icc_profile=icc))
        assert np.array_equal(picture.rgb, SCENE)
        assert picture.native is None
    plain = encoded(SCENE)
    ends = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    for chunks in (
        [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))],
        [(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", ends)],
        [(b"cICP", bytes([1, 13, 0, 1])), (b"gAMA", struct.pack(">I", 100000))],
    ):
        assert np.array_equal(images.read_image(with_chunks(plain, *chunks))[0], SCENE)


def test_grey_is_of_its_own_gamma():
    grey = np.arange(256, dtype=np.uint8)[None].repeat(4, axis=0)
    curve = matrix_icc(to_xyz(BT709), X**1.8, "g")
    # The same tags as a grey profile has, of one curve.
    icc = bytearray(curve)
    icc[16:20] = b"GRAY"
    icc = bytes(icc).replace(b"rTRC", b"kTRC")
    rgb, _ = images.read_image(encoded(grey, icc_profile=icc))
    wanted = np.interp((np.arange(256) / 255) ** 1.8, to_linear(X), X) * 255
    assert np.abs(rgb[0, :, 0] - wanted).max() <= 1.5
    assert np.array_equal(rgb[..., 0], rgb[..., 2])
    colours, _ = images.read_image(encoded(SCENE, icc_profile=icc))
    assert np.array_equal(colours, SCENE), "no profile of a colour picture"


def cmyk_profile() -> bytes:
    """A printer's: a table of two levels for each ink, to Lab, in 8 bits (ICC.1, "mft1")."""
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    rgb = (1 - 0.8 * corners[:, :3]) * (1 - 0.9 * corners[:, 3:])
    lab = rgb2lab(rgb[None])[0]
    table = np.rint(np.stack([lab[:, 0] * 2.55, lab[:, 1] + 128, lab[:, 2] + 128], axis=1)).clip(0, 255)
    identity = bytes(range(256))
    body = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * np.eye(3).astype(int)).ravel())
    body += identity * 4 + table.astype(np.uint8).tobytes() + identity * 3
    icc = bytearray(icc_of("Display P3"))[:128] + struct.pack(">I", 2)
    icc[12:24] = b"prtrCMYKLab "
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    icc += struct.pack(">4sII4sII", b"A2B0", 156, len(body), b"wtpt", 156 + len(body), len(white))
    icc += body + white
    icc[:4] = struct.pack(">I", len(icc))
    return bytes(icc)


@pytest.mark.parametrize(
    ("form", "options"), [("JPEG", {"quality": 98}), ("TIFF", {}), ("TIFF", {"compression": "jpeg"})]
)
def test_inks_are_what_their_profile_says(form, options):
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:] = (255, 0, 0, 0)
    icc = cmyk_profile()
    rgb, _ = images.read_image(encoded(inks, form, "CMYK", icc_profile=icc, **options))
    assert np.abs(rgb[8, 4].astype(int) - 255).max() <= 3, "paper is white"
    assert 40 < rgb[8, 28, 0] < 90 and rgb[8, 28, 1:].min() > 245, "ink is as light as the profile has it"
    plain, _ = images.read_image(encoded(inks, form, "CMYK", **options))
    assert plain[8, 28, 0] < 10, "without a profile, ink is what paper lacks"


def test_png_says_its_colours_in_three_more_ways():
    p3 = with_chunks(encoded(stored("Display P3")), (b"cICP", bytes([12, 13, 0, 1])), (b"sRGB", b"\0"))
    assert distance(images.read_image(p3)[0]) < 1
    ends = [value * 100000 for value in (0.3127, 0.329, *SPACES["Adobe RGB"][0][:6])]
    chunks = (b"gAMA", struct.pack(">I", 45470)), (b"cHRM", struct.pack(">8I", *map(round, ends)))
    adobe = with_chunks(encoded(stored("Adobe RGB")), *chunks)
    assert distance(images.read_image(adobe)[0]) < 1
    linear = np.rint(to_linear(SCENE / 255) * 255).astype(np.uint8)
    assert distance(images.read_image(with_chunks(encoded(linear), (b"gAMA", struct.pack(">I", 100000))))[0]) < 2


def test_bright_signals_are_white_at_203_candela():
    pq = profile_of(icc_of_code(1, 16))
    hlg = profile_of(icc_of_code(1, 18))
    assert pq.to_srgb(np.full((1, 1, 3), 148, np.uint8)).min() >= 253, "58 % of the signal (BT.2408)"
    assert 100 < pq.to_srgb(np.full((1, 1, 3), 110, np.uint8)).mean() < 200
    assert hlg.to_srgb(np.full((1, 1, 3), 192, np.uint8)).min() >= 253, "75 % of the signal"
    assert pq.space is None, "what is clipped has no way back"


def broken_profiles() -> dict[str, bytes]:
    whole = icc_of("Adobe RGB")
    rng = np.random.default_rng(0)
    wrong = {f"noise {n}": whole[:128] + rng.bytes(len(whole) - 128) for n in range(5)}
    black = matrix_icc(to_xyz(BT709), np.zeros(50), "black")
    cut = {f"cut at {at}": whole[:at] for at in (0, 3, 100, 128, 131, 140, 300)}
    link = whole[:12] + b"link" + whole[16:]
    far = whole[:132] + whole[132:].replace(b"rTRC", b"rTRC\xff\xff")
    return {**wrong, **cut, "black": black, "link": link, "far": far, "no profile": b"hello" * 100}


@pytest.mark.parametrize("kind", broken_profiles())
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_a_broken_profile_counts_as_none(kind, form):
    icc = broken_profiles()[kind]
    options = {"icc_profile": icc} if icc else {}
    rgb, _ = images.read_image(encoded(SCENE, form, **options))
    assert np.array_equal(rgb, images.read_image(encoded(SCENE, form))[0])


def test_a_broken_chunk_of_colours_counts_as_none():
    plain = encoded(SCENE)
    for name, body in (
        (b"cHRM", struct.pack(">8I", *[0] * 8)),
        (b"cHRM", struct.pack(">8I", 31270, 32900, *[30000] * 6)),
        (b"gAMA", bytes(4)),
        (b"gAMA", b"\xff" * 4),
        (b"cICP", bytes([200, 13, 0, 1])),
        (b"cICP", bytes([12, 13, 0])),
        (b"iCCP", b"x\0\0" + zlib.compress(b"no profile")),
        (b"iCCP", b"x\0\0no stream"),
    ):
        assert np.array_equal(images.read_image(with_chunks(plain, (name, body)))[0], SCENE), name


def test_gamma_and_primaries_of_nothing_are_no_profile():
    assert icc_of_gamma(None, None) is None
    assert icc_of_gamma(0.0, None) is None
    assert icc_of_code(2, 2) is None


def test_own_matrices_agree_with_littlecms():
    for name in SPACES:
        profile = profile_of(icc_of(name))
        light = profile.space.brightened(profile.space.light(stored(name)), np.float32(1), 0.0)
        assert np.allclose(light, profile.space.light(stored(name)), atol=1e-5), "a gain of 1 is no change"
        assert distance(profile.to_srgb(stored(name)), lab2rgb(rgb2lab(SCENE))) < 1
        assert np.array_equal(profile.space.pixels(profile.space.light(stored(name))), stored(name)), "no value is lost"
        assert np.abs(profile.space.of_srgb(SCENE).astype(int) - stored(name)).max() <= 1
