"""Prompts of any length -> what cross-attention sees: 75 tokens at a time through CLIP, joined along the sequence."""

from __future__ import annotations

import math

import torch
from transformers import CLIPTextModel, CLIPTokenizer


@torch.no_grad()
def encode_prompt_pair(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, positive: str, negative: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode two texts to (cond, uncond), both 1 x 77n x dim, where n is the larger number of chunks.

    The shorter text's chunks are repeated until there are n. An empty text is one chunk of nothing but end tokens.
    """
    cond = _encode_chunks(tokenizer, text_encoder, positive)
    uncond = _encode_chunks(tokenizer, text_encoder, negative)
    count = max(len(cond), len(uncond))
    return _join(cond, count), _join(uncond, count)


def token_chunks(tokenizer: CLIPTokenizer, text: str, length: int = 77) -> list[list[int]]:
    """Token ids in chunks: BOS, up to length - 2 ids, EOS, padded with EOS to `length` (77 for CLIP)."""
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    # verbose=False: a prompt longer than the model's window is what this function is for, not worth a warning.
    ids = tokenizer(text, truncation=False, add_special_tokens=False, verbose=False)["input_ids"]
    body = length - 2
    pieces = [ids[start : start + body] for start in range(0, len(ids), body)] or [[]]
    chunks = [[begin, *piece, end] for piece in pieces]
    return [chunk + [end] * (length - len(chunk)) for chunk in chunks]


def _encode_chunks(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, text: str) -> torch.Tensor:
    ids = torch.tensor(
        token_chunks(tokenizer, text, text_encoder.config.max_position_embeddings),
        dtype=torch.int64,
        device=text_encoder.device,
    )
    return text_encoder(ids).last_hidden_state


def _join(chunks: torch.Tensor, count: int) -> torch.Tensor:
    """(c, 77, dim) -> (1, 77 * count, dim), chunks repeated in order and cut to `count`."""
    repeated = chunks.repeat(math.ceil(count / len(chunks)), 1, 1)[:count]
    return repeated.reshape(1, -1, chunks.shape[-1])
