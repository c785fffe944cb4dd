"""One training run's choices, with the paper's as defaults; `configs/*.json` hold those of runs that were made."""

from __future__ import annotations

import argparse
import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iclight.diffusion.checkpoints import PREDICTION_TYPES
from iclight.errors import SettingsError

from .data.batches import Schedule
from .loss import WEIGHTINGS

CONFIGS = Path(__file__).parent / "configs"
PARTS = ("unet", "text_encoder", "tokens", "merge")


@dataclass(frozen=True)
class Stage:
    """Until this step, these parts learn; the others are frozen."""

    until: int
    learns: tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """What `train.py` does. Folders hold encoded shards; `base` is "mini" (a new small model), or a model's folder."""

    data: tuple[str, ...] = ("build/latents",)
    base: str = "mini"
    vae: str = "build/autoencoder/final"  # a new model's autoencoder, for contact sheets
    begin: str = ""  # a folder of trained weights to begin from
    new_tokens: bool = False  # start the environment's tokens anew, although `begin` has some
    prediction: str = ""  # what a new model says; "sample" also turns one that said velocities
    lora: int = 0  # rank; 0 trains the UNet's own weights
    channels: tuple[int, ...] = (24, 48, 80, 112, 144)
    width: int = 96
    steps: int = 10_000
    batch: int = 24
    rate: float = 7e-4
    tokens_rate: float = 1.0  # the environment tokens learn this many times faster
    warmup: int = 100
    decay: float = 0.3  # the last share of the steps, over which the rate falls
    weight_decay: float = 1e-3
    clip: float = 1.0
    average: float = 0.998
    weighting: str = "truncated-snr"
    consistency: float = 0.1
    coarse: float = 0.0  # weight of the coarse errors on the subject (`loss.vanilla`)
    normals: float = 0.0  # weight of the normals that are learnt beside the picture (`RelightingModel.watch_shape`)
    workflows: tuple[float, float, float] = (0.4, 0.35, 0.25)  # shares of fc, fbc, env
    shares: tuple[float, float, float] = (0.5, 0.5, 0.0)  # wild, 3D, light stage at the start
    shares_end: tuple[float, float, float] = (0.35, 0.35, 0.3)
    shares_until: int = 100_000
    stages: tuple[Stage, ...] = field(default_factory=tuple)  # none: everything learns throughout
    hints: float = 0.0  # share of fc's rows that start from a light map, as sampling does; half as many of fbc's
    doubts: float = 0.0  # share of rows with something else than themselves under the noise (`Sources`)
    rollouts: float = 0.0  # share of rows with what the network itself made under the noise (`rollouts.py`)
    settled: int = 0  # below this timestep what the network has made is kept (`rollouts.py`)
    early: float = 0.0  # share of rows, all rolled out, at timesteps below `settled`
    close: float = 0.0  # share of batches that see their subjects from near, filling the picture (`seen_close`)
    late: float = 0.0  # share of rows at timesteps where only the conditions tell the light
    seed: int = 0
    log_every: int = 50
    save_every: int = 500
    sheet_every: int = 2000
    shards: int = 0  # read at most this many; 0 reads all
    mixed_precision: str = "auto"
    workers: int = 0  # processes that draw batches ahead; 0 draws them in the loop

    def __post_init__(self) -> None:
        if self.weighting not in WEIGHTINGS:
            raise SettingsError(f"weighting is {self.weighting!r}, but it takes one of {', '.join(WEIGHTINGS)}.")
        if self.prediction and self.prediction not in PREDICTION_TYPES:
            raise SettingsError(
                f"prediction is {self.prediction!r}, but it takes one of {', '.join(PREDICTION_TYPES)}."
            )
        if self.early and not self.settled:
            raise SettingsError(
                "early draws rows below settled, which is 0; give a timestep with --settled, such as 250."
            )
        for stage in self.stages:
            if unknown := set(stage.learns) - set(PARTS):
                raise SettingsError(f"stages name {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.")

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.shares, self.shares_end, self.shares_until)

    def learns(self, step: int) -> tuple[str, ...]:
        """The parts that learn at a step."""
        return next((stage.learns for stage in self.stages if step < stage.until), PARTS)

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


def make_config(values: dict[str, Any]) -> Config:
    """A config from plain values. Raises SettingsError for names it does not know."""
    names = {one.name for one in dataclasses.fields(Config)}
    if unknown := sorted(set(values) - names):
        raise SettingsError(f"There is no training option named {', '.join(unknown)}; there are {', '.join(names)}.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    if values.get("stages"):
        values["stages"] = tuple(Stage(one["until"], tuple(one["learns"])) for one in values["stages"])
    return Config(**values)


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option for every field but `stages`; those not given keep the config's value."""
    hints = typing.get_type_hints(Config)
    for one in dataclasses.fields(Config):
        kind = hints[one.name]
        if one.name == "stages":
            continue
        option = "--" + one.name.replace("_", "-")
        if isinstance(kind, types.GenericAlias) or typing.get_origin(kind) is tuple:
            parser.add_argument(option, nargs="+", type=typing.get_args(kind)[0])
        else:
            parser.add_argument(option, type=kind)


def with_options(config: Config, options: argparse.Namespace) -> Config:
    given = {one.name: getattr(options, one.name, None) for one in dataclasses.fields(Config)}
    changes: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None
    }
    return dataclasses.replace(config, **changes)
