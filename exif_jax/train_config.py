"""What a training config must satisfy, and whose a work folder is: all that is checked first."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from exif_jax import release
from exif_jax.atomic import write_bytes
from exif_jax.data import patches_per_photo
from exif_jax.models import dual_encoder


class TrainError(Exception):
    """The run cannot start or go on; the message says why and what to do."""


def make_model_config(config: ConfigDict, vocab_size: int) -> dual_encoder.DualEncoderConfig:
    """The model's configuration; the tokenizer decides how many pieces there are."""
    fields = config.model.to_dict()
    fields["text"]["vocab_size"] = vocab_size
    try:
        return release.make_config(fields)
    except (TypeError, ValueError, KeyError) as e:
        raise TrainError(f"config.model: {e}") from e


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
        "data.rescale": config.data.rescale,
        "data.recompress": config.data.recompress,
        "data.shift": config.data.shift,
        "data.save": config.data.save,
        "data.denoise": config.data.denoise,
        "data.corrupt_share": config.data.corrupt_share,
        "data.keep_tag": config.data.keep_tag,
    }
    for name, value in positive.items():
        if not value > 0:
            raise TrainError(f"config.{name} is {value}; it must be positive")
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise TrainError(f"config.{name} is {value}; it is a probability, 0 to 1")
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
    if config.train.loss_chunk < 0:
        raise TrainError(f"config.train.loss_chunk is {config.train.loss_chunk}; 0 or more")
    if config.train.dtype not in ("float32", "bfloat16"):
        raise TrainError(f"config.train.dtype is {config.train.dtype!r}: float32 or bfloat16")


def prepare_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Makes the folder and records the config; refuses a folder that another run began.

    Raises:
        TrainError: it cannot be written, or holds a run with another model, data or optimiser.
    """
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        before = json.loads(path.read_text()) if path.exists() else None
        changed = _changed_groups(before, config.to_dict()) if before else []
        if changed:
            raise TrainError(
                f"{workdir}: holds a run with other settings ({', '.join(changed)}); choose "
                "another --workdir, or give the same settings to go on with that run"
            )
        write_bytes(path, json.dumps(config.to_dict(), indent=1).encode())
    except (OSError, ValueError) as e:
        raise TrainError(f"{workdir}: cannot use this work folder: {e}") from e


def _changed_groups(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of fields that decide the loss curve and differ; how often to log or save may."""
    free = {"log_every", "eval_every", "save_every", "keep_checkpoints", "profile_steps"}
    free |= {"records", "reader", "cache_regions", "corrupt_share"}
    return [
        f"{group}.{name}"
        for group in ("data", "model", "optim", "train")
        for name in sorted(before.get(group, {}).keys() | now[group].keys())
        if name not in free and before.get(group, {}).get(name) != now[group].get(name)
    ]
