"""What training carries from step to step, and the pure functions that move it on."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from exif_jax.models import dual_encoder
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.models.parameters import Params, update_batch_stats
from exif_jax.training import losses
from exif_jax.training.optimizer import is_frozen
from exif_jax.training.sharding import batch_sharding, replicated, state_shardings

# CLIP's bound: cosines are never multiplied by more than 100.
MAX_LOG_SCALE = math.log(100.0)


class TrainState(NamedTuple):
    """What goes from step to step.

    Attributes:
        step: int32 scalar, steps done.
        params: float32 nested dict.
        opt_state: the optimiser's own.
        ema: a moving average of the parameters; {} where the recipe has none.
        skipped, skipped_in_row: int32 scalars, steps without a finite loss and gradient, which
            changed nothing but these: of all, and since the last that had them.
    """

    step: jax.Array
    params: Params
    opt_state: Any
    ema: Params
    skipped: jax.Array
    skipped_in_row: jax.Array


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
        ema: share of the old average that stays at each step; 0: no average.
        frozen: paths in the tree of parameters ("text", "image/embed") that do not move.
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


def init_state(recipe: StepConfig, key: jax.Array) -> TrainState:
    """A fresh state; pure, so that it can be made sharded under `jax.jit`."""
    return state_from_params(recipe, dual_encoder.init_params(recipe.model, key))


def state_from_params(recipe: StepConfig, params: Params) -> TrainState:
    """The state of step 0 with these parameters."""
    # Numbers of their own: a step donates each buffer.
    step, skipped, in_row = (jnp.zeros((), jnp.int32) for _ in range(3))
    ema = jax.tree.map(jnp.copy, params) if recipe.ema else {}
    return TrainState(step, params, recipe.tx.init(params), ema, skipped, in_row)


def train_step(
    recipe: StepConfig, state: TrainState, batch: dict[str, jax.Array]
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimiser step.

    Args:
        recipe: static; bind it with `functools.partial` before `jax.jit`.
        state: the state at step k.
        batch: image uint8 [B, S, S, 3], tokens int32 [G, L], token_mask bool [G, L], text_id and
            photo_id uint32 [G]; B/G patches to a text, in order.

    Returns:
        The state at step k + 1 and float32 scalars measured on the state at step k.
    """
    gradient = grad_cache_gradient if recipe.micro_batch else full_batch_gradient
    loss, metrics, grads, running = gradient(recipe, state.params, batch)
    updates, opt_state = recipe.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    params = update_batch_stats(params, running)
    for name in ("log_scale", "log_image_scale"):
        params[name] = jnp.clip(params[name], 0.0, MAX_LOG_SCALE)
    grad_norm = optax.tree.norm(grads)
    usable = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    ema = update_ema(recipe.ema, state.step, state.ema, params)
    params, opt_state, ema = jax.tree.map(
        lambda new, old: jnp.where(usable, new, old),
        (params, opt_state, ema),
        (state.params, state.opt_state, state.ema),
    )
    skipped = state.skipped + ~usable
    in_row = jnp.where(usable, 0, state.skipped_in_row + 1)
    metrics |= {"loss": loss, "grad_norm": grad_norm, "param_norm": optax.tree.norm(state.params)}
    metrics |= {"skipped": skipped, "skipped_in_row": in_row}
    return TrainState(state.step + 1, params, opt_state, ema, skipped, in_row), metrics


def jit_step(recipe: StepConfig, mesh: Mesh, places: TrainState):
    """`train_step` under `jax.jit` on a mesh; the state it is given is donated.

    Args:
        recipe: static.
        mesh: the devices.
        places: shardings of the state, as `sharding.state_shardings` gives them.
    """
    return jax.jit(
        functools.partial(train_step, recipe),
        in_shardings=(places, batch_sharding(mesh)),
        out_shardings=(places, replicated(mesh)),
        donate_argnums=0,
    )


def update_ema(decay: float, step: jax.Array, ema: Params, params: Params) -> Params:
    """The moving average after a step; the first steps count more, so that it forgets the start.

    The share that stays is min(decay, (1 + step) / (10 + step)).
    """
    stays = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, x: stays * a + (1.0 - stays) * x, ema, params) if ema else ema


# --- the loss of embeddings, and its gradient -----------------------------------------------------


def loss_and_metrics(
    recipe: StepConfig,
    scales: dict[str, jax.Array],
    z_img: jax.Array,
    z_txt: jax.Array,
    batch: dict[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a global batch's embeddings and what to log of it.

    Args:
        recipe: which losses.
        scales: what `dual_encoder.scales` gives.
        z_img, z_txt: float32 [B, D] and [G, D], unit rows.
        batch: text_id and photo_id, uint32 [G].
    """
    ids = batch["text_id"], None if recipe.same_photo_negatives else batch["photo_id"]
    weight = recipe.image_weight
    among = jnp.zeros(())
    if recipe.loss_chunk:
        assert recipe.mesh is not None
        how = recipe.mesh, recipe.loss_chunk, recipe.loss, weight > 0
        loss, accuracy, among = losses.chunked_infonce(z_img, z_txt, scales, *ids, *how)
    else:
        if recipe.loss == "sigmoid":
            loss, accuracy = losses.sigmoid(z_img, z_txt, scales["scale"], scales["bias"], *ids)
        else:
            loss, accuracy = losses.infonce(z_img, z_txt, scales["scale"], *ids)
        if weight:
            among = losses.image_infonce(z_img, scales["image_scale"], *ids)
    metrics = {"text_loss": loss, "accuracy": accuracy, **scales}
    if weight:
        metrics["image_loss"] = among
    return loss + weight * among, metrics


def gather_parameters(recipe: StepConfig, params: Params) -> Params:
    """The parameters as the encoders use them: whole on every device, matrices in `recipe.dtype`.

    Said outright, since the compiler left alone would rather gather activations, which are larger.
    Their gradient comes back as the parameters lie: summed and split in one go.
    """
    if recipe.mesh is None or recipe.mesh.shape["fsdp"] == 1:
        return params
    mesh, whole = recipe.mesh, replicated(recipe.mesh)

    def gather(path, x, place):
        travels = jnp.dtype(recipe.dtype) if path[-1].key in ("kernel", "embedding") else x.dtype

        @jax.custom_vjp
        def gathered(x):
            x = jax.lax.with_sharding_constraint(x.astype(travels), place)
            return jax.lax.with_sharding_constraint(x, whole)

        def back(_, g):
            return (jax.lax.with_sharding_constraint(g.astype(x.dtype), place),)

        gathered.defvjp(lambda x: (gathered(x), None), back)
        return gathered(x)

    return jax.tree_util.tree_map_with_path(gather, params, state_shardings(mesh, params))


def full_batch_gradient(recipe: StepConfig, params: Params, batch: dict[str, jax.Array]):
    """Loss, metrics, gradient and running statistics, all activations kept at once."""

    def loss_fn(params):
        (z_img, z_txt, scales), running = dual_encoder.apply_training(
            recipe.model,
            gather_parameters(recipe, _without_gradient(params, recipe.frozen)),
            batch["image"],
            batch["tokens"],
            batch["token_mask"],
            recipe.dtype,
        )
        loss, metrics = loss_and_metrics(recipe, scales, z_img, z_txt, batch)
        return loss, (metrics, running)

    (loss, (metrics, running)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    return loss, metrics, grads, running


def grad_cache_gradient(recipe: StepConfig, params: Params, batch: dict[str, jax.Array]):
    """The same by gradient caching (Gao et al. 2021, https://arxiv.org/abs/2101.06983).

    The batch is encoded piece by piece without keeping activations; the loss of all embeddings
    gives the gradient in each; then each piece is encoded again, and its gradient carried back.
    Every patch meets every text of the whole batch, at one more forward pass. It needs an encoder
    without batch norms: theirs would be the statistics of a piece.
    """
    pieces = len(batch["image"]) // recipe.micro_batch
    mesh = recipe.mesh
    names = ("image", "tokens", "token_mask")
    cut = {name: split_rows(batch[name], pieces, mesh) for name in names}

    def encode(params, piece):
        z_img, z_txt, _ = dual_encoder.apply(
            recipe.model,
            gather_parameters(recipe, _without_gradient(params, recipe.frozen)),
            piece["image"],
            piece["tokens"],
            piece["token_mask"],
            recipe.dtype,
        )
        return z_img, z_txt

    scalars = {name: params[name] for name in dual_encoder.SCALARS if name in params}
    z = jax.lax.map(functools.partial(encode, params), cut)
    z_img, z_txt = (join_rows(x, mesh) for x in z)

    def loss_fn(scalars, z_img, z_txt):
        scales = dual_encoder.scales(_without_gradient(scalars, recipe.frozen))
        return loss_and_metrics(recipe, scales, z_img, z_txt, batch)

    (loss, metrics), (d_scalars, *d_z) = jax.value_and_grad(loss_fn, (0, 1, 2), has_aux=True)(
        scalars, z_img, z_txt
    )
    d_cut = tuple(split_rows(x, pieces, mesh) for x in d_z)

    def carry_back(total, piece_and_gradient):
        piece, gradient = piece_and_gradient
        _, back = jax.vjp(lambda p: encode(p, piece), params)
        return jax.tree.map(jnp.add, total, back(gradient)[0]), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    grads, _ = jax.lax.scan(carry_back, zeros, (cut, d_cut))
    return loss, metrics, grads | d_scalars, {}


def split_rows(x: jax.Array, pieces: int, mesh: Mesh | None) -> jax.Array:
    """[B, ...] to [pieces, B / pieces, ...] such that every device keeps the rows it has."""
    shards = mesh.size if mesh else 1
    x = x.reshape(shards, pieces, -1, *x.shape[1:]).swapaxes(0, 1)
    x = x.reshape(pieces, -1, *x.shape[3:])
    return _on_mesh(x, mesh, P(None, mesh.axis_names)) if mesh else x


def join_rows(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Undoes `split_rows`."""
    shards = mesh.size if mesh else 1
    x = x.reshape(len(x), shards, -1, *x.shape[2:]).swapaxes(0, 1)
    x = x.reshape(-1, *x.shape[3:])
    return _on_mesh(x, mesh, P(mesh.axis_names)) if mesh else x


def _on_mesh(x: jax.Array, mesh: Mesh, spec: P) -> jax.Array:
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))


def _without_gradient(params: Params, frozen: tuple[str, ...]) -> Params:
    """The parameters, of which no gradient reaches the frozen ones."""
    if not frozen:
        return params
    return jax.tree_util.tree_map_with_path(
        lambda path, x: jax.lax.stop_gradient(x) if is_frozen(path, frozen) else x, params
    )
