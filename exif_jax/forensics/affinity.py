"""From the embeddings of patches to the map of inconsistency: affinity, score, votes, mode.

Pure functions, jitted, without a Python loop over patches or pairs. The procedure is the one of
Zheng et al., "EXIF as Language" (CVPR 2023), after Huh et al., "Fighting Fake News" (ECCV 2018):
every patch votes, over the cells it covers, on how little it resembles every other patch; the
mode that most cells agree on is the photo's own camera, and the map says how far each cell is
from it. Two exact identities make it cheap: averaging 1 - cos over the patches that cover two
cells equals 1 - the product of the cells' mean embeddings, and the distance between two rows of
such an [N, N] matrix is a distance in D dimensions.

Shape letters: P patches, N cells, D embedding width.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from exif_jax.forensics.patches import Grid


@jax.jit
def affinity_matrix(z_PxD: jax.Array) -> jax.Array:
    """Cosines between all patches: unit rows [P, D] -> [P, P] in [-1, 1]."""
    return jnp.clip(jnp.matmul(z_PxD, z_PxD.T, precision="highest"), -1.0, 1.0)


@jax.jit
def splice_score(z_PxD: jax.Array) -> jax.Array:
    """The paper's score: mean of 1 - cos over all ordered pairs, a patch with itself included.

    Unit rows [P, D] -> scalar in [0, 1]; higher is less consistent. The mean of all cosines is
    the squared length of the mean embedding, so no [P, P] matrix is needed.
    """
    return jnp.maximum(1.0 - jnp.square(z_PxD.mean(axis=0)).sum(), 0.0)


def cell_weights(count: int, patch: int, stride: int) -> np.ndarray:
    """Which patches cover which cells, along one side of the grid.

    Cell c is the span [c * stride, (c + 1) * stride) of pixels; the cells reach to the end of the
    last patch.

    Args:
        count: patches along this side.
        patch, stride: in pixels.

    Returns:
        float32 [cells, count], rows sum to 1: the share of the votes on a cell that each patch
        has, by the length of their overlap. A box filter, then, that is narrower at the ends.
    """
    cells = -(-((count - 1) * stride + patch) // stride)
    cell_start = np.arange(cells)[:, None] * stride
    patch_start = np.arange(count)[None] * stride
    end = np.minimum(cell_start + stride, patch_start + patch)
    overlap = np.maximum(end - np.maximum(cell_start, patch_start), 0)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


def patches_to_cells(values: jax.Array, grid: Grid) -> jax.Array:
    """Mean of the patches' values over each cell: [P] -> [H, W] cells, or [P, D] -> [H, W, D].

    The mean embeddings of cells are not scaled to unit length: the product of two is the mean
    cosine of the patches that cover them, which is how patches spread their votes.
    """
    return _patches_to_cells(
        values,
        cell_weights(grid.rows, grid.patch, grid.stride),
        cell_weights(grid.columns, grid.patch, grid.stride),
    )


@jax.jit
def _patches_to_cells(values: jax.Array, down_HxR: jax.Array, across_WxC: jax.Array) -> jax.Array:
    values_RxCxD = values.reshape(down_HxR.shape[1], across_WxC.shape[1], -1)
    cells = jnp.einsum("hr,wc,rcd->hwd", down_HxR, across_WxC, values_RxCxD, precision="highest")
    return cells if values.ndim == 2 else cells[..., 0]


@jax.jit
def dominant_mode(c_NxD: jax.Array) -> jax.Array:
    """Mean shift over the cells' response maps; the embedding that stands for the densest mode.

    A cell's response map is its mean 1 - cos to all cells. As in the paper the window is the 10th
    percentile of the distances between the maps and there are five iterations, with a flat
    kernel; all cells move at once. Equally dense modes are averaged.

    Args:
        c_NxD: cell embeddings.

    Returns:
        [D], so that 1 - (c_NxD @ mode) is the response map of the mode.
    """
    # Response maps r_i = 1 - C c_i: |r_i - r_j| = |M^(1/2) (c_i - c_j)| with M = C^T C.
    gram_DxD = jnp.matmul(c_NxD.T, c_NxD, precision="highest")
    values, vectors = jnp.linalg.eigh(gram_DxD)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None]
    x_NxD = jnp.matmul(c_NxD - c_NxD.mean(axis=0, keepdims=True), root, precision="highest")
    window = _quantile(_distances(x_NxD, x_NxD), 0.1)

    def inside(y_NxD):
        # A hair wider, so that rounding does not part a point from its own window.
        return (_distances(y_NxD, x_NxD) <= window * (1 + 1e-4) + 1e-6).astype(jnp.float32)

    def shift(_, weights_NxN):
        y_NxD = jnp.matmul(weights_NxN, x_NxD, precision="highest")
        near_NxN = inside(y_NxD)
        count = near_NxN.sum(axis=1, keepdims=True)
        return jnp.where(count > 0, near_NxN / jnp.maximum(count, 1.0), weights_NxN)

    weights_NxN = jax.lax.fori_loop(0, 5, shift, jnp.eye(c_NxD.shape[0], dtype=jnp.float32))
    density_N = inside(jnp.matmul(weights_NxN, x_NxD, precision="highest")).sum(axis=1)
    densest_N = (density_N == density_N.max()).astype(jnp.float32)
    return (densest_N / densest_N.sum()) @ weights_NxN @ c_NxD


def _quantile(values: jax.Array, share: float) -> jax.Array:
    """Where the share of values at or below crosses `share`: bisection, as XLA sorts slowly."""

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        enough = (values <= middle).sum() >= share * values.size
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    return jax.lax.fori_loop(0, 26, halve, (jnp.zeros(()), values.max()))[1]


def _distances(a_NxD: jax.Array, b_MxD: jax.Array) -> jax.Array:
    squares = jnp.square(a_NxD).sum(1)[:, None] + jnp.square(b_MxD).sum(1)[None]
    return jnp.sqrt(jnp.maximum(squares - 2 * jnp.matmul(a_NxD, b_MxD.T, precision="highest"), 0))


def inconsistency(z_PxD: jax.Array, grid: Grid) -> jax.Array:
    """How far each cell is from the photo's dominant mode, as in the paper.

    Args:
        z_PxD: unit rows, the patches of `grid` row by row.

    Returns:
        float32 [cells down, cells across] in [0, 1]: 1 - cos, the mean over the patches that
        cover a cell and those that make the mode. 0 is one camera, 1 is unrelated, or opposite.
    """
    cells_HxWxD = patches_to_cells(z_PxD, grid)
    mode_D = dominant_mode(cells_HxWxD.reshape(-1, cells_HxWxD.shape[-1]))
    return jnp.clip(1 - cells_HxWxD @ mode_D, 0.0, 1.0)


def pca_colours(z_PxD: np.ndarray, grid: Grid) -> np.ndarray:
    """The paper's PCA picture: the three main directions of the patches as red, green and blue.

    Whitened, as the paper's; all three stretched alike, from the 0.5th to the 99.5th percentile.
    A direction's sign, which PCA leaves open, makes its largest entry positive.

    Args:
        z_PxD: unit rows, the patches of `grid` row by row.

    Returns:
        uint8 [rows, columns, 3]; mid-grey where there are no three directions.
    """
    z = np.asarray(z_PxD, np.float64)
    z = z - z.mean(axis=0)
    values, vectors = np.linalg.eigh(z.T @ z / max(len(z) - 1, 1))
    values, vectors = values[::-1][:3], vectors[:, ::-1][:, :3]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    known = values > 1e-9
    places = np.where(known, z @ vectors / np.sqrt(np.where(known, values, 1)), 0.0)
    places = np.pad(places, ((0, 0), (0, 3 - places.shape[1])))
    low, high = np.percentile(places, (0.5, 99.5))
    levels = (places - low) / (high - low) * 255 if high > low else np.full_like(places, 127.5)
    levels = np.clip(levels, 0, 255).round().astype(np.uint8)
    return levels.reshape(grid.rows, grid.columns, 3)


@functools.partial(jax.jit, static_argnums=1)
def upsample(cells: jax.Array, grid: Grid) -> jax.Array:
    """Bilinear from cells to pixels, cell centres at their place: -> float32 [H, W].

    Pixels beyond the outermost centres take the nearest cell's value: nothing is extrapolated.
    """
    down = _interpolation(grid.height, cells.shape[0], grid.stride)
    across = _interpolation(grid.width, cells.shape[1], grid.stride)
    return _lerp(_lerp(cells, *down).T, *across).T


def _interpolation(pixels: int, cells: int, stride: int):
    position = np.clip((np.arange(pixels) + 0.5) / stride - 0.5, 0, cells - 1)
    low = np.minimum(position.astype(np.int32), max(cells - 2, 0))
    return low, np.minimum(low + 1, cells - 1), (position - low).astype(np.float32)


def _lerp(rows, low, high, weight):
    return rows[low] * (1 - weight[:, None]) + rows[high] * weight[:, None]
