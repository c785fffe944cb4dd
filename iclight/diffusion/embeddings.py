"""Textual inversion (Gal et al. 2022): a name in a prompt stands for vectors of the text encoder's, out of a file.

The vectors become rows behind the token table's own; `prompts` puts their numbers where the name stands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import ModelError, SettingsError, WeightsError, plain, quoted
from ..networks.clip import TextEncoder
from .tensors import check_floats, open_tensors

NAME = re.compile(r"[\w.-]{1,100}")
# Of one name: more would fill a prompt's window by themselves.
MOST_VECTORS = 75


def parse_embedding(text: str) -> tuple[str, str]:
    """ "FILE" or "FILE:NAME" -> (file, name). Without a name it is the file's own, without its ending."""
    path, colon, name = text.rpartition(":")
    if not (colon and path and NAME.fullmatch(name) and not os.path.exists(text)):
        path, name = text, re.split(r"[/\\]", text.split("?")[0])[-1].rpartition(".")[0]
    if not NAME.fullmatch(name):
        raise SettingsError(
            "The embedding {text} has no name that a prompt can hold: give one of letters, digits, '.', '_' and '-', "
            "as FILE:NAME.",
            text=quoted(text),
        )
    return path, name


def open_embeddings(files: Sequence[tuple[Path, str]], width: int) -> dict[str, torch.Tensor]:
    """Name -> its n x width vectors, float32. Raises ModelError or WeightsError naming the file that is none."""
    found: dict[str, torch.Tensor] = {}
    for path, name in files:
        if not os.path.isfile(path):
            raise WeightsError("Embedding file {path} does not exist.", path=plain(path))
        source = open_tensors(path)
        if {"clip_g", "clip_l"} <= source.shapes.keys():
            raise ModelError("Embedding {path} is of SDXL; get one for Stable Diffusion 1.5.", path=path)
        held = {one: shape for one, shape in source.shapes.items() if len(shape) in (1, 2)}
        if len(held) != 1 or len(source.shapes) > 4:
            raise ModelError("{path} is no embedding: it holds {count} tensors.", path=path, count=len(source.shapes))
        (tensor, shape) = held.popitem()
        if shape[-1] != width or not 1 <= (shape[0] if len(shape) == 2 else 1) <= MOST_VECTORS:
            raise ModelError(
                "Embedding {path} has shape {shape}, but this model's text encoder takes 1 to {most} vectors of "
                "{width}. Is it made for SD1.5?",
                path=path,
                shape=shape,
                most=MOST_VECTORS,
                width=width,
            )
        check_floats(source, [tensor])
        if name.lower() in map(str.lower, found):
            raise SettingsError("Two embeddings are called {name}: give one another name, FILE:NAME.", name=name)
        found[name] = source.read(tensor).float().reshape(-1, width)
    return found


def add_embeddings(text_encoder: TextEncoder, embeddings: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Put vectors behind the text encoder's token table; returns each name's numbers there."""
    table = text_encoder.token_table
    rows, ids = [table.weight.data], {}
    count = len(rows[0])
    for name, vectors in embeddings.items():
        rows.append(vectors.to(rows[0]))
        ids[name] = tuple(range(count, count + len(vectors)))
        count += len(vectors)
    if len(rows) > 1:
        table.weight = torch.nn.Parameter(torch.cat(rows), requires_grad=False)
        table.num_embeddings = count
    return ids
