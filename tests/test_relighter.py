"""The engine's promises to its callers: bad input refused early, odd input worked with, steps told in order."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from golden_data import GOLDEN, PICTURE, quick
from PIL import Image

from iclight import Relighter, Settings, SettingsError
from iclight.errors import ImageError
from iclight.imaging.light_maps import light_map
from iclight.normals import estimate_normals


@pytest.mark.parametrize("light", ["none", "left"])
@pytest.mark.parametrize("denoise", [0.1, 0.5, 0.9, 1.0])
def test_one_step_is_enough_at_every_strength(fc, light, denoise):
    settings = quick(light=light, lowres_denoise=denoise, highres_denoise=denoise)
    assert fc.relight(PICTURE, settings).images[0].shape == (64, 64, 3)


@pytest.mark.parametrize(
    "texts",
    [
        {"prompt": "", "added_prompt": "", "negative_prompt": ""},
        {"negative_prompt": ""},
        {"prompt": "日落时分的海边,左侧光 🌅👩‍🚀", "negative_prompt": "模糊"},
        {"prompt": "sunset over the sea, " * 500},
        {"prompt": "\x00\n\t  "},
    ],
    ids=["all empty", "empty negative", "chinese and emoji", "10,000 characters", "control characters"],
)
def test_any_prompt_works(fc, texts):
    assert fc.relight(PICTURE, quick(**texts)).images[0].any()


def test_an_aspect_of_1_to_40_works_with_every_matting(fc):
    strip = np.random.default_rng(0).integers(0, 256, (400, 10, 3), dtype=np.uint8)
    settings = Settings.for_workflow("fc", steps=1, width=None, height=None, highres_scale=1.0)
    for matting in ("none", "grabcut"):
        for picture in (strip, strip.transpose(1, 0, 2).copy()):
            result = fc.relight(picture, settings.replace(width=64), matting=matting)
            assert result.images[0].ndim == 3
            assert result.foreground.shape == picture.shape


def test_fbc_without_a_background_says_what_to_do(fbc):
    for light in ("upload", "upload-flipped"):
        with pytest.raises(ImageError, match="give a background, or choose left"):
            fbc.relight(PICTURE, quick("fbc", light=light))


def test_lights_of_their_own_need_no_background(fbc):
    assert fbc.relight(PICTURE, quick("fbc", light="ambient")).background is not None


def test_a_ramp_given_as_a_light_map_does_what_the_named_light_does(fc):
    ramp = light_map("left", "fc", 64, 64)
    named, given = (
        fc.relight(PICTURE, quick(light=light), light_map=source)
        for light, source in (("left", None), ("upload", ramp))
    )
    np.testing.assert_array_equal(named.images[0], given.images[0])


def test_a_light_map_of_any_size_is_fitted_and_none_is_an_error(fc):
    assert fc.relight(PICTURE, quick(light="upload"), light_map=np.zeros((30, 300), np.uint8)).images[0].any()
    with pytest.raises(ImageError, match="give a light map, or choose none, left"):
        fc.relight(PICTURE, quick(light="upload"))


def test_shaped_lights_reach_the_model(fc, fbc):
    """fc starts from another latent, fbc shows the model another background."""
    plain, coloured = (
        fc.relight(PICTURE, quick(light="left", light_colour=colour)).images[0] for colour in ("#ffffff", "#ff2000")
    )
    assert (plain != coloured).any()
    shown = fbc.relight(PICTURE, quick("fbc", light="spot", spot_x=0.75, spot_y=0.25)).background
    y, x = np.unravel_index(shown[..., 0].argmax(), shown.shape[:2])
    assert (abs(x - 48) <= 2) and (abs(y - 16) <= 2)


def test_alpha_is_the_matte_and_grey_is_where_it_is_zero(fc):
    rgba = np.dstack([np.full((80, 60, 3), 200, np.uint8), np.zeros((80, 60), np.uint8)])
    rgba[20:60, 10:50, 3] = 255
    result = fc.relight(rgba, quick())
    assert result.matting == "alpha"
    assert np.array_equal(result.alpha[..., 0], rgba[..., 3] / 255)
    assert (result.foreground[0, 0] == 127).all()
    assert (result.foreground[40, 30] == 200).all()


def test_a_mask_wins_over_alpha_and_network(fc):
    rgba = np.dstack([np.full((80, 60, 3), 200, np.uint8), np.full((80, 60), 90, np.uint8)])
    mask = np.zeros((80, 60), np.uint8)
    mask[:40] = 255
    result = fc.relight(rgba, quick(), mask=mask, matting="grabcut")
    assert result.matting == "mask"
    assert np.array_equal(result.alpha[..., 0], mask / 255)


def test_without_matting_the_picture_is_the_foreground_as_it_stands(fc):
    picture = np.array(Image.open(PICTURE))[..., :3]
    result = fc.relight(picture, quick(), matting="none")
    assert np.array_equal(result.foreground, picture)
    assert (result.alpha == 1).all()


def test_bad_input_is_refused_before_any_model_runs(fc, fbc):
    def nothing_runs(event):
        raise AssertionError("a step ran")

    for relighter, image, options in (
        (fc, "/no/such/picture.png", {}),
        (fc, np.zeros((0, 5, 3), np.uint8), {}),
        (fc, PICTURE, {"mask": np.zeros((3, 3), np.uint8)}),
        (fbc, PICTURE, {"background": b"junk"}),
    ):
        workflow = relighter.workflow
        with pytest.raises(ImageError):
            relighter.relight(image, quick(workflow), on_step=nothing_runs, **options)
    with pytest.raises(SettingsError, match="fbc workflow, but the fc model"):
        fc.relight(PICTURE, quick("fbc", light="left"))
    with pytest.raises(SettingsError, match="matting is 'magic'"):
        fc.relight(PICTURE, quick(), matting="magic")


def test_a_size_left_out_follows_the_picture(fc):
    wide = np.full((60, 120, 3), 90, np.uint8)
    settings = quick(width=None, height=128)
    result = fc.relight(wide, settings, matting="none")
    assert (result.settings.width, result.settings.height) == (256, 128)
    assert result.images[0].shape == (128, 256, 3)


def test_the_same_settings_give_the_same_pixels(fc):
    settings = quick(seed=None, light="left")
    first = fc.relight(PICTURE, settings)
    again = fc.relight(PICTURE, first.settings)
    assert first.settings.seed is not None
    assert np.array_equal(first.images[0], again.images[0])
    other = fc.relight(PICTURE, first.settings.replace(seed=first.settings.seed + 1))
    assert not np.array_equal(first.images[0], other.images[0])


def test_several_images_differ_and_come_in_one_result(fc):
    result = fc.relight(PICTURE, quick(num_images=3))
    assert len(result.images) == 3
    assert not np.array_equal(result.images[0], result.images[1])
    assert result.latents["highres"].shape[0] == 3


def test_steps_are_told_in_order_and_end_at_one(fc):
    events = []
    fc.relight(PICTURE, quick(steps=4, highres_denoise=0.5), on_step=events.append)
    assert [event.stage for event in events] == ["lowres"] * 4 + ["highres"] * 4
    assert [event.step for event in events] == [1, 2, 3, 4] * 2
    assert all(event.steps == 4 for event in events)
    shares = [event.overall for event in events]
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == pytest.approx(1)


def test_a_preview_shows_the_picture_in_small(mini):
    from iclight.imaging.crop import resize

    previews = []
    settings = quick(width=128, height=128, steps=4)
    result = mini("fc").relight(PICTURE, settings, on_step=lambda event: previews.append(event.preview()))
    small = resize(result.images[0], *(2 * [128 // mini("fc").vae.factor]))
    assert previews[-1].dtype == np.uint8
    assert previews[-1].shape == small.shape
    assert np.corrcoef(previews[-1].ravel(), small.ravel())[0, 1] > 0.7


def test_returning_none_goes_on(fc):
    assert fc.relight(PICTURE, quick(), on_step=lambda event: None).images


def test_requests_from_two_threads_do_not_mix(fc):
    alone = {seed: fc.relight(PICTURE, quick(seed=seed, steps=3)).images[0] for seed in (1, 2)}
    together = {}

    def work(seed):
        together[seed] = fc.relight(PICTURE, quick(seed=seed, steps=3)).images[0]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(alone[seed], together[seed]) for seed in (1, 2))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_number_format_of_a_cpu_makes_a_picture_close_to_float32(dtype, fc):
    relighter = Relighter.load(GOLDEN / "model", "fc", matting="none", device="cpu", dtype=dtype)
    settings = quick(steps=4, light="left")
    ours, theirs = relighter.relight(PICTURE, settings).images[0], fc.relight(PICTURE, settings).images[0]
    assert np.abs(ours.astype(int) - theirs).mean() < (0.01 if dtype == "float32" else 8)


def test_normals_are_unit_vectors_and_face_the_viewer_off_the_subject(fbc):
    mask = np.zeros((240, 240), np.uint8)
    mask[60:180, 60:180] = 255
    overall = []
    result = estimate_normals(
        fbc, PICTURE, quick("fbc", light="ambient", cfg=1.0), mask=mask, on_step=lambda e: overall.append(e.overall)
    )
    assert len(result.images) == 9
    assert np.allclose(np.linalg.norm(result.normal[32, 32]), 1, atol=1e-4)
    assert np.array_equal(result.normal[0, 0], [0, 0, 1])
    assert overall == sorted(overall)
    assert overall[-1] == pytest.approx(1)


def test_normals_need_the_fbc_workflow(fc):
    with pytest.raises(SettingsError, match="fbc"):
        estimate_normals(fc, PICTURE)


def test_the_model_that_ships_lights_the_side_that_was_asked_for(mini):
    """Not a conformance test: the shipped weights, end to end, at their native size."""
    picture = np.array(Image.open(PICTURE).convert("RGB"))
    yy, xx = np.mgrid[-1:1:240j, -1:1:240j]
    mask = (((xx / 0.6) ** 2 + (yy / 0.8) ** 2) < 1).astype(np.float32)
    picture = (picture * 0.2 + 110).astype(np.uint8)
    side = {}
    for light in ("left", "right"):
        settings = Settings.for_workflow("fc", light=light, steps=8, width=256, height=256, highres_scale=1.0)
        relit = mini("fc").relight(picture, settings, mask=mask).images[0].mean(axis=2)
        matte = mask[::1, ::1]
        small = np.array(Image.fromarray(relit.astype(np.uint8)).resize((240, 240)))
        side[light] = small[:, :120][matte[:, :120] > 0.5].mean() - small[:, 120:][matte[:, 120:] > 0.5].mean()
    assert side["left"] > side["right"] + 5
