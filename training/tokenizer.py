"""Captions as token ids: a CLIP tokenizer learnt from our own captions, and the ids it gives, remembered."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from iclight.prompts import token_chunks

from .data.captions import corpus

VOCABULARY = 1500


def build_tokenizer(folder: Path, texts: Sequence[str] | None = None) -> CLIPTokenizer:
    """A CLIP byte-pair tokenizer learnt from our captions, or `texts`, in `folder`; other text falls into letters.

    One that is there already is taken as it is: numbers that a text encoder has learnt must not change their meaning.
    """
    if not (folder / "tokenizer_config.json").is_file():
        _write_tokenizer(folder, texts or corpus())
    return CLIPTokenizer.from_pretrained(str(folder))


def _write_tokenizer(folder: Path, texts: Sequence[str]) -> None:
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    merges = learn_merges(texts, VOCABULARY - len(entries))
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
