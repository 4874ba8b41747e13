"""Smoothing, sharpening and noise for batches on any device, the filters as Pillow computes them.

Pillow's Gaussian blur is three box blurs in each direction (Gwosdek et al. 2011, "Theoretical
foundations of Gaussian convolution by extended box filtering"), each rounded to bytes; its unsharp
mask adds a multiple of what that blur takes away. All of it is integer arithmetic.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import ImageFilter

from exif_jax.data.jpeg import extend

_PASSES = 3
_UNIT = 1 << 24  # in which weights of box blurs are counted


class FilterNumbers(NamedTuple):
    """A filter in numbers, for each sample of a batch.

    Attributes:
        median: bool [n], the median of 3 x 3 pixels; what follows is then unused.
        radius: int32 [n], 0 or 1, pixels that a box blur counts whole on each side.
        near, far: uint32 [n], weights of those and of the next one, in units of 2**-24.
        percent: int32 [n], of the unsharp mask; -100 is the blur itself, 0 no filter.
    """

    median: jax.Array | np.ndarray
    radius: jax.Array | np.ndarray
    near: jax.Array | np.ndarray
    far: jax.Array | np.ndarray
    percent: jax.Array | np.ndarray


def filter_numbers(pillow_filter: ImageFilter.Filter | None) -> FilterNumbers:
    """Returns a filter of Pillow in numbers, without a batch axis.

    Args:
        pillow_filter: a median of 3, or a Gaussian blur or unsharp mask without a threshold, of
            standard deviations below 2.4; None: no filter.

    Raises:
        ValueError: another filter.
    """
    if pillow_filter is None:
        return _numbers(False, 0, _UNIT, 0, 0)
    if isinstance(pillow_filter, ImageFilter.MedianFilter) and pillow_filter.size == 3:
        return _numbers(True, 0, _UNIT, 0, 0)
    if isinstance(pillow_filter, ImageFilter.GaussianBlur):
        percent, sigma = -100, pillow_filter.radius
    elif isinstance(pillow_filter, ImageFilter.UnsharpMask) and pillow_filter.threshold == 0:
        percent, sigma = pillow_filter.percent, pillow_filter.radius
    else:
        raise ValueError(f"no such filter on the device: {pillow_filter}")
    assert isinstance(sigma, (int, float))
    radius = _box_radius(np.float32(sigma))
    whole = int(radius)
    if whole > 1:
        raise ValueError(f"a Gaussian of {sigma} pixels reaches too far")
    near = int(np.float32(_UNIT) / (radius * 2 + 1))
    far = (_UNIT - (2 * whole + 1) * near) // 2
    return _numbers(False, whole, near, far, percent)


def _numbers(median: bool, radius: int, near: int, far: int, percent: int) -> FilterNumbers:
    signed, unsigned = (functools.partial(np.array, dtype=d) for d in (np.int32, np.uint32))
    return FilterNumbers(
        np.array(median), signed(radius), unsigned(near), unsigned(far), signed(percent)
    )


def _box_radius(sigma: np.float32) -> np.float32:
    """The radius of the box whose _PASSES-fold blur has a standard deviation, in Pillow's float32.

    Its whole part counts pixels, and its fraction the weight of the next one.
    """
    variance = sigma * sigma / np.float32(_PASSES)
    whole = np.floor((np.float32(np.sqrt(12.0 * float(variance) + 1.0)) - 1) / 2)
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    return np.float32(whole + part / (6 * (variance - (whole + 1) * (whole + 1))))


def apply_filter(planes: jax.Array, numbers: FilterNumbers, sides: jax.Array) -> jax.Array:
    """Filters a batch, each sample by its own filter.

    Args:
        planes: int32 [n, c, H, W] in [0, 255].
        numbers: [n].
        sides: int32 [n, 2], height and width of each picture; what lies beyond is undefined.

    Returns:
        int32 [n, c, H, W] in [0, 255].
    """
    planes = extend(extend(planes, sides[:, 0], 2), sides[:, 1], 3)
    median, percent = (x[:, None, None, None] for x in (numbers.median, numbers.percent))
    blurred = _blur(planes, numbers, sides)
    more = (planes - blurred) * percent
    more = jnp.sign(more) * (jnp.abs(more) // 100)  # towards 0, as C divides
    return jnp.where(median, _median(planes), jnp.clip(planes + more, 0, 255))


def _blur(planes: jax.Array, numbers: FilterNumbers, sides: jax.Array) -> jax.Array:
    radius, near, far = (
        jnp.asarray(x)[:, None, None, None] for x in (numbers.radius, numbers.near, numbers.far)
    )
    weights = [near, jnp.where(radius == 0, far, near), jnp.where(radius == 0, 0, far)]

    def box_blur(axis):
        def blur(_, planes):
            planes = extend(planes, sides[:, axis - 2], axis)
            grow = [(2, 2) if k == axis else (0, 0) for k in range(4)]
            padded = jnp.pad(planes, grow, mode="edge").astype(jnp.uint32)

            def shifted(k):
                return jax.lax.slice_in_dim(padded, 2 + k, 2 + k + planes.shape[axis], axis=axis)

            total = shifted(0) * weights[0] + jnp.uint32(_UNIT // 2)
            for k in (1, 2):
                total += (shifted(-k) + shifted(k)) * weights[k]
            return (total // _UNIT).astype(jnp.int32)

        return blur

    # A loop, as compilers do not fuse its turns, of which each would compute the last five times.
    for axis in (3, 2):
        planes = jax.lax.fori_loop(0, _PASSES, box_blur(axis), planes)
    return planes


def _median(planes: jax.Array) -> jax.Array:
    """The median of 3 x 3 pixels; those of the edges are repeated beyond them.

    Sorted columns first: the median of nine is that of the largest of the least, the middle of the
    middle ones and the least of the largest.
    """
    _, _, height, width = planes.shape
    padded = jnp.pad(planes, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    least, middle, largest = _sorted(*(padded[:, :, k : k + height] for k in range(3)))

    def beside(x):
        return (x[..., k : k + width] for k in range(3))

    highest = functools.reduce(jnp.maximum, beside(least))
    lowest = functools.reduce(jnp.minimum, beside(largest))
    return _sorted(highest, _sorted(*beside(middle))[1], lowest)[1]


def _sorted(a: jax.Array, b: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    middle = jnp.minimum(high, c)
    return jnp.minimum(low, c), jnp.maximum(low, middle), jnp.maximum(high, c)


def add_noise(planes: jax.Array, sigma: jax.Array, key: jax.Array, rows: jax.Array) -> jax.Array:
    """Adds white Gaussian noise, and rounds.

    Args:
        planes: int32 [n, c, H, W] in [0, 255].
        sigma: [n], standard deviation in levels of 255; 0: no noise.
        key: of the batch.
        rows: uint32 [n], each sample's number in the whole batch, which with the key decides its
            noise: whichever samples stand beside it, and on whichever device.

    Returns:
        int32 [n, c, H, W] in [0, 255].
    """

    def noise(row):
        return jax.random.normal(jax.random.fold_in(key, row), planes.shape[1:])

    scale = sigma.astype(jnp.float32)[:, None, None, None]
    added = jnp.rint(planes + scale * jax.vmap(noise)(rows))
    return jnp.clip(added, 0, 255).astype(jnp.int32)
