"""From one photo to its map of inconsistency: patch grid, embeddings, affinity, mode, cut, score.

Pure functions, jitted, without a Python loop over patches or pairs. The procedure is the one of
Zheng et al., "EXIF as Language" (CVPR 2023), after Huh et al., "Fighting Fake News" (ECCV 2018):
every patch votes, over the cells it covers, on how little it resembles every other patch; the
mode that most cells agree on is the photo's own camera, and the map says how far each cell is
from it. Two exact identities make it cheap: averaging 1 - cos over the patches that cover two
cells equals 1 - the product of the cells' mean embeddings, and the distance between two rows of
such an [N, N] matrix is a distance in D dimensions.

Shape letters: P patches, N cells, D embedding width, S side of a patch, B patches per batch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Encoder = Callable[[Any, jax.Array], jax.Array]
Share = Callable[[jax.Array], jax.Array]

# Photos are padded to multiples of this, and the patches to a power of two of at least that many,
# so that photos of like size share one compiled encoder.
_SIZE_STEP = 512
_MIN_PATCHES = 1024


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the patches of a photo lie.

    Attributes:
        height, width: of the photo, in pixels.
        patch: side S of a patch, in pixels.
        stride: step between neighbouring patches, in pixels.
        rows, columns: number of patches down and across, P = rows * columns.
    """

    height: int
    width: int
    patch: int
    stride: int
    rows: int
    columns: int

    @property
    def num_patches(self) -> int:
        """P."""
        return self.rows * self.columns

    def origins(self) -> np.ndarray:
        """int32 [P, 2]: y and x of every patch's top left pixel, row by row."""
        y, x = np.mgrid[: self.rows, : self.columns]
        return (np.stack([y, x], axis=-1).reshape(-1, 2) * self.stride).astype(np.int32)


def patch_grid(
    height: int,
    width: int,
    patch: int,
    num_per_dim: int = 30,
    max_patches: int = 4096,
    align: int = 1,
) -> Grid:
    """The paper's grid: stride = (max(height, width) - patch) // num_per_dim, at least 1.

    Args:
        height, width: of the photo, in pixels.
        patch: side of a patch, in pixels.
        num_per_dim: steps along the longer side.
        max_patches: the stride grows until the grid holds no more patches than this; memory and
            time grow with the square of their number.
        align: the stride is rounded to a multiple of this. 8 puts every patch at the same place
            on the photo's JPEG grid, as most patches in training were.

    Raises:
        ValueError: the photo is smaller than one patch, or a setting is below 1.
    """
    if min(patch, num_per_dim, max_patches, align) < 1:
        raise ValueError("patch, num_per_dim, max_patches and align must be at least 1")
    if min(height, width) < patch:
        raise ValueError(f"a photo of {width} x {height} pixels holds no {patch} x {patch} patch")
    stride = max(1, (max(height, width) - patch) // num_per_dim)
    stride = max(align, round(stride / align) * align)

    def counts(stride):
        return (height - patch) // stride + 1, (width - patch) // stride + 1

    while math.prod(counts(stride)) > max_patches:
        stride += align
    return Grid(height, width, patch, stride, *counts(stride))


def embed_patches(
    encode: Encoder,
    params: Any,
    image: np.ndarray,
    grid: Grid,
    batch: int,
    share: Share | None = None,
) -> jax.Array:
    """Embeds every patch of the grid; patches are cut out on the device, batch by batch.

    Args:
        encode: (params, uint8 [B, S, S, 3]) -> [B, D]. Pure; compiled once per function object,
            `batch` and photo size rounded up to 512 pixels.
        params: the encoder's parameters, any pytree.
        image: uint8 [H, W, 3].
        grid: of this photo.
        batch: patches per call of the encoder.
        share: what the encoder would compute of every patch and takes in its place, computed once
            for the whole photo: [H, W, 3] -> [H, W, 3].

    Returns:
        float32 [P, D], rows scaled to unit length.
    """
    num_batches = -(-grid.num_patches // batch)
    # Spare batches cost nothing: the loop on the device ends where the photo does.
    capacity = -(-max(_MIN_PATCHES, 1 << (grid.num_patches - 1).bit_length()) // batch)
    origins = np.zeros((capacity * batch, 2), np.int32)
    if grid.stride > grid.patch:
        # What lies between the patches never reaches the device.
        span = np.arange(grid.patch)
        rows, columns = (
            (np.arange(n)[:, None] * grid.stride + span).ravel() for n in (grid.rows, grid.columns)
        )
        image = image[rows][:, columns]
    step = min(grid.stride, grid.patch)
    origins[: grid.num_patches] = grid.origins() // grid.stride * step
    padding = [(0, -side % _SIZE_STEP) for side in image.shape[:2]]
    photo = jnp.asarray(np.pad(image, [*padding, (0, 0)]))
    z_PxD = _embed(
        encode,
        grid.patch,
        params,
        photo if share is None else jax.jit(share)(photo),
        jnp.asarray(origins.reshape(capacity, batch, 2)),
        jnp.int32(num_batches),
    )
    return z_PxD[: grid.num_patches]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embed(encode, patch, params, image, origins_KxBx2, num_batches):
    cut = jax.vmap(lambda yx: jax.lax.dynamic_slice(image, (*yx, 0), (patch, patch, 3)))

    def embed(origins_Bx2):
        z_BxD = encode(params, cut(origins_Bx2)).astype(jnp.float32)
        return z_BxD * jax.lax.rsqrt(jnp.square(z_BxD).sum(-1, keepdims=True) + 1e-12)

    K, B, _ = origins_KxBx2.shape
    D = jax.eval_shape(embed, origins_KxBx2[0]).shape[-1]
    out = jax.lax.fori_loop(
        0,
        num_batches,
        lambda k, out: out.at[k].set(embed(origins_KxBx2[k])),
        jnp.zeros((K, B, D), jnp.float32),
    )
    return out.reshape(K * B, D)


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


def cell_embeddings(z_PxD: jax.Array, grid: Grid) -> jax.Array:
    """Mean embedding of the patches over each cell: [P, D] -> [cells down, cells across, D].

    Not scaled to unit length: the product of two cells is the mean cosine of the patches that
    cover them, which is how patches spread their votes.
    """
    down = cell_weights(grid.rows, grid.patch, grid.stride)
    across = cell_weights(grid.columns, grid.patch, grid.stride)
    return patches_to_cells(z_PxD.reshape(grid.rows, grid.columns, -1), down, across)


@jax.jit
def patches_to_cells(z_RxCxD: jax.Array, down_HxR: jax.Array, across_WxC: jax.Array) -> jax.Array:
    """Patches to cells by the `cell_weights` of each side: [rows, columns, D] -> [H, W, D]."""
    return jnp.einsum("hr,wc,rcd->hwd", down_HxR, across_WxC, z_RxCxD, precision="highest")


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
    cells = cell_embeddings(z_PxD, grid)
    mode_D = dominant_mode(cells.reshape(-1, cells.shape[-1]))
    return jnp.clip(1 - cells @ mode_D, 0.0, 1.0)


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
