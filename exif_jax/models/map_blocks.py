"""What the learned map is built of: filters on pixels, comparisons of places with each other.

Shape letters: B photos, h and w places down and across, C channels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from exif_jax.models.map_features import TILE

if TYPE_CHECKING:
    from exif_jax.models.tampering_map import TamperingMapConfig

# Cells that each cell is compared with at most: of larger pictures every second, third, ... is.
_MOST_KEYS = 512
_FLOOR = 1e-4  # of a variance, so that the gradient of its root is finite


class Windows(nnx.Module):
    """What the pixels of each block and 4 more to each side add to it."""

    def __init__(self, config: TamperingMapConfig, rngs: nnx.Rngs):
        filters, hidden = config.windows
        fan_in = nnx.initializers.normal((12 * TILE**2) ** -0.5)
        self.filters = nnx.Linear(
            3 * TILE**2, 4 * filters, use_bias=False, kernel_init=fan_in, rngs=rngs
        )
        self.up = nnx.Linear(9 * filters, hidden, rngs=rngs)
        zeros = nnx.initializers.zeros
        self.down = nnx.Linear(
            hidden, config.block_width, use_bias=False, kernel_init=zeros, rngs=rngs
        )

    def __call__(self, tiles: jax.Array) -> jax.Array:
        """[B, R, C, 2 y + 2, 2 x + 2, 48] -> [B, R y, C x, width]: parts of y x x blocks."""
        B, R, C, rows, columns, _ = tiles.shape
        y, x, N = rows // 2 - 1, columns // 2 - 1, B * R * C
        # Filters without a mean: neither brightness nor a colour alone says anything.
        # [pixel of a tile, channel, tile of the window, filter]
        kernel = self.filters.kernel[...].reshape(TILE**2, 3, 4, -1)
        kernel = kernel - kernel.mean((0, 2), keepdims=True)
        kernel = kernel.transpose(2, 0, 1, 3).reshape(4 * tiles.shape[-1], -1)
        tiles = tiles.reshape(N, rows, columns, -1)
        corners = (tiles[:, :-1, :-1], tiles[:, :-1, 1:], tiles[:, 1:, :-1], tiles[:, 1:, 1:])
        found = jnp.concatenate(corners, axis=-1).reshape(-1, kernel.shape[0]) @ kernel
        found = found.reshape(N, rows - 1, columns - 1, -1)
        found = jnp.arcsinh(found)  # edges differ by factors
        around = [
            found[:, down : down + 2 * y : 2, across : across + 2 * x : 2]
            for down in range(3)
            for across in range(3)
        ]
        hidden = self.up(jnp.concatenate(around, axis=-1).reshape(N * y * x, -1))
        blocks = self.down(jax.nn.gelu(hidden)).reshape(B, R, C, y, x, -1)
        return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(B, R * y, C * x, -1)


class Comparison(nnx.Module):
    """What a residual block adds: each place beside its surroundings and the photo's reference."""

    def __init__(self, width: int, hidden: int, radius: int, references: int, rngs: nnx.Rngs):
        self.radius, self.references = radius, references
        self.weigh = nnx.Linear(
            width, references, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs
        )
        self.up = nnx.Linear(3 * width, hidden, rngs=rngs)
        self.of_photo = nnx.Linear(width, hidden, use_bias=False, rngs=rngs)
        small = nnx.initializers.variance_scaling(0.1, "fan_in", "normal")
        self.down = nnx.Linear(hidden, width, kernel_init=small, rngs=rngs)

    def __call__(self, x_BxhxwxC: jax.Array, mask_Bxhxw: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, C]."""
        B, h, w, C = x_BxhxwxC.shape
        n = normalized(x_BxhxwxC)
        mean, spread = reference(n, self.weigh(n), mask_Bxhxw)
        away = (local_mean(n, mask_Bxhxw, self.radius) - mean) * (1 / spread)
        # One flat product: a CPU multiplies matrices faster than it contracts higher ranks.
        y = self.up(jnp.concatenate([n, away, jnp.abs(away)], axis=-1).reshape(-1, 3 * C))
        y = y.reshape(B, h, w, -1) + self.of_photo(jnp.log(spread))
        y = self.down(jax.nn.gelu(y).reshape(B * h * w, -1))
        return y.reshape(B, h, w, C)


class AlikeComparison(nnx.Module):
    """What a residual block adds: each cell beside the mean of those that look like it.

    Grass differs from sky more than one camera's grass from another's, so that the photo's mean
    tells little. Attention weights the other cells, in each group of channels by its own queries
    and keys; the weighted mean is of the channels as they are.
    """

    def __init__(self, config: TamperingMapConfig, rngs: nnx.Rngs):
        c = config
        self.groups, self.head_width = c.references, c.head_width
        across = c.references * c.head_width
        self.query = nnx.Linear(c.width, across, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(c.width, across, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(3 * c.width, c.hidden, rngs=rngs)
        small = nnx.initializers.variance_scaling(0.1, "fan_in", "normal")
        self.down = nnx.Linear(c.hidden, c.width, kernel_init=small, rngs=rngs)

    def __call__(self, x_BxhxwxC: jax.Array, mask_Bxhxw: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, C]."""
        B, h, w, C = x_BxhxwxC.shape
        G, D = self.groups, self.head_width
        n = normalized(x_BxhxwxC)
        step = max(1, math.ceil(math.sqrt(h * w / _MOST_KEYS)))
        seen_BxKxC = n[:, ::step, ::step].reshape(B, -1, C)
        seen_mask = mask_Bxhxw[:, ::step, ::step].reshape(B, 1, 1, -1)
        flat = n.reshape(B * h * w, C)
        query = self.query(flat).reshape(B, h * w, G, D)
        key = self.key(seen_BxKxC.reshape(-1, C)).reshape(B, -1, G, D)
        logits = jnp.einsum("bngd,bkgd->bgnk", query, key) * (D**-0.5)
        weights = jax.nn.softmax(jnp.where(seen_mask, logits, -jnp.inf), axis=-1)
        values = seen_BxKxC.reshape(B, -1, G, C // G)
        mean = jnp.einsum("bgnk,bkgc->bngc", weights, values).reshape(B * h * w, C)
        away = flat - mean
        y = self.up(jnp.concatenate([flat, away, jnp.abs(away)], axis=-1))
        return self.down(jax.nn.gelu(y)).reshape(B, h, w, C)


class Convolution(nnx.Module):
    """What a residual block adds: each place beside the eight around it, by where they lie.

    Local means tell no direction; borders of objects have one.
    """

    def __init__(self, width: int, hidden: int, rngs: nnx.Rngs):
        self.up = nnx.Conv(width, hidden, (3, 3), rngs=rngs)
        zeros = nnx.initializers.zeros
        self.down = nnx.Linear(hidden, width, use_bias=False, kernel_init=zeros, rngs=rngs)

    def __call__(self, x_BxhxwxC: jax.Array, mask_Bxhxw: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, C]; what lies outside the mask or the photo counts as 0."""
        B, h, w, C = x_BxhxwxC.shape
        y = self.up(normalized(x_BxhxwxC) * mask_Bxhxw[..., None])
        return self.down(jax.nn.gelu(y).reshape(B * h * w, -1)).reshape(B, h, w, C)


def normalized(x: jax.Array) -> jax.Array:
    """Vectors along the last axis at root mean square 1; near 0 they stay near 0."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + _FLOOR)


def reference(
    x_BxhxwxC: jax.Array, logits_BxhxwxR: jax.Array, mask_Bxhxw: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation over a photo, weighted by a softmax over its places.

    Args:
        x_BxhxwxC: float32; the C channels are R groups in order, each with its own weights.
        logits_BxhxwxR: of the weights.
        mask_Bxhxw: bool; what is False has no weight.

    Returns:
        The mean and the standard deviation, float32 [B, 1, 1, C].
    """
    B, h, w, C = x_BxhxwxC.shape
    R = logits_BxhxwxR.shape[-1]
    logits = jnp.where(mask_Bxhxw[..., None], logits_BxhxwxR, -jnp.inf).reshape(B, h * w, R)
    weights = jax.nn.softmax(logits, axis=1)
    x = x_BxhxwxC.reshape(B, h * w, R, C // R)
    mean = jnp.einsum("bnr,bnrc->brc", weights, x)
    variance = jnp.einsum("bnr,bnrc->brc", weights, jnp.square(x - mean[:, None]))
    spread = jnp.sqrt(variance + _FLOOR)
    return mean.reshape(B, 1, 1, C), spread.reshape(B, 1, 1, C)


def local_mean(x_BxhxwxC: jax.Array, mask_Bxhxw: jax.Array, side: int) -> jax.Array:
    """The mean over a square of `side` places around each, of those inside the photo's mask.

    Sums along both axes are products with band matrices, which a CPU does many times faster than
    the windowed sums of XLA.
    """
    _, h, w, _ = x_BxhxwxC.shape
    mask = mask_Bxhxw[..., None].astype(x_BxhxwxC.dtype)
    down, across = _band(h, side), _band(w, side)

    def total(v: jax.Array) -> jax.Array:
        return jnp.einsum("ij,kl,bjlc->bikc", down, across, v)

    return total(x_BxhxwxC * mask) / jnp.maximum(total(mask), 1)


def _band(number: int, side: int) -> np.ndarray:
    """float32 [number, number], 1 where two places lie within half of `side` of each other."""
    place = np.arange(number)
    return (np.abs(place[:, None] - place[None]) <= side // 2).astype(np.float32)
