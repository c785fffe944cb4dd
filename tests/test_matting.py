"""The matting's promises: the reference's numbers by network, a usable matte without one, and errors in plain words."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from golden_data import GOLDEN, golden_matting_shapes
from PIL import Image
from safetensors.torch import save_file

from briarmbg import BriaRMBG, U2NetP
from iclight.errors import ImageError, ModelError, WeightsError
from iclight.imaging.grabcut import grabcut_matte
from iclight.matting import (
    estimate_matte,
    estimate_saliency,
    feed_size,
    load_matting_network,
    prepare_foreground,
    saliency_feed,
)
from iclight.studio.tabs.examples import asset
from iclight.weights.resolve import resolve_matting


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def narrow() -> BriaRMBG:
    """The same network with few channels: quick, and its numbers mean nothing."""
    torch.manual_seed(0)
    return BriaRMBG(width=4).eval()


# --- the network ----------------------------------------------------------------------------------------------------


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = BriaRMBG().state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == golden_matting_shapes()
    assert len(state) == 798


@pytest.mark.parametrize(("name", "index", "sigma"), [("foreground", 0, 0.0), ("background", 1, 16.0)])
def test_matte_and_foreground_are_the_references(
    golden_matting_network: BriaRMBG, name: str, index: int, sigma: float
) -> None:
    golden = np.load(GOLDEN / "cases" / "matting.npz")
    image = np.array(Image.open(GOLDEN / "cases" / f"{name}.png").convert("RGB"))
    matte = estimate_matte(golden_matting_network, image)
    assert matte.dtype == np.float32
    assert matte.shape == golden[f"alpha{index}"].shape
    assert np.abs(matte - golden[f"alpha{index}"]).max() <= 1e-5
    foreground = prepare_foreground(image, matte, sigma)
    assert np.abs(foreground.astype(int) - golden[f"fg{index}"]).max() <= 1


def test_six_mattes_of_the_inputs_size_come_out(narrow: BriaRMBG) -> None:
    with torch.inference_mode():
        mattes, features = narrow(torch.zeros(2, 3, 64, 128))
    assert [tuple(matte.shape) for matte in mattes] == [(2, 1, 64, 128)] * 6
    assert len(features) == 6
    assert all(bool(((matte >= 0) & (matte <= 1)).all()) for matte in mattes)


def test_training_reaches_every_weight() -> None:
    network = BriaRMBG(width=4)
    mattes, _ = network(torch.rand(2, 3, 64, 64))
    sum(matte.mean() for matte in mattes).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("size", "feed"),
    [
        ((240, 240), (1024, 1024)),
        ((300, 200), (1280, 832)),
        ((4000, 100), (6464, 192)),
        ((1, 1), (1024, 1024)),
        ((5000, 1), (16384, 64)),  # the reference: 1131 cells by 0, and a crash
        ((1, 100_000), (64, 16384)),
    ],
)
def test_feed_is_a_megapixel_of_the_pictures_aspect_and_never_empty(
    size: tuple[int, int], feed: tuple[int, int]
) -> None:
    assert feed_size(*size) == feed


@pytest.mark.parametrize(("height", "width"), [(10, 400), (400, 10), (1, 1), (1, 3000)])
def test_any_aspect_gets_a_matte_of_its_size(narrow: BriaRMBG, height: int, width: int) -> None:
    matte = estimate_matte(narrow, picture(height, width))
    assert matte.shape == (height, width, 1)
    assert matte.min() >= 0
    assert matte.max() <= 1


def test_unit_range_feeds_the_network_what_open_rmbg_was_trained_on() -> None:
    class Probe(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
            return [x[:, :1]], []

    image = np.full((8, 8, 3), 51, np.uint8)
    assert np.allclose(estimate_matte(Probe(), image, unit_range=True), 0.2)
    assert np.allclose(estimate_matte(Probe(), image), 0.0)  # 51 / 127 - 1 is negative


def test_a_matte_that_is_not_finite_is_an_error() -> None:
    network = BriaRMBG(width=4).eval()
    torch.nn.init.constant_(network.get_submodule("side1").bias, float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        estimate_matte(network, picture(8, 8))


@pytest.mark.parametrize(
    "image", [picture(4, 4)[..., :1], picture(4, 4).astype(np.float32), np.zeros((0, 4, 3), np.uint8), "photo.png"]
)
def test_what_is_not_a_picture_is_an_image_error(narrow: BriaRMBG, image: np.ndarray) -> None:
    for use in (lambda: estimate_matte(narrow, image), lambda: grabcut_matte(image)):
        with pytest.raises(ImageError):
            use()


# --- the network that ships -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def u2netp() -> U2NetP:
    path = resolve_matting("u2netp").path
    assert path is not None
    network = load_matting_network(path)
    assert isinstance(network, U2NetP)
    return network


@pytest.mark.parametrize("name", ["astronaut.png", "cat.jpg", "coffee.jpg"])
def test_the_network_that_ships_is_the_published_one(u2netp: U2NetP, name: str) -> None:
    published = np.load(GOLDEN.parent / "u2netp.npz")[name].astype(np.float32) / 65535
    with torch.inference_mode():
        ours = u2netp(saliency_feed(np.array(Image.open(asset(name)).convert("RGB"))))[0, 0, ::2, ::2].numpy()
    assert np.abs(ours - published).max() <= 1e-3


def test_the_network_that_ships_keeps_the_heads_and_helmets_on(u2netp: U2NetP, astronaut: np.ndarray) -> None:
    matte = estimate_saliency(u2netp, astronaut)[..., 0]
    assert matte.shape == (512, 512) and matte.dtype == np.float32
    assert matte[60:140, 200:240].mean() > 0.95  # the face
    assert matte[380:480, 330:450].mean() > 0.95  # the helmet's visor
    assert matte[:150, :60].max() < 0.05 and matte[:150, 400:].max() < 0.05  # flag and shuttle
    headshot = estimate_saliency(u2netp, np.ascontiguousarray(astronaut[60:402]))[..., 0]
    assert headshot[10:80, 200:240].mean() > 0.95  # the face again, at the picture's edge


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (400, 10)])
@pytest.mark.parametrize("kind", ["black", "noise"])
def test_any_picture_gets_a_salient_matte_of_its_size(u2netp: U2NetP, height: int, width: int, kind: str) -> None:
    image = picture(height, width) if kind == "noise" else np.zeros((height, width, 3), np.uint8)
    matte = estimate_saliency(u2netp, image)
    assert matte.shape == (height, width, 1)
    assert matte.min() >= 0 and matte.max() <= 1


# --- loading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["safetensors", "plain", "old", "state_dict", "model", "module.", "float16"])
def test_weights_survive_the_round_trip(narrow: BriaRMBG, tmp_path: Path, kind: str) -> None:
    state = dict(narrow.state_dict())
    path = tmp_path / ("net.safetensors" if kind == "safetensors" else "net.pth")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "module.":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    elif kind == "float16":
        torch.save({n: t.half() if t.is_floating_point() else t for n, t in state.items()}, path)
    elif kind == "old":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(state if kind == "plain" else {kind: state, "epoch": 3}, path)
    loaded = load_matting_network(path)
    assert not loaded.training
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())
    tolerance = 1e-3 if kind == "float16" else 0.0
    for name, tensor in loaded.state_dict().items():
        assert torch.allclose(tensor, state[name], rtol=tolerance, atol=tolerance), name


def test_full_size_weights_load(golden_matting_network: BriaRMBG, tmp_path: Path) -> None:
    save_file(dict(golden_matting_network.state_dict()), tmp_path / "model.safetensors")
    loaded = load_matting_network(tmp_path / "model.safetensors").state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in golden_matting_network.state_dict().items())


def test_weights_of_another_network_are_named_as_such(narrow: BriaRMBG, tmp_path: Path) -> None:
    state = dict(narrow.state_dict())
    bias = state.pop("side1.bias")
    save_file({**state, "stranger": bias}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"other\.safetensors does not fit BriaRMBG.*-side1\.bias, \+stranger"):
        load_matting_network(tmp_path / "other.safetensors")
    save_file({**state, "side1.bias": bias, "side2.weight": torch.zeros(1, 5, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"side2\.weight has shape \(1, 5, 3, 3\)"):
        load_matting_network(tmp_path / "other.safetensors")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}, {}, {"conv_in.weight": "x"}])
def test_a_file_without_tensors_is_a_model_error(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "notes.pth")
    with pytest.raises(ModelError, match=r"notes\.pth"):
        load_matting_network(tmp_path / "notes.pth")


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_broken_and_missing_files_are_weights_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="not there"):
        load_matting_network(tmp_path / name)
    (tmp_path / name).write_bytes(b"\x00\x01 not weights")
    with pytest.raises(WeightsError, match="broken"):
        load_matting_network(tmp_path / name)


class _Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_weights_file_is_never_run(tmp_path: Path, writer: str) -> None:
    mark, path = tmp_path / "trodden", tmp_path / "trap.pth"
    if writer == "torch":
        torch.save({"conv_in.weight": _Trap(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(_Trap(mark), protocol=2))
    with pytest.raises(WeightsError, match="never run"):
        load_matting_network(path)
    assert not mark.exists()


# --- on grey --------------------------------------------------------------------------------------------------------


def test_foreground_is_the_picture_where_opaque_and_grey_where_not() -> None:
    image = picture(6, 5)
    assert (prepare_foreground(image, np.ones((6, 5))) == image).all()
    assert (prepare_foreground(image, np.zeros((6, 5, 1), np.float32), sigma=16) == 127).all()
    brighter = prepare_foreground(image, np.ones((6, 5, 1), np.float32), sigma=16)
    assert (brighter == np.minimum(image.astype(int) + 16, 255)).all()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64, np.float16, np.float64])
def test_every_kind_of_alpha_means_the_same(dtype: type) -> None:
    image = picture(4, 4)
    shape = np.eye(4)
    top = np.iinfo(dtype).max if dtype in (np.uint8, np.uint16) else 1
    given = (shape * top).astype(dtype)
    before = given.copy()
    assert (prepare_foreground(image, given) == prepare_foreground(image, shape)).all()
    assert (given == before).all()


@pytest.mark.parametrize(
    ("alpha", "said"),
    [
        (np.ones((4, 5)), "5x4"),
        (np.ones((4, 4, 3)), "HxWx1"),
        (np.ones(4), "HxWx1"),
        (np.full((4, 4), 1.5), "1.5"),
        (np.full((4, 4), -0.1), "-0.1"),
        (np.full((4, 4), np.nan), "finite"),
        (np.full((4, 4), 255, np.int32), "255"),
        (np.full((4, 4), "a"), "type"),
        (np.ones((4, 4), complex), "type"),
    ],
)
def test_an_alpha_that_cannot_be_used_is_explained(alpha: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        prepare_foreground(picture(4, 4), alpha)


# --- by GrabCut -----------------------------------------------------------------------------------------------------


# Her outline, by hand and coarse, without the helmet she holds.
ASTRONAUT = [(153, 90), (175, 40), (225, 12), (275, 35), (300, 85), (265, 160), (300, 215), (345, 250), (362, 330)]
ASTRONAUT += [(300, 385), (285, 511), (10, 511), (22, 400), (35, 290), (90, 225), (115, 170), (165, 150)]


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.array(Image.open(asset("astronaut.png")))


def test_grabcut_finds_the_astronaut(astronaut: np.ndarray) -> None:
    matte = grabcut_matte(astronaut)
    assert matte.shape == (512, 512, 1)
    assert matte.dtype == np.float32
    drawn = np.zeros((512, 512), np.uint8)
    cv2.fillPoly(drawn, [np.array(ASTRONAUT)], 1)
    found = matte[..., 0] > 0.5
    assert (drawn & found).sum() / (drawn | found).sum() > 0.85
    assert matte[60:140, 200:240].mean() > 0.95  # the face
    assert matte[300:400, 180:260].mean() > 0.95  # the chest
    assert matte[:150, :60].max() < 0.05  # the flag
    assert matte[:150, 400:].max() < 0.05  # the shuttle
    assert ((matte > 0.05) & (matte < 0.95)).mean() > 0.005  # a soft edge


def test_grabcut_outlines_a_portrait_that_leaves_through_the_bottom() -> None:
    y, x = np.mgrid[:400, :300]
    image = np.stack([60 + y * 0.3, 90 + x * 0.2, 140 - y * 0.1], axis=-1)
    drawn = ((x - 150) / 120) ** 2 + ((y - 400) / 180) ** 2 < 1
    image[drawn] = [70, 60, 110]
    head = ((x - 150) / 55) ** 2 + ((y - 140) / 75) ** 2 < 1
    image[head] = [210, 160, 130]
    image += np.random.default_rng(0).normal(0, 6, image.shape)
    found = grabcut_matte(image.clip(0, 255).astype(np.uint8))[..., 0] > 0.5
    assert (found & (drawn | head)).sum() / (found | drawn | head).sum() > 0.95


def test_grabcut_gives_the_same_matte_again(astronaut: np.ndarray) -> None:
    small = np.ascontiguousarray(astronaut[::2, ::2])
    first = grabcut_matte(small)
    cv2.setRNGSeed(99)
    assert (grabcut_matte(small) == first).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (16, 16), (10, 400), (17, 640), (64, 64)])
@pytest.mark.parametrize("kind", ["flat", "black", "noise", "chequered", "one dot"])
def test_grabcut_always_finds_something(size: tuple[int, int], kind: str) -> None:
    image = np.zeros((*size, 3), np.uint8)
    if kind == "flat":
        image[:] = 90
    elif kind == "noise":
        image = picture(*size)
    elif kind == "chequered":
        image[(np.indices(size).sum(axis=0) % 2) > 0] = 255
    elif kind == "one dot":
        image[0, 0] = 255
    matte = grabcut_matte(image)
    assert matte.shape == (*size, 1)
    assert matte.dtype == np.float32
    assert np.isfinite(matte).all()
    assert matte.min() >= 0
    assert matte.max() <= 1
    assert matte.max() > 0.5
