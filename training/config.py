"""One training run's choices, with the paper's as defaults; `configs/*.json` hold those of the runs that make mini."""

from __future__ import annotations

import argparse
import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iclight.diffusion.configs import PREDICTION_TYPES
from iclight.errors import SettingsError

from .data.batches import Schedule

CONFIGS = Path(__file__).parent / "configs"
PARTS = ("unet", "text_encoder", "tokens", "merge")


@dataclass(frozen=True)
class Config:
    """What `train.py` does. Shares are of rows and in [0, 1]. Raises SettingsError for what cannot be."""

    data: tuple[str, ...] = ("build/latents",)  # folders of encoded shards
    base: str = "mini"  # "mini", a new small model; or a model's folder, name or hub id
    vae: str = "build/autoencoder/final"  # a new model's autoencoder, for light maps and contact sheets
    init_from: str = ""  # a folder of trained weights to go on from, instead of `base`
    prediction: str = ""  # what a new model predicts; v_prediction if nothing is said
    lora: int = 0  # rank; 0 trains the UNet's own weights
    learns: tuple[str, ...] = PARTS  # the others are frozen
    channels: tuple[int, ...] = (24, 48, 80, 112, 144)  # of a new model's levels
    width: int = 96  # of a new model's text encoder
    steps: int = 10_000
    batch: int = 24  # rows of each process
    learning_rate: float = 7e-4  # at its peak
    tokens_lr_scale: float = 1.0  # the environment tokens learn this many times faster
    warmup: int = 100  # steps
    decay: float = 0.3  # the last share of the steps, over which the learning rate falls
    max_grad_norm: float = 1.0
    ema_decay: float = 0.998
    consistency: float = 0.1  # weight of the consistency term
    lowfreq_loss: float = 0.0  # weight of low-frequency errors on the subject (`loss.denoising_loss`)
    normals: float = 0.0  # weight of the normals that are learnt beside the picture (`loss.normal_loss`)
    workflows: tuple[float, float, float] = (0.4, 0.35, 0.25)  # shares of fc, fbc, env
    shares: tuple[float, float, float] = (0.5, 0.5, 0.0)  # wild, 3D, light stage at the start
    shares_end: tuple[float, float, float] = (0.35, 0.35, 0.3)
    shares_until: int = 100_000  # the step from which on they are `shares_end`
    light_map_init: float = 0.0  # share of fc's rows that start from a light map; half as many of fbc's have one
    mismatched_latents: float = 0.0  # share with something else than the target under the noise (`Sources`)
    rollouts: float = 0.0  # share with the network's own estimate under the noise (`rollouts.py`)
    keep_below_t: int = 0  # below this timestep the network's own estimate is the target (`rollouts.py`)
    low_t_share: float = 0.0  # share, all rolled out, at timesteps below `keep_below_t`
    high_t_share: float = 0.0  # share at timesteps where only the conditions tell the light
    zoom_crop: float = 0.0  # share of batches cropped about their subjects, so that they fill the picture
    seed: int = 0
    log_every: int = 50  # steps
    save_every: int = 500
    sheet_every: int = 2000
    mixed_precision: str = "auto"  # or "no", "bf16", "fp16"
    workers: int = 0  # processes that draw batches ahead; 0 draws them in the loop

    def __post_init__(self) -> None:
        if self.prediction and self.prediction not in PREDICTION_TYPES:
            raise SettingsError(
                f"prediction is {self.prediction!r}, but it takes one of {', '.join(PREDICTION_TYPES)}."
            )
        if self.low_t_share and not self.keep_below_t:
            raise SettingsError(
                "low_t_share draws rows below keep_below_t, which is 0; give a timestep, such as --keep-below-t 250."
            )
        if unknown := set(self.learns) - set(PARTS):
            raise SettingsError(f"learns names {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.")

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.shares, self.shares_end, self.shares_until)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)


def read_config(name: str) -> Config:
    """A config by name (in `configs/`) or path. Raises SettingsError naming what is wrong."""
    path = Path(name) if name.endswith(".json") else CONFIGS / f"{name}.json"
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        known = ", ".join(sorted(one.stem for one in CONFIGS.glob("*.json")))
        raise SettingsError(f"{path} cannot be read ({error}). Give one of {known}, or a .json file.") from error
    return make_config(values)


def make_config(values: dict[str, Any], base: Config | None = None) -> Config:
    """`base`, by default the paper's config, with plain values in place of some of its own, lists for tuples.

    Raises SettingsError for names it does not know.
    """
    names = [one.name for one in dataclasses.fields(Config)]
    if unknown := sorted(set(values) - set(names)):
        raise SettingsError(f"There is no training option named {', '.join(unknown)}; there are {', '.join(names)}.")
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return dataclasses.replace(base or Config(), **plain)


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option for every field; those not given keep the config's value."""
    for name, kind in typing.get_type_hints(Config).items():
        option = "--" + name.replace("_", "-")
        if isinstance(kind, types.GenericAlias):
            parser.add_argument(option, nargs="+", type=typing.get_args(kind)[0])
        else:
            parser.add_argument(option, type=kind)


def with_options(config: Config, options: argparse.Namespace) -> Config:
    """The config with those of `add_options` that were given."""
    values = {one.name: getattr(options, one.name) for one in dataclasses.fields(Config)}
    return make_config({name: value for name, value in values.items() if value is not None}, config)
