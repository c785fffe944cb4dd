"""Names that people paste: one reading of ids, files and addresses, whichever option they are given to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hub_models import BASE, FC, GOLDEN, VAE, quiet
from hub_stand_in import HubStandIn
from safetensors.torch import load_file, save_file

from iclight.errors import WeightsError
from iclight.loading import load_model
from iclight.weights import hub as fetching
from iclight.weights import resolve as weights
from iclight.weights.catalogue import SD15
from iclight.weights.folders import folder_name
from iclight.weights.hub_names import HubName, hub_name

pytestmark = pytest.mark.usefixtures("surroundings")
FILE = "sub/x.safetensors"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("owner/name", HubName("owner/name")),
        (" owner/name/ ", HubName("owner/name")),
        ("owner/name@v1.0", HubName("owner/name", "v1.0")),
        (f"owner/name/{FILE}", HubName("owner/name", None, FILE)),
        (f"owner/name@v1/{FILE}", HubName("owner/name", "v1", FILE)),
        ("owner/name/tree/main", HubName("owner/name", "main")),
        ("https://huggingface.co/owner/name", HubName("owner/name")),
        ("https://huggingface.co/owner/name/", HubName("owner/name")),
        ("https://huggingface.co/owner/name/tree/main", HubName("owner/name")),
        ("https://huggingface.co/owner/name/tree/v2", HubName("owner/name", "v2")),
        (f"https://huggingface.co/owner/name/blob/main/{FILE}", HubName("owner/name", None, FILE)),
        (f"HTTPS://huggingface.co/owner/name/resolve/main/{FILE}?download=true", HubName("owner/name", None, FILE)),
        (f"https://hf.co/owner/name/resolve/refs%2Fpr%2F7/{FILE}#x", HubName("owner/name", "refs/pr/7", FILE)),
        ("owner", None),
        ("a/b/c", None),
        ("owner/name/../x.safetensors", None),
        ("owner/name@../x.safetensors", None),
        ("https://huggingface.co/owner/name/blob/main/../../x.safetensors", None),
        ("/abs/olute.safetensors", None),
        ("", None),
    ],
)
def test_a_name_is_read_in_one_way(text: str, name: HubName | None) -> None:
    assert hub_name(text) == name


def test_addresses_elsewhere_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="download the file and give its path"):
        hub_name("https://civitai.com/api/download/models/1")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/artifactory/hf/")
    assert hub_name("https://mirror.example/artifactory/hf/owner/name") == HubName("owner/name")


def test_a_revision_of_several_parts_is_one_folder() -> None:
    assert folder_name("owner/name", "refs/pr/7") == "owner--name@refs--pr--7"


def test_every_option_takes_the_same_names(hub: HubStandIn, tmp_path: Path) -> None:
    target = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    shape = load_file(GOLDEN / "unet" / "diffusion_pytorch_model.safetensors")[f"{target}.weight"].shape
    save_file({f"unet.{target}.diff": torch.ones(shape)}, tmp_path / "pytorch_lora_weights.safetensors")
    vae = {name: tensor + 1 for name, tensor in load_file(BASE[VAE]).items()}
    save_file(vae, tmp_path / "diffusion_pytorch_model.safetensors")
    hub.add_repo("owner/base", BASE)
    hub.add_repo("owner/offsets", {FC: GOLDEN / FC})
    lora = tmp_path / "pytorch_lora_weights.safetensors"
    hub.add_repo("owner/lora", {lora.name: lora, "other.safetensors": GOLDEN / FC})
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    hub.add_repo("owner/vae", {file.name: file, "config.json": BASE["vae/config.json"], "big.ckpt": b"x"})
    loaded = load_model(
        f"{hub.endpoint}/owner/base/tree/main",
        offset=f"{hub.endpoint}/owner/offsets/blob/main/{FC}",
        vae=f"{hub.endpoint}/owner/vae",
        lora=f"{hub.endpoint}/owner/lora:0.5",
        device="cpu",
        dtype="float32",
    )
    plain = load_model(GOLDEN, device="cpu", dtype="float32")
    name = f"{target}.weight"
    assert torch.allclose(loaded.unet.state_dict()[name], plain.unet.state_dict()[name] + 0.5, atol=1e-6)
    held = loaded.vae.model.state_dict()
    assert all(torch.equal(held[name], tensor) for name, tensor in vae.items())
    hub.requests.clear()
    again = load_model("owner/base", offset=f"owner/offsets/{FC}", vae="owner/vae", lora="owner/lora", device="cpu")
    assert again.model.base == loaded.model.base
    assert hub.requests == [], "what was fetched once is here, by whichever name"


def test_a_checkpoint_on_the_hub_is_a_model(sd15: HubStandIn, tmp_path: Path) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    save_file({first: torch.zeros(32, 4, 3, 3)}, tmp_path / "x.safetensors")
    sd15.add_repo("owner/traded", {"x.safetensors": tmp_path / "x.safetensors"})
    model = weights.resolve_model("owner/traded/x.safetensors", "fc", say=quiet)
    assert model.base.name == "x.safetensors" and model.config.name == SD15.name


def test_a_repository_of_several_files_is_asked_for_one_of_them(hub: HubStandIn) -> None:
    hub.add_repo("owner/two", {"a.safetensors": GOLDEN / FC, "b.safetensors": GOLDEN / FC})
    with pytest.raises(WeightsError, match=r"a\.safetensors, b\.safetensors.*owner/two/FILE"):
        weights.resolve_file("owner/two", say=quiet)


def test_an_expired_token_does_not_close_what_is_open_to_all(
    sd15: HubStandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetching, "_refused_tokens", set())
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    sd15.expired.add("hf_old")
    assert weights.resolve_model("sd15", "fc", say=quiet).name == "sd15"
    assert capsys.readouterr().err.count("does not accept your token") == 1
    assert sum(bool(request.token) for request in sd15.requests) == 1, "it is offered once"
    with pytest.raises(WeightsError, match=r"does not accept your token.*renew it, or unset it.*private/one"):
        weights.resolve_model("private/one", "fc", say=quiet)


def test_a_good_token_is_used_and_what_it_does_not_open_is_gated(
    sd15: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_refused_tokens", set())
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    weights.resolve_model("sd15", "fc", say=quiet)
    assert all(request.token == "Bearer hf_good" for request in sd15.requests)
    sd15.add_repo("gated/one", BASE)
    sd15.refuse("gated/one", 403)
    with pytest.raises(WeightsError, match="accept the licence"):
        weights.resolve_model("gated/one", "fc", say=quiet)
