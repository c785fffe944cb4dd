"""Prompts of any length -> what cross-attention sees: 75 tokens at a time through CLIP, joined along the sequence.

Prompts in the dialect of A1111's web UI weigh words, "(sunset:1.3)"; plain ones are the reference's to the bit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from .errors import SettingsError, quoted
from .networks.clip import TextEncoder, TextTokenizer

# A token's id and its weight. Ids beyond the tokenizer's own are vectors of textual inversion.
Token = tuple[int, float]

# What nobody writes by accident: a word with a weight (no ratio, no time of day), doubled brackets, an escape, BREAK.
_MARKS = re.compile(
    r"\([^()\[\]]*[^()\[\]\d\s]\s*:\s*(\d(\.\d+)?|\.\d+)\s*\)|\(\([^()]+\)\)|\[\[[^\[\]]+\]\]|\\[()\[\]]|\bBREAK\b"
)
# A1111, modules/prompt_parser.py: what opens and closes an emphasis; a backslash makes a bracket one of the text.
_PIECES = re.compile(r"\\[()\[\]\\]|\\|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_NETWORK = re.compile(r"<(lora|lyco|hypernet):([^<>:]{1,100})(:[^<>]{0,50})?>", re.IGNORECASE)
UP = 1.1
# Brackets open at once, and the strongest weight: whatever goes beyond is words.
DEEPEST, STRONGEST = 100, 100.0


@torch.no_grad()
def encode_prompt_pair(
    tokenizer: TextTokenizer,
    text_encoder: TextEncoder,
    positive: str,
    negative: str,
    *,
    emphasis: str = "marked",
    clip_skip: int = 1,
    embeddings: Mapping[str, Sequence[int]] = {},
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode two texts to (cond, uncond), both 1 x 77n x dim, where n is the larger number of chunks.

    The shorter text's chunks are repeated until there are n. An empty text is one chunk of nothing but end tokens.

    `emphasis`: "marked" reads a text in A1111's dialect where its marks are unmistakable, "always" reads every text so,
    "never" takes brackets as words. `clip_skip`: 1 takes the last layer's output as the reference does, 2 the one
    before, ... `embeddings`: names that stand for vectors of the text encoder, by their token ids. transformers'
    CLIPTokenizer and CLIPTextModel serve as well as the engine's own.

    Raises SettingsError as `check_prompts` does.
    """
    check_prompts(text_encoder, (positive, negative), emphasis, clip_skip)
    cond, uncond = (
        _encode(text_encoder, chunks_of(tokenizer, text, _length(text_encoder), emphasis, embeddings), clip_skip)
        for text in (positive, negative)
    )
    count = max(len(cond), len(uncond))
    return _join(cond, count), _join(uncond, count)


def check_prompts(text_encoder: TextEncoder, texts: Iterable[str], emphasis: str, clip_skip: int) -> None:
    """Raise SettingsError for more layers skipped than there are, and for A1111's <lora:name:1>: LoRA files are loaded
    with the model."""
    layers = text_encoder.config.num_hidden_layers
    if not 1 <= clip_skip <= layers:
        raise SettingsError(
            "clip_skip is {given}, but this model's text encoder has {layers} layers.", given=clip_skip, layers=layers
        )
    found = (_NETWORK.search(text) for text in texts) if emphasis != "never" else ()
    if tag := next(filter(None, found), None):
        raise SettingsError(
            "The prompt holds {tag}, but LoRA files are loaded with the model: start with --lora {file}, and take it "
            "out of the prompt. (With emphasis 'never' it is read as words.)",
            tag=quoted(tag[0], 80),
            file=f"{tag[2]}.safetensors{tag[3] or ''}",
        )


def chunks_of(
    tokenizer: TextTokenizer,
    text: str,
    length: int = 77,
    emphasis: str = "never",
    embeddings: Mapping[str, Sequence[int]] = {},
) -> list[list[Token]]:
    """Tokens in chunks: BOS, up to length - 2 tokens, EOS, padded with EOS to `length` (77 for CLIP)."""
    begin, end = (tokenizer.bos_token_id, 1.0), (tokenizer.eos_token_id, 1.0)
    body = length - 2
    pieces: list[list[Token]] = []
    for part in _weighed(text) if _in_dialect(text, emphasis) else [[(text, 1.0)]]:
        tokens = [token for words, weight in part for token in _tokens(tokenizer, words, weight, embeddings)]
        pieces += [tokens[start : start + body] for start in range(0, len(tokens), body)] or [[]]
    return [[begin, *piece, end] + [end] * (body - len(piece)) for piece in pieces]


def token_chunks(tokenizer: TextTokenizer, text: str, length: int = 77) -> list[list[int]]:
    """The reference's token ids of a plain text, in such chunks."""
    return [[token for token, _ in chunk] for chunk in chunks_of(tokenizer, text, length)]


def _tokens(
    tokenizer: TextTokenizer, text: str, weight: float, embeddings: Mapping[str, Sequence[int]]
) -> Iterable[Token]:
    """The tokens of a text; a name among `embeddings` is its vectors, also as ComfyUI's "embedding:name"."""
    texts = [text]
    if embeddings:
        names = "|".join(re.escape(name) for name in sorted(embeddings, key=len, reverse=True))
        texts = re.split(rf"(?<![\w-])(?:embedding:)?({names})(?:\.safetensors|\.pt)?(?![\w-])", text, flags=re.I)
    known = {name.lower(): ids for name, ids in embeddings.items()}
    for k, part in enumerate(texts):
        ids = known[part.lower()] if k % 2 else _ids(tokenizer, part)
        yield from ((token, weight) for token in ids)


def _in_dialect(text: str, emphasis: str) -> bool:
    return emphasis == "always" or (emphasis == "marked" and _MARKS.search(text) is not None)


def _weighed(text: str) -> list[list[tuple[str, float]]]:
    """A text in A1111's dialect -> its parts between BREAKs, each of runs of words and their weights.

    (a) is 1.1 times as strong, [a] 1/1.1 times, (a:1.5) 1.5 times; brackets nest; those left open count to the end.
    """
    runs: list[list[str | float]] = []
    round_open: list[int] = []
    square_open: list[int] = []

    def multiply(start: int, factor: float) -> None:
        for run in runs[start:]:
            run[1] = float(run[1]) * factor

    for match in _PIECES.finditer(text):
        piece, weight = match[0], match[1]
        if piece == "(" and len(round_open) < DEEPEST:
            round_open.append(len(runs))
        elif piece == "[" and len(square_open) < DEEPEST:
            square_open.append(len(runs))
        elif weight is not None and round_open and (number := _number(weight)) is not None:
            multiply(round_open.pop(), number)
        elif piece == ")" and round_open:
            multiply(round_open.pop(), UP)
        elif piece == "]" and square_open:
            multiply(square_open.pop(), 1 / UP)
        else:
            runs.append([piece[1:] if piece.startswith("\\") and len(piece) > 1 else piece, 1.0])
    for start in round_open:
        multiply(start, UP)
    for start in square_open:
        multiply(start, 1 / UP)
    return _between_breaks((str(words), float(weight)) for words, weight in runs)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) <= STRONGEST else None


def _between_breaks(runs: Iterable[tuple[str, float]]) -> list[list[tuple[str, float]]]:
    """Runs of one weight joined, cut at BREAK."""
    parts: list[list[tuple[str, float]]] = [[]]
    for words, weight in runs:
        for k, piece in enumerate(_BREAK.split(words)):
            if k:
                parts.append([])
            if piece and parts[-1] and parts[-1][-1][1] == weight:
                parts[-1][-1] = (parts[-1][-1][0] + piece, weight)
            elif piece:
                parts[-1].append((piece, weight))
    return parts


def _length(text_encoder: TextEncoder) -> int:
    return text_encoder.config.max_position_embeddings


def _ids(tokenizer: Any, text: str) -> Sequence[int]:
    """A text's token ids, however many, without begin and end."""
    if isinstance(tokenizer, TextTokenizer):
        return tokenizer.encode(text)
    # transformers'; verbose=False: more than the model's window is what chunks are for, not worth a warning.
    ids: list[int] = tokenizer(text, truncation=False, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _states(text_encoder: Any, ids: torch.Tensor, clip_skip: int) -> torch.Tensor:
    if isinstance(text_encoder, TextEncoder):
        states: torch.Tensor = text_encoder(ids, clip_skip)
        return states
    layers = text_encoder(ids, output_hidden_states=True).hidden_states  # transformers'
    normalised: torch.Tensor = getattr(text_encoder, "text_model", text_encoder).final_layer_norm(layers[-clip_skip])
    return normalised


def _encode(text_encoder: TextEncoder, chunks: list[list[Token]], clip_skip: int) -> torch.Tensor:
    """Chunks -> c x 77 x dim, tokens weighed as A1111 does (modules/sd_emphasis.py): a chunk's mean stays as it was."""
    ids = torch.tensor([[token for token, _ in chunk] for chunk in chunks], device=text_encoder.device)
    states = _states(text_encoder, ids, clip_skip)
    weights = torch.tensor([[weight for _, weight in chunk] for chunk in chunks])
    for k in (weights != 1).any(dim=1).nonzero().flatten().tolist():
        plain = states[k].float()
        weighed = plain * weights[k].to(plain.device)[:, None]
        ratio = (plain.mean() / weighed.mean()).nan_to_num(1.0, 1.0, 1.0)
        states[k] = (weighed * ratio).to(states.dtype)
    return states


def _join(chunks: torch.Tensor, count: int) -> torch.Tensor:
    """(c, 77, dim) -> (1, 77 * count, dim), chunks repeated in order and cut to `count`."""
    repeated = chunks.repeat(math.ceil(count / len(chunks)), 1, 1)[:count]
    return repeated.reshape(1, -1, chunks.shape[-1])
