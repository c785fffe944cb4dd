"""Normal maps go to files and come back; a picture is lit by them at once, and by physics."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from iclight.editing.normal_maps import EXPONENT, encode_normals, normals_from_lights, read_normals, unit, write_normals
from iclight.editing.shading import shade, towards
from iclight.errors import ImageError, SettingsError
from iclight.imaging.colour import to_linear
from iclight.imaging.declared_colours import icc_of_code
from iclight.imaging.depths import to_depth
from iclight.imaging.profiles import profile_of

SIDE = 128


def ball() -> tuple[np.ndarray, np.ndarray]:
    """Normals of a ball that fills most of the picture, and its matte."""
    y, x = np.mgrid[1 : -1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32) * np.float32(1.1)
    inside = np.hypot(x, y) < 1
    z = np.sqrt((1 - x * x - y * y).clip(0))
    normal = np.where(inside[..., None], np.stack([x, y, z], 2), np.array([0, 0, 1], np.float32))
    return normal.astype(np.float32), inside[..., None].astype(np.float32)


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(40, 160, (SIDE, SIDE, 3), dtype=np.uint8)


def linear(pixels: np.ndarray) -> np.ndarray:
    return to_linear(pixels.astype(np.float32) / 255)


# --- maps -----------------------------------------------------------------------------------------------------------


def test_sixteen_bits_hold_unit_vectors_and_the_green_channel_has_two_conventions(tmp_path):
    normal, _ = ball()
    up, down = encode_normals(normal), encode_normals(normal, green="directx")
    assert up.dtype == np.uint16 and up.shape == normal.shape
    assert np.array_equal(up[..., 0], down[..., 0]) and np.array_equal(up[..., 2], down[..., 2])
    assert np.abs(up[..., 1].astype(int) + down[..., 1] - 65535).max() <= 1
    assert up[20, 64, 1] > 50_000, "opengl: what faces up is bright in green"
    for green in ("opengl", "directx"):
        write_normals(tmp_path / "n.png", normal, green)
        stored = cv2.imread(str(tmp_path / "n.png"), cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.uint16
        assert np.array_equal(stored[..., ::-1], encode_normals(normal, green))
        again = read_normals(tmp_path / "n.png", green)
        assert np.abs(again - normal).max() < 1e-4
        assert np.allclose(np.linalg.norm(again, axis=2), 1, atol=1e-5)


def test_a_map_of_eight_bits_is_read_too(tmp_path):
    normal, _ = ball()
    coded = (normal * 127.5 + 127.5).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "n.png"), coded[..., ::-1])
    assert np.degrees(np.arccos((read_normals(tmp_path / "n.png") * normal).sum(2).clip(-1, 1))).mean() < 0.5


def test_the_exponent_makes_the_relief_flatter_or_steeper_and_the_references_is_the_default():
    _, matte = ball()
    lit = {
        name: np.repeat(0.5 + 0.35 * ball()[0] @ np.array(axis, np.float32)[:, None], 3, 2).astype(np.float32)
        for name, axis in {"left": (-1, 0, 0), "right": (1, 0, 0), "top": (0, 1, 0), "bottom": (0, -1, 0)}.items()
    }
    made = {power: normals_from_lights(lit, matte, power)[0] for power in (1.0, EXPONENT, 12.0)}
    inside = matte[..., 0] > 0
    heights = [float(made[power][inside][:, 2].mean()) for power in made]
    assert heights == sorted(heights, reverse=True) and heights[0] > heights[2] + 0.1
    assert np.array_equal(normals_from_lights(lit, matte)[0], made[5.0])
    for normal in made.values():
        assert np.allclose(np.linalg.norm(normal[inside], axis=1), 1, atol=1e-5)


def test_vectors_without_a_direction_face_the_viewer():
    broken = np.array([[[0, 0, 0], [np.nan, 0, 1], [np.inf, 0, 0], [0, 3, 4]]], np.float32)
    assert np.allclose(unit(broken), [[[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0.6, 0.8]]])


def test_what_is_no_normal_map_is_refused(tmp_path):
    normal, _ = ball()
    with pytest.raises(SettingsError, match="opengl, directx"):
        encode_normals(normal, green="vulkan")
    with pytest.raises(ImageError, match="HxWx3"):
        encode_normals(normal[..., 0])
    with pytest.raises(ImageError, match="written as .png"):
        write_normals(tmp_path / "n.jpg", normal)
    with pytest.raises(ImageError, match="does not exist"):
        read_normals(tmp_path / "none.png")
    (tmp_path / "text.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((4, 4), np.uint8))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((4, 4, 3), np.uint8))
    for name, words in (("text", "no normal map"), ("grey", "no normal map"), ("black", "faces away")):
        with pytest.raises(ImageError, match=words):
            read_normals(tmp_path / f"{name}.png")


# --- shading --------------------------------------------------------------------------------------------------------


def test_a_light_from_the_front_leaves_the_picture_as_it_is():
    normal, matte = ball()
    assert np.array_equal(shade(photo(), normal, matte, angle=33, elevation=90), photo())
    assert np.array_equal(shade(photo(), normal, matte, strength=0), photo())


@pytest.mark.parametrize(("angle", "bright", "dark"), [
    (0, np.s_[54:74, 100:112], np.s_[54:74, 16:28]),
    (90, np.s_[16:28, 54:74], np.s_[100:112, 54:74]),
    (180, np.s_[54:74, 16:28], np.s_[54:74, 100:112]),
    (270, np.s_[100:112, 54:74], np.s_[16:28, 54:74]),
])  # fmt: skip
def test_the_side_towards_the_light_is_bright_and_the_other_dark(angle, bright, dark):
    normal, matte = ball()
    gain = linear(shade(photo(), normal, matte, angle, 20)) / linear(photo())
    assert gain[bright].mean() > 1.2 and gain[dark].mean() < 0.5


def test_gains_are_lamberts_law_over_the_light_from_the_camera():
    normal, matte = ball()
    flat = np.full((SIDE, SIDE, 3), 120, np.uint8)
    light = towards(135, 40)
    made = linear(shade(flat, normal, matte, 135, 40, ambient=0.3))
    expected = linear(flat) * (0.3 + 0.7 * (normal @ light).clip(0)[..., None]) / (0.3 + 0.7 * normal[..., 2:])
    inside = matte[..., 0] > 0
    assert np.abs(made - expected.clip(0, 1))[inside].max() < 0.005


def test_a_coloured_light_colours_what_it_reaches_and_the_rest_keeps_the_white_ambient():
    normal, matte = ball()
    flat = np.full((SIDE, SIDE, 3), 120, np.uint8)
    made = shade(flat, normal, matte, angle=180, elevation=10, colour="#ff8000", ambient=0.25)
    towards_it, away = made[64, 20].astype(int), made[64, 108].astype(int)
    assert towards_it[0] > towards_it[1] + 20 > towards_it[2] + 30, "red over green over blue"
    assert np.ptp(away) <= 1


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_picture_is_shaded_in_its_own_colours_and_depth(depth):
    """Looked at, it is the same picture shaded in sRGB."""
    space = profile_of(icc_of_code(12, 13)).space
    normal, matte = ball()
    stored = to_depth(space.of_srgb(photo()), depth)
    light = {"angle": 200, "colour": "#ffc080", "alpha": matte}
    shaded = shade(stored, normal, **light, space=space)
    assert shaded.dtype == depth
    assert np.array_equal(shade(stored, normal, **light, strength=0, space=space), stored)
    assert np.array_equal(shaded[matte[..., 0] == 0], stored[matte[..., 0] == 0])
    seen = profile_of(icc_of_code(12, 13)).to_srgb(to_depth(shaded, np.uint8))
    assert np.abs(seen.astype(int) - shade(photo(), normal, **light)).mean() < 1
    if depth == np.uint16:
        assert (shaded % 257 != 0).any()


def test_the_background_stays_to_the_byte_and_strength_grows():
    normal, matte = ball()
    made = [shade(photo(), normal, matte, 180, 20, strength=k) for k in (0.5, 1.0, 1.5)]
    assert all(np.array_equal(one[matte[..., 0] == 0], photo()[matte[..., 0] == 0]) for one in made)
    changes = [np.abs(one.astype(int) - photo()).mean() for one in made]
    assert changes == sorted(changes) and changes[0] > 1
    soft = shade(photo(), normal, matte * 0.5, 180, 20).astype(int)
    assert np.abs(soft - photo()).mean() < changes[1], "a feather takes half of the light"


def test_normals_of_the_models_size_light_the_whole_file_where_they_were_cropped_from():
    """A wide file: the crop is its middle square, and what lies beside it goes on as the border does."""
    normal, _ = ball()
    wide = np.full((2 * SIDE, 3 * SIDE, 3), 120, np.uint8)
    made = shade(wide, normal, None, angle=180, elevation=20)
    middle = shade(wide[:, SIDE // 2 : -SIDE // 2], normal, None, angle=180, elevation=20)
    assert np.array_equal(made[:, SIDE // 2 : -SIDE // 2], middle)
    small = shade(wide[:SIDE, :SIDE], normal, None, angle=180, elevation=20)
    assert np.abs(cv2.resize(middle, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(int) - small).mean() < 2


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"angle": float("nan")}, "angle"),
        ({"elevation": 91}, "from -90 to 90"),
        ({"ambient": -0.1}, "from 0 to 1"),
        ({"strength": 2}, "from 0 to 1.5"),
        ({"colour": "red-ish"}, "takes a colour"),
        ({"alpha": np.ones((3, 3, 1), np.float32)}, "the picture's size"),
        ({"normal": np.ones((3, 3), np.float32)}, "HxWx3"),
    ],
)
def test_what_cannot_be_shaded_is_refused(knobs, words):
    normal, matte = ball()
    with pytest.raises((SettingsError, ImageError), match=words):
        shade(**{"image": photo(), "normal": normal, "alpha": matte, **knobs})
