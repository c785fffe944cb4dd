"""A request's finish: the file's own size and ground, transparency, a picture of one's own behind."""

from __future__ import annotations

import io

import numpy as np
import pytest
from golden_data import PICTURE, quick
from PIL import Image

from iclight import SettingsError
from iclight.errors import ImageError
from iclight.imaging.declared_colours import icc_of_code, srgb_icc
from iclight.imaging.files import deep_tiff
from iclight.imaging.images import read_image
from iclight.imaging.profiles import profile_of
from iclight.recipes import save_png


@pytest.fixture(scope="module")
def cut() -> np.ndarray:
    """A 200x150 picture with a soft-edged disc as its own matte."""
    y, x = np.mgrid[:150, :200]
    alpha = np.clip(50 - np.hypot(x - 100, y - 75), 0, 1) * 255
    pixels = np.random.default_rng(1).integers(30, 220, (150, 200, 3))
    return np.dstack([pixels, alpha]).astype(np.uint8)


def test_native_keeps_the_files_size_and_its_background_to_the_byte(fc, cut):
    result = fc.relight(cut, quick(finish="native", finish_background="original", num_images=2))
    (picture,) = result.images
    outside = cut[..., 3] == 0
    assert picture.shape == (150, 200, 3) and np.array_equal(picture[outside], cut[..., :3][outside])
    assert not np.array_equal(picture, cut[..., :3])
    assert result.light is not None and result.light.gain.shape == (64, 64, 3)


@pytest.mark.parametrize("background", ["new", "original"])
def test_native_at_strength_0_is_the_picture_to_the_byte(fc, cut, background):
    settings = quick(finish="native", finish_strength=0, finish_background=background)
    assert np.array_equal(fc.relight(cut, settings).images[0], cut[..., :3])


@pytest.mark.parametrize("finish", ["model", "detail"])
def test_a_finish_at_the_models_size_gives_a_picture_for_each_sample(fc, cut, finish):
    pictures = fc.relight(cut, quick(finish=finish, finish_background="original", num_images=2)).images
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 2


@pytest.mark.parametrize("finish", ["model", "detail", "native"])
def test_transparent_has_the_matte_as_alpha(fc, cut, finish):
    picture = fc.relight(cut, quick(finish=finish, finish_background="transparent")).images[0]
    assert picture.shape[2] == 4 and picture[0, 0, 3] == 0
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2, 3] == 255


def test_a_picture_of_ones_own_stands_behind(fc, cut):
    behind = np.full((80, 80, 3), (10, 200, 90), np.uint8)
    settings = quick(finish="native", finish_background="own")
    picture = fc.relight(cut, settings, behind=behind).images[0]
    assert (picture[cut[..., 3] == 0] == (10, 200, 90)).all()
    with pytest.raises(ImageError, match="no picture to put behind"):
        fc.relight(cut, settings)


def test_the_default_finish_is_the_models_own_picture(fc):
    assert not quick().finishes and fc.relight(PICTURE, quick()).light is None
    for bad in ({"finish": "magic"}, {"finish_strength": 3.1}, {"finish_background": "old"}):
        with pytest.raises(SettingsError, match=next(iter(bad))):
            quick(**bad)


def test_a_native_finish_stays_in_the_photos_own_colours(fc, cut, tmp_path):
    """At strength 0 it is the photo's pixels and profile; otherwise it looks like the same photo's finish in sRGB."""
    icc = icc_of_code(12, 13)
    space = profile_of(icc).space
    stored = np.dstack([space.of_srgb(cut[..., :3]), cut[..., 3]])
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, "PNG", icc_profile=icc)
    behind = np.full((80, 80, 3), (10, 200, 90), np.uint8)
    for background in ("new", "original", "own", "transparent"):
        wide = fc.relight(buffer.getvalue(), quick(finish="native", finish_background=background), behind=behind)
        plain = fc.relight(cut, quick(finish="native", finish_background=background), behind=behind)
        save_png(tmp_path / "wide.png", wide.images[0], icc=wide.icc)
        seen, wanted = read_image(tmp_path / "wide.png")[0].astype(int), plain.images[0][..., :3].astype(int)
        shown = cut[..., 3] > 0 if background == "transparent" else slice(None)
        assert np.abs(seen - wanted)[shown].mean() < 2, background
    still = fc.relight(buffer.getvalue(), quick(finish="native", finish_strength=0, finish_background="original"))
    save_png(tmp_path / "still.png", still.images[0], icc=still.icc)
    with Image.open(tmp_path / "still.png") as saved:
        assert np.array_equal(np.asarray(saved), stored[..., :3])
        assert saved.info["icc_profile"] == icc
    assert fc.relight(buffer.getvalue(), quick()).icc is None, "what the model draws is sRGB"


@pytest.mark.parametrize("icc", [None, icc_of_code(12, 13)], ids=["sRGB", "P3"])
def test_a_native_finish_has_the_bits_of_the_photo(fc, cut, icc):
    """Unlit it is the photo's own values; lit, its picture of 8 bits is the one of 16, rounded."""
    stored = (cut[..., :3].astype(np.uint16) << 8) + np.random.default_rng(2).integers(0, 256, cut[..., :3].shape)
    photo = deep_tiff(stored.astype(np.uint16), icc or srgb_icc())
    mask = cut[..., 3].astype(np.float32)[..., None] / 255
    settings = quick(finish="native", finish_background="original")
    still = fc.relight(photo, settings.replace(finish_strength=0), mask=mask)
    assert np.array_equal(still.deep[0], stored)
    assert still.icc == icc
    lit = fc.relight(photo, settings, mask=mask)
    assert np.array_equal(lit.images[0], np.rint(lit.deep[0] / 257).astype(np.uint8))
    outside = mask[..., 0] == 0
    assert np.array_equal(lit.deep[0][outside], stored[outside]) and not np.array_equal(lit.deep[0], stored)
    eight = fc.relight(photo, quick(), mask=mask)
    assert eight.deep is None and eight.images[0].dtype == np.uint8
