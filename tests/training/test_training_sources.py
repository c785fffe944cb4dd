"""What a batch holds, and what lies under its noise."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from training_helpers import SIDE

from iclight.imaging.light_maps import light_map
from training import loss as losses
from training import rollouts
from training.autoencoder import build_autoencoder
from training.base import load
from training.config import Config
from training.data.batches import RELATED, SOURCES, Sources, zoom_crop
from training.data.captions import SIDE_WORDS
from training.data.latents import encode
from training.data.light_maps import LIGHTS, light_maps
from training.randomness import generator
from training.tokenizer import Words


def test_a_batch_is_a_function_of_seed_and_step(shards):
    sources = Sources([shards])
    one, two = (sources.draw(12, (0.3, 0.4, 0.3), generator(3, 5)) for _ in range(2))
    assert torch.equal(one.clean, two.clean) and one.captions == two.captions
    assert one.captions != sources.draw(12, (0.3, 0.4, 0.3), generator(3, 6)).captions


def test_shares_of_the_sources_are_kept(shards):
    sources = Sources([shards])
    drawn = [sources.draw(16, (0.35, 0.35, 0.3), generator(0, step)) for step in range(60)]
    staged = sum(3 * batch.triplets for batch in drawn) / sum(len(batch.clean) for batch in drawn)
    assert staged == pytest.approx(0.3, abs=0.05)
    for batch in drawn:
        whole, first, second = batch.captions[-3 * batch.triplets :][0 :: max(1, batch.triplets)][:3] or [""] * 3
        assert whole == first == second
        assert batch.has_environment[len(batch.clean) - 3 * batch.triplets :].all()


def test_added_light_is_of_objects_and_inside_their_mattes(shards):
    sources = Sources([shards])
    sources.tensors["matte"][:, :, :, 2:] = 0
    sources.tensors["images"][sources.wild] = torch.nan  # photographs have no light that was split
    whole, first, second = sources.added_light(generator(0, 0))
    assert whole.shape == first.shape == second.shape == (12 * SIDE * 2, 4)
    assert all(places.isfinite().all() for places in (whole, first, second))
    pixels = sources.tensors["images"][sources.objects[0]].float()
    row = (first == pixels[1, :, 0, 0]).all(1).nonzero()[0, 0]
    assert torch.equal(whole[row], pixels[0, :, 0, 0]) and torch.equal(second[row], pixels[2, :, 0, 0])


def test_light_maps_are_the_start_in_fc_and_the_background_in_fbc_at_their_share(shards):
    sources = Sources([shards], light_map_init=0.6)
    assert not sources.draw(12, (0.3, 0.7, 0.0), generator(0, 0)).has_light_map.any(), "there are no maps yet"
    side = sources.tensors["images"].shape[-1]
    mark = {name: torch.full((4, side, side), 7.0 + number) for number, name in enumerate(LIGHTS)}
    sources.maps = {"fc": mark, "fbc": mark}
    fc = [sources.draw(16, (0.3, 0.7, 0.0), generator(1, step), (1, 0, 0)) for step in range(20)]
    mapped = torch.cat([batch.has_light_map for batch in fc])
    assert float(mapped.float().mean()) == pytest.approx(0.6, abs=0.1)
    for batch in fc:
        has_map = batch.has_light_map
        assert (batch.light_map[has_map].flatten(1).amax(1) > 2).all() and not batch.light_map[~has_map].any()
    fbc = [sources.draw(16, (0.3, 0.7, 0.0), generator(1, step), (0, 1, 0)) for step in range(20)]
    assert all(torch.equal(batch.init_latents, batch.clean) for batch in fbc)
    told = torch.cat([batch.condition[:, 4:, 0, 0].mean(1) for batch in fbc]) >= 7
    assert 0 < float(told.float().mean()) <= 0.4 and not torch.cat([batch.has_light_map for batch in fbc]).any()
    for batch in fbc:
        for clean, condition, matte in zip(batch.clean, batch.condition, batch.matte, strict=True):
            if condition[4:, 0, 0].mean() >= 7:
                off = (matte == 0).expand(4, -1, -1)
                assert torch.equal(clean[off], condition[4:][off]), "the target stands before the map"


def test_a_light_map_never_stands_for_light_that_hardly_comes_from_its_side(shards):
    sources = Sources([shards], light_map_init=1.0)
    side = sources.tensors["images"].shape[-1]
    sources.maps = {name: {light: torch.full((4, side, side), 7.0) for light in LIGHTS} for name in ("fc", "fbc")}
    sources.sided[:, 3:] = False
    sources.sided[4:, 0] = False
    drawn = sources.draw(60, (0.3, 0.7, 0.0), generator(3, 0), (1, 0, 0))
    clear = {tuple(picture.flatten()[:8].tolist()) for picture in sources.tensors["images"][:4, 0].float()}
    photographs = {tuple(p.flatten()[:8].tolist()) for p in sources.tensors["images"][sources.wild, 0].float()}
    for row, has_map in zip(drawn.clean, drawn.has_light_map, strict=True):
        key = tuple(row.flatten()[:8].tolist())
        assert key in photographs or key in clear, "a row that is to have a map is given a light that it may stand for"
        assert bool(has_map) == (key in clear)
    assert not drawn.has_light_map.all() and drawn.has_light_map.any()


def test_light_maps_are_the_engines_and_one_for_every_side():
    vae = build_autoencoder().eval()
    maps = light_maps(vae, 32, 32)
    assert set(maps["fc"]) == set(maps["fbc"]) == set(SIDE_WORDS)
    engines = torch.from_numpy(light_map("top", "fbc", 32, 32).copy()).permute(2, 0, 1)[None]
    assert torch.allclose(maps["fbc"]["top"], encode(vae, engines)[0].float(), atol=5e-3)


def test_no_source_shows_the_targets_own_light():
    for target, related in RELATED.items():
        assert target in related
        assert set(SOURCES) - set(related), "there is always another light to start from"


def test_mismatched_rows_have_nothing_of_their_light_beneath_the_noise_but_in_fc(shards):
    sources = Sources([shards], mismatched=1.0)
    told = sources.draw(60, (0.3, 0.7, 0.0), generator(2, 0), (0.0, 0.5, 0.5))
    own = (told.init_latents - told.clean).abs().flatten(1).amax(1) < 1e-6
    assert float(own.float().mean()) < 0.25, "now and then chance picks the same picture"
    fc = sources.draw(60, (0.3, 0.7, 0.0), generator(2, 1), (1.0, 0.0, 0.0))
    assert torch.allclose(fc.init_latents.mean((2, 3)), fc.clean.mean((2, 3)), atol=0.3), "the light is there"
    detail = [(x - F.avg_pool2d(x, 3, 1, 1)).square().mean() for x in (fc.init_latents, fc.clean)]
    assert detail[0] < 0.6 * detail[1], "the forms are fainter"
    drawn = sources.draw(12, (0.0, 0.0, 1.0), generator(2, 2))
    whole, first, second = drawn.init_latents.chunk(3)
    assert drawn.triplets == 4
    assert torch.equal(whole, first) and torch.equal(whole, second), "lights that are compared see one noise"
    half = Sources([shards], mismatched=0.5)
    for step in range(8):
        drawn = half.draw(3, (0.0, 0.0, 1.0), generator(3, step))
        shared = all(torch.equal(drawn.init_latents[0], other) for other in drawn.init_latents[1:])
        assert shared or torch.equal(drawn.init_latents, drawn.clean), "all three, or none"


def test_a_zoomed_batch_is_cropped_about_its_subjects(shards):
    """Everything of a row by the same window, which holds the matte's middle; light maps are shrunk, whole."""
    sources = Sources([shards])
    for name, value in sources.tensors.items():
        if name in ("images", "backgrounds", "foregrounds", "matte", "normal"):
            sources.tensors[name] = F.interpolate(value.flatten(1, -3).float(), (64, 64)).view(
                *value.shape[:-2], 64, 64
            )
    sources.tensors["matte"] *= 0
    sources.tensors["matte"][..., 4:20, 40:56] = 1
    batch = sources.draw(12, (0.0, 0.5, 0.5), generator(4, 1))
    assert batch.clean.shape[-1] == 64
    batch.light_map[:] = torch.linspace(-1, 1, 64)
    sides = set()
    for seed in range(6):
        near = zoom_crop(batch, generator(4, seed))
        side = near.clean.shape[-1]
        sides.add(side)
        assert near.matte.mean() > batch.matte.mean() * 1.2
        ramp = near.light_map[0, 0, 0]
        assert ramp[-1] - ramp[0] == pytest.approx(2, abs=0.1), "a map is never cut"
        windows = batch.clean[0].unfold(1, side, 1).unfold(2, side, 1)
        found = (windows == near.clean[0][:, None, None]).all(-1).all(-1).all(0).nonzero()
        assert len(found) >= 1
        top, left = found[0].tolist()
        for name in ("condition", "matte", "normal", "init_latents"):
            whole, cut = getattr(batch, name)[0], getattr(near, name)[0]
            assert torch.equal(whole[:, top : top + side, left : left + side], cut), name
        assert torch.equal(near.environments, batch.environments) and near.captions == batch.captions
    assert sides == {32, 48}
    drawn = sources.draw(12, (0.0, 0.5, 0.5), generator(4, 1), zoom=1.0)
    assert drawn.clean.shape[-1] in (32, 48)


def test_rolled_out_rows_lie_on_the_networks_estimate(shards, trained):
    """Beneath their noise is the network's answer to an earlier step; other rows keep what the sources put there."""
    model = load(trained, None).model
    model.prediction_type = "sample"
    torch.nn.init.zeros_(model.unet.conv_out.weight)
    torch.nn.init.constant_(model.unet.conv_out.bias, 7.0)  # whatever it sees, it answers sevens
    alphas, words = losses.alphas_cumprod(), Words(load(trained, None).tokenizer)
    sources = Sources([shards], light_map_init=0.5, mismatched=1.0)
    side = sources.tensors["images"].shape[-1]
    sources.maps = {"fc": {name: torch.full((4, side, side), -3.0) for name in LIGHTS}, "fbc": {}}
    batch = sources.draw(30, (0.3, 0.4, 0.3), generator(5, 0), (1.0, 0.0, 0.0))
    times = rollouts.draw_times(batch, Config(rollouts=0.6), generator(5, 1))
    init, _ = rollouts.roll_out(model, batch, words(batch.captions), times, alphas, generator(5, 2))
    left = losses.remaining(times.timesteps, times.starts, alphas)
    assert times.rolled.any() and not times.rolled.all() and batch.triplets and batch.has_light_map.any()
    for row in range(len(init)):
        begun = batch.light_map[row] if batch.has_light_map[row] else batch.init_latents[row]
        if times.rolled[row]:
            assert torch.allclose(init[row], torch.lerp(torch.full_like(begun, 7.0), begun, left[row]), atol=1e-4)
        elif batch.has_light_map[row]:
            assert torch.allclose(init[row], torch.lerp(batch.init_latents[row], begun, left[row]), atol=1e-4)
        else:
            assert torch.equal(init[row], batch.init_latents[row])


def test_a_rollout_starts_where_the_light_is_told_and_its_triplets_are_alike(shards):
    sources = Sources([shards], mismatched=1.0)
    batch = sources.draw(40, (0.2, 0.4, 0.4), generator(6, 0), (1.0, 0.0, 0.0))
    times = rollouts.draw_times(batch, Config(rollouts=0.8, high_t_share=0.3), generator(6, 1))
    own = ~batch.has_environment
    assert (times.starts >= times.timesteps).all()
    assert (times.starts[own & times.rolled] <= rollouts.READABLE).all(), "above it fc could not read its own light"
    assert (times.starts[batch.has_environment] > rollouts.READABLE).any()
    noise = rollouts.draw_noise(batch, times.timesteps, losses.alphas_cumprod(), generator(6, 2))
    for rows in (times.timesteps, times.starts, times.rolled, noise):
        whole, first, second = rows[-3 * batch.triplets :].chunk(3)
        assert torch.equal(whole, first) and torch.equal(whole, second)
    assert not rollouts.draw_times(batch, Config(high_t_share=0.3), generator(6, 1)).rolled.any()


def test_below_a_timestep_rows_are_kept_as_they_are(shards):
    """Rolled out: what was made before is the target; else the wanted picture lies under its noise. Above: neither."""
    batch = Sources([shards], mismatched=1.0).draw(12, (0.3, 0.7, 0.0), generator(7, 0))
    init, early = torch.full_like(batch.clean, 3.0), torch.full_like(batch.clean, 5.0)
    steps = torch.tensor([100, 249, 250, 900] * 3)
    times = rollouts.Times(steps, steps, torch.arange(12) % 3 == 0)
    wanted, latents = rollouts.keep_low_t(batch, init, early, times, 250)
    for row in range(12):
        low, rolled = steps[row] < 250, row % 3 == 0
        assert torch.equal(wanted[row], early[row] if low and rolled else batch.clean[row])
        assert torch.equal(latents[row], batch.clean[row] if low and not rolled else init[row])
    wanted, latents = rollouts.keep_low_t(batch, init, early, times, 0)
    assert torch.equal(wanted, batch.clean) and torch.equal(latents, init)


def test_what_is_said_below_that_timestep_lies_under_the_noise_and_is_no_target(shards):
    """A network that answers with the timestep it is asked at: no target is an answer from below 250."""

    class Clock(torch.nn.Module):
        prediction_type = "sample"

        def forward(self, latents, timesteps, *_):
            return timesteps[:, None, None, None].float().expand(-1, 4, *latents.shape[2:])

    batch = Sources([shards], mismatched=1.0).draw(60, (0.0, 1.0, 0.0), generator(8, 0), (0.0, 1.0, 0.0))
    alphas = losses.alphas_cumprod()
    below, config = [], Config(low_t_share=0.5, keep_below_t=250)
    for seed in range(4):
        times = rollouts.draw_times(batch, config, generator(8, seed))
        assert times.rolled.any() and (times.timesteps[times.rolled] < 250).all()
        assert (times.starts[times.rolled] >= 250).all()
        ids = torch.zeros(60, 77, dtype=torch.long)
        init, early = rollouts.roll_out(Clock(), batch, ids, times, alphas, generator(9, seed), 250)
        left = losses.remaining(times.timesteps, times.starts, alphas)
        clear = times.rolled & (times.starts > 400) & (left < 0.05)
        assert (early[clear].mean((1, 2, 3)) > 200).all()
        below += (init[clear].mean((1, 2, 3)) < 250).tolist()
    assert 0.1 < sum(below) / len(below) < 0.9
