"""JPEG compression and back, as libjpeg-turbo computes it, for batches on any device.

All of it is integer arithmetic, so that every device gives the same bytes, and these are the bytes
of `reading.pixels.compress`. The steps are those of ITU-T T.81 and JFIF as libjpeg's comments
describe them: conversion to YCbCr in fixed point, averaging of chroma, the accurate integer DCT
("islow", after Loeffler, Ligtenberg and Moschytz 1989), division by multiplication with a
reciprocal, and all the way back with triangle ("fancy") upsampling. Entropy coding loses nothing
and is left out.

Pictures of several sizes share one array: what lies beyond a picture's own height and width is
neither read nor defined.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.pixels import BLOCK, SUBSAMPLINGS

# Annex K of T.81, tables K.1 and K.2: steps of luma and chroma at quality 50, row by row.
_STANDARD_TABLES = np.array(
    [
        [
            *(16, 11, 10, 16, 24, 40, 51, 61),
            *(12, 12, 14, 19, 26, 58, 60, 55),
            *(14, 13, 16, 24, 40, 57, 69, 56),
            *(14, 17, 22, 29, 51, 87, 80, 62),
            *(18, 22, 37, 56, 68, 109, 103, 77),
            *(24, 35, 55, 64, 81, 104, 113, 92),
            *(49, 64, 78, 87, 103, 121, 120, 101),
            *(72, 92, 95, 98, 112, 100, 103, 99),
        ],
        [
            *(17, 18, 24, 47, 99, 99, 99, 99),
            *(18, 21, 26, 66, 99, 99, 99, 99),
            *(24, 26, 56, 99, 99, 99, 99, 99),
            *(47, 66, 99, 99, 99, 99, 99, 99),
            *(99,) * 32,
        ],
    ],
    np.int32,
)


class JpegError(ExifJaxError):
    """No JPEG file has such settings; the message says which and what is possible."""


def quality_tables(quality: int) -> np.ndarray:
    """Returns libjpeg's quantisation tables of a quality.

    Args:
        quality: 1 to 100.

    Returns:
        int32 [2, 64], of luma and chroma, row by row, in [1, 255].

    Raises:
        JpegError: there is no such quality.
    """
    if not 1 <= quality <= 100:
        raise JpegError(f"JPEG quality is {quality}; it must lie between 1 and 100")
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((_STANDARD_TABLES * percent + 50) // 100, 1, 255).astype(np.int32)


def check_jpeg(tables: np.ndarray, subsampling: np.ndarray) -> None:
    """Raises JpegError where `compress_batch` would not give what Pillow gives.

    Args:
        tables: [..., 2, 64].
        subsampling: [...].
    """
    if tables.shape[-2:] != (2, BLOCK**2):
        raise JpegError(
            f"quantisation tables have the shape {tables.shape}; two tables of 64 steps are needed"
        )
    if not np.all((tables >= 1) & (tables <= 255)):
        raise JpegError(
            f"a quantisation table holds steps from {tables.min()} to {tables.max()}; they must "
            "lie between 1 and 255"
        )
    known = np.arange(len(SUBSAMPLINGS))
    if not np.isin(subsampling, known).all():
        raise JpegError(
            f"chroma subsampling is {np.setdiff1d(subsampling, known)[0]}; it must be 0 (4:4:4), "
            "1 (4:2:2) or 2 (4:2:0)"
        )


def compress_batch(
    images: jax.Array, tables: jax.Array, subsampling: jax.Array, sides: jax.Array | None = None
) -> jax.Array:
    """Returns pictures after a compression to JPEG and back.

    Args:
        images: uint8 [n, H, W, 3].
        tables: int [n, 2, 64], quantisation steps of luma and chroma, row by row, in [1, 255].
        subsampling: int [n], Pillow's numbers: 0 (4:4:4), 1 (4:2:2) or 2 (4:2:0).
        sides: int [n, 2], height and width of each picture, at least 5; None: H and W.

    Returns:
        uint8 [n, H, W, 3].
    """
    n, height, width, _ = images.shape
    if sides is None:
        sides = jnp.broadcast_to(jnp.array([height, width], jnp.int32), (n, 2))
    planes = jnp.moveaxis(images, 3, 1)
    planes = compress_planes(planes.astype(jnp.int32), tables, subsampling, sides)
    return jnp.moveaxis(planes, 1, 3).astype(jnp.uint8)


def compress_planes(
    planes: jax.Array, tables: jax.Array, subsampling: jax.Array, sides: jax.Array
) -> jax.Array:
    """`compress_batch` of int32 [n, 3, H, W] with values in [0, 255]; returns the same."""
    _, _, height, width = planes.shape
    rows, columns = sides[:, 0], sides[:, 1]
    # Chroma at half size must still come in whole blocks.
    grow = [(0, 0), (0, 0), (0, -height % (2 * BLOCK)), (0, -width % (2 * BLOCK))]
    ycc = _to_ycc(extend(extend(jnp.pad(planes, grow), rows, 2), columns, 3))
    chroma = _downsample(ycc[:, 1:], subsampling, rows)
    ycc = jnp.concatenate([ycc[:, :1], chroma], axis=1)
    ycc = _quantise_dct(ycc, tables)
    chroma = _upsample(ycc[:, 1:], subsampling, rows, columns)
    ycc = jnp.concatenate([ycc[:, :1], chroma], axis=1)
    return _to_rgb(ycc)[:, :, :height, :width]


def extend(x: jax.Array, length: jax.Array, axis: int) -> jax.Array:
    """Repeats the last of the first `length` entries along an axis up to its end.

    Args:
        x: [n, ...].
        length: int [n], each at least 1.
        axis: at least 1.
    """
    shape = [-1 if k == 0 else 1 for k in range(x.ndim)]
    last = jnp.take_along_axis(x, (length - 1).reshape(shape), axis)
    position = jax.lax.broadcasted_iota(jnp.int32, (1, *x.shape[1:]), axis)
    return jnp.where(position < length.reshape(shape), x, last)


# --- colours --------------------------------------------------------------------------------------


def _fixed(number: float) -> int:
    return int(number * 65536 + 0.5)


def _to_ycc(rgb: jax.Array) -> jax.Array:
    """[n, 3, H, W] of RGB to YCbCr, all in [0, 255]."""
    r, g, b = rgb[:, 0], rgb[:, 1], rgb[:, 2]
    half, centre = 1 << 15, (128 << 16) + (1 << 15) - 1
    y = _fixed(0.299) * r + _fixed(0.587) * g + _fixed(0.114) * b + half
    cb = _fixed(0.5) * b - _fixed(0.16874) * r - _fixed(0.33126) * g + centre
    cr = _fixed(0.5) * r - _fixed(0.41869) * g - _fixed(0.08131) * b + centre
    return jnp.stack([y >> 16, cb >> 16, cr >> 16], axis=1)


def _to_rgb(ycc: jax.Array) -> jax.Array:
    """[n, 3, H, W] of YCbCr to RGB, all in [0, 255]."""
    y, cb, cr = ycc[:, 0], ycc[:, 1] - 128, ycc[:, 2] - 128
    half = 1 << 15
    r = y + ((_fixed(1.402) * cr + half) >> 16)
    g = y + ((half - _fixed(0.34414) * cb - _fixed(0.71414) * cr) >> 16)
    b = y + ((_fixed(1.772) * cb + half) >> 16)
    return jnp.clip(jnp.stack([r, g, b], axis=1), 0, 255)


# --- chroma at half size --------------------------------------------------------------------------


def _choose(subsampling: jax.Array, *variants: jax.Array) -> jax.Array:
    """Of each sample [c, H, W] the variant of its subsampling."""
    which = subsampling[:, None, None, None]
    return jnp.where(which == 0, variants[0], jnp.where(which == 1, variants[1], variants[2]))


def _downsample(full: jax.Array, subsampling: jax.Array, rows: jax.Array) -> jax.Array:
    """Averages chroma [n, c, H, W]; what is smaller lies in the upper left corner.

    What averages round to alternates from column to column, so that rounding has no bias.
    """
    _, _, height, width = full.shape
    column = jnp.arange(width // 2, dtype=jnp.int32).reshape(1, 1, 1, -1) % 2
    pairs = full[..., 0::2] + full[..., 1::2]
    halved = (pairs + column) >> 1
    quartered = (pairs[:, :, 0::2] + pairs[:, :, 1::2] + 1 + column) >> 2
    # Beyond the lower edge libjpeg repeats rows that are averaged already.
    quartered = extend(quartered, (rows + 1) // 2, 2)
    right, below = (0, width // 2), (0, height // 2)
    halved = jnp.pad(halved, [(0, 0), (0, 0), (0, 0), right])
    quartered = jnp.pad(quartered, [(0, 0), (0, 0), below, right])
    return _choose(subsampling, full, halved, quartered)


def _upsample(
    small: jax.Array, subsampling: jax.Array, rows: jax.Array, columns: jax.Array
) -> jax.Array:
    """Undoes `_downsample` by linear interpolation between the centres of samples."""
    _, _, height, width = small.shape
    half = extend(small[..., : width // 2], (columns + 1) // 2, 3)
    quarter = extend(half[:, :, : height // 2], (rows + 1) // 2, 2)
    # 4:2:2: weights 3 and 1, rounded down and up in turn.
    before, after = _beside(half, 3)
    doubled = _interleave((3 * half + before + 1) >> 2, (3 * half + after + 2) >> 2, 3)
    # 4:2:0: rows first, without rounding.
    above, below = _beside(quarter, 2)
    tall = _interleave(3 * quarter + above, 3 * quarter + below, 2)
    before, after = _beside(tall, 3)
    quadrupled = _interleave((3 * tall + before + 8) >> 4, (3 * tall + after + 7) >> 4, 3)
    return _choose(subsampling, small, doubled, quadrupled)


def _beside(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """The neighbour before and after every entry; those of the edges are themselves."""
    part, last = functools.partial(jax.lax.slice_in_dim, x, axis=axis), x.shape[axis] - 1
    before = jnp.concatenate([part(0, 1), part(0, last)], axis)
    return before, jnp.concatenate([part(1, last + 1), part(last, last + 1)], axis)


def _interleave(even: jax.Array, odd: jax.Array, axis: int) -> jax.Array:
    shape = list(even.shape)
    shape[axis] *= 2
    return jnp.stack([even, odd], axis + 1).reshape(shape)


# --- the DCT and its quantisation -----------------------------------------------------------------

_CONST_BITS, _PASS1_BITS = 13, 2


def _rotations() -> dict[str, int]:
    """The fixed-point constants of the fast DCT."""
    numbers = (
        *(0.298631336, 0.390180644, 0.541196100, 0.765366865, 0.899976223, 1.175875602),
        *(1.501321110, 1.847759065, 1.961570560, 2.053119869, 2.562915447, 3.072711026),
    )
    return {f"{x:.3f}": int(x * (1 << _CONST_BITS) + 0.5) for x in numbers}


def _forward_matrix() -> np.ndarray:
    """int32 [8, 8]: libjpeg's integer DCT of eight samples, scaled by sqrt(8) * 2**13.

    Its multiplications are exact and it rounds only at its end, so that it is this matrix; the
    butterflies give its entries.
    """
    c = _rotations()
    x = np.eye(8, dtype=np.int64)
    sums, differences = x[:4] + x[:3:-1], x[:4] - x[:3:-1]
    even = sums[:2] + sums[:1:-1], sums[:2] - sums[:1:-1]
    out = np.zeros((8, 8), np.int64)
    out[0], out[4] = (even[0][0] + even[0][1]) << 13, (even[0][0] - even[0][1]) << 13
    z1 = (even[1][1] + even[1][0]) * c["0.541"]
    out[2], out[6] = z1 + even[1][0] * c["0.765"], z1 - even[1][1] * c["1.848"]
    t7, t6, t5, t4 = differences
    z1, z2, z3, z4 = -(t4 + t7) * c["0.900"], -(t5 + t6) * c["2.563"], t4 + t6, t5 + t7
    z5 = (z3 + z4) * c["1.176"]
    z3, z4 = z5 - z3 * c["1.962"], z5 - z4 * c["0.390"]
    out[7] = t4 * c["0.299"] + z1 + z3
    out[5] = t5 * c["2.053"] + z2 + z4
    out[3] = t6 * c["3.073"] + z2 + z3
    out[1] = t7 * c["1.501"] + z1 + z4
    return out.astype(np.int32)


# The inverse uses the same constants in the transposed order.
_FORWARD = _forward_matrix()
_INVERSE = _FORWARD.T


def _quantise_dct(planes: jax.Array, tables: jax.Array) -> jax.Array:
    """int32 [n, 3, H, W] in [0, 255] to the DCT, there to multiples of `tables`, and back."""
    n, _, _, width = planes.shape
    steps = tables[:, np.array([0, 1, 1])].astype(jnp.int32).reshape(n, 3, BLOCK, BLOCK)
    # As wide as a picture and not one block, so that the division runs over whole rows.
    numbers = jnp.stack([*_reciprocal(8 * steps), steps]).reshape(-1, BLOCK)
    numbers = numbers @ jnp.tile(jnp.eye(BLOCK, dtype=jnp.int32), (1, width // BLOCK))
    numbers = numbers.reshape(4, n, 3, 1, BLOCK, width)
    x = _along_rows(planes - 128, _FORWARD, _CONST_BITS - _PASS1_BITS)
    x = _along_columns(x, _FORWARD, _CONST_BITS + _PASS1_BITS)
    x = _quantise(x.reshape(n, 3, -1, BLOCK, width), *numbers).reshape(x.shape)
    x = _along_columns(x, _INVERSE, _CONST_BITS - _PASS1_BITS)
    x = _along_rows(x, _INVERSE, _CONST_BITS + _PASS1_BITS + 3)
    return jnp.clip(x + 128, 0, 255)


# Matrix products, as compilers do not fuse one with the next: a pass that is fused into its
# successor is computed anew for each of the eight entries that need it.


def _along_rows(x: jax.Array, matrix: np.ndarray, shift: int) -> jax.Array:
    """The matrix times every eight entries of a row, rounded and divided by 2**shift."""
    eights = x.reshape(-1, BLOCK) @ jnp.asarray(matrix.T)
    return ((eights + (1 << (shift - 1))) >> shift).reshape(x.shape)


def _along_columns(x: jax.Array, matrix: np.ndarray, shift: int) -> jax.Array:
    """The same with every eight entries of a column."""
    eights = x.reshape(-1, BLOCK, x.shape[-1])
    matrices = jnp.broadcast_to(matrix, (len(eights), BLOCK, BLOCK))
    eights = jax.lax.batch_matmul(matrices, eights)
    return ((eights + (1 << (shift - 1))) >> shift).reshape(x.shape)


def _quantise(
    x: jax.Array, reciprocal: jax.Array, correction: jax.Array, shift: jax.Array, step: jax.Array
) -> jax.Array:
    """x, |x| below 2**14, to multiples of 8 x step, and these divided by 8."""
    size = ((jnp.abs(x) + correction) * reciprocal >> shift) * step
    return jnp.where(x < 0, -size, size)


def _reciprocal(divisor: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """How libjpeg-turbo's SIMD code divides: (x + correction) * reciprocal >> shift.

    The reciprocal has 16 bits, and rounds a few halves otherwise than a division would.

    Args:
        divisor: int32 in [2, 2040].
    """
    shift = 16 + 31 - jax.lax.clz(divisor)  # of the largest power of two that is not above, and 16
    power = jnp.int32(1) << shift
    quotient, rest, half = power // divisor, power % divisor, divisor // 2
    exact, small = rest == 0, rest <= half
    reciprocal = jnp.where(exact, quotient >> 1, jnp.where(small, quotient, quotient + 1))
    correction = half + jnp.where(~exact & small, 1, 0)
    return reciprocal, correction, jnp.where(exact, shift - 1, shift)
