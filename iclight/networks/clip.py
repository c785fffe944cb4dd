"""CLIP's text encoder (Radford et al. 2021) and its tokenizer: words to token ids, token ids to states.

tokenizer, encoder = open_tokenizer(folder), TextEncoder(TextConfig.of(config))
encoder(torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode("sunset"), tokenizer.eos_token_id]]))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor, nn

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu": F.gelu,
}
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class TextConfig:
    """What a text encoder's config.json says, under transformers' names and with its defaults."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> TextConfig:
        """Raises ValueError for heads that do not divide the width, and unknown activations."""
        self = cls(**{one.name: config[one.name] for one in fields(cls) if one.name in config})
        if self.hidden_size % self.num_attention_heads or self.hidden_act not in _ACTIVATIONS:
            raise ValueError(
                f"{self.num_attention_heads} heads for a width of {self.hidden_size}, hidden_act {self.hidden_act!r}"
            )
        return self


class TextEncoder(nn.Module):
    """B x 77 token ids -> B x 77 x width states."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([_Layer(config) for _ in range(config.num_hidden_layers)])
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    @property
    def device(self) -> torch.device:
        return self.final_layer_norm.weight.device

    @property
    def token_table(self) -> nn.Embedding:
        """A vector for each token."""
        return self.embeddings.token_embedding

    def forward(self, ids: Tensor, skip: int = 1) -> Tensor:
        """The last layer's states, or with `skip` 2 those of the one before, ..., normalised."""
        states = self.embeddings(ids)
        layers: Any = self.encoder.layers
        for layer in layers[: len(layers) + 1 - skip]:
            states = layer(states)
        normalised: Tensor = self.final_layer_norm(states)
        return normalised


class _Embeddings(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = _table(config.vocab_size, config.hidden_size)
        self.position_embedding = _table(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


def _table(rows: int, width: int) -> nn.Embedding:
    """Without nn.Embedding's random numbers, for which torch imports its compiler on the meta device: a second."""
    return nn.Embedding.from_pretrained(torch.zeros(rows, width), freeze=False)


class _Layer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config.hidden_size, config.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = _Mlp(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class _Attention(nn.Module):
    """Each token attends to those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        parts = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        query, key, value = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in parts)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        projected: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return projected


class _Mlp(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.act = _ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.fc2(self.act(self.fc1(x)))
        return hidden


class TextTokenizer:
    """Byte-pair encoding of lower-cased words, as CLIP was trained with."""

    def __init__(self, backend: Tokenizer, begin: str, end: str) -> None:
        """`begin` and `end`: the tokens around a text. Raises ValueError where the vocabulary lacks one."""
        self.backend = backend
        first, last = backend.token_to_id(begin), backend.token_to_id(end)
        if first is None or last is None:
            raise ValueError(f"the vocabulary lacks {begin} or {end}")
        self.bos_token_id, self.eos_token_id = first, last

    def encode(self, text: str) -> list[int]:
        """Token ids, however many, without begin and end."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of token ids, words apart by a space."""
        return str(self.backend.decode(ids, skip_special_tokens=False)).replace("</w>", " ").strip()


def open_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer of a model folder: its vocab.json and merges.txt, else its tokenizer.json.

    Raises what json, tokenizers and the disk raise (tokenizers: bare Exception), ValueError for what is none.
    """
    names = _special_tokens(folder)
    if (folder / "vocab.json").is_file():
        bpe = models.BPE.from_file(
            str(folder / "vocab.json"),
            str(folder / "merges.txt"),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
            unk_token=names["unk_token"],
        )
        backend = Tokenizer(bpe)
        backend.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        backend.decoder = decoders.ByteLevel()
    else:
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        backend.no_truncation()
        backend.no_padding()
    vocabulary = backend.get_vocab()
    missing = {name for name in names.values() if name not in vocabulary}
    if missing:  # they would be added behind the text encoder's table
        raise ValueError(f"the vocabulary lacks {', '.join(sorted(missing))}")
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in set(names.values())])
    return TextTokenizer(backend, names["bos_token"], names["eos_token"])


def _special_tokens(folder: Path) -> dict[str, str]:
    """begin, end, unknown and padding, by the names of transformers' configs."""
    names = {"bos_token": "<|startoftext|>", **dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>")}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            said = json.loads((folder / file).read_text(encoding="utf-8"))
            for name in names.keys() & said.keys():
                value = said[name]["content"] if isinstance(said[name], dict) else said[name]
                if isinstance(value, str):
                    names[name] = value
    return names
