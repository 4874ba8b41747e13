"""Spectral clustering: the patches of a photo parted in two, by their affinity.

Pure functions, jitted. Shape letters: P patches, D embedding width, K search directions.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from exif_jax.forensics.affinity import affinity_matrix, patches_to_cells
from exif_jax.forensics.patches import Grid


def spatial_cut(z_PxD: jax.Array, grid: Grid) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Parts the patches in two by how alike and how near they are, and maps the smaller part.

    The relaxed normalised cut (Shi and Malik 2000) of the affinity exp((cos - 1) / 0.5), of which
    0.7 falls off with the distance in the photo (a Gaussian as wide as a patch): tampered regions
    hang together, and mean shift does not know it. The constants were chosen on the development
    splices of the README.

    Args:
        z_PxD: unit rows, the patches of `grid` row by row.

    Returns:
        The map, float32 [cells down, cells across] in [0, 1], on the scale of
        `affinity.inconsistency`: 0 is one with the larger part, and the smaller lies about as
        high as the third value. The parts, int32 [P]: 1 is the smaller. And how unlike the parts
        are, a scalar in [0, 1]: 1 - cos of their mean embeddings, a splice's score.
    """
    if grid.num_patches == 1:
        cells = patches_to_cells(jnp.zeros(1), grid)
        return cells, jnp.zeros(1, jnp.int32), jnp.zeros(())
    place_Px2 = grid.origins().astype(np.float32) / grid.patch
    side_P, distance, part_P = _cut(z_PxD, place_Px2)
    side_HxW = patches_to_cells(side_P, grid)
    return distance * jax.nn.sigmoid(4 * side_HxW), part_P, distance


@jax.jit
def _cut(z_PxD, place_Px2):
    """Each patch's side, -0.5 and 0.5 at the parts' means; the parts' distance; the parts."""
    P = z_PxD.shape[0]
    squares_P = jnp.square(place_Px2).sum(axis=1)
    dots_PxP = jnp.matmul(place_Px2, place_Px2.T, precision="highest")
    near_PxP = jnp.exp(dots_PxP - (squares_P[:, None] + squares_P[None]) / 2)
    weight_PxP = jnp.exp((affinity_matrix(z_PxD) - 1) / 0.5) * (0.3 + 0.7 * near_PxP)
    root_P = jnp.sqrt(weight_PxP.sum(axis=1))
    weight_PxP = weight_PxP / (root_P[:, None] * root_P[None])
    # All eigenvalues are positive, as the affinity is a product of kernels, so the iteration finds
    # the largest. The first is known; it is kept out of the search.
    first_P = root_P / jnp.linalg.norm(root_P)

    def iterate(_, q_PxK):
        q_PxK = jnp.matmul(weight_PxP, q_PxK, precision="highest")
        q_PxK -= first_P[:, None] * (first_P @ q_PxK)[None]
        return _orthonormal(q_PxK)

    start_PxK = jax.random.normal(jax.random.key(0), (P, min(8, P - 1)))
    q_PxK = jax.lax.fori_loop(0, 60, iterate, start_PxK)
    inner_KxK = jnp.matmul(q_PxK.T, weight_PxP @ q_PxK, precision="highest")
    side_P = (q_PxK @ _first_eigenvector(inner_KxK)) / root_P
    # The smaller part lies farther from the mean, so the third moment points to it.
    centred_P = side_P - side_P.mean()
    side_P = jnp.where((centred_P**3).sum() < 0, -side_P, side_P)

    def means(threshold):
        part_P = side_P > threshold
        return side_P.mean(where=~part_P), side_P.mean(where=part_P)

    # 2-means along the one dimension: the threshold is half way between the parts' means.
    threshold = jax.lax.fori_loop(0, 5, lambda _, t: sum(means(t)) / 2, side_P.mean())
    part_P = side_P > threshold
    low, high = means(threshold)
    known = high > low  # False for equal patches, which have no parts
    side_P = jnp.where(known, (side_P - (low + high) / 2) / (high - low), 0.0)

    def direction(members_P):
        mean_D = (z_PxD * members_P[:, None]).sum(axis=0)
        return mean_D * jax.lax.rsqrt(jnp.square(mean_D).sum() + 1e-12)

    distance = 1 - direction(part_P) @ direction(~part_P)
    distance = jnp.where(known, jnp.clip(distance, 0.0, 1.0), 0.0)
    return side_P, distance, part_P.astype(jnp.int32)


# The linear algebra below is small and written out, for two reasons. For `jnp.linalg.qr` and `eigh`
# on a CPU JAX imports SciPy, which takes 0.3 s: the first call of `_cut` took 0.42 s of CPU time
# with `qr` and takes 0.32 s so, with its compiled code in the cache (1.9 s either way without;
# medians of five on two cores). And `exif_jax.export` writes plain operations, which any runtime
# of StableHLO knows, and no calls of LAPACK.


def _orthonormal(q_PxK: jax.Array) -> jax.Array:
    """Gram and Schmidt's basis of the columns, each cleaned twice; a column left with 0 is 0."""

    def add_column(k, basis_PxK):  # whose columns from k on are 0
        v_P = q_PxK[:, k] * jax.lax.rsqrt(jnp.square(q_PxK[:, k]).sum() + 1e-30)
        for _ in range(2):
            v_P -= jnp.matmul(basis_PxK, basis_PxK.T @ v_P, precision="highest")
            v_P *= jax.lax.rsqrt(jnp.square(v_P).sum() + 1e-20)
        return basis_PxK.at[:, k].set(v_P)

    return jax.lax.fori_loop(0, q_PxK.shape[1], add_column, jnp.zeros_like(q_PxK))


def _first_eigenvector(m_KxK: jax.Array) -> jax.Array:
    """Of a positive matrix, by squaring it: m^1024 keeps nothing else."""
    start_KxK = m_KxK / jnp.maximum(jnp.abs(m_KxK).max(), 1e-30)

    def square(_, m_KxK):
        m_KxK = jnp.matmul(m_KxK, m_KxK, precision="highest")
        return m_KxK / jnp.maximum(jnp.abs(m_KxK).max(), 1e-30)

    m_KxK = jax.lax.fori_loop(0, 10, square, start_KxK)
    # All columns are multiples of it: take the one that is longest.
    v_K = m_KxK[:, jnp.argmax(jnp.square(m_KxK).sum(axis=0))]
    return v_K * jax.lax.rsqrt(jnp.square(v_K).sum() + 1e-30)


@jax.jit
def normalized_cut(z_PxD: jax.Array) -> jax.Array:
    """Two-way spectral clustering of patches (Shi and Malik, 2000) with affinity (1 + cos) / 2.

    The affinity has rank D + 1, so its eigenvectors come from a [D + 1, D + 1] matrix, and the
    cost of the cut at every threshold along the second one from running sums.

    Args:
        z_PxD: unit rows.

    Returns:
        int32 [P]: 0 in the larger part, 1 in the smaller (the later patches' part, where equal).
    """
    P = z_PxD.shape[0]
    if P == 1:
        return jnp.zeros(1, jnp.int32)
    f_PxF = jnp.concatenate([z_PxD, jnp.ones((P, 1))], axis=1) / math.sqrt(2)
    total_F = f_PxF.sum(axis=0)
    degree_P = jnp.maximum(f_PxF @ total_F, 1e-6)
    g_PxF = f_PxF / jnp.sqrt(degree_P)[:, None]
    _, vectors = jnp.linalg.eigh(jnp.matmul(g_PxF.T, g_PxF, precision="highest"))
    # Shi and Malik's generalised eigenvector; `eigh` sorts upwards, the last one is constant.
    second_P = jnp.matmul(g_PxF, vectors[:, -2], precision="highest") / jnp.sqrt(degree_P)
    order = jnp.argsort(second_P)
    low_PxF = jnp.cumsum(f_PxF[order], axis=0)[:-1]
    high_PxF = total_F[None] - low_PxF
    between = (low_PxF * high_PxF).sum(axis=1)
    cost = between / (low_PxF @ total_F) + between / (high_PxF @ total_F)
    # Along the order, patch 0 is low and the last one high whatever the cut.
    high = jnp.zeros(P, jnp.int32).at[order].set((jnp.arange(P) > jnp.argmin(cost)).astype(int))
    return jnp.where(2 * high.sum() > P, 1 - high, high)
