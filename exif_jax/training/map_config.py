"""The configuration of a run that trains the learned map; configs/tampering_map.py explains it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from exif_jax.data.config import check_fraction, check_not_negative, check_positive
from exif_jax.models.config import ModelConfigError, map_config_from_dict
from exif_jax.models.tampering_map import TamperingMapConfig
from exif_jax.training.config import (
    MeshConfig,
    OptimizerConfig,
    TrainError,
    parse_section,
)

# Fields that do not decide the loss curve.
_MAY_CHANGE = {
    *("data.pool", "data.photos", "data.pieces", "data.workers", "train.init"),
    *("train.log_every", "train.eval_every", "train.save_every", "train.keep_checkpoints"),
}
# The steps before the decay do not depend on these, with optim.schedule "wsd".
LENGTH = {"train.num_steps", "optim.decay_fraction"}


@dataclasses.dataclass(frozen=True)
class MapDataConfig:
    """What composites are made of.

    Raises:
        ValueError: a value that no run can use; the message names the field.
    """

    pool: str
    photos: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()
    seed: int = 0
    workers: int = 2
    validation: int = 16

    def __post_init__(self):
        check_positive(self, "workers", "validation")
        if not self.pool:
            raise ValueError("pool is empty; name a folder, which is made of photos and pieces")


@dataclasses.dataclass(frozen=True)
class MapTrainConfig:
    """Length and bookkeeping of a run.

    Raises:
        ValueError: a value that no run can use; the message names the field.
    """

    batch_size: int
    num_steps: int
    init: str = ""
    ema: float = 0.998
    seed: int = 0
    max_skipped: int = 5
    log_every: int = 50
    eval_every: int = 500
    save_every: int = 250
    keep_checkpoints: int = 3

    def __post_init__(self):
        check_positive(self, "batch_size", "num_steps", "log_every", "eval_every", "save_every")
        check_positive(self, "keep_checkpoints", "max_skipped")
        check_not_negative(self, "seed")
        check_fraction(self, "ema")


@dataclasses.dataclass(frozen=True)
class MapConfig:
    """All of a run; `model` is the network."""

    data: MapDataConfig
    model: TamperingMapConfig
    optim: OptimizerConfig
    train: MapTrainConfig
    mesh: MeshConfig

    def to_dict(self) -> dict[str, Any]:
        """The same as nested dicts of JSON's types; `parse_map_config` reads them."""
        return dataclasses.asdict(self)


_SECTIONS: dict[str, type] = {
    "data": MapDataConfig,
    "optim": OptimizerConfig,
    "train": MapTrainConfig,
    "mesh": MeshConfig,
}


def parse_map_config(config: ConfigDict | Mapping[str, Any]) -> MapConfig:
    """The configuration of a run from what a config file and the command line say.

    Raises:
        TrainError: a field is unknown, missing, of the wrong type or of a value that no run can
            use; the message names it.
    """
    given: Any = config.to_dict() if isinstance(config, ConfigDict) else config
    names = (*_SECTIONS, "model")
    for name in given.keys() | set(names):
        if name not in names:
            raise TrainError(f"the config has no section {name}; it has {', '.join(names)}")
        if name not in given:
            raise TrainError(f"the config lacks config.{name}; see configs/tampering_map.py")
    for name, cls in _SECTIONS.items():
        fields = [field.name for field in dataclasses.fields(cls)]
        for unknown in given[name].keys() - set(fields):
            raise TrainError(
                f"the config has no field {name}.{unknown}; {name} has {', '.join(fields)}"
            )
    try:
        model = map_config_from_dict(given["model"])
    except ModelConfigError as e:
        raise TrainError(f"config.model.{e}") from e
    sections = {name: parse_section(name, given[name], cls) for name, cls in _SECTIONS.items()}
    run = MapConfig(model=model, **sections)
    if run.optim.schedule != "wsd":
        raise TrainError("config.optim.schedule must be 'wsd', so that the run can be made longer")
    if run.optim.warmup_steps >= run.optim.decay_start(run.train.num_steps):
        raise TrainError(
            f"config.optim.warmup_steps is {run.optim.warmup_steps}, and the learning rate decays "
            f"from step {run.optim.decay_start(run.train.num_steps)} on; choose fewer or a longer "
            "run"
        )
    return run


def changed_fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """The fields that decide the loss curve and differ between two configs of nested dicts."""
    names = {
        f"{section}.{name}"
        for config in (before, now)
        for section in config
        for name in config[section]
    }

    def value(config: Mapping[str, Any], name: str) -> Any:
        section, _, field = name.partition(".")
        found = config.get(section, {}).get(field)
        return list(found) if isinstance(found, tuple) else found

    differ = {name for name in names if value(before, name) != value(now, name)}
    return {name for name in differ - _MAY_CHANGE if not name.startswith("mesh.")}
