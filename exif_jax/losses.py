"""The contrastive objective, as pure functions of embeddings.

Shape letters: B patches, G texts, D embedding width. Under `jax.jit` the batch is the global one
however many devices hold it, so everything in it is everyone else's negative.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

NEVER = -1e9  # a logit that no softmax sees; finite, so that a row of nothing else gives no NaN


def infonce(
    z_img: jax.Array, z_txt: jax.Array, scale: jax.Array, text_id: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Symmetric InfoNCE between patches and texts (paper section 3.1; van den Oord et al. 2018).

    A patch must pick its own text among all, and a text its own patches. Texts with the same
    text_id say the same thing, so each is right for the patches of all of them.

    Args:
        z_img: float32 [B, D], unit rows; patches k B/G .. (k + 1) B/G - 1 belong to text k.
        z_txt: float32 [G, D], unit rows; G divides B.
        scale: scalar 1 / temperature.
        text_id: uint32 [G].

    Returns:
        The loss in nats (mean of both directions; with one patch per text log B when nothing is
        known) and the share of patches that pick a right text, in [0, 1]; float32 scalars.
    """
    logits_BxG = scale * jnp.matmul(z_img, z_txt.T, precision="highest")
    positive_BxG = patch_text_id(text_id, len(z_img))[:, None] == text_id[None, :]
    loss = (_pick(logits_BxG, positive_BxG) + _pick(logits_BxG.T, positive_BxG.T)) / 2
    picked_B = logits_BxG.argmax(axis=1)[:, None]
    return loss, jnp.take_along_axis(positive_BxG, picked_B, axis=1).mean()


def image_infonce(z_img: jax.Array, scale: jax.Array, text_id: jax.Array) -> jax.Array:
    """InfoNCE among patches: those with the same text attract, all others repel.

    This is what localisation asks of the space: patches of one photo with one history lie
    together, and a patch of the same scene that was processed otherwise does not. It is the
    supervised contrastive loss of Khosla et al. 2020 with the text as the label.

    Args:
        z_img, scale, text_id: as in `infonce`.

    Returns:
        float32 scalar, the mean over the patches that have a partner; 0 where none has.
    """
    B = len(z_img)
    label_B = patch_text_id(text_id, B)
    itself_BxB = jnp.eye(B, dtype=bool)
    logits_BxB = scale * jnp.matmul(z_img, z_img.T, precision="highest")
    positive_BxB = (label_B[:, None] == label_B[None, :]) & ~itself_BxB
    return _pick(jnp.where(itself_BxB, NEVER, logits_BxB), positive_BxB)


def patch_text_id(text_id: jax.Array, num_patches: int) -> jax.Array:
    """text_id [G] of each of the B patches, B/G to a text: [B]."""
    return jnp.repeat(text_id, num_patches // len(text_id))


def _pick(logits_NxM: jax.Array, positive_NxM: jax.Array) -> jax.Array:
    """Cross-entropy of each row's choice among the columns, averaged over its positives."""
    log_p_NxM = jnp.where(positive_NxM, jax.nn.log_softmax(logits_NxM, axis=1), 0.0)
    count_N = positive_NxM.sum(axis=1)
    nats_N = -log_p_NxM.sum(axis=1) / jnp.maximum(count_N, 1)
    return nats_N.sum() / jnp.maximum((count_N > 0).sum(), 1)


# --- the same, without the whole matrix of logits -------------------------------------------------


def infonce_in_chunks(
    z_img: jax.Array,
    z_txt: jax.Array,
    scale: jax.Array,
    text_id: jax.Array,
    mesh: Mesh,
    chunk: int,
) -> tuple[jax.Array, jax.Array]:
    """`infonce` of a batch that is split over a mesh, of which no device holds all logits.

    Every device gathers all embeddings once and goes over them `chunk` at a time with an online
    softmax (Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867), which the backward
    pass does again: memory is B / devices x chunk logits instead of B x G.

    Args:
        z_img, z_txt, scale, text_id: as for `infonce`, their first axes split over all of `mesh`.
        mesh: the devices.
        chunk: columns at a time; cut to what there is.

    Returns:
        As `infonce`.
    """

    def local(z_img, z_txt, scale, text_id):
        label = patch_text_id(text_id, len(z_img))
        all_img, all_txt, all_label, all_id = _gather((z_img, z_txt, label, text_id), mesh)
        across = _pick_in_chunks(scale * z_img, all_txt, label, all_id, chunk)
        down = _pick_in_chunks(scale * z_txt, all_img, text_id, all_label, chunk)
        loss = (
            _mean_over(across.nats, across.count, mesh) + _mean_over(down.nats, down.count, mesh)
        ) / 2
        right = jax.lax.psum(across.right.sum(), mesh.axis_names)
        return loss, right / len(all_label)

    return _over(mesh, local, outputs=2)(z_img, z_txt, scale, text_id)


def image_infonce_in_chunks(
    z_img: jax.Array, scale: jax.Array, text_id: jax.Array, mesh: Mesh, chunk: int
) -> jax.Array:
    """`image_infonce` likewise; arguments as there and in `infonce_in_chunks`."""

    def local(z_img, z_txt, scale, text_id):
        label = patch_text_id(text_id, len(z_img))
        all_img, all_label = _gather((z_img, label), mesh)
        itself = len(z_img) * jax.lax.axis_index(mesh.axis_names) + jnp.arange(len(z_img))
        found = _pick_in_chunks(scale * z_img, all_img, label, all_label, chunk, itself)
        return _mean_over(found.nats, found.count, mesh), 0.0

    return _over(mesh, local, outputs=2)(z_img, z_img, scale, text_id)[0]


class _Choice(NamedTuple):
    """Of each row: nats averaged over its positives, their number, and whether it picks one."""

    nats: jax.Array
    count: jax.Array
    right: jax.Array


def _pick_in_chunks(rows_NxD, columns_MxD, row_id, column_id, chunk, itself=None) -> _Choice:
    """`_pick` of rows @ columns.T; `itself` is the column that a row must not see."""
    N, M = len(rows_NxD), len(columns_MxD)
    chunk = min(chunk, M)
    pieces = -(-M // chunk)
    pad = pieces * chunk - M
    columns = jnp.pad(columns_MxD, ((0, pad), (0, 0))).reshape(pieces, chunk, -1)
    ids = jnp.pad(column_id, (0, pad)).reshape(pieces, chunk)
    numbers = jnp.arange(pieces * chunk).reshape(pieces, chunk)

    @jax.checkpoint
    def step(carry, piece):
        top, total, positive, count, right = carry
        columns_CxD, ids_C, numbers_C = piece
        seen_NxC = jnp.broadcast_to(numbers_C[None] < M, (N, chunk))
        if itself is not None:
            seen_NxC &= numbers_C[None] != itself[:, None]
        logits_NxC = jnp.matmul(rows_NxD, columns_CxD.T, precision="highest")
        logits_NxC = jnp.where(seen_NxC, logits_NxC, NEVER)
        same_NxC = (row_id[:, None] == ids_C[None]) & seen_NxC
        best_N = jax.lax.stop_gradient(logits_NxC.max(axis=1))
        here = jnp.take_along_axis(same_NxC, logits_NxC.argmax(axis=1)[:, None], axis=1)[:, 0]
        right = jnp.where(best_N > top, here, right)
        new_top = jnp.maximum(top, best_N)
        total = total * jnp.exp(top - new_top) + jnp.exp(logits_NxC - new_top[:, None]).sum(axis=1)
        positive = positive + jnp.where(same_NxC, logits_NxC, 0.0).sum(axis=1)
        return (
            new_top,
            total,
            positive,
            count + same_NxC.sum(axis=1, dtype=jnp.int32),
            right,
        ), None

    # Made of the rows, so that the carry varies over the mesh as they do.
    zero = jax.lax.stop_gradient(rows_NxD[:, 0] * 0.0)
    start = (zero + 2 * NEVER, zero, zero, zero.astype(jnp.int32), zero > 0)
    (top, total, positive, count, right), _ = jax.lax.scan(step, start, (columns, ids, numbers))
    nats = jnp.log(total) + top - positive / jnp.maximum(count, 1)
    return _Choice(jnp.where(count > 0, nats, 0.0), count, right)


def _mean_over(nats_N: jax.Array, count_N: jax.Array, mesh: Mesh) -> jax.Array:
    """The mean over the rows of all devices that have a positive."""
    total = jax.lax.psum(nats_N.sum(), mesh.axis_names)
    return total / jnp.maximum(jax.lax.psum((count_N > 0).sum(), mesh.axis_names), 1)


def _gather(arrays, mesh: Mesh):
    return tuple(jax.lax.all_gather(x, mesh.axis_names, tiled=True) for x in arrays)


def _over(mesh: Mesh, local, outputs: int):
    """`local` on every device's rows of z_img, z_txt and text_id; scalars come back."""
    rows = P(mesh.axis_names)
    return jax.shard_map(
        local, mesh=mesh, in_specs=(rows, rows, P(), rows), out_specs=(P(),) * outputs
    )
