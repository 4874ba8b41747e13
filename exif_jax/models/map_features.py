"""What the learned map sees of a photo: spectra and levels of its blocks, colours of its cells.

Shape letters: B photos, H and W pixels, h = H / 8 and w = W / 8 blocks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from exif_jax.models.vit import block_transform, spectrum_scale, ycbcr_matrix
from exif_jax.reading.pixels import BLOCK, CELL

_SPECTRUM, _ENERGIES = 3 * BLOCK**2, 4 * BLOCK
NUM_BLOCK_FEATURES = _SPECTRUM + _ENERGIES
NUM_COLOUR_FEATURES = 2 * (BLOCK**2 - 1)  # of a cell
# Levels from which on each but the last is told apart from the next: 0, 1, 2, 3, 4, 5 and 6, ...
_LEVELS = (1, 2, 3, 4, 5, 7, 10, 16)
NUM_LEVEL_FEATURES = (len(_LEVELS) + 1) * (BLOCK**2 - 1)
_STEPS = (2, 32)  # the least step that is looked for, and the largest
# A step is seen where coefficients lie on average nearer to its multiples than this says: 1 on
# them, 0 where they lie anywhere, 0.6 at a step of 2, as decoding rounds pixels.
_SEEN = 0.4
_LEAST_SEEN = 12  # coefficients beyond half a step that tell it
_LOOKED_AT = 1024  # blocks of a picture from which steps are told


def block_features(photos: jax.Array) -> jax.Array:
    """What the network sees of each 8 x 8 block: uint8 [B, H, W, 3] -> float32 [B, h, w, 224].

    192 log |DCT|, those of `vit.log_spectrum` in the order (row, column, Y Cb Cr), then the log
    energy of the luma's 8 columns and 8 rows, how far pixels lie from the mean of their two
    neighbours, and of the chroma's, the steps of Cb and Cr to the next column and row. Energy by
    its place on the grid is how the blocks of earlier compressions, interpolation and the pairs of
    subsampled colours show.
    """
    B, H, W, _ = photos.shape
    h, w = H // BLOCK, W // BLOCK
    blocks = photos.reshape(B, h, BLOCK, w, BLOCK, 3).transpose(0, 1, 3, 2, 4, 5)
    dct = blocks.reshape(B * h * w, _SPECTRUM).astype(jnp.float32) @ block_transform()
    mean, std, kept = spectrum_scale()
    spectra = (jnp.log1p(jnp.abs(dct)) - mean[None]) / std[None] * kept[None]
    luma, blue, red = jnp.einsum("bhwc,dc->dbhw", photos.astype(jnp.float32), ycbcr_matrix())
    across = jnp.stack([_residual(luma, 2), _step(blue, 2) + _step(red, 2)])
    down = jnp.stack([_residual(luma, 1), _step(blue, 1) + _step(red, 1)])
    columns = across.reshape(2, B, h, BLOCK, w, BLOCK).mean(3).transpose(1, 2, 3, 0, 4)
    rows = down.reshape(2, B, h, BLOCK, w, BLOCK).mean(5).transpose(1, 2, 4, 0, 3)
    energy = jnp.concatenate([columns, rows], axis=-1).reshape(B, h, w, _ENERGIES)
    return jnp.concatenate([spectra.reshape(B, h, w, _SPECTRUM), jnp.log(energy + 0.1)], axis=-1)


def colour_features(photos: jax.Array) -> jax.Array:
    """What a cell of 16 x 16 shows at half resolution: uint8 [B, H, W, 3] -> float32 [..., 126].

    log |DCT| of the cell's 8 x 8 means of four pixels in Cb and Cr, without the mean colours:
    in the order (frequency, row by row; Cb Cr), [B, H / 16, W / 16, 126]. JPEG files mostly hold
    colours so; what an earlier compression left at 0 there stays small until the picture is moved.
    """
    B, H, W, _ = photos.shape
    h, w = H // CELL, W // CELL
    halved = photos.astype(jnp.float32).reshape(B, H // 2, 2, W // 2, 2, 3).mean((2, 4))
    cells = halved.reshape(B, h, BLOCK, w, BLOCK, 3).transpose(0, 1, 3, 2, 4, 5)
    dct = cells.reshape(B * h * w, _SPECTRUM) @ block_transform()
    colours = dct.reshape(B, h, w, BLOCK**2, 3)[..., 1:, 1:]
    return jnp.log(jnp.abs(colours) + 0.1).reshape(B, h, w, NUM_COLOUR_FEATURES)


def level_features(photos: jax.Array, mask: jax.Array) -> jax.Array:
    """What multiples of the last compression's steps a block's luma holds: [B, h, w, 567].

    Each coefficient is divided by the step that its frequency was last rounded to, as the picture's
    own pixels tell it (1 where they tell none). Of the 63 that are not the mean, float32: whether
    it is at least 1, 2, 3, 4, 5, 7, 10, 16 such levels, and how near to a whole one that is not 0,
    1 on it and -1 between two. Levels that an earlier compression left empty, on the same grid,
    show so (Lin et al. 2009, "Fast, automatic and fine-grained tampered JPEG image detection via
    DCT coefficient analysis").

    Args:
        photos: uint8 [B, H, W, 3].
        mask: bool [B, h, w], False where a block is padding.
    """
    B, H, W, _ = photos.shape
    h, w = H // BLOCK, W // BLOCK
    blocks = photos.reshape(B, h, BLOCK, w, BLOCK, 3).transpose(0, 1, 3, 2, 4, 5)
    luma_transform = block_transform()[:, 3::3]
    dct_BxNxF = (blocks.reshape(-1, _SPECTRUM).astype(jnp.float32) @ luma_transform).reshape(
        B, h * w, -1
    )
    steps_BxF = _quantization_steps(dct_BxNxF, mask.reshape(B, h * w))
    scaled = dct_BxNxF / steps_BxF[:, None]
    level = jnp.abs(jnp.round(scaled))
    reached = [(level >= least).astype(jnp.float32) for least in _LEVELS]
    near = jnp.where(level >= 1, _nearness(scaled), 0)
    return jnp.concatenate([*reached, near], axis=-1).reshape(B, h, w, NUM_LEVEL_FEATURES)


def _quantization_steps(dct_BxNxF: jax.Array, mask_BxN: jax.Array) -> jax.Array:
    """The step to whose multiples a picture's coefficients lie nearest: float32 [B, F], or 1.

    Of the steps that divide it that is the largest, as rounding pixels moves coefficients less,
    beside it.
    """
    every = max(1, dct_BxNxF.shape[1] // _LOOKED_AT)
    dct, mask = dct_BxNxF[:, ::every], mask_BxN[:, ::every, None]

    def look(step: jax.Array) -> jax.Array:
        scaled = dct / step
        counts = (jnp.abs(scaled) > 0.5) & mask  # what rounds to 0 is near to it at any step
        number = counts.sum(1)
        mean = jnp.where(counts, _nearness(scaled), 0).sum(1) / jnp.maximum(number, 1)
        return jnp.where(number >= _LEAST_SEEN, mean, 0)

    steps = jnp.arange(_STEPS[0], _STEPS[1] + 1, dtype=jnp.float32)
    mean_SxBxF = jax.lax.map(look, steps)
    return jnp.where(mean_SxBxF.max(0) > _SEEN, steps[mean_SxBxF.argmax(0)], 1.0)


def _nearness(x: jax.Array) -> jax.Array:
    """1 on whole numbers, -1 between two."""
    return 1 - 4 * jnp.abs(x - jnp.round(x))


def features_of_cells(
    windows: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What the network sees of cells that were taken out of a photo.

    Args:
        windows: uint8 [B, R, C, 32, 32, 3]: cells with the 8 pixels around each; rows and columns
            of them stand side by side whatever lay between them.
        mask: bool [B, 2 R, 2 C], False where a block is padding.

    Returns:
        What `block_features` gives these cells in the photo, [B, 2 R, 2 C, 224]; `level_features`,
        with the steps of all cells together, [B, 2 R, 2 C, 567]; and `colour_features`,
        [B, R, C, 126].
    """
    B, R, C = windows.shape[:3]
    flat = windows.reshape(-1, *windows.shape[3:])
    blocks = block_features(flat)[:, 1:3, 1:3].reshape(B, R, C, 2, 2, -1)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(B, 2 * R, 2 * C, -1)
    inner = windows[:, :, :, BLOCK : BLOCK + CELL, BLOCK : BLOCK + CELL]
    cells = inner.transpose(0, 1, 3, 2, 4, 5).reshape(B, R * CELL, C * CELL, 3)
    return blocks, level_features(cells, mask), colour_features(cells)


def _step(x: jax.Array, axis: int) -> jax.Array:
    """|x - the next| along an axis; 0 at the end."""
    return jnp.abs(jnp.diff(x, axis=axis, append=jax.lax.slice_in_dim(x, -1, None, axis=axis)))


def _residual(x: jax.Array, axis: int) -> jax.Array:
    """|x - the mean of its two neighbours| along an axis; the border is its own neighbour."""
    padding = [(1, 1) if k == axis else (0, 0) for k in range(x.ndim)]
    padded = jnp.pad(x, padding, mode="edge")
    size = x.shape[axis]
    before = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
    after = jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
    return jnp.abs(x - (before + after) / 2)
