"""The optimiser: Adam or AdamW with warm-up and cosine decay."""

from __future__ import annotations

import functools
import re

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

DECAYS = ("decoupled", "l2")


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
    """Gradient clipping by global norm, then AdamW (Loshchilov and Hutter 2019), or Adam.

    Only matrices decay: biases, norms, positions and the temperature do not, nor what is frozen.
    Biases and norms of a stack of blocks carry a leading axis, so they are told by name and not by
    rank. With `decay` "l2" all that moves decays, in the gradient, as in PyTorch's Adam.

    Args:
        config: configs/vit_b.py explains the fields.
        num_steps: of the whole run.
    """
    decays = functools.partial(weight_decay_mask, frozen=config.frozen)
    adam = {"b1": config.b1, "b2": config.b2, "eps": config.eps}
    schedule = learning_rate(config, num_steps)
    steps = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.decay == "l2":
        moves = functools.partial(trainable_mask, frozen=config.frozen)
        steps += [optax.add_decayed_weights(config.weight_decay, moves)]
        steps += [optax.adam(schedule, **adam)]
    else:
        steps += [optax.adamw(schedule, **adam, weight_decay=config.weight_decay, mask=decays)]
    if config.layerwise_lr_decay != 1.0:
        steps += [optax.stateless(functools.partial(layerwise_lr_decay, config.layerwise_lr_decay))]
    return optax.chain(*steps)


def weight_decay_mask(params, frozen: tuple[str, ...] = ()):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key in ("kernel", "embedding") and not is_frozen(path, frozen),
        params,
    )


def trainable_mask(params, frozen: tuple[str, ...]):
    return jax.tree_util.tree_map_with_path(lambda path, _: not is_frozen(path, frozen), params)


def layerwise_lr_decay(decay: float, updates, params=None):
    """Updates times `decay` for every layer that lies above a parameter in its encoder.

    Of a transformer of N blocks the last one and what follows it move at full rate, the first by
    decay ** (N - 1), embeddings and positions by decay ** N (as in BEiT, Bao et al. 2022). Of a
    ResNet the stages count as blocks, and the stem lies below them.
    """
    del params
    depths = {tower: _depth(updates[tower]) for tower in ("image", "text")}

    def rate(path, update):
        names = [key.key for key in path]
        depth = depths.get(names[0])
        stage = re.match(r"stage(\d+)_", names[1]) if depth else None
        if depth is None or names[1:3] == ["stack", "norm"] or names[1] == "fc":
            return update
        if stage:
            return update * decay ** (depth - 1 - int(stage[1]))
        if "blocks" in names:  # stacked along the first axis
            above = np.arange(depth - 1, -1, -1, dtype=np.float32)
            return update * (decay**above).reshape(-1, *[1] * (update.ndim - 1))
        return update * decay**depth

    return jax.tree_util.tree_map_with_path(rate, updates)


def _depth(encoder) -> int:
    """Its transformer blocks, or the stages of a ResNet."""
    blocks = encoder.get("stack", encoder).get("blocks")
    if blocks is not None:
        return len(jax.tree.leaves(blocks)[0])
    return 1 + max(int(found[1]) for name in encoder if (found := re.match(r"stage(\d+)_", name)))


def is_frozen(path, frozen: tuple[str, ...]) -> bool:
    """Whether a leaf's path (of `jax.tree_util`) lies in one of the frozen ones."""
    name = "/".join(key.key for key in path)
    return any(name == part or name.startswith(part + "/") for part in frozen)
