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
    z_img: jax.Array,
    z_txt: jax.Array,
    scale: jax.Array,
    text_id: jax.Array,
    photo_id: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Symmetric InfoNCE between patches and texts (paper section 3.1; van den Oord et al. 2018).

    A patch must pick its own text among all, and a text its own patches. Texts with the same
    text_id say the same thing, so each is right for the patches of all of them.

    Args:
        z_img: float32 [B, D], unit rows; patches k B/G .. (k + 1) B/G - 1 belong to text k.
        z_txt: float32 [G, D], unit rows; G divides B.
        scale: scalar 1 / temperature.
        text_id: uint32 [G].
        photo_id: uint32 [G]; other texts of a patch's own photo are then neither right nor wrong
            for it. None: they are wrong, which teaches to tell the photo's histories apart.

    Returns:
        The loss in nats (mean of both directions; with one patch per text log B when nothing is
        known) and the fraction of patches that pick a right text, in [0, 1]; float32 scalars.
    """
    patch_ids = repeat_for_patches(text_id, len(z_img)), repeat_for_patches(photo_id, len(z_img))
    positive_BxG, seen_BxG = _pairs(patch_ids, (text_id, photo_id))
    logits_BxG = scale * jnp.matmul(z_img, z_txt.T, precision="highest")
    logits_BxG = jnp.where(seen_BxG, logits_BxG, NEVER)
    loss = (_pick(logits_BxG, positive_BxG) + _pick(logits_BxG.T, positive_BxG.T)) / 2
    return loss, _accuracy(logits_BxG, positive_BxG)


def sigmoid(
    z_img: jax.Array,
    z_txt: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    text_id: jax.Array,
    photo_id: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Every pair of a patch and a text by itself: do they belong together, yes or no?

    The loss of SigLIP (Zhai et al., ICCV 2023, https://arxiv.org/abs/2303.15343): no softmax, so
    that no pair needs to know of the others.

    Args:
        bias: scalar, added to all logits; near -10 at first, since most pairs do not match.
        z_img, z_txt, scale, text_id, photo_id: as for `infonce`.

    Returns:
        The loss in nats, summed over texts and averaged over patches, and the accuracy as in
        `infonce`; float32 scalars.
    """
    patch_ids = repeat_for_patches(text_id, len(z_img)), repeat_for_patches(photo_id, len(z_img))
    positive_BxG, seen_BxG = _pairs(patch_ids, (text_id, photo_id))
    logits_BxG = scale * jnp.matmul(z_img, z_txt.T, precision="highest") + bias
    nats_BxG = -jax.nn.log_sigmoid(jnp.where(positive_BxG, logits_BxG, -logits_BxG))
    loss = jnp.where(seen_BxG, nats_BxG, 0.0).sum() / len(z_img)
    return loss, _accuracy(jnp.where(seen_BxG, logits_BxG, NEVER), positive_BxG)


def image_infonce(
    z_img: jax.Array, scale: jax.Array, text_id: jax.Array, photo_id: jax.Array | None = None
) -> jax.Array:
    """InfoNCE among patches: those with the same text attract, all others repel.

    This is what localisation asks of the space: patches of one photo with one history lie
    together, and a patch of the same scene that was processed otherwise does not. It is the
    supervised contrastive loss of Khosla et al. 2020 with the text as the label.

    Args:
        z_img, scale, text_id, photo_id: as in `infonce`.

    Returns:
        float32 scalar, the mean over the patches that have a partner; 0 where none has.
    """
    B = len(z_img)
    ids = repeat_for_patches(text_id, B), repeat_for_patches(photo_id, B)
    positive_BxB, seen_BxB = _pairs(ids, ids)
    others_BxB = ~jnp.eye(B, dtype=bool)
    logits_BxB = scale * jnp.matmul(z_img, z_img.T, precision="highest")
    return _pick(jnp.where(seen_BxB & others_BxB, logits_BxB, NEVER), positive_BxB & others_BxB)


def repeat_for_patches(ids: jax.Array | None, num_patches: int) -> jax.Array | None:
    """The id [G] of each of the B patches, B/G to a text: [B]; None stays None."""
    return None if ids is None else jnp.repeat(ids, num_patches // len(ids))


def _pairs(row_ids, column_ids) -> tuple[jax.Array, jax.Array]:
    """[N, M] booleans of ids (text, photo or None): which pairs say the same, which count."""
    (row_text, row_photo), (column_text, column_photo) = row_ids, column_ids
    same_NxM = row_text[:, None] == column_text[None, :]
    if row_photo is None:
        return same_NxM, jnp.ones_like(same_NxM)
    return same_NxM, same_NxM | (row_photo[:, None] != column_photo[None, :])


def _accuracy(logits_NxM: jax.Array, positive_NxM: jax.Array) -> jax.Array:
    picked_Nx1 = logits_NxM.argmax(axis=1)[:, None]
    return jnp.take_along_axis(positive_NxM, picked_Nx1, axis=1).mean()


def _pick(logits_NxM: jax.Array, positive_NxM: jax.Array) -> jax.Array:
    """Cross-entropy of each row's choice among the columns, averaged over its positives."""
    log_p_NxM = jnp.where(positive_NxM, jax.nn.log_softmax(logits_NxM, axis=1), 0.0)
    count_N = positive_NxM.sum(axis=1)
    nats_N = -log_p_NxM.sum(axis=1) / jnp.maximum(count_N, 1)
    return nats_N.sum() / jnp.maximum((count_N > 0).sum(), 1)


# --- the same, without the whole matrix of logits -------------------------------------------------


def chunked_losses(
    z_img: jax.Array,
    z_txt: jax.Array,
    scales: dict[str, jax.Array],
    text_id: jax.Array,
    photo_id: jax.Array | None,
    mesh: Mesh,
    chunk: int,
    loss: str = "infonce",
    with_image_loss: bool = True,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The losses of a batch that is split over a mesh, of which no device holds all logits.

    Every device gathers all embeddings once and goes over them `chunk` at a time (InfoNCE with an
    online softmax: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867), which the
    backward pass does again: memory is B / devices x chunk logits instead of B x G.

    Args:
        z_img, z_txt, text_id, photo_id: as for `infonce`, the first axes split over all of `mesh`.
        scales: scalars "scale" and "image_scale" and, for the sigmoid loss, "bias".
        mesh: the devices.
        chunk: columns at a time; cut to what there is.
        loss: "infonce" or "sigmoid".
        with_image_loss: whether to compute `image_infonce` too.

    Returns:
        Loss and accuracy as of `infonce` or `sigmoid`, and `image_infonce` or 0.
    """

    def local(z_img, z_txt, scales, ids):
        patch_ids = jax.tree.map(lambda x: repeat_for_patches(x, len(z_img)), ids)
        # Once for all terms, so that their gradients are summed before they travel back.
        all_img, all_txt, all_patch_ids, all_ids = jax.tree.map(
            lambda x: jax.lax.all_gather(x, mesh.axis_names, tiled=True),
            (z_img, z_txt, patch_ids, ids),
        )
        scaled = scales["scale"] * z_img
        if loss == "sigmoid":
            nats, right = _sigmoid_in_chunks(
                scaled, all_txt, scales["bias"], patch_ids, all_ids, chunk
            )
            text_loss = _sum_over(nats, mesh) / len(all_img)
        else:
            texts = _pick_in_chunks(scaled, all_txt, patch_ids, all_ids, chunk)
            patches = _pick_in_chunks(scales["scale"] * z_txt, all_img, ids, all_patch_ids, chunk)
            text_loss = (_mean_over(texts, mesh) + _mean_over(patches, mesh)) / 2
            right = texts.right
        image_loss = jnp.zeros(())
        if with_image_loss:
            itself = len(z_img) * jax.lax.axis_index(mesh.axis_names) + jnp.arange(len(z_img))
            rows = scales["image_scale"] * z_img
            others = _pick_in_chunks(rows, all_img, patch_ids, all_patch_ids, chunk, itself)
            image_loss = _mean_over(others, mesh)
        return text_loss, _sum_over(right, mesh) / len(all_img), image_loss

    rows = P(mesh.axis_names)
    return jax.shard_map(
        local, mesh=mesh, in_specs=(rows, rows, P(), rows), out_specs=(P(), P(), P())
    )(z_img, z_txt, scales, (text_id, photo_id))


class _Choice(NamedTuple):
    """Of each row: nats averaged over its positives, their number, and whether it picks one."""

    nats: jax.Array
    count: jax.Array
    right: jax.Array


def _pick_in_chunks(rows_NxD, columns_MxD, row_ids, column_ids, chunk, itself_N=None) -> _Choice:
    """`_pick` of rows @ columns.T; `itself_N` is the column that each row must not see."""

    @jax.checkpoint
    def step(carry, piece):
        total_N, positive_N, count_N, best = carry
        logits_NxC, same_NxC, seen_NxC = _chunk_of(rows_NxD, row_ids, piece)
        if itself_N is not None:
            seen_NxC &= piece[2][None] != itself_N[:, None]
            same_NxC &= seen_NxC
        logits_NxC = jnp.where(seen_NxC, logits_NxC, NEVER)
        new_best = _better(best, logits_NxC, same_NxC)
        old_top_N, top_N = best[0], new_best[0]
        total_N = total_N * jnp.exp(old_top_N - top_N)
        total_N = total_N + jnp.exp(logits_NxC - top_N[:, None]).sum(axis=1)
        positive_N = positive_N + jnp.where(same_NxC, logits_NxC, 0.0).sum(axis=1)
        count_N = count_N + same_NxC.sum(axis=1, dtype=jnp.int32)
        return (total_N, positive_N, count_N, new_best), None

    # Made of the rows, so that the carry varies over the mesh as they do.
    zero_N = jax.lax.stop_gradient(rows_NxD[:, 0] * 0.0)
    start = (zero_N, zero_N, zero_N.astype(jnp.int32), (zero_N + 2 * NEVER, zero_N > 0))
    pieces = _cut(columns_MxD, column_ids, chunk)
    (total_N, positive_N, count_N, (top_N, right_N)), _ = jax.lax.scan(step, start, pieces)
    nats_N = jnp.log(total_N) + top_N - positive_N / jnp.maximum(count_N, 1)
    return _Choice(jnp.where(count_N > 0, nats_N, 0.0), count_N, right_N)


def _sigmoid_in_chunks(rows_NxD, columns_MxD, bias, row_ids, column_ids, chunk):
    """Of each row: the nats of its pairs, and whether the highest is a right one."""

    @jax.checkpoint
    def step(carry, piece):
        total_N, best = carry
        logits_NxC, same_NxC, seen_NxC = _chunk_of(rows_NxD, row_ids, piece)
        logits_NxC = logits_NxC + bias
        nats_NxC = -jax.nn.log_sigmoid(jnp.where(same_NxC, logits_NxC, -logits_NxC))
        total_N = total_N + jnp.where(seen_NxC, nats_NxC, 0.0).sum(axis=1)
        return (total_N, _better(best, jnp.where(seen_NxC, logits_NxC, NEVER), same_NxC)), None

    zero_N = jax.lax.stop_gradient(rows_NxD[:, 0] * 0.0)
    start = (zero_N, (zero_N + 2 * NEVER, zero_N > 0))
    pieces = _cut(columns_MxD, column_ids, chunk)
    (total_N, (_, right_N)), _ = jax.lax.scan(step, start, pieces)
    return total_N, right_N


def _cut(columns_MxD: jax.Array, ids, chunk: int):
    """Columns, their ids, numbers and whether they exist, in pieces of `chunk`."""
    M = len(columns_MxD)
    chunk = min(chunk, M)
    pieces = -(-M // chunk)
    pad = pieces * chunk - M
    columns = jnp.pad(columns_MxD, ((0, pad), (0, 0))).reshape(pieces, chunk, -1)
    ids = jax.tree.map(lambda x: jnp.pad(x, (0, pad)).reshape(pieces, chunk), ids)
    numbers = jnp.arange(pieces * chunk).reshape(pieces, chunk)
    return columns, ids, numbers, numbers < M


def _chunk_of(rows_NxD: jax.Array, row_ids, piece):
    """Logits of a piece of the columns, which of them say the same, and which count."""
    columns_CxD, ids, _, exists_C = piece
    same_NxC, seen_NxC = _pairs(row_ids, ids)
    logits_NxC = jnp.matmul(rows_NxD, columns_CxD.T, precision="highest")
    return logits_NxC, same_NxC & exists_C[None], seen_NxC & exists_C[None]


def _better(best, logits_NxC: jax.Array, same_NxC: jax.Array):
    """The highest logit of each row so far, and whether it is a right one."""
    top_N, right_N = best
    logits_NxC = jax.lax.stop_gradient(logits_NxC)
    here_N = logits_NxC.max(axis=1)
    picked_Nx1 = logits_NxC.argmax(axis=1)[:, None]
    right_here_N = jnp.take_along_axis(same_NxC, picked_Nx1, axis=1)[:, 0]
    return jnp.maximum(top_N, here_N), jnp.where(here_N > top_N, right_here_N, right_N)


def _sum_over(values_N: jax.Array, mesh: Mesh) -> jax.Array:
    return jax.lax.psum(values_N.sum(), mesh.axis_names)


def _mean_over(choice: _Choice, mesh: Mesh) -> jax.Array:
    """The mean over the rows of all devices that have a positive."""
    return _sum_over(choice.nats, mesh) / jnp.maximum(_sum_over(choice.count > 0, mesh), 1)
