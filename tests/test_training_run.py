"""The loop: it learns, resumes to the same result, reaches every part, and exports what the engine loads."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from iclight.errors import SettingsError, WeightsError
from iclight.lights import light_map
from iclight.training import loss as losses
from iclight.training.autoencoder import build_autoencoder
from iclight.training.bases import Trained, build, load, say
from iclight.training.captions import SIDE_WORDS
from iclight.training.config import PARTS, Config, make_config, read_config
from iclight.training.hints import LIGHTS, light_maps
from iclight.training.latents import encode
from iclight.training.model import Words, build_tokenizer
from iclight.training.run import Average, Run, generator, plateau
from iclight.training.sources import RELATED, SOURCES, Sources
from iclight.training.train import Meter, freeze, objective, train

SIDE = 8
TINY = {
    "channels": (32, 32, 32),
    "width": 32,
    "batch": 8,
    "shares": (0.2, 0.2, 0.6),
    "shares_end": (0.2, 0.2, 0.6),
    "log_every": 2,
    "save_every": 2,
    "sheet_every": 10_000,
    "mixed_precision": "no",
    "warmup": 2,
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """A shard of random latents whose targets can be told from their conditions."""
    folder = tmp_path_factory.mktemp("latents")
    random = torch.Generator().manual_seed(0)
    count = 16
    content = torch.randn(count, 1, 4, SIDE, SIDE, generator=random)
    light = torch.randn(count, 5, 4, 1, 1, generator=random)
    images = content + light
    facts = [[("woman", "warm", "left")] * 3 + [("woman", "neon", "right"), ("woman", "cool", "top")]] * 12
    facts += [[("photograph", "natural", "left")] * 5] * 4
    shard = {
        "images": images,
        "backgrounds": light[:, [0, 3, 4]].expand(-1, -1, -1, SIDE, SIDE),
        "foregrounds": images[:, list(SOURCES)],
        "matte": torch.ones(count, 1, SIDE, SIDE),
        "environments": light.exp()[:, :, :3].expand(-1, -1, -1, 32, 32),
    }
    half = {name: value.half().clone() for name, value in shard.items()}
    torch.save({**half, "facts": facts}, folder / "shard-0000.pt")
    return folder


def tiny(shards: Path, **changes) -> Config:
    return Config(**{**TINY, "data": (str(shards),), "steps": 8, **changes})


def weights(parts: Trained) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in parts.model.parameters()])


def test_a_killed_run_resumes_to_the_same_result(shards, tmp_path):
    """Killed by SIGKILL in the middle, started again: the same weights, the same log."""
    config = tiny(shards, steps=10)
    whole = train(config, tmp_path / "whole")
    path = tmp_path / "config.json"
    path.write_text(config.to_json())
    command = [sys.executable, "-m", "iclight.training.train", "--config", str(path), "--out", str(tmp_path / "cut")]
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


def test_every_run_gives_the_same_words_the_same_numbers(tmp_path):
    """Resumed runs and the processes of one run must agree on what a number means."""
    one, two = build_tokenizer(tmp_path / "one"), build_tokenizer(tmp_path / "two")
    assert one.get_vocab() == two.get_vocab()
    assert (tmp_path / "one" / "merges.txt").read_bytes() == (tmp_path / "two" / "merges.txt").read_bytes()
    again = build_tokenizer(tmp_path / "one", words=["another corpus"])
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
    assert Run(tmp_path, here).resume()["step"] == 2
    assert here.loaded.endswith("checkpoint-2")


def test_it_learns(shards, tmp_path):
    """On one repeated task the noise is told better than by an untrained network, in every band."""
    train(tiny(shards, steps=80, rate=3e-3, save_every=1000, log_every=16), tmp_path)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    for band in ("form", "light"):
        assert float(rows[-1][band]) < 0.75 * float(rows[0][band])


def test_every_part_gets_gradients_and_frozen_parts_lose_them(shards, tmp_path):
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
    words, alphas = Words(parts.tokenizer), losses.alphas_cumulative()
    vanilla, consistency = objective(model, model, batch, words, alphas, config, generator(0, 1), Meter())
    for part in ("merge", "tokens", "unet"):
        reached = torch.autograd.grad(consistency, list(getattr(model, part).parameters()), retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in reached)
        assert sum(float(gradient.abs().sum()) for gradient in reached) > 0, part
    reached = torch.autograd.grad(vanilla, list(model.tokens.parameters()), retain_graph=True)
    assert sum(float(gradient.abs().sum()) for gradient in reached) > 0
    (vanilla + consistency).backward()
    freeze(model, ("unet", "merge"))
    assert all(p.grad is None for part in ("text_encoder", "tokens") for p in getattr(model, part).parameters())
    assert all(p.grad is not None for p in model.unet.parameters())


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


def test_stages_freeze_parts_in_turn(shards, tmp_path):
    stages = ({"until": 4, "learns": ["tokens"]}, {"until": 8, "learns": ["unet", "merge"]})
    values = {**TINY, "data": [str(shards)], "steps": 8, "stages": list(stages), "average": 0.0}
    config = make_config(json.loads(json.dumps(values)))
    assert config.learns(0) == ("tokens",) and config.learns(7) == ("unet", "merge") and config.learns(8) == PARTS
    untrained = build(config, tmp_path / "a")
    torch.manual_seed(config.seed)
    before = {name: value.clone() for name, value in build(config, tmp_path / "b").model.state_dict().items()}
    after = train(config, tmp_path / "run").model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"tokens", "unet", "merge"}
    assert untrained.vae is None or untrained.vae.config.latent_channels == 4


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


def test_light_maps_are_the_start_in_fc_and_the_background_in_fbc_at_their_share(shards):
    sources = Sources([shards], hints=0.6)
    assert not sources.draw(12, (0.3, 0.7, 0.0), generator(0, 0)).hinted.any(), "without maps there are no hints"
    side = sources.tensors["images"].shape[-1]
    mark = {name: torch.full((4, side, side), 7.0 + number) for number, name in enumerate(LIGHTS)}
    sources.maps = {"fc": mark, "fbc": mark}
    fc = [sources.draw(16, (0.3, 0.7, 0.0), generator(1, step), (1, 0, 0)) for step in range(20)]
    hinted = torch.cat([batch.hinted for batch in fc])
    assert float(hinted.float().mean()) == pytest.approx(0.6, abs=0.1)
    for batch in fc:
        assert (batch.hints[batch.hinted].flatten(1).amax(1) > 2).all() and not batch.hints[~batch.hinted].any()
    fbc = [sources.draw(16, (0.3, 0.7, 0.0), generator(1, step), (0, 1, 0)) for step in range(20)]
    assert all(torch.equal(batch.beneath, batch.clean) for batch in fbc)
    told = torch.cat([batch.condition[:, 4:, 0, 0].mean(1) for batch in fbc]) >= 7
    assert 0 < float(told.float().mean()) <= 0.4 and not torch.cat([batch.hinted for batch in fbc]).any()
    for batch in fbc:
        for clean, condition, matte in zip(batch.clean, batch.condition, batch.matte, strict=True):
            if condition[4:, 0, 0].mean() >= 7:
                off = (matte == 0).expand(4, -1, -1)
                assert torch.equal(clean[off], condition[4:][off]), "the target stands before the map"


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


def test_the_average_is_swapped_in_and_out():
    parameter = torch.nn.Parameter(torch.zeros(3))
    average = Average([parameter], 0.5)
    parameter.data += 1
    average.update()
    average.swap()
    assert 0 < float(parameter[0]) <= 1
    average.swap()
    assert float(parameter[0]) == 1


def test_the_rate_rises_stays_and_falls():
    rates = [plateau(step, 1000, 1.0, 100, 0.25) for step in range(1000)]
    assert rates[0] == 0.01 and rates[100] == rates[700] == 1.0 and rates[999] < 0.03
    # A longer run is the same until the shorter one's decline.
    assert rates[:740] == [plateau(step, 5000, 1.0, 100, 0.25) for step in range(740)]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"weighting": "best"}, "plain"),
        ({"speed": 9}, "batch"),
        ({"stages": [{"until": 1, "learns": ["all"]}]}, "unet"),
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
    with pytest.raises(WeightsError, match=r"iclight\.training\.render"):
        Sources([tmp_path])
    with pytest.raises(WeightsError, match="trained/"):
        load(tmp_path)


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(tiny(shards, steps=4, rate=0.02), folder)
    return folder / "trained"


def test_a_new_model_is_exported_as_the_engine_loads_it(trained, tmp_path):
    """Base plus offset gives back the trained network, to half precision, for every workflow."""
    from iclight.tensors import open_tensors
    from iclight.training.export import export_new
    from iclight.unet import load_unet

    parts = load(trained, None)
    facts = {"about": "A test.", "native_size": [64, 64], "license": "Apache-2.0"}
    export_new(parts, build_autoencoder(), tmp_path, "tiny", facts)
    config = json.loads((tmp_path / "unet" / "config.json").read_text())
    base = open_tensors(next((tmp_path / "unet").glob("*.safetensors")))
    whole = parts.model.unet.state_dict()
    for workflow, channels in (("fc", 8), ("fbc", 12), ("env", 8)):
        offset = tmp_path / f"iclight_tiny_{workflow}.safetensors"
        unet = load_unet(base, config, open_tensors(offset), workflow, torch.float32)
        for name, value in unet.state_dict().items():
            want = whole[name][:, :channels] if name == "conv_in.weight" else whole[name]
            assert torch.allclose(value, want.float(), atol=2e-3, rtol=2e-3), name
    assert any(name.startswith("environment.") for name in load_file(tmp_path / "iclight_tiny_env.safetensors"))
    from iclight import Relighter, Settings

    for workflow, light in (("fc", "left"), ("fbc", "top"), ("env", "right")):
        relighter = Relighter.load(str(tmp_path), workflow, matting="none", device="cpu", dtype="float32")
        settings = Settings.for_workflow(workflow, light=light, width=64, height=64, steps=1, highres_scale=1.0)
        picture = torch.full((64, 64, 3), 90, dtype=torch.uint8).numpy()
        assert relighter.relight(picture, settings).images[0].shape == (64, 64, 3)


def test_an_exported_model_is_trained_on_from(trained, tmp_path):
    """`begin` takes what was exported: the same network, but for the merging MLP, which no model ships."""
    from iclight.training.export import export_new

    facts = {"about": "A test.", "native_size": [64, 64], "license": "Apache-2.0"}
    export_new(load(trained, None), build_autoencoder(), tmp_path, "tiny", facts)
    before, after = (load(folder, None).model for folder in (trained, tmp_path))
    for part in ("unet", "text_encoder", "tokens"):
        wanted = getattr(before, part).state_dict()
        for name, value in getattr(after, part).state_dict().items():
            assert torch.allclose(value, wanted[name], atol=2e-3, rtol=2e-3), name


@pytest.mark.parametrize("lora", [0, 4])
def test_a_base_is_trained_and_its_offsets_are_the_difference(shards, tmp_path, lora):
    """`--base FOLDER`, whole or with LoRA: offsets in the published layout, and the base itself untouched."""
    from iclight.tensors import open_tensors
    from iclight.training.bases import widen
    from iclight.training.export import export_offsets
    from iclight.training.model import build_text_encoder, build_tokenizer, build_unet
    from iclight.unet import load_unet

    base = tmp_path / "base"
    tokenizer = build_tokenizer(base / "tokenizer")
    build_text_encoder(tokenizer, 32).save_pretrained(base / "text_encoder")
    unet = build_unet((48, 32, 32), 32)
    narrow = torch.nn.Conv2d(4, 48, 3, padding=1)
    unet.conv_in = narrow
    unet.register_to_config(in_channels=4)
    unet.save_pretrained(base / "unet")
    original = {name: value.clone() for name, value in unet.state_dict().items()}
    widen(unet)
    assert torch.equal(unet.conv_in.weight[:, :4], narrow.weight) and not unet.conv_in.weight[:, 4:].any()

    config = tiny(shards, base=str(base), lora=lora, steps=3, rate=0.01, average=0.0)
    parts = train(config, tmp_path / "run")
    assert not any(p.requires_grad for p in parts.model.text_encoder.parameters())
    again = load(tmp_path / "run" / "trained", None)
    files = export_offsets(again, original, tmp_path / "out", "tiny")
    assert set(files) == {"fc", "fbc", "env"}
    source = open_tensors(next((base / "unet").glob("*.safetensors")))
    widened = json.loads((base / "unet" / "config.json").read_text())
    merged = load_unet(source, widened, open_tensors(tmp_path / "out" / files["fbc"]), "fbc", torch.float32)
    told = again.model.unet.state_dict()
    assert all(torch.allclose(value, told[name], atol=2e-3, rtol=2e-3) for name, value in merged.state_dict().items())
    moved = [name for name in original if name != "conv_in.weight" and not torch.equal(original[name], told[name])]
    assert moved and (not lora or all("attn" in name or "proj" in name for name in moved if name != "conv_in.bias"))


def test_a_config_survives_its_json():
    config = dataclasses.replace(read_config("mini-64"), seed=3)
    assert make_config(json.loads(config.to_json())) == config


def test_heed_tells_a_model_that_listens_from_one_that_does_not(shards, trained):
    """The same errors where the environment is cut off, others where it is not."""
    from iclight.training.heed import errors

    parts = load(trained, None)
    batch = Sources([shards]).draw(8, (0.0, 1.0, 0.0), generator(0, 0), (0, 0, 1))
    torch.nn.init.normal_(parts.model.unet.conv_out.weight, std=0.1)
    torch.nn.init.constant_(parts.model.unet.add_embedding.norm2.weight, 3.0)
    own, other = errors(parts, batch, 999)
    assert own != other
    torch.nn.init.zeros_(parts.model.tokens.norm.weight)
    own, other = errors(parts, batch, 999)
    assert own == pytest.approx(other, rel=1e-6)


def test_doubted_rows_have_nothing_of_their_light_beneath_the_noise_but_in_fc(shards):
    sources = Sources([shards], doubts=1.0)
    told = sources.draw(60, (0.3, 0.7, 0.0), generator(2, 0), (0.0, 0.5, 0.5))
    own = (told.beneath - told.clean).abs().flatten(1).amax(1) < 1e-6
    assert float(own.float().mean()) < 0.25, "now and then chance picks the same picture"
    fc = sources.draw(60, (0.3, 0.7, 0.0), generator(2, 1), (1.0, 0.0, 0.0))
    assert torch.allclose(fc.beneath.mean((2, 3)), fc.clean.mean((2, 3)), atol=0.3), "the light is there"
    detail = [(x - F.avg_pool2d(x, 3, 1, 1)).square().mean() for x in (fc.beneath, fc.clean)]
    assert detail[0] < 0.6 * detail[1], "the forms are fainter"
    drawn = sources.draw(12, (0.0, 0.0, 1.0), generator(2, 2))
    whole, first, second = drawn.beneath.chunk(3)
    assert drawn.triplets == 4
    assert torch.equal(whole, first) and torch.equal(whole, second), "lights that are compared see one noise"
    half = Sources([shards], doubts=0.5)
    for step in range(8):
        drawn = half.draw(3, (0.0, 0.0, 1.0), generator(3, step))
        shared = all(torch.equal(drawn.beneath[0], other) for other in drawn.beneath[1:])
        assert shared or torch.equal(drawn.beneath, drawn.clean), "all three, or none"


def test_a_network_of_velocities_is_turned_into_one_of_clean_latents_and_no_other_is(trained):
    model = load(trained, None).model
    assert model.prediction_type == "v_prediction"
    before = model.unet.conv_out.weight.clone()
    say(model, "sample")
    assert model.prediction_type == "sample" and torch.equal(model.unet.conv_out.weight, -before)
    with pytest.raises(WeightsError, match="--prediction"):
        say(model, "epsilon")
    with pytest.raises(SettingsError, match="prediction is 'noise'"):
        make_config({"prediction": "noise"})


def test_fc_may_have_a_unet_of_its_own(trained, tmp_path):
    """Its offset, added to the shared base, is that UNet; the others keep theirs."""
    from iclight.training.export import export_new

    parts, apart = load(trained, None), load(trained, None)
    torch.nn.init.constant_(apart.model.unet.conv_out.bias, 0.25)
    export_new(parts, build_autoencoder(), tmp_path, "mine", {"native_size": [64, 64]}, apart)
    base = load_file(str(tmp_path / "unet" / "diffusion_pytorch_model.safetensors"))["conv_out.bias"].float()
    added = {
        w: load_file(str(tmp_path / f"iclight_mine_{w}.safetensors"))["conv_out.bias"].float() for w in ("fc", "fbc")
    }
    assert torch.allclose(base + added["fc"], torch.tensor(0.25), atol=1e-3)
    assert not added["fbc"].any()
