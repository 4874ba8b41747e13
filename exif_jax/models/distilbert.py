"""The paper's text encoder: DistilBERT, averaged over the tokens of the text.

Sanh et al., "DistilBERT, a distilled version of BERT", 2019: BERT's post-norm transformer with
half its layers and without segments and pooler. Shape letters as in `transformer`.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from exif_jax.models.transformer import Attention, Linear, gelu

_EPSILON = 1e-12


@dataclasses.dataclass(frozen=True)
class DistilBertConfig:
    """Shape of the text encoder; the defaults are `distilbert-base-uncased`.

    Attributes:
        vocab_size: number of word pieces.
        max_length: L, the longest text in pieces.
        width, depth, heads, mlp_dim: the transformer; `width` is the width of the shared space.
    """

    kind: ClassVar[str] = "distilbert"

    vocab_size: int = 30522
    max_length: int = 512
    width: int = 768
    depth: int = 6
    heads: int = 12
    mlp_dim: int = 3072

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")


def _norm(width: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(width, epsilon=_EPSILON, dtype=dtype, use_fast_variance=False, rngs=rngs)


class PostNormBlock(nnx.Module):
    """norm(x + attention(x)), then norm(x + mlp(x)); the MLP is Linear, exact GELU, Linear."""

    def __init__(self, config: DistilBertConfig, dtype: jnp.dtype, rngs: nnx.Rngs):
        c = config
        self.attention = Attention(c.width, c.heads, dtype, rngs)
        self.norm1 = _norm(c.width, dtype, rngs)
        self.mlp1 = Linear(c.width, c.mlp_dim, dtype=dtype, rngs=rngs)
        self.mlp2 = Linear(c.mlp_dim, c.width, dtype=dtype, rngs=rngs)
        self.norm2 = _norm(c.width, dtype, rngs)

    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array) -> jax.Array:
        x_BxTxD = self.norm1(x_BxTxD + self.attention(x_BxTxD, mask_BxT))
        h_BxTxF = gelu(self.mlp1(x_BxTxD))
        return self.norm2(x_BxTxD + self.mlp2(h_BxTxF))


class DistilBert(nnx.Module):
    """Encodes tokens [B, L] as the mean over real tokens, [B, width], as in the paper (3.1)."""

    def __init__(self, config: DistilBertConfig, dtype: jnp.dtype, rngs: nnx.Rngs):
        c = config
        init = nnx.initializers.normal(0.02)
        self.embed = nnx.Embed(c.vocab_size, c.width, embedding_init=init, dtype=dtype, rngs=rngs)
        self.position = nnx.Param(jax.random.normal(rngs.params(), (c.max_length, c.width)) * 0.02)
        self.norm = _norm(c.width, dtype, rngs)

        @nnx.split_rngs(splits=c.depth)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stacked_blocks(rngs):
            return PostNormBlock(c, dtype, rngs)

        self.blocks = stacked_blocks(rngs)

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
        x_BxLxD = self.norm(x_BxLxD + self.position[...].astype(x_BxLxD.dtype)[None, :L])
        graphdef, state = nnx.split(self.blocks)

        def body(x_BxLxD, block_state):
            return nnx.merge(graphdef, block_state)(x_BxLxD, mask_BxL), None

        x_BxLxD, _ = jax.lax.scan(body, x_BxLxD, state)
        return x_BxLxD.mean(axis=1, where=mask_BxL[:, :, None])
