"""The loss: what it weighs, what it asks of lights that add up, and where its gradients reach."""

from __future__ import annotations

import pytest
import torch

from iclight.diffusion.environment_encoder import EnvironmentEncoder, compressed
from iclight.diffusion.sampler import make_scheduler, plan
from training import loss as losses
from training import rollouts
from training.data.batches import Schedule
from training.data.captions import MOOD_WORDS, NEGATIVE, SIDE_WORDS, SUBJECT_WORDS, caption, corpus
from training.model import Merge, build_unet, fit_merge, init_tokens
from training.randomness import generator
from training.scenes.random_lights import MOODS, SIDES, random_light


def test_clean_latents_come_back_from_the_true_noise():
    alphas = losses.alphas_cumprod()
    clean, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    steps = torch.tensor([1, 500, 999])
    noisy = losses.add_noise(clean, noise, steps, alphas)
    for kind in ("epsilon", "v_prediction"):
        said = losses.target(clean, noise, steps, alphas, kind)
        assert torch.allclose(losses.predict_x0(noisy, said, steps, alphas, kind), clean, atol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_engines_sampler_understands_what_the_loss_asks_for(kind):
    """One step of the solver from a network that says the truth ends at the clean latents."""
    scheduler, alphas = make_scheduler(kind), losses.alphas_cumprod()
    scheduler.set_timesteps(1)
    clean, noise = torch.randn(2, 2, 4, 8, 8)
    steps = scheduler.timesteps.repeat(2)
    noisy = losses.add_noise(clean, noise, steps, alphas)
    said = losses.target(clean, noise, steps, alphas, kind)
    ended = scheduler.step(said, scheduler.timesteps[0], noisy, return_dict=False)[0]
    assert torch.allclose(ended, clean, atol=2e-3)


def test_the_denoising_loss_is_zero_for_the_true_noise_and_counts_the_subject_more():
    noise = torch.randn(2, 4, 8, 8)
    matte = torch.zeros(2, 1, 8, 8)
    matte[..., :4] = 1
    known = torch.tensor([True, False])
    assert losses.denoising_loss(noise, noise, matte, known).abs().max() == 0
    on, off = noise.clone(), noise.clone()
    on[..., :4] += 1
    off[..., 4:] += 1
    inside, outside = (losses.denoising_loss(x, noise, matte, known) for x in (on, off))
    subject, unknown = losses.SUBJECT_WEIGHT, losses.UNKNOWN_WEIGHT
    assert torch.allclose(inside / outside, torch.tensor([subject, subject / unknown]))
    assert float(inside[1]) == float(inside[0])


def test_consistency_is_zero_when_lights_add_up_and_blind_outside_the_matte():
    merge = Merge()
    first, second = torch.randn(2, 2, 4, 8, 8)
    whole = 0.5 * (first + second)  # what an untrained merging MLP says
    matte = torch.zeros(2, 1, 8, 8)
    matte[..., :4] = 1
    assert losses.consistency(torch.cat([whole, first, second]), merge, matte).abs().max() < 1e-10
    wrong = whole.clone()
    wrong[..., 4:] += 1
    assert losses.consistency(torch.cat([wrong, first, second]), merge, matte).abs().max() < 1e-10
    wrong[..., :4] += 1
    assert torch.allclose(losses.consistency(torch.cat([wrong, first, second]), merge, matte), torch.ones(2))


def test_noise_hides_light_where_it_is_noisiest_and_forms_below():
    """Above OFFSET_FROM its mean drowns the picture; at 500 blotches do; at the end there is white noise alone."""
    noise, alphas = torch.randn(400, 4, 32, 32), losses.alphas_cumprod()

    def made(timestep):
        return losses.offset_noise(noise, torch.full((400,), timestep), alphas, generator(0, 1)) - noise

    light, forms = made(999), made(500)
    assert 0.08 < float(light.mean((2, 3)).std()) < 0.4
    assert float(forms.mean((2, 3)).std()) < 0.4 * float(alphas[500].sqrt()), "the slope of a light map is seen"
    assert 0.7 < float(forms.std() / alphas[500].sqrt()) < 2.5, "as strong as the picture's forms"
    assert not made(60).any()
    assert float(made(losses.OFFSET_FROM).mean((2, 3)).std()) < 0.05


@pytest.mark.parametrize("channels", [(24, 48, 80, 112, 144), (32, 32, 32)])
def test_an_untrained_unet_sees_every_condition_and_has_attention_at_the_coarsest_levels(channels):
    torch.manual_seed(0)
    unet = build_unet(channels, 32)
    assert [("CrossAttn" in kind) for kind in unet.config.down_block_types][-2:] == [True, True]
    assert not unet.config.down_block_types[0].startswith("CrossAttn")
    latents = torch.randn(1, 12, 32, 32, requires_grad=True)
    unet(latents, torch.tensor([500]), encoder_hidden_states=torch.zeros(1, 7, 32)).sample.square().sum().backward()
    assert (latents.grad.abs().sum((0, 2, 3)) > 0).all()


def test_words_reach_every_level_even_where_attention_says_nothing():
    torch.manual_seed(0)
    unet = build_unet((16, 24, 32), 32)
    for block in unet.down_blocks:  # attention begins at zero: whatever gets through is pooled
        for layer in block.resnets:
            torch.nn.init.normal_(layer.conv2.weight, std=0.1)
    latents, words = torch.randn(1, 12, 16, 16), torch.randn(2, 1, 9, 32)

    def said(context):
        return unet(latents, torch.tensor([500]), encoder_hidden_states=context).sample

    assert (said(words[0]) - said(words[1])).abs().max() > 1e-4
    torch.nn.init.zeros_(unet.add_embedding.norm2.weight)
    assert torch.equal(said(words[0]), said(words[1]))


def test_tokens_begin_as_different_as_the_lights_and_pooling_begins_by_looking_at_them():
    random = generator(5, 5)
    maps = torch.stack([random_light(random).radiance for _ in range(300)])
    tokens, unet = EnvironmentEncoder(96), build_unet((16, 24, 32), 96)
    with torch.no_grad():
        blind = tokens(maps).std(0).mean()
        init_tokens(tokens, maps, random)
        features = tokens.inner(compressed(maps))
        assert features.mean(0).abs().max() < 1e-3 and 0.6 < float(features.std(0).mean()) < 1.5
        assert tokens(maps).std(0).mean() > 1.2 * blind
        words = torch.randn(1, 77, 96).expand(len(maps), -1, -1)
        pooled = unet.add_embedding(torch.cat([words, tokens(maps)], 1))
        assert pooled.std(0).mean() > 0.2 * pooled.std(), "three tokens among eighty are heard"


def test_the_merging_mlp_begins_by_knowing_how_true_latents_add():
    """Curved as an autoencoder of sRGB pictures curves them: the mean of both is far off."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    first, second = (torch.rand(5000, 4, generator=random) for _ in range(2))
    whole = (first**2.2 + second**2.2) ** (1 / 2.2) * 2 - 1
    merge = Merge()
    before, after = fit_merge(merge, whole, first, second, random)
    made = merge(first[..., None, None], second[..., None, None])[..., 0, 0]
    assert float((made - whole).square().mean()) == pytest.approx(after, rel=0.1) and after < 0.01 * before
    assert all(parameter.grad is None for parameter in merge.parameters())


def test_merging_does_not_depend_on_the_order_of_the_lights():
    merge = Merge()
    torch.nn.init.normal_(merge.layers[-1].weight)
    first, second = torch.randn(2, 2, 4, 8, 8)
    assert torch.allclose(merge(first, second), merge(second, first), atol=1e-6)
    assert not torch.allclose(merge(first, second), 0.5 * (first + second), atol=1e-2)


def test_timesteps_are_drawn_evenly():
    steps = losses.random_timesteps(4000, generator(0, 0))
    assert 0 <= int(steps.min()) < 30 and 970 < int(steps.max()) <= 999
    assert 0.45 < float((steps >= 500).float().mean()) < 0.55


def test_a_share_of_the_timesteps_is_drawn_where_only_the_conditions_tell_the_light():
    steps = losses.random_timesteps(4000, generator(0, 0), high_t_share=0.5)
    even = (1000 - losses.HIGH_T) / 1000
    assert float((steps >= losses.HIGH_T).float().mean()) == pytest.approx(0.5 + 0.5 * even, abs=0.03)


def test_equivalent_noise_makes_one_picture_look_like_another_and_the_target_stays():
    alphas = losses.alphas_cumprod()
    clean, init, white = torch.randn(3, 2, 4, 8, 8)
    steps = torch.tensor([800, 913])
    noise = losses.equivalent_noise(white, clean, init, steps, alphas)
    noisy = losses.add_noise(clean, noise, steps, alphas)
    assert torch.allclose(noisy, losses.add_noise(init, white, steps, alphas), atol=1e-4)
    for says in ("v_prediction", "sample"):
        said = losses.target(clean, noise, steps, alphas, says)
        assert torch.allclose(losses.predict_x0(noisy, said, steps, alphas, says), clean, atol=1e-4)


def test_a_light_map_fades_as_the_engines_solver_makes_it_fade():
    """The solver is linear: where a network answers nought, what is left of x_t is what is left of the start."""
    alphas, scheduler = losses.alphas_cumprod(), make_scheduler("sample")
    scheduler.set_timesteps(28)
    scheduler.set_begin_index(3)
    times = scheduler.timesteps[3:9]
    start = alphas[times[0]].sqrt() * torch.full((1, 4, 64, 64), 100.0)
    current = start
    for time, after in zip(times, times[1:], strict=False):
        current = scheduler.step(torch.zeros_like(start), time, current, return_dict=False)[0]
        left = float(current.mean() / alphas[after].sqrt() / 100)
        assert left == pytest.approx(float(losses.remaining(after, times[0], alphas)), rel=0.08, abs=0.005)


def test_rows_have_light_maps_where_sampling_starts_from_a_light_map():
    scheduler = make_scheduler()
    for strength in (0.8, 0.9):
        chosen = plan(25, strength)
        scheduler.set_timesteps(chosen.requested)
        first = int(scheduler.timesteps[chosen.requested - chosen.running])
        assert rollouts.MAP_TIMESTEPS[0] <= first < rollouts.MAP_TIMESTEPS[1]


def test_the_papers_schedule_of_sources():
    schedule = Schedule()
    assert schedule.at(0) == (0.5, 0.5, 0.0)
    assert schedule.at(50_000) == pytest.approx((0.425, 0.425, 0.15))
    for step in (100_000, 250_000):
        assert schedule.at(step) == pytest.approx((0.35, 0.35, 0.3))
    assert all(sum(schedule.at(step)) == pytest.approx(1) for step in range(0, 120_000, 7_000))


def test_every_entry_of_the_pages_quick_lists_was_trained_on():
    from iclight.studio.tabs.examples import EXAMPLES, LIGHTING, SUBJECTS

    moods = {words for texts in MOOD_WORDS.values() for words in texts}
    subjects = {words for texts in SUBJECT_WORDS.values() for words in texts}
    assert set(LIGHTING) <= moods
    assert set(SUBJECTS) <= subjects
    examples = " ".join(example.prompt for example in EXAMPLES if example.workflow == "fc").replace(",", " ").split()
    assert set(examples) <= set(" ".join(corpus()).replace(",", " ").split())


def test_captions_say_what_is_known():
    assert set(MOOD_WORDS) == set(MOODS)
    assert set(SIDE_WORDS) == {*SIDES, "ambient"}
    said = [caption("cat", "neon", "left", "fc", generator(0, number)) for number in range(200)]
    assert sum("left" in text for text in said) > 40
    assert sum(any(word in text for word in ("neon", "city")) for text in said) > 120
    told = [caption("cat", "neon", "left", "fbc", generator(0, number)) for number in range(200)]
    assert sum("left" in text for text in told) < 40


def test_words_that_say_nothing_go_with_any_picture():
    """Guidance at 7 must not find a difference between its two sides where neither says anything of the picture."""
    shares = []
    for subject in ("cat", "photograph"):
        said = [caption(subject, "natural", "left", "fbc", generator(1, number)) for number in range(600)]
        praised = sum(text in ("best quality", "best quality, best quality") for text in said)
        shares.append(praised / sum(text == NEGATIVE for text in said))
    assert shares == pytest.approx([1.13, 1.33], abs=0.3)


def test_low_frequency_errors_count_once_more_and_fine_ones_do_not():
    matte, known = torch.zeros(3, 1, 8, 8), torch.ones(3, dtype=torch.bool)
    matte[..., :4] = 1
    fine = torch.ones(1, 4, 8, 8)
    fine[..., ::2] = -1
    off = torch.cat([torch.ones(1, 4, 8, 8), fine, torch.ones(1, 4, 8, 8) * (1 - matte[:1])])
    once, more = (losses.denoising_loss(off, torch.zeros_like(off), matte, known, by) for by in (0.0, 3.0))
    assert torch.allclose(more - once, torch.tensor([3.0 * 0.5, 0.0, 0.0]), atol=1e-6)


def test_normals_are_judged_inside_the_matte_and_only_where_they_are_known():
    normal = torch.nn.functional.normalize(torch.randn(3, 3, 8, 8), dim=1)
    matte = torch.zeros(3, 1, 8, 8)
    matte[..., :4] = 1
    seen = torch.where(matte > 0, normal, -normal) * 7
    normal[2] = 0
    assert torch.allclose(losses.normal_loss(seen, normal, matte), torch.zeros(3), atol=1e-5)
    assert torch.allclose(losses.normal_loss(-seen, normal, matte), torch.tensor([2.0, 2.0, 0.0]), atol=1e-5)
    smooth = torch.tensor([0.6, 0.0, 0.8]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    small = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert losses.normal_loss(small, smooth, torch.ones(1, 1, 16, 16)) == pytest.approx(0.2), "at any size"
