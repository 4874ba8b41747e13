"""What a training step is made of, from the configuration of a run."""

from __future__ import annotations

from typing import NamedTuple

import optax
from jax.sharding import Mesh

from exif_jax.models import dual_encoder
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.parameters import flatten_params
from exif_jax.models.resnet import ResNetConfig
from exif_jax.training import sharding
from exif_jax.training.config import Config, TrainError
from exif_jax.training.optimizer import make_optimizer


class StepConfig(NamedTuple):
    """What a training step is made of; all of it is static under `jax.jit`.

    Attributes:
        model: the shapes.
        tx: the optimiser.
        mesh: the devices; needed by `loss_chunk` and `micro_batch`.
        dtype: of matrix products.
        loss: "infonce" or "sigmoid".
        image_weight: of the loss among patches, beside that of patches and texts.
        same_photo_negatives: other texts of a patch's photo are wrong for it, not left out.
        loss_chunk: columns of logits at a time; 0: all at once.
        micro_batch: patches that are encoded at a time, over all devices; 0: the whole batch.
        ema: fraction of the old average that stays at each step; 0: no average.
        frozen: paths in the tree of parameters ("text", "image/embed") that do not move.
        noise_seed: decides the noise of patches that are augmented in the step.
        patch_size: side of the patches that the step makes on the device; 0: the model's.
        square: side of the squares that it cuts out of regions for them (data.device_cache).
    """

    model: DualEncoderConfig
    tx: optax.GradientTransformation
    mesh: Mesh | None = None
    dtype: str = "float32"
    loss: str = "infonce"
    image_weight: float = 0.0
    same_photo_negatives: bool = True
    loss_chunk: int = 0
    micro_batch: int = 0
    ema: float = 0.0
    frozen: tuple[str, ...] = ()
    noise_seed: int = 0
    patch_size: int = 0
    square: int = 0


def make_step_config(config: Config, model: DualEncoderConfig, mesh: Mesh) -> StepConfig:
    """What the steps of a run are made of, but for the sizes of patches made on the device.

    Raises:
        TrainError: the config names frozen parts that the model lacks, or does not fit the model.
        sharding.MeshError: the pieces of a batch do not divide over the devices.
    """
    train = config.train
    names = flatten_params(dual_encoder.param_shapes(model))
    for part in config.optim.frozen:
        if not any(name == part or name.startswith(f"{part}/") for name in names):
            raise TrainError(
                f"config.optim.frozen names {part!r}, and the model has no such parameters; it has "
                f"{', '.join(sorted({name.split('/')[0] for name in names}))}"
            )
    if train.micro_batch:
        if isinstance(model.image, ResNetConfig):
            raise TrainError(
                "config.train.micro_batch does not work with a ResNet: its batch norms need the "
                "whole batch at once; use more devices or a ViT"
            )
        sharding.check_batch(mesh, train.micro_batch // config.data.patches_per_text)
    return StepConfig(
        model=model,
        tx=make_optimizer(config.optim, train.num_steps),
        mesh=mesh,
        dtype=train.dtype,
        loss=train.loss,
        image_weight=train.image_weight,
        same_photo_negatives=train.same_photo_negatives,
        loss_chunk=train.loss_chunk,
        micro_batch=train.micro_batch,
        ema=train.ema,
        frozen=config.optim.frozen,
        noise_seed=config.data.seed,
    )
