"""Environment maps: any panorama becomes 32 x 32 radiances that add up, in one projection, at one level."""

from __future__ import annotations

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from iclight.errors import ImageError
from iclight.imaging import environment
from iclight.imaging.colour import LUMINANCE, to_linear, to_srgb
from iclight.imaging.environment import (
    KEY_LEVEL,
    KEY_NORMALS,
    SIDE,
    TOWARDS,
    directions,
    expose,
    fingerprint,
    irradiance,
    preset,
    preview,
    read_environment,
    solid_angles,
    to_map,
)

RADIANCE = (np.random.default_rng(3).random((16, 32, 3)) ** 4 * 50).astype(np.float32)


def exr(path, channels):
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, channels) as file:
        file.write(str(path))
    return path


def level(light):
    return np.mean([irradiance(light, normal) @ np.array(LUMINANCE) for normal in KEY_NORMALS])


# --- the projection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column", "towards"),
    [(16, 16, (0, 0, -1)), (16, 8, (-1, 0, 0)), (16, 24, (1, 0, 0)), (0, 5, (0, 1, 0)), (16, 0, (0, 0, 1))],
    ids=["centre: behind the subject", "left quarter", "right quarter", "top row: overhead", "edge: behind the camera"],
)
def test_places_of_a_map_are_directions_around_the_subject(row, column, towards):
    assert directions()[row, column] @ np.array(towards) > 0.98


def test_solid_angles_cover_the_sphere_and_uniform_light_of_1_lights_to_1():
    assert solid_angles().sum() == pytest.approx(4 * np.pi, rel=1e-5)
    for normal in KEY_NORMALS:
        assert irradiance(np.ones((SIDE, SIDE, 3), np.float32), normal) == pytest.approx(1, rel=0.01)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_radiance_file_keeps_its_radiance(tmp_path):
    cv2.imwrite(str(tmp_path / "a.hdr"), RADIANCE[..., ::-1])
    read = read_environment(tmp_path / "a.hdr")
    assert read.dtype == np.float32
    assert np.abs(read - RADIANCE).max() <= RADIANCE.max() / 128, "RGBE shares one exponent of 8 bits"
    assert np.array_equal(read, read_environment((tmp_path / "a.hdr").read_bytes()))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_an_exr_file_keeps_its_radiance_half_or_float(kind, tmp_path):
    path = exr(tmp_path / "a.exr", {"RGB": RADIANCE.astype(kind)})
    assert np.array_equal(read_environment(path), RADIANCE.astype(kind).astype(np.float32))
    assert np.array_equal(read_environment(path.read_bytes()), read_environment(str(path)))


def test_exr_layers_alpha_and_grey_are_understood(tmp_path):
    opaque = np.dstack([RADIANCE, np.ones(RADIANCE.shape[:2], np.float32)])
    assert np.array_equal(read_environment(exr(tmp_path / "a.exr", {"RGBA": opaque})), RADIANCE)
    layer = {f"Combined.{name}": RADIANCE[..., i].copy() for i, name in enumerate("RGB")}
    assert np.array_equal(read_environment(exr(tmp_path / "b.exr", layer)), RADIANCE)
    grey = read_environment(exr(tmp_path / "c.exr", {"Y": RADIANCE[..., 0].copy()}))
    assert np.array_equal(grey, np.repeat(RADIANCE[..., :1], 3, axis=2))


def test_a_painted_panorama_is_decoded_by_the_srgb_curve(tmp_path):
    painted = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    Image.fromarray(painted).save(tmp_path / "a.png")
    expected = to_linear(painted.astype(np.float32) / 255)
    for source in (painted, tmp_path / "a.png", Image.fromarray(painted)):
        assert np.allclose(read_environment(source), expected, atol=1e-6)
    assert np.array_equal(np.rint(to_srgb(read_environment(painted)) * 255), painted)


def test_there_is_no_light_where_a_panorama_is_transparent():
    painted = np.full((4, 8, 4), 255, np.uint8)
    painted[2:, :, 3] = 0
    assert np.array_equal(read_environment(painted)[:, 0, 0], [1, 1, 0, 0])


def test_values_that_are_no_radiance_are_mended():
    odd = np.full((4, 8, 3), 2.0)
    odd[0, 0], odd[0, 1], odd[0, 2], odd[0, 3], odd[1, 1] = np.nan, np.inf, -np.inf, -1, 7
    read = read_environment(odd)
    assert read[0, :4, 0].tolist() == [0, 7, 0, 0]
    assert read[2, 2, 0] == 2
    assert read_environment(np.full((2, 2, 3), 1e300) * [1, 0, 0] + 1).max() < np.inf


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((4, 8, 3), np.uint8), "black everywhere"),
        (np.full((4, 8, 3), np.nan), "black everywhere"),
        (np.full((4, 8, 3), np.inf), "black everywhere"),
        (np.zeros((0, 8, 3), np.float32), "empty"),
        (np.ones((4, 8, 2), np.float32), "has shape"),
        (np.broadcast_to(np.float32(1), (8000, 16000, 3)), "36 megapixels"),
        (np.ones((4, 8, 3), np.int64), "int64"),
        (b"#?RADIANCE\n\n-Y 4 +X 8\n", "cannot be decoded as Radiance"),
        (b"#?RADIANCE\nnonsense", "cannot be decoded as Radiance"),
        (b"#?RADIANCE\n\n-Y 99999999 +X 99999999\n" + b"\x02\x02" * 9, "36 megapixels"),
        (b"\x76\x2f\x31\x01nonsense", "cannot be decoded as OpenEXR"),
        (b"junk", "not an image"),
        ("/no/such.hdr", "does not exist"),
        (3, "is a int"),
    ],
)
def test_what_is_no_panorama_is_refused_in_words(source, words):
    with pytest.raises(ImageError, match=f"^The light.*{words}"):
        read_environment(source, "The light")


def test_a_long_comment_hides_neither_a_panorama_nor_its_size(tmp_path):
    cv2.imwrite(str(tmp_path / "a.hdr"), RADIANCE[..., ::-1])
    head, _, rest = (tmp_path / "a.hdr").read_bytes().partition(b"\n")
    comments = b"\n".join([head, *[b"# a comment of some length"] * 500, b""])
    assert np.array_equal(read_environment(comments + rest), read_environment(tmp_path / "a.hdr"))
    for sides in (b"-Y 99999 +X 99999", b"-Y99999+X99999", b"-Y  99999\t+X  99999"):
        hidden = comments + b"\n-Y 4 +X 8\n" + rest.replace(b"-Y 16 +X 32", sides)
        assert read_environment(hidden).shape == (4, 8, 3), "the first sides count, for the decoder, too"


def test_a_side_is_bounded_as_the_weights_of_a_map_are():
    with pytest.raises(ImageError, match="a side may have 65536"):
        read_environment(np.broadcast_to(np.float32(1), (1, 70_000, 3)))


def test_what_is_given_is_not_written_to():
    given = np.array([[[np.nan, -1, np.inf]], [[1, 2, 3]]], np.float32)
    kept = given.copy()
    read_environment(given)
    assert np.array_equal(given, kept, equal_nan=True)


def test_files_cut_short_are_refused(tmp_path):
    path = exr(tmp_path / "a.exr", {"RGB": RADIANCE})
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ImageError, match="broken or cut short"):
        read_environment(path)


def test_a_fingerprint_knows_radiance_by_its_values_and_pictures_as_ever(tmp_path):
    from iclight.imaging import images

    one = fingerprint(exr(tmp_path / "a.exr", {"RGB": RADIANCE}))
    assert one == fingerprint(RADIANCE) == fingerprint((tmp_path / "a.exr").read_bytes())
    assert one != fingerprint(RADIANCE * 2)
    painted = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    assert fingerprint(painted) == images.fingerprint(painted)


# --- 32 x 32 ----------------------------------------------------------------------------------------------------------


def test_a_map_keeps_the_light_of_its_panorama():
    """Whatever the size: the light that arrives from all around is the same."""
    for shape in ((64, 128), (50, 77), (16, 32), (1, 1), (3, 700)):
        panorama = np.random.default_rng(1).random((*shape, 3)).astype(np.float32)
        small = to_map(panorama)
        assert small.shape == (SIDE, SIDE, 3)
        assert small.dtype == np.float32
        around = np.einsum("hw,hwc->c", solid_angles(*shape), panorama)
        assert np.allclose(np.einsum("hw,hwc->c", solid_angles(), small), around, rtol=1e-3)
    assert np.allclose(to_map(small), small, atol=1e-6)


def test_averages_are_weighted_by_solid_angle():
    panorama = np.zeros((64, 32, 3), np.float32)
    panorama[1] = 1  # the lower, and larger, of the two rows that become the topmost one
    share = solid_angles(64, 32)[1, 0] / solid_angles(64, 32)[:2, 0].sum()
    assert to_map(panorama)[0, 0] == pytest.approx(share, rel=1e-4)
    assert share > 0.7


def test_exposure_brings_every_map_to_one_level():
    dim = to_map(RADIANCE) * 1e-6
    assert level(expose(dim)) == pytest.approx(KEY_LEVEL, rel=1e-4)
    assert level(expose(dim, 2.0)) == pytest.approx(2, rel=1e-4)
    assert np.allclose(expose(dim), expose(dim * 1e9), rtol=1e-4), "a panorama's own unit means nothing"
    assert not expose(np.zeros((SIDE, SIDE, 3), np.float32)).any()


def test_light_from_where_nobody_looks_is_not_blown_up():
    hidden = np.zeros((SIDE, SIDE, 3), np.float32)
    hidden[-1, 16] = 1e-3
    shown = expose(hidden)
    around = np.einsum("hw,hwc->c", solid_angles(), shown) / (4 * np.pi)
    assert around.max() <= KEY_LEVEL / environment.DIMMEST * 1.01


@pytest.mark.parametrize("light", [*TOWARDS, "ambient"])
def test_a_preset_lights_from_its_side_at_the_key_level(light):
    made = preset(light)
    assert made.shape == (SIDE, SIDE, 3)
    assert made.min() > 0
    assert level(made) == pytest.approx(KEY_LEVEL, rel=1e-4)
    received = {name: irradiance(made, normal).mean() for name, normal in TOWARDS.items()}
    if light == "ambient":
        assert max(received.values()) < 1.02 * min(received.values())
    else:
        assert max(received, key=lambda name: received[name]) == light
        assert received[light] > 2 * sorted(received.values())[-2]


def test_a_preview_is_a_picture_of_the_map():
    shown = preview(preset("left"))
    assert shown.shape == (128, 256, 3)
    assert shown.dtype == np.uint8
    assert shown[64, 64].mean() > shown[64, 192].mean() + 50
