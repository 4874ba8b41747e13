"""What training carries from step to step, and the pure functions that move it on."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from exif_jax.losses import (
    image_infonce,
    image_infonce_in_chunks,
    infonce,
    infonce_in_chunks,
)
from exif_jax.models import dual_encoder
from exif_jax.models.dual_encoder import DualEncoderConfig, Params

# CLIP's bound: cosines are never multiplied by more than 100.
MAX_LOG_SCALE = math.log(100.0)


class TrainState(NamedTuple):
    """What goes from step to step.

    Attributes:
        step: int32 scalar, steps done.
        params: float32 nested dict.
        opt_state: the optimiser's own.
        skipped, skipped_in_row: int32 scalars, steps without a finite loss and gradient, which
            changed nothing but these: of all, and since the last that had them.
    """

    step: jax.Array
    params: Params
    opt_state: Any
    skipped: jax.Array
    skipped_in_row: jax.Array


def init(config: DualEncoderConfig, tx: optax.GradientTransformation, key: jax.Array) -> TrainState:
    """A fresh state; pure, so that it can be made sharded under `jax.jit`."""
    params = dual_encoder.init_params(config, key)
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, params, tx.init(params), zero, zero)


def loss_fn(
    config: DualEncoderConfig,
    dtype: str,
    image_weight: float,
    params: Params,
    batch: dict[str, jax.Array],
    chunks: tuple[Mesh, int] | None = None,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], Params]]:
    """The loss of one global batch, what to log of it, and the running statistics after it.

    It is `losses.infonce` and, where `image_weight` is not 0, that times `losses.image_infonce`;
    with `chunks`, a mesh and a number of columns, their forms without the matrix of logits.
    """
    (z_img, z_txt, extras), running = dual_encoder.apply_training(
        config, params, batch["image"], batch["tokens"], batch["token_mask"], dtype
    )
    text_id = batch["text_id"]
    if chunks:
        loss, accuracy = infonce_in_chunks(z_img, z_txt, extras["scale"], text_id, *chunks)
    else:
        loss, accuracy = infonce(z_img, z_txt, extras["scale"], text_id)
    metrics = {"text_loss": loss, "accuracy": accuracy, **extras}
    if image_weight:
        among = functools.partial(image_infonce, z_img, extras["image_scale"], text_id)
        if chunks:
            among = functools.partial(image_infonce_in_chunks, *among.args, *chunks)
        metrics["image_loss"] = among()
        loss = loss + image_weight * metrics["image_loss"]
    return loss, (metrics, running)


def train_step(
    config: DualEncoderConfig,
    tx: optax.GradientTransformation,
    dtype: str,
    image_weight: float,
    state: TrainState,
    batch: dict[str, jax.Array],
    chunks: tuple[Mesh, int] | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimiser step.

    Args:
        config, tx, dtype, image_weight: static; bind them with `functools.partial` before
            `jax.jit`.
        state: the state at step k.
        batch: image uint8 [B, S, S, 3], tokens int32 [G, L], token_mask bool [G, L],
            text_id uint32 [G]; B/G patches to a text, in order.
        chunks: as for `loss_fn`; static.

    Returns:
        The state at step k + 1 and float32 scalars measured on the state at step k.
    """
    objective = functools.partial(loss_fn, config, dtype, image_weight, chunks=chunks)
    (loss, (metrics, running)), grads = jax.value_and_grad(objective, has_aux=True)(
        state.params, batch
    )
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    params = dual_encoder.update_running(params, running)
    for name in ("log_scale", "log_image_scale"):
        params[name] = jnp.clip(params[name], 0.0, MAX_LOG_SCALE)
    grad_norm = optax.tree.norm(grads)
    usable = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    params, opt_state = jax.tree.map(
        lambda new, old: jnp.where(usable, new, old),
        (params, opt_state),
        (state.params, state.opt_state),
    )
    skipped = state.skipped + ~usable
    in_row = jnp.where(usable, 0, state.skipped_in_row + 1)
    metrics |= {"loss": loss, "grad_norm": grad_norm, "param_norm": optax.tree.norm(state.params)}
    metrics |= {"skipped": skipped, "skipped_in_row": in_row}
    return TrainState(state.step + 1, params, opt_state, skipped, in_row), metrics
