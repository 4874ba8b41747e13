"""The text encoder: a bidirectional transformer over the pieces of the EXIF text."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from exif_jax.models.transformer import REMAT, Stack


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Shape of the text encoder.

    Attributes:
        vocab_size: number of pieces of the tokenizer.
        max_length: L, the longest text in pieces; longer texts are cut by the tokenizer.
        width, depth, heads, mlp_dim: the transformer.
        remat: what the backward pass computes again instead of keeping it: "" is nothing, "dots"
            is all but matrix products, "all" is everything inside the blocks.
    """

    kind: ClassVar[str] = "transformer"

    vocab_size: int = 4096
    max_length: int = 256
    width: int = 512
    depth: int = 6
    heads: int = 8
    mlp_dim: int = 2048
    remat: Literal["", "dots", "all"] = ""

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.remat not in REMAT:
            raise ValueError(f"remat is {self.remat!r}, not '', 'dots' or 'all'")


class TextTransformer(nnx.Module):
    """Encodes tokens [B, L] as the mean over real tokens, [B, width], as in the paper (3.1).

    Embeddings are initialised as in CLIP (Radford et al. 2021): normal, 0.02 for pieces and 0.01
    for positions.
    """

    def __init__(self, config: TextConfig, dtype: jnp.dtype, rngs: nnx.Rngs):
        c = self.config = config
        self.embed = nnx.Embed(
            c.vocab_size,
            c.width,
            embedding_init=nnx.initializers.normal(0.02),
            dtype=dtype,
            rngs=rngs,
        )
        self.position = nnx.Param(jax.random.normal(rngs.params(), (c.max_length, c.width)) * 0.01)
        self.stack = Stack(c.depth, c.width, c.heads, c.mlp_dim, c.remat, dtype, rngs)

    def __call__(self, tokens_BxL: jax.Array, mask_BxL: jax.Array) -> jax.Array:
        """Encodes texts.

        Args:
            tokens_BxL: int32 piece ids, L <= max_length.
            mask_BxL: bool, True at real tokens. An empty text is read as one padding piece.

        Returns:
            [B, width] in the compute dtype.
        """
        L = tokens_BxL.shape[1]
        mask_BxL = mask_BxL | (jnp.arange(L) == 0)[None]  # a mean over no token would be 0 / 0
        x_BxLxD = self.embed(tokens_BxL)
        x_BxLxD = x_BxLxD + self.position[...].astype(x_BxLxD.dtype)[None, :L]
        x_BxLxD = self.stack(x_BxLxD, mask_BxL)
        return x_BxLxD.mean(axis=1, where=mask_BxL[:, :, None])
