"""The image encoder: a Vision Transformer on one patch of a photo.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021. In this project a *patch* is the
square that is cut out of a photo, so the squares inside it are called *tokens*.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from exif_jax.models.transformer import Stack


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """Shape of the image encoder.

    Attributes:
        image_size: side S of the patch in pixels.
        token_size: side of one token in pixels; divides `image_size`.
        width, depth, heads, mlp_dim: the transformer.
        pool: "mean" over tokens, "mean_std" (mean and standard deviation side by side, which
            keeps how much a trace varies within the patch) or "cls" (a learned extra token).
        remove_token_mean: subtract every token's mean colour, so that the encoder sees the
            texture that a camera leaves and not the scene's brightness and hue.
        remat: keep no activations inside the blocks.
    """

    image_size: int = 224
    token_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    pool: Literal["mean", "mean_std", "cls"] = "mean"
    remove_token_mean: bool = False
    remat: bool = False

    def __post_init__(self):
        if self.image_size % self.token_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of token_size {self.token_size}"
            )
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.pool not in ("mean", "mean_std", "cls"):
            raise ValueError(f"pool is {self.pool!r}, not 'mean', 'mean_std' or 'cls'")

    @property
    def num_tokens(self) -> int:
        return (self.image_size // self.token_size) ** 2

    @property
    def output_width(self) -> int:
        return 2 * self.width if self.pool == "mean_std" else self.width


class ViT(nnx.Module):
    """Pixels [B, S, S, 3] to features [B, output_width]."""

    def __init__(self, config: ViTConfig, dtype: jnp.dtype, rngs: nnx.Rngs):
        c = self.config = config
        self.embed = nnx.Linear(
            3 * c.token_size**2,
            c.width,
            kernel_init=nnx.initializers.lecun_normal(),
            dtype=dtype,
            rngs=rngs,
        )
        positions = c.num_tokens + (c.pool == "cls")
        std = c.width**-0.5
        self.position = nnx.Param(jax.random.normal(rngs.params(), (positions, c.width)) * std)
        if c.pool == "cls":
            self.cls = nnx.Param(jnp.zeros((1, c.width)))
        self.stack = Stack(c.depth, c.width, c.heads, c.mlp_dim, c.remat, dtype, rngs)

    def __call__(self, x_BxSxSx3: jax.Array) -> jax.Array:
        """Encodes patches.

        Args:
            x_BxSxSx3: floats in [-1, 1].

        Returns:
            [B, output_width] in the compute dtype.
        """
        c = self.config
        tokens = tokenize(x_BxSxSx3, c.token_size)
        if c.remove_token_mean:
            tokens = tokens - tokens.mean(axis=2, keepdims=True)
        B, T = tokens.shape[:2]
        x_BxTxD = self.embed(tokens.reshape(B, T, -1))
        if c.pool == "cls":
            cls = jnp.broadcast_to(self.cls[...].astype(x_BxTxD.dtype), (B, 1, c.width))
            x_BxTxD = jnp.concatenate([cls, x_BxTxD], axis=1)
        x_BxTxD = x_BxTxD + self.position[...].astype(x_BxTxD.dtype)[None]
        x_BxTxD = self.stack(x_BxTxD)
        if c.pool == "cls":
            return x_BxTxD[:, 0]
        mean_BxD = x_BxTxD.mean(axis=1)
        if c.pool == "mean":
            return mean_BxD
        # The floor keeps the gradient of the root finite where all tokens agree (a flat patch).
        variance_BxD = jnp.square(x_BxTxD - mean_BxD[:, None]).mean(axis=1)
        return jnp.concatenate([mean_BxD, jnp.sqrt(variance_BxD + 1e-6)], axis=-1)


def tokenize(x_BxSxSx3: jax.Array, size: int) -> jax.Array:
    """Cuts patches into tokens, row by row: [B, S, S, 3] -> [B, T, size * size, 3]."""
    B, S, _, C = x_BxSxSx3.shape
    n = S // size
    x = x_BxSxSx3.reshape(B, n, size, n, size, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, n * n, size * size, C)
