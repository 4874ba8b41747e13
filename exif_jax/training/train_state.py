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

from exif_jax.data.device_augment import augment, sharded_augment
from exif_jax.data.packing import PACKED
from exif_jax.models import dual_encoder
from exif_jax.models.parameters import Params, update_batch_stats
from exif_jax.training import losses
from exif_jax.training.optimizer import is_frozen, path_name
from exif_jax.training.sharding import batch_sharding, replicated, state_shardings
from exif_jax.training.step_config import StepConfig

# CLIP's bound: cosines are never multiplied by more than 100.
MAX_LOG_SCALE = math.log(100.0)


class TrainState(NamedTuple):
    """What goes from step to step.

    Attributes:
        step: int32 scalar, steps done.
        params: float32 nested dict.
        opt_state: the optimiser's own.
        ema: a moving average of the parameters; {} where the config has none.
        skipped, skipped_in_row: int32 scalars, steps without a finite loss and gradient, which
            changed nothing but these: of all, and since the last that had them.
    """

    step: jax.Array
    params: Params
    opt_state: Any
    ema: Params
    skipped: jax.Array
    skipped_in_row: jax.Array


def init_state(config: StepConfig, key: jax.Array) -> TrainState:
    """A fresh state; pure, so that it can be made sharded under `jax.jit`."""
    return state_from_params(config, dual_encoder.init_params(config.model, key))


def state_from_params(config: StepConfig, params: Params) -> TrainState:
    """The state of step 0 with these parameters."""
    return fresh_state(config.tx, params, config.ema)


def fresh_state(tx: optax.GradientTransformation, params: Params, ema: float) -> TrainState:
    """The state of step 0 with these parameters; `ema` is the average's decay, 0 for none."""
    # Numbers of their own: a step donates each buffer.
    step, skipped, in_row = (jnp.zeros((), jnp.int32) for _ in range(3))
    average = jax.tree.map(jnp.copy, params) if ema else {}
    return TrainState(step, params, tx.init(params), average, skipped, in_row)


def next_state(
    state: TrainState, usable: jax.Array, params: Params, opt_state: optax.OptState, ema: Params
) -> TrainState:
    """The state after a step; where the step is not usable, it changes nothing but the counts.

    Args:
        state: the state before it.
        usable: bool scalar, whether loss and gradient were finite.
        params, opt_state, ema: what the step would make of the state's.
    """
    params, opt_state, ema = jax.tree.map(
        lambda new, old: jnp.where(usable, new, old),
        (params, opt_state, ema),
        (state.params, state.opt_state, state.ema),
    )
    in_row = jnp.where(usable, 0, state.skipped_in_row + 1)
    return TrainState(state.step + 1, params, opt_state, ema, state.skipped + ~usable, in_row)


def train_step(
    config: StepConfig,
    state: TrainState,
    batch: dict[str, jax.Array],
    regions: jax.Array | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimiser step.

    Args:
        config: static; bind it with `functools.partial` before `jax.jit`.
        state: the state at step k.
        batch: image uint8 [B, S, S, 3] or the arrays of `packing.pack` that make it, tokens
            int32 [G, L], token_mask bool [G, L], text_id and photo_id uint32 [G]; B/G patches to a
            text, in order.
        regions: uint8 [N, H, W, 3], those of the whole set where the batch says which to cut.

    Returns:
        The state at step k + 1 and float32 scalars measured on the state at step k.
    """
    batch = augmented(config, state.step, batch, regions)
    gradient = grad_cache_gradient if config.micro_batch else full_batch_gradient
    loss, metrics, grads, batch_stats = gradient(config, state.params, batch)
    updates, opt_state = config.tx.update(grads, state.opt_state, state.params)
    params: Params = optax.apply_updates(state.params, updates)  # type: ignore[assignment]
    params = update_batch_stats(params, batch_stats)
    for name in ("log_scale", "log_image_scale"):
        params[name] = jnp.clip(params[name], 0.0, MAX_LOG_SCALE)
    grad_norm = optax.tree.norm(grads)
    usable = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    ema = update_ema(config.ema, state.step, state.ema, params)
    after = next_state(state, usable, params, opt_state, ema)
    metrics |= {"loss": loss, "grad_norm": grad_norm, "param_norm": optax.tree.norm(state.params)}
    metrics |= {"skipped": after.skipped, "skipped_in_row": after.skipped_in_row}
    return after, metrics


def augmented(
    config: StepConfig,
    step: jax.Array,
    batch: dict[str, jax.Array],
    regions: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """A batch with its image, which is made here where the host sent regions in its place."""
    if "image" in batch:
        return batch
    key = jax.random.fold_in(jax.random.key(config.noise_seed), step)
    packed = {name: x for name, x in batch.items() if name in PACKED and name != "region"}
    regions = batch["region"] if regions is None else regions
    size = config.patch_size or config.model.image.image_size
    if config.mesh is None:
        image = augment(regions, packed, key, size, config.square)
    else:
        image = sharded_augment(config.mesh, regions, packed, key, size, config.square)
    return {name: x for name, x in batch.items() if name not in PACKED} | {"image": image}


def jit_step(config: StepConfig, mesh: Mesh, shardings: TrainState):
    """`train_step` under `jax.jit` on a mesh; the state it is given is donated.

    Args:
        config: static.
        mesh: the devices.
        shardings: of the state, as `sharding.state_shardings` gives them.
    """
    return jax.jit(
        functools.partial(train_step, config),
        in_shardings=(shardings, batch_sharding(mesh), replicated(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def update_ema(decay: float, step: jax.Array, ema: Params, params: Params) -> Params:
    """The moving average after a step; the first steps count more, so that it forgets the start.

    The fraction that stays is min(decay, (1 + step) / (10 + step)).
    """
    stays = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, x: stays * a + (1.0 - stays) * x, ema, params) if ema else ema


# --- the loss of embeddings, and its gradient -----------------------------------------------------


def loss_and_metrics(
    config: StepConfig,
    scales: dict[str, jax.Array],
    z_img: jax.Array,
    z_txt: jax.Array,
    batch: dict[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a global batch's embeddings and what to log of it.

    Args:
        config: which losses.
        scales: what `dual_encoder.scales` gives.
        z_img, z_txt: float32 [B, D] and [G, D], unit rows.
        batch: text_id and photo_id, uint32 [G].
    """
    photo_id = None if config.same_photo_negatives else batch["photo_id"]
    ids = {"text_id": batch["text_id"], "photo_id": photo_id}
    weight = config.image_weight
    image_loss = jnp.zeros(())
    if config.loss_chunk:
        assert config.mesh is not None
        loss, accuracy, image_loss = losses.chunked_losses(
            z_img,
            z_txt,
            scales,
            **ids,
            mesh=config.mesh,
            chunk=config.loss_chunk,
            loss=config.loss,
            with_image_loss=weight > 0,
        )
    else:
        if config.loss == "sigmoid":
            loss, accuracy = losses.sigmoid(z_img, z_txt, scales["scale"], scales["bias"], **ids)
        else:
            loss, accuracy = losses.infonce(z_img, z_txt, scales["scale"], **ids)
        if weight:
            image_loss = losses.image_infonce(z_img, scales["image_scale"], **ids)
    metrics = {"text_loss": loss, "accuracy": accuracy, **scales}
    if weight:
        metrics["image_loss"] = image_loss
    return loss + weight * image_loss, metrics


def gather_parameters(config: StepConfig, params: Params) -> Params:
    """The parameters as the encoders use them: whole on every device, matrices in `config.dtype`.

    The constraints are explicit because the compiler left alone would rather gather activations,
    which are larger. Gradients come back as the parameters lie: summed and split in one go.
    """
    if config.mesh is None or config.mesh.shape["fsdp"] == 1:
        return params
    mesh, whole = config.mesh, replicated(config.mesh)

    def gather(path, x, sharding):
        is_matrix = path_name(path).rpartition("/")[2] in ("kernel", "embedding")
        dtype = jnp.dtype(config.dtype) if is_matrix else x.dtype

        @jax.custom_vjp
        def gathered(x):
            x = jax.lax.with_sharding_constraint(x.astype(dtype), sharding)
            return jax.lax.with_sharding_constraint(x, whole)

        def back(_, g):
            return (jax.lax.with_sharding_constraint(g.astype(x.dtype), sharding),)

        gathered.defvjp(lambda x: (gathered(x), None), back)
        return gathered(x)

    return jax.tree_util.tree_map_with_path(gather, params, state_shardings(mesh, params))


def full_batch_gradient(config: StepConfig, params: Params, batch: dict[str, jax.Array]):
    """Loss, metrics, gradient and running statistics, all activations kept at once."""

    def loss_fn(params):
        (z_img, z_txt, scales), batch_stats = dual_encoder.apply_training(
            config.model,
            gather_parameters(config, _without_gradient(params, config.frozen)),
            batch["image"],
            batch["tokens"],
            batch["token_mask"],
            config.dtype,
        )
        loss, metrics = loss_and_metrics(config, scales, z_img, z_txt, batch)
        return loss, (metrics, batch_stats)

    (loss, (metrics, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    return loss, metrics, grads, batch_stats


def grad_cache_gradient(config: StepConfig, params: Params, batch: dict[str, jax.Array]):
    """The same by gradient caching (Gao et al. 2021, https://arxiv.org/abs/2101.06983).

    The batch is encoded piece by piece without keeping activations; the loss of all embeddings
    gives the gradient in each; then each piece is encoded again, and its gradient carried back.
    Every patch meets every text of the whole batch, at one more forward pass. It needs an encoder
    without batch norms: theirs would be the statistics of a piece.
    """
    pieces = len(batch["image"]) // config.micro_batch
    mesh = config.mesh
    names = ("image", "tokens", "token_mask")
    inputs = {name: split_rows(batch[name], pieces, mesh) for name in names}

    def encode(params, piece):
        z_img, z_txt, _ = dual_encoder.apply(
            config.model,
            gather_parameters(config, _without_gradient(params, config.frozen)),
            piece["image"],
            piece["tokens"],
            piece["token_mask"],
            config.dtype,
        )
        return z_img, z_txt

    scalars = {name: params[name] for name in dual_encoder.SCALARS if name in params}
    z = jax.lax.map(functools.partial(encode, params), inputs)
    z_img, z_txt = (join_rows(x, mesh) for x in z)

    def loss_fn(scalars, z_img, z_txt):
        scales = dual_encoder.scales(_without_gradient(scalars, config.frozen))
        return loss_and_metrics(config, scales, z_img, z_txt, batch)

    (loss, metrics), (d_scalars, *d_z) = jax.value_and_grad(loss_fn, (0, 1, 2), has_aux=True)(
        scalars, z_img, z_txt
    )
    d_pieces = tuple(split_rows(x, pieces, mesh) for x in d_z)

    def carry_back(total, piece_and_gradient):
        piece, gradient = piece_and_gradient
        _, back = jax.vjp(lambda p: encode(p, piece), params)
        return jax.tree.map(jnp.add, total, back(gradient)[0]), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    grads, _ = jax.lax.scan(carry_back, zeros, (inputs, d_pieces))
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
