"""The optimiser: Adam or AdamW, with warm-up and one of two ways down from the peak rate."""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import numpy as np
import optax

from exif_jax.training.config import OptimizerConfig

Path = tuple[Any, ...]  # of a leaf, as `jax.tree_util` gives it


def learning_rate(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """The learning rate as a function of the step: a linear warm-up to `lr`, then down to `end_lr`.

    "cosine" falls from the end of the warm-up on, so that every step depends on `num_steps`.
    "wsd" (warmup-stable-decay, Hu et al. 2024, https://arxiv.org/abs/2404.06395) stays at `lr` and
    falls linearly over the last `decay_fraction` of the steps, so that a run can be made longer.
    """
    if config.schedule == "wsd":
        decay_start = config.decay_start(num_steps)
        return optax.join_schedules(
            [
                optax.linear_schedule(0.0, config.lr, config.warmup_steps),
                optax.constant_schedule(config.lr),
                optax.linear_schedule(config.lr, config.end_lr, num_steps - decay_start),
            ],
            boundaries=[config.warmup_steps, decay_start],
        )
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.lr,
        warmup_steps=min(config.warmup_steps, num_steps - 1),
        decay_steps=num_steps,
        end_value=config.end_lr,
    )


def make_optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Gradient clipping by global norm, then AdamW (Loshchilov and Hutter 2019), or Adam.

    Only matrices decay: biases, norms, positions and the temperature do not. With
    `weight_decay_type` "l2" everything decays, in the gradient, as in PyTorch's Adam. What is
    frozen takes no part in any of it and has no moments.

    Args:
        config: configs/vit_b.py explains the fields.
        num_steps: of the whole run.
    """
    schedule = learning_rate(config, num_steps)
    steps = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.weight_decay_type == "l2":
        steps += [
            optax.add_decayed_weights(config.weight_decay),
            optax.adam(schedule, b1=config.b1, b2=config.b2, eps=config.eps),
        ]
    else:
        steps += [
            optax.adamw(
                schedule,
                b1=config.b1,
                b2=config.b2,
                eps=config.eps,
                weight_decay=config.weight_decay,
                mask=weight_decay_mask,
            )
        ]
    optimizer = optax.chain(*steps)
    if config.frozen:
        optimizer = optax.partition(
            {"trainable": optimizer, "frozen": optax.set_to_zero()},
            functools.partial(_trainable_or_frozen, frozen=config.frozen),
        )
    if config.layerwise_lr_decay != 1.0:
        slower = functools.partial(layerwise_lr_decay, config.layerwise_lr_decay)
        optimizer = optax.chain(optimizer, optax.stateless(slower))
    return optimizer


def weight_decay_mask(params: Any) -> Any:
    """A tree of booleans: True for matrices.

    Biases and norms of a stack of blocks carry a leading axis, so that names tell matrices from
    them and ranks do not.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path_name(path).rpartition("/")[2] in ("kernel", "embedding"), params
    )


def trainable_mask(params: Any, frozen: tuple[str, ...]) -> Any:
    """A tree of booleans: False for what is frozen."""
    return jax.tree_util.tree_map_with_path(lambda path, _: not is_frozen(path, frozen), params)


def _trainable_or_frozen(params: Any, frozen: tuple[str, ...]) -> Any:
    """A tree of the labels that `optax.partition` takes."""
    mask = trainable_mask(params, frozen)
    return jax.tree.map(lambda trains: "trainable" if trains else "frozen", mask)


def layerwise_lr_decay(decay: float, updates: Any, params: Any = None) -> Any:
    """Updates times `decay` for every layer that lies above a parameter in its encoder.

    Of a transformer of N blocks the last one and what follows it move at full rate, the first by
    decay ** (N - 1), embeddings and positions by decay ** N (as in BEiT, Bao et al. 2022). Of a
    ResNet the stages count as blocks, and the stem lies below them.
    """
    del params
    depths = {tower: _depth(updates[tower]) for tower in ("image", "text")}
    return jax.tree_util.tree_map_with_path(
        lambda path, update: _slower(path_name(path).split("/"), update, decay, depths), updates
    )


def _slower(names: list[str], update: jax.Array, decay: float, depths: dict[str, int]) -> jax.Array:
    """One parameter's update; `names` leads to it from the root of the tree."""
    if names[0] not in depths or names[1:3] == ["stack", "norm"] or names[1] == "fc":
        return update
    depth = depths[names[0]]
    stage = re.match(r"stage(\d+)_", names[1])
    if stage:
        return update * decay ** (depth - 1 - int(stage[1]))
    if "blocks" in names:  # stacked along the first axis
        above = np.arange(depth - 1, -1, -1, dtype=np.float32)
        return update * (decay**above).reshape(-1, *[1] * (update.ndim - 1))
    return update * decay**depth


def _depth(encoder: dict[str, Any]) -> int:
    """Its transformer blocks, or the stages of a ResNet."""
    blocks = encoder.get("stack", encoder).get("blocks")
    if blocks is not None:
        return len(jax.tree.leaves(blocks)[0])
    stages = [re.match(r"stage(\d+)_", name) for name in encoder]
    return 1 + max(int(stage[1]) for stage in stages if stage)


def is_frozen(path: Path, frozen: tuple[str, ...]) -> bool:
    """Whether a leaf lies in one of the frozen parts, as "image/embed" in ("image",)."""
    name = path_name(path)
    return any(name == part or name.startswith(part + "/") for part in frozen)


def path_name(path: Path) -> str:
    """A leaf's path as text, like "image/stack/norm/scale"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
