"""What the learned map sees of a photo: spectra of its blocks, colours of its cells, its pixels.

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
TILE = 4  # pixels: side of the tiles of which four make a window, as large as a block


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


def pixel_tiles(photos: jax.Array) -> jax.Array:
    """The pixels themselves: uint8 [B, H, W, 3] -> float32 [B, H / 4 + 2, W / 4 + 2, 48].

    Tiles of 4 x 4 in the order (row, column, Y Cb Cr), one more at each side, in which the border
    is repeated: tile 0 holds the 4 pixels before the first.
    """
    B, H, W, _ = photos.shape
    values = jnp.einsum("bhwc,dc->bhwd", photos.astype(jnp.float32), ycbcr_matrix())
    wide = jnp.pad(values, ((0, 0), (TILE, TILE), (TILE, TILE), (0, 0)), mode="edge")
    high, across = H // TILE + 2, W // TILE + 2
    tiles = wide.reshape(B, high, TILE, across, TILE, 3).transpose(0, 1, 3, 2, 4, 5)
    return tiles.reshape(B, high, across, 3 * TILE**2)


def features_of_cells(windows: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What the network sees of cells that were taken out of a photo.

    Args:
        windows: uint8 [B, R, C, 32, 32, 3]: cells with the 8 pixels around each; rows and columns
            of them stand side by side whatever lay between them.

    Returns:
        What `block_features` gives these cells in the photo, [B, 2 R, 2 C, 224], `colour_features`,
        [B, R, C, 126], and the tiles in and around each, [B, R, C, 6, 6, 48].
    """
    B, R, C = windows.shape[:3]
    flat = windows.reshape(-1, *windows.shape[3:])
    blocks = block_features(flat)[:, 1:3, 1:3].reshape(B, R, C, 2, 2, -1)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(B, 2 * R, 2 * C, -1)
    inner = slice(BLOCK, BLOCK + CELL)
    colours = colour_features(flat[:, inner, inner]).reshape(B, R, C, -1)
    tiles = pixel_tiles(flat)[:, 2:-2, 2:-2]
    return blocks, colours, tiles.reshape(B, R, C, *tiles.shape[1:])


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
