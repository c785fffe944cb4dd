"""The loop: it learns, resumes to the same result, and reaches every part."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from training_helpers import SIDE, TINY, tiny, weights

from iclight.errors import SettingsError, WeightsError
from training import loss as losses
from training.base import build, load
from training.checkpoints import EMA, Run, warmup_stable_decay
from training.config import make_config, read_config
from training.data.batches import Sources
from training.randomness import generator
from training.tokenizer import Words, build_tokenizer
from training.train import Meter, objective, train


def test_a_killed_run_resumes_to_the_same_result(shards, tmp_path):
    """Killed by SIGKILL in the middle, started again: the same weights, the same log."""
    config = tiny(shards, steps=10, consistency=0.1)
    whole = train(config, tmp_path / "whole")
    path = tmp_path / "config.json"
    path.write_text(config.to_json())
    command = [sys.executable, "-m", "training.train", "--config", str(path), "--out", str(tmp_path / "cut")]
    # Sums are rounded in the order in which threads take them: the same number of threads, then.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    waited = time.monotonic()
    while not list((tmp_path / "cut").glob("checkpoint-[4-8]/whole.json")) and time.monotonic() - waited < 120:
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "cut" / "trained").exists()
    resumed = train(config, tmp_path / "cut")
    assert torch.equal(weights(whole), weights(resumed))
    logs = [list(csv.DictReader((tmp_path / name / "log.csv").open())) for name in ("whole", "cut")]
    times = ("seconds", "rows_per_second")
    for one, two in zip(*logs, strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {k: v for k, v in two.items() if k not in times}


@pytest.mark.slow
def test_batches_drawn_ahead_are_the_same(shards, tmp_path):
    """Two processes that draw ahead change nothing, also in a run that is gone on with."""
    here = train(tiny(shards, steps=4), tmp_path / "here")
    train(tiny(shards, steps=4, workers=2), tmp_path / "ahead", until=2)
    ahead = train(tiny(shards, steps=4, workers=2), tmp_path / "ahead")
    assert torch.equal(weights(here), weights(ahead))


def test_every_run_gives_the_same_words_the_same_numbers(tmp_path):
    """Resumed runs and the processes of one run must agree on what a number means."""
    one, two = build_tokenizer(tmp_path / "one"), build_tokenizer(tmp_path / "two")
    assert one.get_vocab() == two.get_vocab()
    assert (tmp_path / "one" / "merges.txt").read_bytes() == (tmp_path / "two" / "merges.txt").read_bytes()
    again = build_tokenizer(tmp_path / "one", texts=["another corpus"])
    assert again.get_vocab() == one.get_vocab(), "what is there is kept"
    for text in ("light from the left", "sunset over sea", "best quality"):
        assert len(one(text)["input_ids"]) == 2 + len(text.split()), "words trained on are whole"


def test_an_unfinished_checkpoint_is_not_gone_on_from(shards, tmp_path):
    train(tiny(shards), tmp_path, until=4)
    (tmp_path / "checkpoint-4" / "whole.json").unlink()

    class Here:
        is_main_process = True

        def load_state(self, folder):
            self.loaded = folder

    here = Here()
    assert Run(tmp_path, here).resume() == 2
    assert here.loaded.endswith("checkpoint-2")


def test_it_learns(shards, tmp_path):
    """On one repeated task the noise is told better than by an untrained network, in every band."""
    train(tiny(shards, steps=48, learning_rate=3e-3, save_every=1000, log_every=12), tmp_path)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    for band in ("form", "light"):
        assert float(rows[-1][band]) < 0.75 * float(rows[0][band])


def test_every_part_gets_gradients(shards, tmp_path):
    config = tiny(shards)
    parts = build(config, tmp_path)
    model = parts.model
    # Past the zeros that the network starts with: gradients must be able to pass.
    random = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=random)
    batch = Sources([shards]).draw(8, (0.0, 0.4, 0.6), generator(0, 0))
    assert batch.triplets
    words, alphas = Words(parts.tokenizer), losses.alphas_cumprod()
    denoising, consistency = objective(model, model, batch, words, alphas, config, generator(0, 1), Meter())
    for part in ("merge", "tokens", "unet"):
        reached = torch.autograd.grad(consistency, list(getattr(model, part).parameters()), retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in reached)
        assert sum(float(gradient.abs().sum()) for gradient in reached) > 0, part
    reached = torch.autograd.grad(denoising, list(model.tokens.parameters()), retain_graph=True)
    assert sum(float(gradient.abs().sum()) for gradient in reached) > 0


def test_parts_that_are_not_to_learn_stay_as_they_are(shards, tmp_path):
    config = make_config({**TINY, "data": [str(shards)], "steps": 2, "learns": ["tokens"], "ema_decay": 0.0})
    torch.manual_seed(config.seed)
    before = {name: value.clone() for name, value in build(config, tmp_path / "before").model.state_dict().items()}
    after = train(config, tmp_path / "run").model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"tokens"}


def test_the_merging_mlp_is_fitted_before_a_run_that_needs_it(shards, tmp_path):
    for name, weight in (("with", 0.1), ("without", 0.0)):
        config = make_config({**TINY, "data": [str(shards)], "steps": 1, "consistency": weight, "learns": ["unet"]})
        parts = train(config, tmp_path / name)
        assert bool(parts.model.merge.layers[-1].weight.any()) == (name == "with")
        assert not load(tmp_path / name / "trained", None).new_merge


def test_normals_are_learnt_beside_the_picture_and_leave_nothing_in_the_model(shards, tmp_path):
    shard = torch.load(shards / "shard-0000.pt", weights_only=False)
    tilted = torch.tensor([0.6, 0.0, 0.8]).view(1, 3, 1, 1).expand(16, 3, SIDE, SIDE).clone()
    tilted[12:] = 0  # nobody knows a photograph's
    torch.save({**shard, "normal": tilted.half()}, tmp_path / "shard-0000.pt")
    train(tiny(tmp_path, steps=20, learning_rate=0.015, normals=0.5, ema_decay=0.9), tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert float(rows[-1]["normals"]) < 0.2 * float(rows[0]["normals"])
    plain = build(tiny(shards), tmp_path / "plain").model
    assert set(load(tmp_path / "run" / "trained", None).model.state_dict()) == set(plain.state_dict())


def test_environments_change_only_pictures_that_have_one(shards, tmp_path):
    parts = build(tiny(shards), tmp_path)
    model = parts.model.eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)  # it begins with next to nothing but the noise
    latents, ids = torch.randn(2, 12, SIDE, SIDE), Words(parts.tokenizer)(["cat", "cat"])
    has = torch.tensor([True, False])
    bright, dark = torch.full((2, 3, 32, 32), 2.0), torch.zeros(2, 3, 32, 32)
    bright[:, :, :16] = 0
    with torch.no_grad():
        one, two = (model(latents, torch.tensor([500, 500]), ids, e, has) for e in (bright, dark))
    assert (one[0] - two[0]).abs().max() > 1e-4
    assert torch.equal(one[1], two[1])


def test_the_average_is_swapped_in_and_out():
    parameter = torch.nn.Parameter(torch.zeros(3))
    average = EMA([parameter], 0.5)
    parameter.data += 1
    average.update()
    average.swap()
    assert 0 < float(parameter[0]) <= 1
    average.swap()
    assert float(parameter[0]) == 1


def test_the_rate_rises_stays_and_falls():
    rates = [warmup_stable_decay(step, 1000, 1.0, 100, 0.25) for step in range(1000)]
    assert rates[0] == 0.01 and rates[100] == rates[700] == 1.0 and rates[999] < 0.03
    # A longer run is the same until the shorter one's decline.
    assert rates[:740] == [warmup_stable_decay(step, 5000, 1.0, 100, 0.25) for step in range(740)]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"speed": 9}, "batch"),
        ({"learns": ["all"]}, "unet"),
        ({"low_t_share": 0.5}, "--keep-below-t"),
    ],
)
def test_wrong_configs_are_refused(values, word):
    with pytest.raises(SettingsError, match=word):
        make_config(values)


def test_configs_that_ship_can_be_read():
    paper = read_config("paper")
    assert (paper.shares, paper.shares_end, paper.shares_until) == ((0.5, 0.5, 0.0), (0.35, 0.35, 0.3), 100_000)
    assert paper.consistency == 0.1
    assert read_config("mini-64").base == "mini"
    with pytest.raises(SettingsError, match="mini"):
        read_config("nothing")


def test_missing_data_and_models_say_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"training\.scenes\.render"):
        Sources([tmp_path])
    with pytest.raises(WeightsError, match="trained/"):
        load(tmp_path)


def test_a_config_survives_its_json():
    config = dataclasses.replace(read_config("mini-64"), seed=3)
    assert make_config(json.loads(config.to_json())) == config
