"""The mixing desk's arithmetic: light adds, in linear values, quickly."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from iclight.editing import mixing
from iclight.editing.mixing import LightMix, LightWeight, parse_colour
from iclight.errors import ImageError, SettingsError
from iclight.imaging.colour import quick_srgb, to_linear, to_srgb


def pictures(height: int = 40, width: int = 30) -> dict[str, np.ndarray]:
    """A ball lit from four sides, and from all four at once at a quarter of the strength each."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    facing = {"left": 0.5 - 0.5 * x, "right": 0.5 + 0.5 * x, "top": 0.5 - 0.5 * y, "bottom": 0.5 + 0.5 * y}
    light = {name: np.repeat(0.6 * level[..., None] ** 2, 3, 2) for name, level in facing.items()}
    light["ambient"] = sum(light.values()) / 4
    return {name: quick_srgb(one) for name, one in light.items()}


def test_a_mix_is_the_weighted_sum_of_linear_light():
    made = pictures()
    stack = LightMix(made)
    channels = {"left": LightWeight(0.7, (1.0, 0.5, 0.25)), "top": LightWeight(0.4)}
    expected = 0.7 * to_linear(made["left"].astype(np.float32) / 255) * np.array([1, 0.5, 0.25], np.float32)
    expected += 0.4 * to_linear(made["top"].astype(np.float32) / 255)
    assert np.allclose(stack.light(channels), expected, atol=1e-6)
    assert np.allclose(stack.light(channels, exposure=1), 2 * expected, atol=1e-6)
    # One light alone at full strength is its picture, to the byte.
    assert np.array_equal(stack.mix({"right": LightWeight()}), made["right"])
    # So is nothing.
    assert not stack.mix({}).any()


def test_solo_and_mute():
    stack = LightMix(pictures())
    assert set(stack.weights({"left": LightWeight(), "top": LightWeight(muted=True)})) == {"left"}
    assert set(stack.weights({"left": LightWeight(), "top": LightWeight(solo=True)})) == {"top"}
    assert not stack.weights({"left": LightWeight(), "top": LightWeight(solo=True, muted=True)})


def test_the_residual_tells_a_stack_that_adds_up_from_one_that_does_not():
    made = pictures()
    assert LightMix(made).residual() < 0.02
    wrong = {**made, "ambient": made["ambient"][::-1, ::-1].copy()}
    wrong["ambient"][:20] //= 3
    assert LightMix(wrong).residual() > 0.2
    matte = np.zeros((40, 30, 1), np.float32)
    matte[20:] = 1
    assert LightMix(wrong).residual(matte) != pytest.approx(LightMix(wrong).residual())
    del made["ambient"]
    assert LightMix(made).residual() is None


def test_the_dial_turns_the_light_round():
    assert mixing.dial(0, ambient=0)["right"].strength == 1
    diagonal = mixing.dial(45, ambient=0)
    assert (
        diagonal["right"].strength == pytest.approx(diagonal["top"].strength, abs=1e-6) == pytest.approx(0.7071, 1e-3)
    )
    assert diagonal["left"].strength == diagonal["bottom"].strength == 0
    assert mixing.dial(-90)["bottom"].strength == mixing.dial(270)["bottom"].strength == 1
    assert mixing.dial(0, elevation=1)["ambient"].strength > 1 and mixing.dial(0, elevation=1)["right"].strength < 1e-6
    stack = LightMix(pictures())
    for angle, brighter in ((180, np.s_[:, :15]), (0, np.s_[:, 15:]), (90, np.s_[:20]), (270, np.s_[20:])):
        made = stack.light(mixing.dial(angle))
        assert made[brighter].mean() > 1.2 * made.mean()


def test_a_frame_is_mixed_while_a_slider_moves():
    stack = LightMix({name: cv2.resize(picture, (768, 960)) for name, picture in pictures().items()})
    channels = {name: LightWeight(0.5, (1.0, 0.9, 0.8)) for name in stack.pictures}
    stack.mix(channels)

    def by_powers() -> None:
        """The same without tables: what a frame must not cost."""
        light = sum(to_linear(picture / np.float32(255)) * np.float32(0.5) for picture in stack.pictures.values())
        to_srgb(light)

    def least(work: Callable[[], object]) -> float:
        taken = []
        for _ in range(3):  # processor time: what else runs on the machine does not count
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
        return min(taken)

    mixed, powers = least(lambda: stack.mix(channels)), least(by_powers)
    assert mixed < powers / 3


def test_a_mix_reaches_the_original_file():
    """Exported at full size, the mix of one light is the source under that light, its background untouched."""
    made = pictures(160, 120)
    source = cv2.resize(made["ambient"], (480, 640))
    matte = np.zeros((640, 480, 1), np.float32)
    matte[80:560, 60:420] = 1
    exported = LightMix(made).export({"left": LightWeight()}, source, matte)
    assert exported.shape == source.shape
    assert np.array_equal(exported[:80], source[:80])
    truth = cv2.resize(made["left"], (480, 640)).astype(float)
    assert np.abs(exported[100:540, 80:400] - truth[100:540, 80:400]).mean() < 6


def test_what_is_brighter_than_white_in_the_mix_is_not_lost_on_the_way_to_the_file():
    """Two lights that blow out together, an exposure that takes them back: the file shows what one showed."""
    made = {name: np.full((64, 64, 3), 200, np.uint8) for name in ("left", "right")}
    source, matte = np.full((128, 128, 3), 120, np.uint8), np.ones((128, 128, 1), np.float32)
    both = {"left": LightWeight(), "right": LightWeight()}
    exported = LightMix(made).export(both, source, matte, exposure=-1)
    assert np.abs(exported.astype(int) - 200).max() <= 1


def test_words_of_the_command_line():
    assert mixing.parse_channel("left=0.8") == ("left", LightWeight(0.8))
    name, channel = mixing.parse_channel("top=1.2,#ff8000")
    assert name == "top" and channel.colour == pytest.approx((1.0, 0.2159, 0.0), abs=1e-3)
    for bad in ("left", "=1", "left=much", "left=1,red", "left=9"):
        with pytest.raises(SettingsError):
            mixing.parse_channel(bad)


def test_the_stack_is_written_in_linear_light(tmp_path):
    stack = LightMix(pictures())
    mixing.save_stack(stack, tmp_path / "stack.tiff")
    kept, pages = cv2.imreadmulti(str(tmp_path / "stack.tiff"), flags=cv2.IMREAD_UNCHANGED)
    assert kept and len(pages) == 5 and pages[0].dtype == np.uint16
    assert np.allclose(pages[0][..., ::-1] / 65535, stack.linear["left"], atol=1e-4)
    with Image.open(tmp_path / "stack.tiff") as tiff:
        assert [tiff.seek(page) or tiff.tag_v2[270] for page in range(5)] == list(stack.pictures), "pages have names"
    OpenEXR = pytest.importorskip("OpenEXR")
    mixing.save_stack(stack, tmp_path / "stack.exr")
    with OpenEXR.File(str(tmp_path / "stack.exr"), separate_channels=True) as file:
        assert np.allclose(file.channels()["top.G"].pixels, stack.linear["top"][..., 1])
    with pytest.raises(ImageError, match="tiff"):
        mixing.save_stack(stack, tmp_path / "stack.jpg")


def test_bad_stacks_and_channels_are_explained():
    with pytest.raises(ImageError, match="all of one size"):
        LightMix({})
    with pytest.raises(ImageError, match="all of one size"):
        LightMix({"left": np.zeros((4, 4, 3), np.uint8), "top": np.zeros((4, 5, 3), np.uint8)})
    with pytest.raises(SettingsError, match="no light front"):
        LightMix(pictures()).mix({"front": LightWeight()})
    with pytest.raises(SettingsError, match="0 to 4"):
        LightWeight(5)
    with pytest.raises(SettingsError, match="colour"):
        LightWeight(1, (2, 0, 0))
    with pytest.raises(SettingsError, match="exposure .* from -8 to 8"):
        LightMix(pictures()).mix({}, exposure=float("nan"))


@pytest.mark.parametrize("text", ["#ff8000", "ff8000", "rgb(255, 128, 0)", "rgba(255, 128.2, 0, 1)"])
def test_colours_are_read_as_pickers_and_people_write_them(text):
    red, green, blue = parse_colour(text)
    assert (red, blue) == (1.0, 0.0)
    assert green == pytest.approx(0.2159, abs=2e-3), "linear, not sRGB"


@pytest.mark.parametrize("text", ["", "#12", "red", "rgb(1, 2)", "rgba(a, b, c, d)", "#ff80zz"])
def test_what_is_no_colour_is_said(text):
    with pytest.raises(SettingsError, match="colour"):
        parse_colour(text)
