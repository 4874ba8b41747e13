"""The contrastive objective, as pure functions of embeddings.

Shape letters: B patches, G texts, D embedding width. Under `jax.jit` the batch is the global one
however many devices hold it, so everything in it is everyone else's negative.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

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
