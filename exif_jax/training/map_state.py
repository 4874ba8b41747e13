"""The learned map's training state, its step and its validation: pure functions of arrays."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from exif_jax.data.composites import Composite
from exif_jax.evaluation.detection_metrics import detection_metrics
from exif_jax.evaluation.splice_metrics import average_precision
from exif_jax.forensics.learned_map import picture_score
from exif_jax.models.parameters import (
    Params,
    flatten_params,
    shape_mismatch,
    unflatten_params,
)
from exif_jax.models.tampering_map import (
    TamperingMapConfig,
    init_map_params,
    map_logits,
)
from exif_jax.training.map_config import MapConfig
from exif_jax.training.optimizer import make_optimizer
from exif_jax.training.sharding import batch_sharding, replicated
from exif_jax.training.train_state import TrainState, fresh_state, next_state, update_ema

PRISTINE = "pristine"


def init_map_state(config: MapConfig, key: jax.Array) -> TrainState:
    """A fresh state; pure, so that it can be made sharded under `jax.jit`."""
    return map_state_from_params(config, init_map_params(config.model, key))


def map_state_from_params(config: MapConfig, params: Params) -> TrainState:
    """The state of step 0 with these parameters."""
    tx = make_optimizer(config.optim, config.train.num_steps)
    return fresh_state(tx, params, config.train.ema)


def grown_map_params(config: TamperingMapConfig, given: Params, key: jax.Array) -> Params:
    """A network's parameters from those of one with fewer blocks.

    Blocks that the smaller one lacks are fresh but for their last product, which is 0: the network
    says what the smaller one says, until it learns.

    Args:
        config: of the network.
        given: of one of the same widths.
        key: of the fresh parameters.

    Raises:
        ValueError: it differs from the network in more than residual blocks that it lacks.
    """
    flat, fresh = flatten_params(given), flatten_params(init_map_params(config, key))
    lacking = {name.split("/")[0] for name in fresh.keys() - flat.keys()}
    for name, x in fresh.items():
        block, *last = name.split("/")
        if block in lacking:
            flat[name] = jnp.zeros_like(x) if last == ["down", "kernel"] else x
    mismatch = shape_mismatch(fresh, flat)
    unchanged = sorted(b for b in lacking if f"{b}/down/kernel" not in fresh)
    if mismatch or unchanged:
        raise ValueError(mismatch or f"it lacks {', '.join(unchanged)}")
    return unflatten_params(flat)


def map_loss(config: TamperingMapConfig, params: Params, batch: dict[str, jax.Array]) -> jax.Array:
    """Mean binary cross-entropy of all blocks against their tampered share.

    Args:
        config: of the network.
        params: its parameters.
        batch: picture uint8 [B, H, W, 3], tampered float32 [B, H / 8, W / 8].
    """
    logits = map_logits(config, params, batch["picture"])
    return optax.sigmoid_binary_cross_entropy(logits, batch["tampered"]).mean()


def map_step(
    config: MapConfig, state: TrainState, batch: dict[str, jax.Array]
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimiser step; where loss or gradient is not finite, it changes nothing but the counts.

    Args:
        config: static; bind it with `functools.partial` before `jax.jit`.
        state: the state at step k.
        batch: as for `map_loss`.

    Returns:
        The state at step k + 1 and float32 scalars measured on the state at step k.
    """
    tx = make_optimizer(config.optim, config.train.num_steps)
    loss, grads = jax.value_and_grad(functools.partial(map_loss, config.model))(state.params, batch)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params: Params = optax.apply_updates(state.params, updates)  # type: ignore[assignment]
    ema = update_ema(config.train.ema, state.step, state.ema, params)
    grad_norm = optax.tree.norm(grads)
    usable = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    after = next_state(state, usable, params, opt_state, ema)
    metrics = {"loss": loss, "grad_norm": grad_norm, "skipped_in_row": after.skipped_in_row}
    return after, metrics


def jit_map_step(config: MapConfig, mesh: Mesh, shardings: TrainState) -> Any:
    """`map_step` under `jax.jit` on a mesh; the state it is given is donated."""
    return jax.jit(
        functools.partial(map_step, config),
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def validate_map(
    config: TamperingMapConfig, params: Params, composites: list[Composite]
) -> dict[str, float]:
    """How well each kind of composite is seen.

    Args:
        config: of the network.
        params: its parameters.
        composites: of all kinds, of one size.

    Returns:
        loss; for each kind but the pristine one ap/KIND, the mean average precision of its blocks,
        and ap, their mean over kinds; auc, of the pictures' scores against pristine ones'; and
        accused, the share of pristine blocks above 0.5.
    """
    logits = np.concatenate(
        [
            np.asarray(_jitted_logits(config)(params, np.stack([c.picture for c in part])))
            for part in _chunks(composites, 8)
        ]
    )
    tampered = np.stack([c.tampered for c in composites])
    loss = optax.sigmoid_binary_cross_entropy(logits, tampered).mean()
    scores = np.array([picture_score(x) for x in logits])
    kinds = np.array([c.kind for c in composites])
    precision: dict[str, list[float]] = {}
    for kind, x, truth in zip(kinds, logits, tampered, strict=True):
        if (truth > 0.5).any():
            precision.setdefault(str(kind), []).append(average_precision(x, truth > 0.5))
    means = {kind: float(np.mean(values)) for kind, values in precision.items()}
    pristine = kinds == PRISTINE
    return {
        "loss": float(loss),
        "ap": float(np.mean(list(means.values()))),
        "auc": detection_metrics(scores[~pristine], scores[pristine])["auc"],
        "accused": float((logits[pristine] > 0).mean()),
        **{f"ap/{kind}": value for kind, value in means.items()},
    }


def _chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[k : k + size] for k in range(0, len(items), size)]


@functools.lru_cache
def _jitted_logits(config: TamperingMapConfig) -> Any:
    return jax.jit(functools.partial(map_logits, config))
