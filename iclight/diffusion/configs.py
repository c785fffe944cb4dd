"""What a model folder says of itself: its config.json files, which weights it holds, what its UNet predicts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ModelError, WeightsError, quoted
from ..weights.catalogue import weight_names
from ..weights.files import check_bytes, check_regular
from ..weights.manifest import JSON_BYTES, read_json

# What a UNet's output means, by diffusers' names (Ho et al. 2020; Salimans and Ho 2022).
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
# What a config may ask to be built: layers are blocks x layers x layers within; SD1.5 has 12.
MAX_LAYERS = 500
MAX_BLOCKS = 32
AGAIN = "Fetch it again."


def weights_file(folder: Path, part: str, inside: Path | None = None) -> Path:
    """The file that a part's weights are read from, and hashed for recipes: the best of those that a model folder may
    hold (`catalogue.weight_names`), in the part's own folder or `inside` another. Raises WeightsError if there is none.
    """
    inside = inside or folder / part
    names = [name.split("/")[-1] for name in weight_names(part)]
    for name in names:
        if os.path.isfile(inside / name):
            return inside / name
    raise WeightsError("{path} holds no weights; expected {name} there.", path=inside, name=names[0])


def prediction_type(folder: Path) -> str:
    """What a folder's UNet predicts, by its scheduler's config: one of `PREDICTION_TYPES`; noise if it does not say."""
    path = folder / "scheduler" / "scheduler_config.json"
    said = read_json(path, AGAIN) if path.is_file() else {}
    if said.get("rescale_betas_zero_snr") is True:
        raise zero_snr(path)
    found = said.get("prediction_type", "epsilon")
    if found not in PREDICTION_TYPES:
        raise ModelError(
            "{path} names the prediction type {found}; it takes one of {types}.",
            path=path,
            found=quoted(found),
            types=", ".join(PREDICTION_TYPES),
        )
    return str(found)


def zero_snr(path: Path) -> ModelError:
    return ModelError(
        "{path} is of a model for zero terminal SNR, whose noise ends where the offsets' never did. Use one that was "
        "trained on SD1.5's own noise.",
        path=path,
    )


def read_config(part: Path) -> dict[str, Any]:
    """A part's config.json. Raises WeightsError; ModelError where building what it asks for would take minutes."""
    path = part / "config.json"
    config = read_json(path, AGAIN)
    if "quantization_config" in config:
        raise ModelError("{path} is of a quantised model; get its weights in float16, bfloat16 or float32.", path=path)
    per_block = [value for name, value in config.items() if "block" in name and isinstance(value, list)]
    blocks = max(map(len, per_block), default=1)
    layers: float = blocks
    for name, value in config.items():
        if "layers" in name:
            layers *= max([1, *numbers_in(value)])
    if blocks > MAX_BLOCKS or layers > MAX_LAYERS:
        raise ModelError(
            "{path} describes a model of {layers:,} layers; at most {most} are built.",
            path=path,
            layers=layers,
            most=MAX_LAYERS,
        )
    return config


def numbers_in(value: Any) -> Iterator[float]:
    """The numbers in a value of JSON, at any depth of its lists."""
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from numbers_in(part)


def check_small_files(folder: Path) -> None:
    """Raise WeightsError for what a library would hang or choke on: pipes, and JSON that is broken, deep or huge."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise WeightsError(
            "{folder} cannot be read ({reason}). Fetch it again.", folder=folder, reason=error.strerror
        ) from error
    for file in files:
        if file.suffix == ".json" and not file.is_dir():
            read_json(file, AGAIN)
        elif not file.is_dir():
            size = check_regular(file, "The file", WeightsError).st_size
            check_bytes(size if file.suffix == ".txt" else 0, JSON_BYTES, str(file), WeightsError)
