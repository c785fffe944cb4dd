"""What goes wrong while the engine works is an error in words, and the next request works."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_data import GOLDEN, PICTURE, quick
from PIL import Image

from iclight import Relighter, SettingsError
from iclight.errors import Cancelled, DeviceError, IclightError, ImageError, ModelError, OutOfMemory, WeightsError


def test_cancelling_stops_after_the_running_step_and_leaves_the_engine_usable(fc):
    seen = []

    def stop_at_two(event):
        seen.append(event.step)
        return len(seen) < 2

    with pytest.raises(Cancelled):
        fc.relight(PICTURE, quick(steps=9), on_step=stop_at_two)
    assert seen == [1, 2]
    assert fc.relight(PICTURE, quick()).images


def test_numbers_that_overflow_are_an_error_and_the_next_request_works(fc, monkeypatch):
    weight = fc.unet.conv_out.weight
    kept = weight.clone()
    weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="overflowed"):
        fc.relight(PICTURE, quick())
    weight.copy_(kept)
    assert fc.relight(PICTURE, quick()).images


def test_a_black_picture_is_an_error(fc, monkeypatch):
    monkeypatch.setattr(fc.vae, "decode", lambda latents: torch.full((1, 3, 64, 64), -5.0))
    with pytest.raises(ModelError, match="black"):
        fc.relight(PICTURE, quick())


def test_running_out_of_memory_says_which_knob_to_turn_and_the_next_request_works(fc, monkeypatch):
    with monkeypatch.context() as patch:

        def full(*arguments, **options):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

        patch.setattr(fc.unet, "forward", full)
        with pytest.raises(OutOfMemory, match=r"fewer images.*highres scale.*--offload"):
            fc.relight(PICTURE, quick())
    assert fc.relight(PICTURE, quick()).images


def test_a_vae_that_does_not_fit_works_in_tiles(mini, monkeypatch):
    """At 448 pixels the tiles (256) overlap: the pictures differ at the seams, and hardly."""
    vae = mini("fc").vae
    picture = np.array(Image.open(PICTURE).convert("RGB").resize((448, 448)))
    latent = vae.encode([picture])
    whole = vae.decode(latent)
    network, real, calls = vae.model, vae.model.decoder.forward, []

    def decode(latents):
        calls.append(network.tiled)
        if not network.tiled:
            raise torch.OutOfMemoryError("out of memory")
        return real(latents)

    monkeypatch.setattr(network.decoder, "forward", decode)
    tiled = vae.decode(latent)
    assert calls[:2] == [False, True]
    assert not network.tiled, "the next request starts untiled"
    assert (whole - tiled).abs().mean() < 0.05


def test_a_vae_whose_numbers_overflow_is_an_error_not_a_picture(fc, monkeypatch):
    for call in ("decode", "encode"):
        with monkeypatch.context() as patch:
            real = getattr(fc.vae.model, call)

            def broken(x, real=real):
                return real(x) * float("nan")

            patch.setattr(fc.vae.model, call, broken)
            with pytest.raises(ModelError, match="VAE"):
                fc.relight(PICTURE, quick())
    assert fc.relight(PICTURE, quick()).images


def test_with_offload_a_part_is_on_the_device_only_while_it_works():
    from dataclasses import replace

    from iclight.diffusion.devices import choose, resident

    class Part:
        def __init__(self, fails: bool = False) -> None:
            self.places: list[str] = []
            self.fails = fails

        def to(self, place):
            self.places.append(str(place))
            if self.fails and str(place) == "meta":
                raise torch.OutOfMemoryError("out of memory")

    placement = replace(choose("cpu"), device=torch.device("meta"), offload=True)
    part = Part()
    with resident(part, placement):
        assert part.places == ["meta"]
    assert part.places == ["meta", "cpu"]
    unlucky = Part(fails=True)
    with pytest.raises(torch.OutOfMemoryError), resident(unlucky, placement):
        pass
    assert unlucky.places == ["meta", "cpu"], "a move that failed half-way is undone"
    staying = Part()
    with resident(staying, replace(placement, offload=False)):
        pass
    assert staying.places == []


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "DefaultCPUAllocator: not enough memory",
        "can't allocate memory",
    ],
)
def test_every_way_of_running_out_of_memory_is_recognised(message):
    from iclight.diffusion.devices import is_out_of_memory

    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"workflow": "fcb"}, SettingsError, "workflow"),
        ({"matting": "magic"}, SettingsError, "matting"),
        ({"device": "tpu"}, DeviceError, "tpu"),
        ({"dtype": "int8"}, DeviceError, "int8"),
        ({"model": "/no/such/folder"}, WeightsError, "no/such/folder"),
        ({"offset": "/no/such/file.safetensors"}, WeightsError, "no/such/file"),
        ({"offset": str(GOLDEN / "model" / "iclight_sd15_fbc.safetensors")}, ModelError, "12 input channels"),
        ({"lora": "/no/such/lora.safetensors"}, WeightsError, "lora"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_a_reason(options, kind, words):
    with pytest.raises(kind, match=words):
        Relighter.load(**{"model": str(GOLDEN / "model"), "matting": "none", "device": "cpu", **options})


def test_every_error_a_user_can_cause_is_an_iclight_error():
    for kind in (Cancelled, DeviceError, ImageError, ModelError, OutOfMemory, SettingsError, WeightsError):
        assert issubclass(kind, IclightError)


def test_asking_for_cuda_without_one_says_so():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceError, match="sees no CUDA"):
        Relighter.load(GOLDEN / "model", device="cuda")
