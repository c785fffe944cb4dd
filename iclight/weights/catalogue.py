"""What iclight knows by name: models, offsets, matting networks; where they are published, on what terms.

Facts and nothing else: `find` and `resolve` look for and check these things on disk, `hub` fetches them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

OPENRAIL = "creativeml-openrail-m"

# The four parts of a base model, each with the stems its weights go by in diffusers layout.
PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "tokenizer": (),
        "text_encoder": ("model", "pytorch_model"),
        "vae": ("diffusion_pytorch_model",),
        "unet": ("diffusion_pytorch_model",),
    }
)
# Safetensors before pickles; full precision before half, which is what the reference read; averaged weights first.
ENDINGS = (
    ".safetensors",
    ".safetensors.index.json",
    ".fp16.safetensors",
    ".safetensors.index.fp16.json",
    ".bf16.safetensors",
    ".non_ema.safetensors",
    ".bin",
    ".fp16.bin",
)
TOKENIZER_FILES = ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json")
ROOT_FILES = ("model_index.json", "iclight.json", "scheduler/scheduler_config.json")


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be asked for by name. Sizes are bytes to download, `offset_size` for each offset.

    `offsets` maps a short name ("fc", "fcon", "fbc") to a file of `offsets_repo`; `offset_workflows` says which
    workflow each belongs to. Without a `repo` the model ships with iclight.
    """

    name: str
    license: str
    about: str
    repo: str = ""
    fallbacks: tuple[str, ...] = ()
    revision: str = "main"
    size: int = 0
    native_size: tuple[int, int] = (512, 640)
    offsets: Mapping[str, str] = field(default_factory=dict)
    offset_workflows: Mapping[str, str] = field(default_factory=dict)
    offsets_repo: str = ""
    offsets_revision: str = "main"
    offset_size: int = 0


@dataclass(frozen=True)
class MattingEntry:
    """A way to cut the foreground out. `file` is its path in `repo`; without a `repo` there is nothing to fetch.

    A `file` without a `repo` ships with iclight, in models/matting; without either no network is needed.
    """

    name: str
    license: str
    about: str
    repo: str = ""
    file: str = ""
    revision: str = "main"
    size: int = 0

    @property
    def filename(self) -> str:
        """The file's bare name, as it lies in the matting's own folder."""
        return self.file.rsplit("/", 1)[-1]


SD15 = ModelEntry(
    name="sd15",
    license=OPENRAIL,
    about="Realistic Vision 5.1, the base model the reference runs, with IC-Light's published offsets.",
    repo="stablediffusionapi/realistic-vision-v51",
    fallbacks=("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    size=4_270_000_000,
    offsets=MappingProxyType({name: f"iclight_sd15_{name}.safetensors" for name in ("fc", "fcon", "fbc")}),
    offset_workflows=MappingProxyType({"fc": "fc", "fcon": "fc", "fbc": "fbc"}),
    offsets_repo="lllyasviel/ic-light",
    # Pinned: the repository's main branch collects stray pull requests.
    offsets_revision="9cad1878695f546a7fb9eaca14e2a89131ba5ffe",
    offset_size=1_720_000_000,
)
MINI = ModelEntry(
    name="mini",
    license="Apache-2.0",
    about="A small model of the same make, quick on a CPU; pictures are simpler than sd15's.",
    native_size=(256, 320),
)
MODELS: dict[str, ModelEntry] = {entry.name: entry for entry in (SD15, MINI)}

MATTINGS: dict[str, MattingEntry] = {
    entry.name: entry
    for entry in (
        MattingEntry(
            name="rmbg",
            license="bria-rmbg-1.4 (non-commercial use only)",
            about="The reference's matting network. Non-commercial use only; other use needs a licence from BRIA.",
            repo="briaai/RMBG-1.4",
            file="model.safetensors",
            size=176_000_000,
        ),
        MattingEntry(
            name="ormbg",
            license="Apache-2.0",
            about="A matting network of the same family, free for any use; trained mostly on people.",
            repo="schirrmacher/ormbg",
            file="models/ormbg.pth",
            size=176_000_000,
        ),
        MattingEntry(
            name="u2netp",
            license="Apache-2.0",
            about="A small network that finds what stands out, free for any use; ships with iclight.",
            file="u2netp.safetensors",
        ),
        MattingEntry(
            name="grabcut",
            license="Apache-2.0",
            about="Classical segmentation without a network; best with one subject near the middle.",
        ),
        MattingEntry(
            name="none",
            license="",
            about="The picture as it stands; bring a mask or an alpha channel to cut the foreground out.",
        ),
    )
}
MATTING_CHOICES = ("auto", *MATTINGS)


def weight_names(part: str) -> list[str]:
    """The names that a part's weights may go by, best first, as paths inside a model folder."""
    return [f"{part}/{stem}{ending}" for ending in ENDINGS for stem in PARTS[part]]


def small_files() -> list[str]:
    """Configs and tokenizer: everything of a model folder but its weights."""
    configs = [f"{part}/config.json" for part in PARTS if part != "tokenizer"]
    return [*ROOT_FILES, *configs, *(f"tokenizer/{name}" for name in TOKENIZER_FILES)]


def files_to_fetch(offered: Sequence[str], present: Sequence[str] = (), *, weights: bool = True) -> list[str]:
    """Of a repository's files, those a model needs: small files, and for each part its best weights, once.

    A part whose weights are `present` in some precision is left alone: whoever put them there meant it.
    """
    chosen = [name for name in small_files() if name in offered]
    for part in PARTS if weights else ():
        names = weight_names(part)
        if not any(name in present for name in names):
            best = [name for name in names if name in offered][:1]
            chosen += best + [name for name in offered if best and is_shard_of(best[0], name)]
    return chosen


def is_shard_of(index: str, name: str) -> bool:
    """Whether a file of a model folder is one of the shards that an index of it may name."""
    stem, is_index, _ = index.partition(".safetensors.index.")
    return (
        bool(is_index) and re.fullmatch(re.escape(stem) + r"[\w.]*-\d+-of-\d+(\.\w+)?\.safetensors", name) is not None
    )


def gigabytes(size: int) -> str:
    """Bytes in words: "1.72 GB", "176 MB", "12 kB"."""
    if size >= 1_000_000_000:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1_000_000 else f"{size / 1e3:.0f} kB"
