"""The engine on CUDA, at SD1.5's size with random weights: workflows, half formats, memory, offload, cancel, seeds.

    make test-gpu                                      # on a GPU
    ICLIGHT_GPU_TESTS_ON=cpu make test-gpu             # the same tests at toy size, on the CPU
    ICLIGHT_GPU_FIGURES=figures.jsonl make test-gpu    # what was measured, a JSON line each

Those that take no time at toy size run in the plain suite as well, so that they cannot rot between two GPUs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_data import GOLDEN
from test_golden import BACKGROUND, FOREGROUND, RELIT, golden, relative, settings_of

from benchmarks.models import SIZES, Networks, build, engines_own
from iclight import Relighter, Settings
from iclight.diffusion import devices, sampler
from iclight.diffusion.devices import Placement
from iclight.diffusion.environment_encoder import EnvironmentEncoder
from iclight.diffusion.vae import VAE
from iclight.errors import Cancelled
from iclight.loading import LoadedModel
from iclight.weights.resolve import Model

ON = os.environ.get("ICLIGHT_GPU_TESTS_ON", "cuda")
IS_CUDA = torch.device(ON).type == "cuda"
GPU = pytest.param(
    ON,
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(IS_CUDA and not torch.cuda.is_available(), reason="there is no CUDA device"),
    ],
)
on_the_gpu = pytest.mark.parametrize("device", [GPU])
in_the_suite_too = pytest.mark.parametrize("device", [GPU, pytest.param("cpu", id="suite")])
needs_cuda = pytest.mark.skipif(not IS_CUDA, reason="only CUDA has it")

# Number formats of the networks, and of the VAE: float16 with the VAE in bfloat16 is the engine's choice on CUDA.
FORMATS = {
    "float16": (torch.float16, torch.bfloat16),
    "bfloat16": (torch.bfloat16, torch.bfloat16),
    "float32": (torch.float32, torch.float32),
}
# Golden latents in float32, relative L2. Other kernels alone (threads, channels-last, without oneDNN) move them by
# 1.5e-4 on a CPU, and by 1.5e-3 where the picture is a flat ramp, on which group norm magnifies rounding.
GOLDEN_LATENTS, FLAT_LATENTS, FLAT = 5e-4, 5e-3, "fc_10"
# A bfloat16 VAE beside the same in float32, relative L2 of latents and of decoded floats: on a CPU 1.9 % and 4.0 % at
# SD1.5's size (128 px), 1.1 % and 4.8 % at toy size.
VAE_IN_BFLOAT16 = 0.1
# A batch in parts beside the whole, relative L2 of a float16 prediction: other kernels for other batch sizes.
SPLIT = 5e-3


class CpuNoise(Placement):
    """Draws noise on the CPU wherever it computes: the golden cases' noise was."""

    @property
    def noise_device(self) -> torch.device:
        return torch.device("cpu")


def size_of(device: str) -> str:
    return "sd15" if torch.device(device).type == "cuda" else "tiny"


def placed(device: str, kind: str, offload: bool = False) -> Placement:
    return Placement(torch.device(device), *FORMATS[kind], offload)


@functools.lru_cache(maxsize=1)  # SD1.5's size in one format is 2 GB; small cards hold no more
def networks(device: str, workflow: str, kind: str) -> tuple[Networks, EnvironmentEncoder | None]:
    """Random networks where they compute: made there, since a CPU takes ten seconds to draw a billion numbers."""
    placement = placed(device, kind)
    with torch.device(placement.device):
        made = engines_own(build(size_of(device), workflow, placement))
        width = SIZES[size_of(device)].text["hidden_size"]
        tokens = EnvironmentEncoder(width).to(placement.dtype) if workflow == "env" else None
    return made, tokens if tokens is None else tokens.requires_grad_(False).eval()


def engine(device: str, workflow: str = "fc", kind: str = "float16", offload: bool = False) -> Relighter:
    made, tokens = networks(device, workflow, kind)
    placement = placed(device, kind, offload)
    for part in (made.text_encoder, made.vae, made.unet, tokens):
        if part is not None:
            part.to(placement.home)
    nowhere = Path()
    model = Model("random", nowhere, nowhere, nowhere, workflow, (512, 512), "", "")
    vae = VAE(made.vae, placement)
    loaded = LoadedModel(made.tokenizer, made.text_encoder, vae, made.unet, placement, model, tokens)
    return Relighter(loaded, "none")


def asked(device: str, workflow: str = "fc", **changes: Any) -> Settings:
    """A request of a real size on a GPU, a toy's elsewhere; fc from its ramp, fbc and env by a light of their own."""
    width, height = (512, 640) if size_of(device) == "sd15" else (64, 128)
    basic = {"light": "left", "width": width, "height": height, "steps": 3, "highres_scale": 1.25, "seed": 7}
    return Settings.for_workflow(workflow, **{**basic, "prompt": "sunset over the sea", **changes})


@contextlib.contextmanager
def calls_seen(module: torch.nn.Module) -> Iterator[list[int]]:
    """The batch size of every call of a network, also of those that fail."""
    sizes: list[int] = []
    hook = module.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    try:
        yield sizes
    finally:
        hook.remove()


@pytest.fixture
def measured(request, record_property, capsys):
    """Say a figure: on the terminal, in the JUnit file, and in the file that ICLIGHT_GPU_FIGURES names."""

    def say(what: str, value: float) -> None:
        record_property(what, f"{value:.3g}")
        if request.node.get_closest_marker("gpu"):  # the plain suite stays quiet
            with capsys.disabled():
                print(f"\n  {what}: {value:.3g}")
        if path := os.environ.get("ICLIGHT_GPU_FIGURES"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"test": request.node.name, "what": what, "value": value}) + "\n")

    return say


def assert_pictures(result: Any, count: int = 1) -> None:
    assert len(result.images) == count
    for picture in result.images:
        assert picture.any() and picture.std() > 1, "a black or a flat picture"
    for latents in result.latents.values():
        assert torch.isfinite(latents).all()


# --- pictures -----------------------------------------------------------------------------------------------------


@needs_cuda
@on_the_gpu
def test_on_cuda_networks_compute_in_float16_and_the_vae_in_bfloat16(device):
    placement = devices.choose(device)
    bfloat16 = torch.cuda.is_bf16_supported(False)
    assert (placement.dtype, placement.vae_dtype) == (torch.float16, torch.bfloat16 if bfloat16 else torch.float32)
    assert placement.noise_device.type == "cuda"


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("workflow", ["fc", "fbc", "env"])
@on_the_gpu
def test_every_workflow_makes_pictures_in_half_precision(device, workflow, kind):
    relighter = engine(device, workflow, kind)
    result = relighter.relight(FOREGROUND, asked(device, workflow, num_images=2))
    assert_pictures(result, 2)
    assert not np.array_equal(*result.images)
    assert next(relighter.unet.parameters()).device.type == torch.device(device).type


@on_the_gpu
def test_a_given_background_and_a_given_map_reach_a_network_in_half_precision(device):
    settings = asked(device, "fbc", light="upload")
    one, other = (engine(device, "fbc").relight(FOREGROUND, settings, given) for given in (BACKGROUND, FOREGROUND))
    assert_pictures(one)
    assert not np.array_equal(one.images[0], other.images[0])
    settings = asked(device, "env", light="upload")
    light = np.full((16, 32, 3), 0.1, np.float32)
    light[:, :8] = 40
    one, other = (
        engine(device, "env").relight(FOREGROUND, settings, environment=given) for given in (light, light[:, ::-1])
    )
    assert_pictures(one)
    assert not np.array_equal(one.images[0], other.images[0])


@on_the_gpu
def test_a_vae_in_bfloat16_says_what_it_says_in_float32(device, measured):
    with torch.inference_mode():
        said = []
        for kind in ("float32", "bfloat16"):  # the same seed, so the same weights
            vae = engine(device, "fc", kind).vae
            side = 512 if size_of(device) == "sd15" else 64
            picture = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
            latents = vae.encode([np.kron(picture, np.ones((8, 8, 1), np.uint8))])
            start = latents if not said else said[0][0]
            said.append((latents, vae.decode(start)))
    for what, exact, half in zip(("latents", "pictures"), *said, strict=True):
        apart = relative(half.float().cpu(), exact.cpu().numpy())
        measured(f"bfloat16 VAE, {what}, relative L2", apart)
        assert apart < VAE_IN_BFLOAT16


# --- the same again -----------------------------------------------------------------------------------------------


@in_the_suite_too
def test_the_same_seed_gives_the_same_pixels_twice(device):
    relighter = engine(device)
    first, again = (relighter.relight(FOREGROUND, asked(device, num_images=2)) for _ in range(2))
    assert np.array_equal(first.images, again.images)
    other = relighter.relight(FOREGROUND, asked(device, num_images=2, seed=8))
    assert not np.array_equal(first.images, other.images)


@in_the_suite_too
def test_with_offload_parts_are_on_the_device_only_while_they_work_and_the_pixels_are_the_same(device):
    where = torch.device(device).type
    staying = engine(device).relight(FOREGROUND, asked(device))
    relighter = engine(device, offload=True)
    parts = {"text": relighter.text_encoder, "vae": relighter.vae.model, "unet": relighter.unet}

    def place(part: Any) -> str:
        return next(part.parameters()).device.type

    seen: list[tuple[str, dict[str, str]]] = []

    def note(name: str) -> None:
        seen.append((name, {other: place(part) for other, part in parts.items()}))

    # The VAE is entered by encode and decode, not by forward: its two halves are watched.
    watched = {"text": [parts["text"]], "unet": [parts["unet"]], "vae": [parts["vae"].encoder, parts["vae"].decoder]}
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: note(name))
        for name, modules in watched.items()
        for module in modules
    ]
    try:
        result = relighter.relight(FOREGROUND, asked(device))
    finally:
        for hook in hooks:
            hook.remove()
    assert {name for name, _ in seen} == set(parts)
    for name, places in seen:
        assert places == {other: where if other == name else "cpu" for other in parts}, f"while {name} worked"
    assert {place(part) for part in parts.values()} == {"cpu"}
    if where == "cuda":
        weights = sum(p.nbytes for part in parts.values() for p in part.parameters())
        assert torch.cuda.memory_allocated() < 0.1 * weights, "weights stayed behind"
    assert np.array_equal(result.images, staying.images)


# --- stopping, and running out of memory --------------------------------------------------------------------------


@in_the_suite_too
def test_cancelling_while_a_step_runs_stops_after_that_step(device):
    relighter, stop, steps = engine(device), threading.Event(), []
    calls: list[int] = []

    def third_call(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            stop.set()

    def told(event: Any) -> bool:
        steps.append(event.step)
        return not stop.is_set()

    hook = relighter.unet.register_forward_pre_hook(third_call)
    try:
        with pytest.raises(Cancelled):
            relighter.relight(FOREGROUND, asked(device, steps=12), on_step=told)
    finally:
        hook.remove()
    assert len(calls) == 3 and steps == [1, 2, 3]
    assert_pictures(relighter.relight(FOREGROUND, asked(device)))


@pytest.mark.parametrize("kind", ["float16", "float32"])
@in_the_suite_too
def test_a_batch_that_does_not_fit_is_split_and_gives_the_same_pictures(device, kind, monkeypatch, measured):
    """The UNet refuses more than three rows: four pictures under guidance, eight rows, come in twos."""
    relighter = engine(device, kind=kind)
    settings = asked(device, num_images=4, steps=2)
    whole = relighter.relight(FOREGROUND, settings)
    real = relighter.unet.forward

    def small(sample: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        if len(sample) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return real(sample, *arguments, **options)

    with monkeypatch.context() as patch, calls_seen(relighter.unet) as sizes:
        patch.setattr(relighter.unet, "forward", small)
        split = relighter.relight(FOREGROUND, settings)
    assert sizes[:3] == [8, 4, 2] and set(sizes[3:]) <= {2, 4, 8}
    assert_pictures(split, 4)
    apart = relative(split.latents["lowres"], whole.latents["lowres"].numpy())
    measured(f"split batch, {kind}, lowres latents, relative L2", apart)
    if kind == "float32":  # in half precision the steps magnify one rounding too much to say anything
        assert apart < 5e-3
    with calls_seen(relighter.unet) as sizes:
        assert_pictures(relighter.relight(FOREGROUND, settings), 4)
    assert set(sizes) == {8}, "the next request is whole again"


@needs_cuda
@on_the_gpu
def test_a_batch_that_really_does_not_fit_is_split(device, measured):
    """The process may have three quarters of what the whole batch takes."""
    relighter, count = engine(device), 16
    side = 96
    random = torch.Generator(device).manual_seed(0)
    cond, uncond, condition, latents = (
        torch.randn(shape, generator=random, device=device)
        for shape in ((1, 77, 768), (1, 77, 768), (1, 4, side, side), (count, 4, side, side))
    )
    guidance, timestep = sampler.Guidance(cond, uncond, 2.0), torch.tensor(500, device=device)
    total = torch.cuda.get_device_properties(device).total_memory

    def predicted() -> tuple[torch.Tensor, int | None]:
        predict = sampler.NoisePredictor(relighter.unet, guidance, condition)
        with torch.inference_mode():
            return predict(latents, timestep), predict.batch_limit

    torch.cuda.empty_cache()
    base = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    whole, limit = predicted()
    assert limit is None
    taken = torch.cuda.max_memory_allocated() - base
    measured(f"{2 * count} rows of {side}x{side} latents, GiB", taken / 2**30)
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 0.75 * taken) / total)
        split, limit = predicted()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert limit is not None and limit < 2 * count
    apart = relative(split.cpu(), whole.cpu().numpy())
    measured("split by real want of memory, float16, prediction, relative L2", apart)
    assert apart < SPLIT
    again, limit = predicted()
    assert limit is None and torch.equal(again, whole)


# --- the reference's numbers --------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)
def golden_engine(device: str, workflow: str) -> Relighter:
    relighter = Relighter.load(GOLDEN / "model", workflow, matting="none", device=device, dtype="float32")
    place = relighter.placement
    relighter.passes.placement = CpuNoise(place.device, place.dtype, place.vae_dtype, place.offload)
    return relighter


def golden_gaps(device: str, case: dict[str, Any]) -> tuple[float, int, float]:
    """Largest relative L2 of the latents, largest and mean difference of the pixels."""
    theirs = golden(case["name"])
    background = BACKGROUND if case["workflow"] == "fbc" else None
    relighter = golden_engine(device, case["workflow"])
    result = relighter.relight(golden("matting")["fg0"], settings_of(case), background)
    apart = max(relative(result.latents[stage], theirs[f"{stage}_latents"]) for stage in ("lowres", "highres"))
    pixels = np.abs(np.stack(result.images).astype(int) - theirs["images"])
    return apart, int(pixels.max()), float(pixels.mean())


@on_the_gpu
def test_float32_gives_the_references_numbers(device, measured):
    gaps = {case["name"]: golden_gaps(device, case) for case in RELIT}
    flat = gaps.pop(FLAT)
    for name, among in (("all but the flat ramp", list(gaps.values())), ("the flat ramp", [flat])):
        for what, values in zip(
            ("latents, relative L2", "pixels", "pixels, mean"), zip(*among, strict=True), strict=True
        ):
            measured(f"golden cases, {name}, largest difference: {what}", max(values))
    for name, (apart, largest, mean) in gaps.items():
        assert apart < GOLDEN_LATENTS and largest <= 1 and mean <= 0.02, name
    assert flat[0] < FLAT_LATENTS and flat[1] <= 4 and flat[2] <= 0.3


@on_the_gpu
def test_half_precision_stays_near_the_references_pictures(device, measured):
    """A tiny random model, so this bounds rounding, not quality: the engine's own choice beside float32."""
    case = next(case for case in RELIT if case["name"] == "fbc_00")
    exact = golden_engine(device, "fbc")
    relighter = Relighter.load(GOLDEN / "model", "fbc", matting="none", device=device, dtype="bfloat16")
    relighter.passes.placement = replace(exact.placement, dtype=torch.bfloat16, vae_dtype=torch.bfloat16)
    result = relighter.relight(golden("matting")["fg0"], settings_of(case), BACKGROUND)
    mean = float(np.abs(np.stack(result.images).astype(int) - golden("fbc_00")["images"]).mean())
    measured("fbc_00 in bfloat16, mean pixel difference", mean)
    assert mean < 8
