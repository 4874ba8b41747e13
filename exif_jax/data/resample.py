"""Resizing of batches on any device, as Pillow computes it: antialiased, in fixed point.

Each output pixel is a weighted mean of the input pixels under a filter that is stretched where the
picture shrinks. The width comes first and is rounded to bytes, then the height, as in Pillow for
squares (of other pictures recent Pillows begin with the side that leaves them less work).

Pillow rounds weights to multiples of 2**-22 and so do we, on the host, in `resize_weights`. The
device multiplies with them exactly: each is split into two numbers of 11 bits, whose products and
sums float32 holds.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from exif_jax.io.errors import ExifJaxError

_PRECISION_BITS = 22
_HALF_BITS = 11
# Filters of Pillow and how far they reach, in pixels of the smaller of both pictures.
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}
# The least factor is 1/2, of sides that are rounded to whole pixels.
MAX_SHRINKING = 2.1
NUM_WEIGHTS = 2 * math.ceil(max(_REACH.values()) * MAX_SHRINKING) + 1
# Outputs that are computed from one window of the input, and the size of that window.
_TILE = 16
_WINDOW = math.ceil((_TILE - 1) * MAX_SHRINKING) + NUM_WEIGHTS + 1


class ResampleError(ExifJaxError):
    """A picture cannot be resized so; the message says what is possible."""


class Weights(NamedTuple):
    """How each pixel of a row (or column) is made of those of another.

    Attributes:
        start: int32 [..., O], where the input pixels begin; never falls along O.
        weight: int32 [..., O, NUM_WEIGHTS], of each of them, in units of 2**-22.
    """

    start: jax.Array | np.ndarray
    weight: jax.Array | np.ndarray


@functools.lru_cache(1024)
def resize_weights(before: int, after: int, resampling: str) -> Weights:
    """Returns the weights by which Pillow resizes.

    Args:
        before, after: numbers of pixels, `before` at most MAX_SHRINKING times `after`.
        resampling: one of `augment.RESAMPLINGS`.

    Returns:
        Weights of NumPy, [after]; they are cached, so nobody may change them.

    Raises:
        ResampleError: no pixel would be left, too many would be lost, or no such filter.
    """
    if resampling not in _REACH:
        raise ResampleError(f"resampling is {resampling!r}; it must be one of {[*_REACH]}")
    if before < 1 or after < 1 or before > MAX_SHRINKING * after:
        raise ResampleError(
            f"{before} pixels cannot be resized to {after}: a factor must be at least 0.5 and "
            "leave a pixel"
        )
    scale = before / after
    stretch = max(scale, 1.0)
    reach = _REACH[resampling] * stretch
    centre = (np.arange(after) + 0.5) * scale
    start = np.maximum(np.trunc(centre - reach + 0.5).astype(np.int64), 0)
    stop = np.minimum(np.trunc(centre + reach + 0.5).astype(np.int64), before)
    position = start[:, None] + np.arange(NUM_WEIGHTS)
    weight = _filter(resampling, (position - centre[:, None] + 0.5) / stretch)
    weight = np.where(position < stop[:, None], weight, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    fixed = np.trunc(weight * (1 << _PRECISION_BITS) + np.copysign(0.5, weight))
    return Weights(start.astype(np.int32), fixed.astype(np.int32))


def _filter(resampling: str, x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    if resampling == "bilinear":
        return np.maximum(1 - x, 0)
    if resampling == "bicubic":  # Keys 1981, a = -1/2
        near = (1.5 * x - 2.5) * x * x + 1
        far = -0.5 * (((x - 5) * x + 8) * x - 4)
        return np.where(x < 1, near, np.where(x < 2, far, 0))
    return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)


def padded_weights(weights: Weights, length: int) -> Weights:
    """Returns weights of NumPy for `length` pixels, of which those added are black.

    Args:
        weights: [O], at most `length`.
        length: of the result.
    """
    missing = length - len(weights.start)
    return Weights(
        np.pad(weights.start, (0, missing), mode="edge"),
        np.pad(weights.weight, ((0, missing), (0, 0))),
    )


def resample(planes: jax.Array, rows: Weights, columns: Weights) -> jax.Array:
    """Resizes a batch, each sample by its own weights.

    Args:
        planes: [n, c, H, W] of integers in [0, 255]; what no weight touches may be anything there.
        rows, columns: weights [n, P] of the rows and [n, Q] of the columns of the result.

    Returns:
        int32 [n, c, P, Q] in [0, 255].
    """
    n, channels, height, _ = planes.shape
    # In turn columns and rows are the axis that is summed over, and all else is one axis.
    lines = planes.transpose(0, 3, 1, 2).reshape(n, -1, channels * height)
    lines = _weigh(lines, columns).reshape(n, -1, channels, height).transpose(0, 3, 2, 1)
    lines = _weigh(lines.reshape(n, height, -1), rows).reshape(n, -1, *lines.shape[2:])
    return lines.swapaxes(1, 2)


def _weigh(lines: jax.Array, weights: Weights) -> jax.Array:
    """[n, L, M] to int32 [n, O, M], weighted means of lines.

    Where every line stays as it is, nothing is multiplied. (Compilers do not fuse across such a
    condition either, and to fuse both directions of `resample` would be slow.)
    """
    position = jax.lax.broadcasted_iota(jnp.int32, weights.start.shape, 1)
    moved = (weights.start != position) & (weights.weight[..., 0] != 0)
    changes = jnp.any(moved) | jnp.any(weights.weight[..., 1:] != 0)
    return jax.lax.cond(changes, _means, _first_lines, lines.astype(jnp.float32), weights)


def _first_lines(lines: jax.Array, weights: Weights) -> jax.Array:
    """Those with the numbers of the weights, which are weighted by one."""
    missing = max(0, weights.start.shape[1] - lines.shape[1])
    lines = jnp.pad(lines, ((0, 0), (0, missing), (0, 0)))
    return lines[:, : weights.start.shape[1]].astype(jnp.int32)


def _means(lines: jax.Array, weights: Weights) -> jax.Array:
    """`_weigh` without a condition.

    A dense matrix would be nearly all zeros. _TILE lines of the result lie within one window of the
    input, and a small dense matrix leads from there to them.
    """
    n, length, _ = lines.shape
    after = weights.start.shape[1]
    window = min(_WINDOW, length)
    tiles = -(-after // _TILE)
    missing = tiles * _TILE - after
    start = jnp.pad(jnp.asarray(weights.start), ((0, 0), (0, missing)), mode="edge")
    start = start.reshape(n, tiles, _TILE)
    weight = jnp.pad(weights.weight, ((0, 0), (0, missing), (0, 0)))
    weight = weight.reshape(n, tiles, _TILE, NUM_WEIGHTS)
    first = jnp.minimum(start[:, :, 0], length - window)  # [n, tiles]
    place = start - first[:, :, None]
    # [n, tiles, _TILE, window]: the weights at their places.
    matrix = jnp.zeros((n, tiles, _TILE, window), jnp.int32)
    position = jax.lax.broadcasted_iota(jnp.int32, matrix.shape, 3)
    for k in range(NUM_WEIGHTS):
        matrix += jnp.where(place[..., None] + k == position, weight[..., k : k + 1], 0)
    halves = [matrix >> _HALF_BITS, matrix & ((1 << _HALF_BITS) - 1)]
    matrix = jnp.concatenate(halves, axis=2).astype(jnp.float32)

    def cut(picture, first):
        return jax.lax.dynamic_slice_in_dim(picture, first, window)

    windows = jax.vmap(jax.vmap(cut, (None, 0)))(lines, first)  # [n, tiles, window, M]
    total = jnp.matmul(
        matrix,
        windows,
        precision=jax.lax.Precision.HIGHEST,  # products of 8 and 11 bits, exact
    ).astype(jnp.int32)
    total = (total[:, :, :_TILE] << _HALF_BITS) + total[:, :, _TILE:]
    rounded = jnp.clip((total + (1 << (_PRECISION_BITS - 1))) >> _PRECISION_BITS, 0, 255)
    return rounded.reshape(n, tiles * _TILE, -1)[:, :after]
