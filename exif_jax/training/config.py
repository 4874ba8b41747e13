"""The configuration of a training run: frozen dataclasses, checked once where a run begins.

`ml_collections.ConfigDict` carries what config files and the command line say as far as
`parse_config`, and no further.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from exif_jax.data.config import (
    DataConfig,
    check_choice,
    check_fraction,
    check_not_negative,
    check_positive,
)
from exif_jax.io.errors import ExifJaxError
from exif_jax.models.config import (
    IMAGE_CONFIGS,
    TEXT_CONFIGS,
    ModelConfigError,
    config_from_dict,
)
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.vit import ViTConfig

DTYPES = ("float32", "bfloat16")
LOSSES = ("infonce", "sigmoid")
SCHEDULES = ("cosine", "wsd")
WEIGHT_DECAY_TYPES = ("decoupled", "l2")


class TrainError(ExifJaxError):
    """The run cannot start or go on; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and its learning rate; configs/vit_b.py explains each field.

    Raises:
        ValueError: a value that no run can use; the message names the field.
    """

    lr: float
    end_lr: float = 0.0
    schedule: str = "cosine"
    warmup_steps: int = 0
    decay_fraction: float = 0.2
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    weight_decay_type: str = "decoupled"
    clip_norm: float = 0.0
    layerwise_lr_decay: float = 1.0
    frozen: tuple[str, ...] = ()

    def __post_init__(self):
        check_positive(self, "lr")
        check_not_negative(self, "end_lr", "warmup_steps", "weight_decay", "clip_norm", "eps")
        check_fraction(self, "b1", "b2", "decay_fraction", "layerwise_lr_decay")
        check_choice(self, "schedule", SCHEDULES)
        check_choice(self, "weight_decay_type", WEIGHT_DECAY_TYPES)

    def decay_start(self, num_steps: int) -> int:
        """The step at which the learning rate of "wsd" begins to fall, in a run of `num_steps`.

        Up to there the run is the same whatever `num_steps` is.
        """
        return num_steps - round(self.decay_fraction * num_steps)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Losses, length and bookkeeping of a run; configs/vit_b.py explains each field.

    Raises:
        ValueError: a value that no run can use; the message names the field.
    """

    batch_size: int
    num_steps: int
    loss: str = "infonce"
    image_weight: float = 0.0
    same_photo_negatives: bool = True
    loss_chunk: int = 0
    micro_batch: int = 0
    init_image: str = ""
    init_model: str = ""
    init_parts: tuple[str, ...] = ()
    dtype: str = "float32"
    max_skipped: int = 5
    ema: float = 0.0
    seed: int = 0
    log_every: int = 50
    profile_steps: int = 0
    eval_every: int = 1000
    save_every: int = 1000
    keep_checkpoints: int = 3
    wandb_project: str = ""

    def __post_init__(self):
        check_positive(self, "batch_size", "num_steps", "log_every", "eval_every", "save_every")
        check_positive(self, "max_skipped", "keep_checkpoints")
        check_not_negative(self, "image_weight", "loss_chunk", "micro_batch", "profile_steps")
        check_fraction(self, "ema")
        check_choice(self, "dtype", DTYPES)
        check_choice(self, "loss", LOSSES)
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch {self.micro_batch}"
            )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """What a run measures while it trains; configs/vit_b.py explains each field."""

    splices: str = ""
    best: str = "image_to_exif_r10"
    probe: str = ""


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """The devices of a run; configs/vit_b.py explains each field."""

    data: int = -1
    fsdp: int = 1


@dataclasses.dataclass(frozen=True)
class Config:
    """All of a run.

    Attributes:
        model: the fields of the model's configuration without the text encoder's vocab_size,
            which the tokenizer decides (`make_model_config`).
    """

    data: DataConfig
    model: dict[str, Any]
    optim: OptimizerConfig
    train: TrainConfig
    eval: EvalConfig
    mesh: MeshConfig

    @property
    def decay_start(self) -> int | None:
        """The step at which the learning rate of "wsd" begins to fall; None with "cosine"."""
        if self.optim.schedule != "wsd":
            return None
        return self.optim.decay_start(self.train.num_steps)

    def to_dict(self) -> dict[str, Any]:
        """The same as nested dicts of JSON's types; `parse_config` reads them."""
        return dataclasses.asdict(self)


def make_model_config(config: Config, vocab_size: int) -> DualEncoderConfig:
    """The model's configuration for a tokenizer of `vocab_size` pieces.

    Raises:
        TrainError: there is no such model; the message names the field.
    """
    text = {**config.model.get("text", {}), "vocab_size": vocab_size}
    try:
        return config_from_dict({**config.model, "text": text})
    except ModelConfigError as e:
        raise TrainError(f"config.model.{e}") from e


# --- from a ConfigDict ----------------------------------------------------------------------------

_SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "optim": OptimizerConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "mesh": MeshConfig,
}
_MODEL_PARTS: dict[str, tuple[type, ...]] = {
    "model": (DualEncoderConfig,),
    "model.image": tuple(IMAGE_CONFIGS.values()),
    "model.text": tuple(TEXT_CONFIGS.values()),
}
# What other trainers call these fields.
_OTHER_NAMES = {
    "learning_rate": "optim.lr",
    "warmup": "optim.warmup_steps",
    "wd": "optim.weight_decay",
    "bs": "train.batch_size",
    "epochs": "train.num_steps",
    "precision": "train.dtype",
    "temperature": "model.init_temperature",
}


def parse_config(config: ConfigDict | Mapping[str, Any]) -> Config:
    """The configuration of a run from what a config file and the command line say.

    Args:
        config: sections of fields, as configs/vit_b.py has them.

    Raises:
        TrainError: a field is unknown, missing, of the wrong type or of a value that no run can
            use; the message names it, and for an unknown one the nearest that there is.
    """
    sections = dict(config.to_dict() if isinstance(config, ConfigDict) else config)  # type: ignore[reportAttributeAccessIssue]
    known = field_names()
    for name in _names_of(sections):
        if name not in known and not name.startswith("model."):  # which the model's own check tells
            raise TrainError(unknown_field(name))
    missing = [name for name in (*_SECTIONS, "model") if name not in sections]
    if missing:
        raise TrainError(f"the config lacks config.{missing[0]}; see configs/vit_b.py")
    parsed = {name: parse_section(name, sections[name], cls) for name, cls in _SECTIONS.items()}
    run = Config(model=_with_tuples(sections["model"]), **parsed)
    _check_together(run)
    return run


def field_names() -> set[str]:
    """The names of all fields, like "optim.lr" and "model.image.width"."""
    names = {f"{s}.{field.name}" for s, c in _SECTIONS.items() for field in dataclasses.fields(c)}
    for part, classes in _MODEL_PARTS.items():
        names |= {f"{part}.{field.name}" for c in classes for field in dataclasses.fields(c)}
    names |= {"model.image.kind", "model.text.kind"}
    return names - {"model.image", "model.text", "model.text.vocab_size"}


def unknown_field(name: str) -> str:
    """A sentence about a field that no config has, with the one that was most likely meant.

    Args:
        name: of the field, like "optim.learning_rate".
    """
    known = sorted(field_names())
    last = name.rpartition(".")[2]
    namesakes = [field for field in known if field.rpartition(".")[2] == last]
    alike = difflib.get_close_matches(name, namesakes or known, n=1, cutoff=0.0)
    meant = _OTHER_NAMES.get(last, alike[0])
    return f"the config has no field {name}; did you mean {meant}?"


def _names_of(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            names += _names_of(value, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _with_tuples(tree: Any) -> Any:
    """Nested dicts with tuples in place of the lists that JSON has."""
    if isinstance(tree, Mapping):
        return {name: _with_tuples(value) for name, value in tree.items()}
    return tuple(tree) if isinstance(tree, list) else tree


def parse_section(section: str, values: Mapping[str, Any], cls: type) -> Any:
    """The dataclass of one section of a config; TrainError where a field is not one of its own."""
    kinds = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING and field.name not in values:
            name = f"config.{section}.{field.name}"
            raise TrainError(f"the config lacks {name}; see configs/vit_b.py")
    typed = {
        name: _typed(f"config.{section}.{name}", value, kinds[name])
        for name, value in values.items()
    }
    try:
        return cls(**typed)
    except ValueError as e:
        raise TrainError(f"config.{section}.{e}") from e


def _typed(name: str, value: Any, kind: Any) -> Any:
    """The value as its field has it: whole numbers may stand for others, lists for tuples."""
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, types.GenericAlias):  # tuple[str, ...] or tuple[int, ...]
        item_type = typing.get_args(kind)[0]
        if isinstance(value, (tuple, list)) and all(type(item) is item_type for item in value):
            return tuple(value)
        items = "whole numbers in parentheses, like (64, 128)"
        if item_type is str:
            items = "texts in parentheses, like ('a', 'b')"
        raise TrainError(f"{name} is {value!r}; it must be {items}")
    if type(value) is not kind:
        raise TrainError(f"{name} is {value!r}; it must be of type {kind.__name__}")
    return value


def _check_together(run: Config) -> None:
    """Raises TrainError for fields that do not go together."""
    data, optim, train = run.data, run.optim, run.train
    image = make_model_config(run, vocab_size=2).image
    if isinstance(image, ViTConfig) and data.patch_sizes:
        if image.positions != "none":
            raise TrainError(
                "config.data.patch_sizes needs config.model.image.positions 'none': a learned "
                "position belongs to one size"
            )
        if any(size % image.token_size for size in data.patch_sizes):
            raise TrainError(
                f"config.data.patch_sizes is {data.patch_sizes}; each must be a multiple of "
                f"config.model.image.token_size, {image.token_size}"
            )
    if train.batch_size % data.patches_per_photo:
        raise TrainError(
            f"config.train.batch_size is {train.batch_size}; it must be a multiple of "
            "data.texts_per_photo x data.patches_per_text"
        )
    if train.image_weight and data.patches_per_text < 2:
        raise TrainError(
            f"config.train.image_weight is {train.image_weight}; it must be 0 unless "
            "data.patches_per_text is at least 2"
        )
    if train.loss == "sigmoid" and not run.model.get("init_bias"):
        raise TrainError("config.train.loss 'sigmoid' needs config.model.init_bias, such as -10.0")
    if optim.schedule == "wsd" and optim.warmup_steps >= optim.decay_start(train.num_steps):
        raise TrainError(
            f"config.optim.warmup_steps is {optim.warmup_steps}, and the learning rate decays from "
            f"step {optim.decay_start(train.num_steps)} on (config.optim.decay_fraction of "
            "config.train.num_steps); choose fewer steps of warm-up or a longer run"
        )
