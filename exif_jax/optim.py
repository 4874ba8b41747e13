"""The optimiser: AdamW with warm-up and cosine decay."""

from __future__ import annotations

import jax
import optax
from ml_collections import ConfigDict


def learning_rate(config: ConfigDict, num_steps: int) -> optax.Schedule:
    """Linear warm-up over `warmup_steps` to `lr`, then a cosine down to `end_lr` at `num_steps`."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.lr,
        warmup_steps=min(config.warmup_steps, num_steps - 1),
        decay_steps=num_steps,
        end_value=config.end_lr,
    )


def make_optimizer(config: ConfigDict, num_steps: int) -> optax.GradientTransformation:
    """Gradient clipping by global norm, then AdamW (Loshchilov and Hutter 2019).

    Only matrices decay: biases, norms, positions and the temperature do not. Biases and norms of
    a stack of blocks carry a leading axis, so they are told by name and not by rank.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate(config, num_steps),
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
            mask=_decays,
        ),
    )


def _decays(params):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key in ("kernel", "embedding"), params
    )
