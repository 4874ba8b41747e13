"""The contrastive objective, as pure functions of embeddings."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def infonce(
    z_img: jax.Array, z_txt: jax.Array, scale: jax.Array, photo_id: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Symmetric InfoNCE over the whole batch (paper section 3.1; van den Oord et al. 2018).

    Row i of one side must pick row i of the other among all rows. Under `jax.jit` the batch is
    the global one however many devices hold it, so every pair is everyone's negative. Other rows
    of the same photo say the same thing, so they are left out of the choice.

    Args:
        z_img: float32 [B, D], unit rows.
        z_txt: float32 [B, D], unit rows.
        scale: scalar 1 / temperature.
        photo_id: uint32 [B].

    Returns:
        The loss in nats (mean of both directions; log B when nothing is known) and the share of
        rows picked right, image to text, in [0, 1]. Both are float32 scalars.
    """
    logits_BxB = scale * jnp.matmul(z_img, z_txt.T, precision="highest")
    same_photo_BxB = photo_id[:, None] == photo_id[None, :]
    itself_BxB = jnp.eye(len(photo_id), dtype=bool)
    logits_BxB = jnp.where(same_photo_BxB & ~itself_BxB, -jnp.inf, logits_BxB)
    image_to_text = -jnp.diag(jax.nn.log_softmax(logits_BxB, axis=1)).mean()
    text_to_image = -jnp.diag(jax.nn.log_softmax(logits_BxB, axis=0)).mean()
    right = (logits_BxB.argmax(axis=1) == jnp.arange(len(photo_id))).mean()
    return (image_to_text + text_to_image) / 2, right
