"""What a training config must satisfy, and whose a work folder is: all that is checked first."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from exif_jax.data.dataset import patches_per_photo
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.models import dual_encoder
from exif_jax.models.config import ModelConfigError, config_from_dict
from exif_jax.models.parameters import flatten_params
from exif_jax.models.resnet import ResNetConfig
from exif_jax.training import sharding
from exif_jax.training.optimizer import DECAYS, make_optimizer
from exif_jax.training.train_state import StepConfig

LOSSES = ("infonce", "sigmoid")


class TrainError(ExifJaxError):
    """The run cannot start or go on; the message says why and what to do."""


def make_model_config(config: ConfigDict, vocab_size: int) -> dual_encoder.DualEncoderConfig:
    """The model's configuration; the tokenizer decides how many pieces there are."""
    fields = config.model.to_dict()
    fields["text"]["vocab_size"] = vocab_size
    try:
        return config_from_dict(fields)
    except ModelConfigError as e:
        raise TrainError(f"config.model: {e}") from e


def make_step_config(
    config: ConfigDict, model_config: dual_encoder.DualEncoderConfig, mesh: Mesh
) -> StepConfig:
    """What the training step is made of; raises TrainError or MeshError where it cannot be."""
    c = config.train
    shapes = flatten_params(dual_encoder.param_shapes(model_config))
    for part in config.optim.frozen:
        if not any(name == part or name.startswith(f"{part}/") for name in shapes):
            raise TrainError(
                f"config.optim.frozen names {part!r}, and the model has no such parameters; it has "
                f"{', '.join(sorted({name.split('/')[0] for name in shapes}))}"
            )
    if c.loss == "sigmoid" and not model_config.init_bias:
        raise TrainError("config.train.loss 'sigmoid' needs config.model.init_bias, such as -10.0")
    if c.micro_batch:
        if isinstance(model_config.image, ResNetConfig):
            raise TrainError(
                "config.train.micro_batch does not work with a ResNet: its batch norms need the "
                "whole batch at once; use more devices or a ViT"
            )
        if c.batch_size % c.micro_batch:
            raise TrainError(
                f"config.train.batch_size {c.batch_size} is not a multiple of "
                f"config.train.micro_batch {c.micro_batch}"
            )
        sharding.check_batch(mesh, c.micro_batch // config.data.patches_per_text)
    return StepConfig(
        model=model_config,
        tx=make_optimizer(config.optim, c.num_steps),
        mesh=mesh,
        dtype=c.dtype,
        loss=c.loss,
        image_weight=c.image_weight,
        same_photo_negatives=c.same_photo_negatives,
        loss_chunk=c.loss_chunk,
        micro_batch=c.micro_batch,
        ema=c.ema,
        frozen=tuple(config.optim.frozen),
    )


def check_config(config: ConfigDict) -> None:
    """Raises TrainError for values that no run can use."""
    positive = {
        "train.batch_size": config.train.batch_size,
        "train.num_steps": config.train.num_steps,
        "train.log_every": config.train.log_every,
        "train.eval_every": config.train.eval_every,
        "train.save_every": config.train.save_every,
        "train.max_skipped": config.train.max_skipped,
        "optim.lr": config.optim.lr,
        "data.texts_per_photo": config.data.texts_per_photo,
        "data.patches_per_text": config.data.patches_per_text,
        "data.cache_regions": config.data.cache_regions,
    }
    shares = {
        "data.rescale_prob": config.data.rescale_prob,
        "data.recompress_prob": config.data.recompress_prob,
        "data.shift_prob": config.data.shift_prob,
        "data.save_prob": config.data.save_prob,
        "data.shrink_prob": config.data.shrink_prob,
        "data.noise_prob": config.data.noise_prob,
        "data.filter_prob": config.data.filter_prob,
        "data.contrast_prob": config.data.contrast_prob,
        "data.max_corrupt_fraction": config.data.max_corrupt_fraction,
        "data.keep_tag_prob": config.data.keep_tag_prob,
        "train.ema": config.train.ema,
        "optim.layerwise_lr_decay": config.optim.layerwise_lr_decay,
    }
    choices = {
        "train.dtype": (config.train.dtype, ("float32", "bfloat16")),
        "train.loss": (config.train.loss, LOSSES),
        "optim.decay": (config.optim.decay, DECAYS),
    }
    at_least_0 = {
        "train.loss_chunk": config.train.loss_chunk,
        "train.micro_batch": config.train.micro_batch,
        "optim.clip_norm": config.optim.clip_norm,
        "optim.weight_decay": config.optim.weight_decay,
    }
    for name, value in positive.items():
        if not value > 0:
            raise TrainError(f"config.{name} is {value}; it must be positive")
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise TrainError(f"config.{name} is {value}; it is a share, 0 to 1")
    for name, (value, known) in choices.items():
        if value not in known:
            raise TrainError(f"config.{name} is {value!r}; it must be {' or '.join(known)}")
    for name, value in at_least_0.items():
        if value < 0:
            raise TrainError(f"config.{name} is {value}; it must be 0 or more")
    if config.train.batch_size % patches_per_photo(config.data):
        raise TrainError(
            f"config.train.batch_size is {config.train.batch_size}; it must be a multiple of "
            "data.texts_per_photo x data.patches_per_text"
        )
    if config.train.image_weight < 0 or (
        config.train.image_weight > 0 and config.data.patches_per_text < 2
    ):
        raise TrainError(
            f"config.train.image_weight is {config.train.image_weight}; it must be 0, or positive "
            "with data.patches_per_text of at least 2"
        )


def prepare_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Makes the folder and records the config; refuses a folder that another run began.

    Raises:
        TrainError: it cannot be written, or holds a run with another model, data or optimiser.
    """
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        before = json.loads(path.read_text()) if path.exists() else None
        now = json.loads(json.dumps(config.to_dict()))  # tuples become lists, as in the file
        changed = _changed_groups(before, now) if before else []
        if changed:
            raise TrainError(
                f"{workdir}: holds a run with other settings ({', '.join(changed)}); choose "
                "another --workdir, or give the same settings to go on with that run"
            )
        write_bytes(path, json.dumps(config.to_dict(), indent=1).encode())
    except (OSError, ValueError) as e:
        raise TrainError(f"{workdir}: cannot use this work folder: {e}") from e


def _changed_groups(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of fields that decide the loss curve and differ; how often to log or save may.

    A field that one side lacks, as runs of older versions do, is the same as one that is off.
    """
    free = {"log_every", "eval_every", "save_every", "keep_checkpoints", "profile_steps"}
    free |= {"records", "reader", "cache_regions", "max_corrupt_fraction", "wandb_project"}
    return [
        f"{group}.{name}"
        for group in ("data", "model", "optim", "train")
        for name in sorted(before.get(group, {}).keys() | now[group].keys())
        if name not in free
        and (before.get(group, {}).get(name) or None) != (now[group].get(name) or None)
    ]
