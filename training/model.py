"""What is trained: a UNet with room for conditions, environment tokens, a small text encoder, the merging MLP.

One network answers all three workflows: 12 input channels (noisy latents, foreground, background), the background
zeroed in fc and env, environment tokens masked away in fc and fbc. `export.py` writes it as a base and three offsets.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from iclight.diffusion.environment_encoder import TOKENS, EnvironmentEncoder, compressed
from iclight.prompts import token_chunks

from .data.captions import corpus

LATENTS = 4
INPUT_CHANNELS = 3 * LATENTS
GROUPS = 8
HEAD = 16  # channels of a head of the pooling attention
QUIET = 0.2  # how loud it begins
COMPONENTS = 96  # of the environments, that the tokens begin with
MERGE_STEPS, MERGE_PLACES, MERGE_RATE = 300, 1024, 1e-2


class RelightingModel(nn.Module):
    """UNet, text encoder and environment tokens together; `forward` predicts what `prediction_type` says."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokens: EnvironmentEncoder,
        merge: nn.Module,
        prediction_type: str = "epsilon",
    ) -> None:
        super().__init__()
        self.prediction_type = prediction_type
        self.unet = unet
        self.text_encoder = text_encoder
        self.tokens = tokens
        self.merge = merge
        self.shape: nn.Conv2d | None = None
        self.seen_shape: Tensor | None = None

    def watch_shape(self) -> None:
        """From now on, `seen_shape` after `forward` is Bx3xhxw: the normals that a linear layer reads off the features
        of the last level but one, before the light is laid on them.

        Learnt beside the picture, they make the network see the form that light falls on (as normals do in Pandey et
        al., "Total Relighting", 2021). Nothing of it is saved: what ships is the UNet.
        """
        block: Any = self.unet.up_blocks[max(0, len(self.unet.up_blocks) - 3)]
        self.shape = nn.Conv2d(block.resnets[-1].out_channels, 3, 1)

        def look(_block: nn.Module, _inputs: Any, features: Tensor) -> None:
            assert self.shape is not None
            self.seen_shape = self.shape(features)

        block.register_forward_hook(look)

    def forward(
        self, latents: Tensor, timesteps: Tensor, words: Tensor, environments: Tensor, has_environment: Tensor
    ) -> Tensor:
        """Bx12xhxw, B timesteps, Bx77 token ids, Bx3x32x32, B booleans -> Bx4xhxw, what `prediction_type` names.

        Rows without an environment have the end of their words three times more in its place: words end in padding,
        dozens of times the same, so they see what they see without. (A mask would do, too, but not for what is pooled.)
        """
        text = self.text_encoder(words).last_hidden_state
        around = self.tokens(environments).to(text.dtype)
        around = torch.where(has_environment[:, None, None], around, text[:, -TOKENS:])
        context = torch.cat([text, around], 1)
        predicted: Tensor = self.unet(latents, timesteps, encoder_hidden_states=context, return_dict=False)[0]
        return predicted


class Merge(nn.Module):
    """The paper's small MLP that adds two lights: clean latents under L1 and L2 -> those under L1 + L2, per place.

    Latents are not linear in light, so a sum would be wrong; the sum is where it starts from, though.
    """

    def __init__(self, channels: int = LATENTS, hidden: int = 64) -> None:
        super().__init__()
        last = nn.Conv2d(hidden, channels, 1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        middle = nn.Conv2d(hidden, hidden, 1)
        first = nn.Conv2d(2 * channels, hidden, 1)
        self.layers = nn.Sequential(first, nn.LeakyReLU(0.2), middle, nn.LeakyReLU(0.2), last)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        # Order must not matter: lights commute.
        both, swapped = torch.cat([first, second], 1), torch.cat([second, first], 1)
        merged: Tensor = 0.5 * (first + second) + 0.5 * (self.layers(both) + self.layers(swapped))
        return merged


def build_unet(
    channels: Sequence[int] = (24, 48, 80, 112, 144), width: int = 96, sample_size: int = 128
) -> UNet2DConditionModel:
    """mini's UNet, untrained: few channels where pixels are many, attention on the two coarsest levels (of three or
    more), where light is decided.

    What words and environment say is also pooled and added to the timestep's embedding, which scales and shifts every
    level's features (FiLM, Perez et al. 2018): light falls on every pixel, not on the coarsest levels' few.

    Every residual branch begins at zero, so that at first the network only carries what it sees to where it is needed.
    """
    attending = min(2, len(channels) - 1)
    plain = len(channels) - attending
    unet = UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=INPUT_CHANNELS,
        out_channels=LATENTS,
        block_out_channels=tuple(channels),
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * attending,
        up_block_types=("CrossAttnUpBlock2D",) * attending + ("UpBlock2D",) * plain,
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=GROUPS,
        # A velocity is x_t minus a picture, both scaled by the timestep: timesteps must multiply, not only add.
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=max(1, width // HEAD),
    )
    parts: list[Any] = list(unet.modules())
    for part in parts:
        last = {"ResnetBlock2D": "conv2", "Transformer2DModel": "proj_out"}.get(type(part).__name__)
        if last:
            nn.init.zeros_(getattr(part, last).weight)
            nn.init.zeros_(getattr(part, last).bias)
    _start_pooling(unet.add_embedding)
    return unet


def _start_pooling(pooling: Any) -> None:
    """Say little at first, and look at the environment's tokens (`start_tokens`) where there are some.

    As initialised, all heads average all tokens, and the environment's three drown among eighty words.
    """
    nn.init.constant_(pooling.norm2.weight, QUIET)
    pool = pooling.pool
    for projection in (pool.q_proj, pool.k_proj):
        nn.init.normal_(projection.weight, std=1 / projection.in_features**0.5)
    with torch.no_grad():
        pool.q_proj.bias.copy_(pool.k_proj.weight @ _badge(pool.k_proj.in_features))


def _badge(width: int) -> Tensor:
    """What the environment's tokens wear, so that attention can tell them from words: a fixed vector of +1 and -1."""
    return torch.randint(0, 2, (width,), generator=torch.Generator().manual_seed(width)).float() * 2 - 1


@torch.no_grad()
def start_tokens(tokens: EnvironmentEncoder, maps: Tensor, random: torch.Generator) -> None:
    """Initialise the tokens' first layer by Nx3x32x32 environments, so that tokens differ where light does.

    The compressed maps are nearly all the same: bright above nought everywhere. Through layers initialised blindly, and
    the norm at the end, all environments give nearly the same tokens, and a network learns to ignore them sooner than
    it learns to read them. Here the first layer takes the mean away and looks at the maps' principal components, their
    scales evened out halfway.
    """
    numbers = compressed(maps)
    mean = numbers.mean(0)
    apart = (numbers - mean).double()
    # Of the maps among themselves, which are fewer than their numbers: N x N, not 3072 x 3072.
    values, along = torch.linalg.eigh(apart @ apart.T / len(apart))
    kept = min(COMPONENTS, len(apart) - 1)
    spread = values[-kept:].clamp(min=1e-9).sqrt()
    components = apart.T @ along[:, -kept:] / (spread * len(apart) ** 0.5)
    basis = (components * spread.rsqrt() / spread.mean().sqrt()).float()
    mix = torch.randn(tokens.inner.out_features, kept, generator=random)
    weight = (mix / mix.norm(dim=1, keepdim=True)) @ basis.T
    tokens.inner.weight.copy_(weight)
    tokens.inner.bias.copy_(-weight @ mean)
    for layer in (tokens.middle, tokens.outer):
        nn.init.kaiming_normal_(layer.weight, 0.2, generator=random)
        nn.init.zeros_(layer.bias)
    nn.init.ones_(tokens.norm.weight)
    tokens.norm.bias.copy_(_badge(tokens.width))


@torch.enable_grad()
def start_merge(
    merge: nn.Module, whole: Tensor, first: Tensor, second: Tensor, random: torch.Generator
) -> tuple[float, float]:
    """Fit the merging MLP to pictures as they are, before the network learns from it; its mean squared error before
    and after.

    Nx4 latents of N places under L1 + L2, L1 and L2. How latents add is the autoencoder's affair, not the network's: an
    MLP that begins as the mean of both is off by half of the latents' variance, and the consistency term would pull the
    network after it for the thousands of steps it takes to learn otherwise.
    """
    optimiser = torch.optim.Adam(merge.parameters(), lr=MERGE_RATE)

    def off(places: Tensor) -> Tensor:
        # A 1 x 4 x N x 1 picture: convolutions are slow on N pictures of one place.
        one, two, both = (latents[places].T[None, :, :, None] for latents in (first, second, whole))
        return (merge(one, two) - both).square().mean()

    before = float(off(torch.randint(len(whole), (8 * MERGE_PLACES,), generator=random)).detach())
    for step in range(MERGE_STEPS):
        optimiser.param_groups[0]["lr"] = MERGE_RATE * (1 - step / MERGE_STEPS)
        optimiser.zero_grad()
        off(torch.randint(len(whole), (MERGE_PLACES,), generator=random)).backward()
        optimiser.step()
    optimiser.zero_grad()
    return before, float(off(torch.randint(len(whole), (8 * MERGE_PLACES,), generator=random)).detach())


def build_tokenizer(folder: Path, words: Sequence[str] | None = None, vocabulary: int = 1500) -> CLIPTokenizer:
    """A CLIP byte-pair tokenizer learnt from our captions, written to `folder`; any other text falls into letters.

    One that is there already is taken as it is: numbers that a text encoder has learnt must not change their meaning.
    """
    if not (folder / "tokenizer_config.json").is_file():
        _write_tokenizer(folder, list(words or corpus()), vocabulary)
    return CLIPTokenizer.from_pretrained(str(folder))


def _write_tokenizer(folder: Path, words: list[str], vocabulary: int) -> None:
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    merges = learn_merges(words, vocabulary - len(entries))
    entries += [*("".join(pair) for pair in merges), "<|startoftext|>", "<|endoftext|>"]
    write_vocabulary(folder, {entry: number for number, entry in enumerate(dict.fromkeys(entries))}, merges)


def write_vocabulary(folder: Path, numbers: Mapping[str, int], merges: Sequence[Sequence[str]]) -> None:
    """The files of a CLIPTokenizer as SD1.5 publishes it, which every version of transformers reads."""
    end = "<|endoftext|>"
    special = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": end}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
    files = {
        "vocab.json": json.dumps(numbers, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n",
        "special_tokens_map.json": json.dumps(special, indent=1),
        "tokenizer_config.json": json.dumps(config, indent=1),  # last: it says that the others are there
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        partial = folder / f"{name}.{os.getpid()}"  # several processes may write the same at once
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)


def learn_merges(texts: Sequence[str], most: int) -> list[tuple[str, str]]:
    """Byte-pair merges, the most frequent first (Sennrich et al. 2016); words end in "</w>", as CLIP's do.

    The tokenizers library breaks ties between equally frequent pairs by chance, so that two runs, or two processes of
    one, would number the same words differently; here the alphabet decides.
    """
    from tokenizers import Regex, normalizers, pre_tokenizers

    tidy = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    words_of = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    cut = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words_of), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    counts = Counter(word for text in texts for word, _ in cut.pre_tokenize_str(tidy.normalize_str(text)))
    spelt = {word: [*word[:-1], word[-1] + "</w>"] for word in counts}
    merges: list[tuple[str, str]] = []
    while len(merges) < most:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, letters in spelt.items():
            for pair in zip(letters, letters[1:], strict=False):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for letters in spelt.values():
            place = 0
            while place < len(letters) - 1:
                if (letters[place], letters[place + 1]) == best:
                    letters[place : place + 2] = ["".join(best)]
                place += 1
    return merges


def build_text_encoder(tokenizer: CLIPTokenizer, width: int = 96) -> CLIPTextModel:
    """A two-layer CLIP text model, untrained."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=width,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModel(config)
    with torch.no_grad():
        # CLIP starts words at a hundredth of their final size; minutes of training would not bring them up.
        encoder.get_input_embeddings().weight.mul_(10)
    return encoder


class Words:
    """Captions -> Bx77 token ids, remembered."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self.tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def __call__(self, captions: Sequence[str]) -> Tensor:
        for text in captions:
            if text not in self._known:
                self._known[text] = token_chunks(self.tokenizer, text)[0]
        return torch.tensor([self._known[text] for text in captions])
