"""The released procedure of "EXIF as Language", fault for fault, from embeddings to maps.

For comparing with published numbers; `exif_jax.forensics.affinity` and
`exif_jax.forensics.clustering` hold what we think is right. Read off the authors' evaluator
(github.com/hellomuffin/exif-as-language, eval/image_splice/exif_sc.py) and written anew, without
its loops over pairs of patches. What it does that one would not do on purpose:

* the encoder sees negatives: pixels in [0, 255] are multiplied by 255 again and cut to a byte,
  which is 256 - x modulo 256 (`negative`);
* a patch of S pixels votes on S // stride cells, as if the rest of it were not there, and the
  cells' map is stretched over the whole photo, strips that no patch covers included
  (`response_maps`, `resize_bilinear`);
* mean shift moves its points one after the other, so that later ones see earlier ones already
  moved while their neighbours are looked up among the points as they were (`mean_shift`);
* the affinity of its normalised cut, 1 - (1 - cos), may be negative (`spectral_cut`).

Whether the pair whose distance is the window of the mean shift counts as neighbours hangs on the
last bit there; here it does.

NumPy in float64 on the host: there is no encoder here, and float32 would move neighbours in and
out of the mean shift's window. Shape letters: P patches, D width, N cells.
"""

from __future__ import annotations

import numpy as np
import scipy.cluster.vq
import scipy.linalg
import scipy.sparse.linalg

from exif_jax.forensics.patches import Grid


def negative(image: np.ndarray) -> np.ndarray:
    """uint8 pixels as the released evaluator shows them to the encoder: 256 - x, and 0 for 0."""
    return (0 - np.asarray(image, np.int16)).astype(np.uint8)


def response_maps(z_PxD: np.ndarray, grid: Grid) -> np.ndarray:
    """How little every cell resembles every other.

    Args:
        z_PxD: unit rows, the patches of `grid` row by row.

    Returns:
        float64 [h, w, h, w]: the mean 1 - cos over the pairs of patches that vote on two cells; a
        patch votes on max(1, patch // stride) cells down and across.
    """
    spread = max(1, grid.patch // grid.stride)
    down, across = _votes(grid.rows, spread), _votes(grid.columns, spread)
    z = np.asarray(z_PxD, np.float64).reshape(grid.rows, grid.columns, -1)
    sums_hxwxD = np.einsum("hr,rcd,wc->hwd", down, z, across, optimize=True)
    count_hxw = down.sum(1)[:, None] * across.sum(1)[None]
    h, w = count_hxw.shape
    sums_NxD, count_N = sums_hxwxD.reshape(h * w, -1), count_hxw.reshape(-1)
    votes_NxN = count_N[:, None] * count_N[None]
    return ((votes_NxN - sums_NxD @ sums_NxD.T) / (votes_NxN + 1e-4)).reshape(h, w, h, w)


def _votes(count: int, spread: int) -> np.ndarray:
    """[cells, patches] along one side: 1 where the patch votes on the cell."""
    ahead = np.arange(count + spread - 1)[:, None] - np.arange(count)[None]
    return ((ahead >= 0) & (ahead < spread)).astype(np.float64)


def mean_shift(maps: np.ndarray, window: float = 10.0, iterations: int = 5) -> np.ndarray:
    """The response map that most cells agree on.

    Every sweep moves the points in order, in place: point i becomes the mean of its neighbours,
    of which those before it have moved already. With L and U the parts of the matrix of
    neighbours below and above the diagonal, that is a triangular system (Gauss and Seidel's):
    (counts - L) new = U old.

    Args:
        maps: [h, w, h, w], as `response_maps` gives them.
        window: percentile of the distances between maps that makes a neighbour.
        iterations: sweeps.

    Returns:
        float64 [h, w]: the mean of the points with most neighbours. A point without any, where
        the released code goes on with NaN, stays where it is.
    """
    h, w = maps.shape[:2]
    x_NxN = maps.reshape(h * w, h * w)
    squared_NxN = _squared_distances(x_NxN, x_NxN)
    distances_NxN = np.sqrt(np.maximum(squared_NxN, 0))
    np.fill_diagonal(distances_NxN, 0)
    # The floor is for equal maps, whose distances below are not quite 0.
    radius = max(np.percentile(distances_NxN, window) * (1 + 1e-9), 1e-6)
    above_NxN = np.triu(np.ones(x_NxN.shape, bool))
    (solve,) = scipy.linalg.get_blas_funcs(("trsm",), dtype=np.float64)
    y_NxN = x_NxN
    for sweep in range(iterations):
        if sweep:
            squared_NxN = _squared_distances(y_NxN, x_NxN)
        near_NxN = squared_NxN <= radius**2
        alone_N = ~near_NxN.any(axis=1)
        near_NxN[alone_N, alone_N] = True
        right_NxN = (near_NxN & above_NxN).astype(np.float64) @ y_NxN
        left_NxN = (near_NxN & ~above_NxN).astype(np.float64)
        np.negative(left_NxN, out=left_NxN)
        np.fill_diagonal(left_NxN, near_NxN.sum(axis=1))
        # new^T left^T = right^T: transposed, all arrays lie as BLAS wants them and none is copied.
        y_NxN = solve(1.0, left_NxN.T, right_NxN.T, side=1, overwrite_b=1).T
    neighbours_N = (_squared_distances(y_NxN, x_NxN) <= radius**2).sum(axis=1)
    return y_NxN[neighbours_N == neighbours_N.max()].mean(axis=0).reshape(h, w)


def _squared_distances(a_NxD: np.ndarray, b_MxD: np.ndarray) -> np.ndarray:
    distances = a_NxD @ b_MxD.T
    distances *= -2
    distances += np.square(a_NxD).sum(1)[:, None]
    distances += np.square(b_MxD).sum(1)[None]
    return distances


def spectral_cut(maps: np.ndarray) -> np.ndarray:
    """Spectral clustering of the cells in two, with affinity 1 - maps, as scikit-learn does it.

    2-means on the two first eigenvectors of the normalised Laplacian (self-affinity left out),
    divided by the roots of the degrees.

    Args:
        maps: [h, w, h, w], as `response_maps` gives them.

    Returns:
        int32 [h, w]: 1 in the smaller part; scikit-learn's labels are in no order. All 0 where
        affinities so negative that a degree is not positive leave no eigenvector.
    """
    h, w = maps.shape[:2]
    weight_NxN = 1 - maps.reshape(h * w, h * w)
    np.fill_diagonal(weight_NxN, 0)
    degree_N = weight_NxN.sum(axis=1)
    if h * w < 3 or degree_N.min() <= 0:
        return np.zeros((h, w), np.int32)
    root_N = np.sqrt(degree_N)
    weight_NxN /= root_N[:, None] * root_N[None]
    _, vectors = scipy.sparse.linalg.eigsh(weight_NxN, k=2, which="LA", v0=root_N + 1e-3)
    place_Nx2 = vectors / root_N[:, None]
    centres, _ = scipy.cluster.vq.kmeans(place_Nx2, 2, rng=0)
    high_N = scipy.cluster.vq.vq(place_Nx2, centres)[0] == 1
    return (high_N if 2 * high_N.sum() <= h * w else ~high_N).reshape(h, w).astype(np.int32)


def resize_bilinear(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear from [h, w] to float32 [height, width], both taken to cover the whole photo.

    Places as in OpenCV's INTER_LINEAR: centres of pixels, the edge's value beyond its centres.
    """
    down, across = _interpolation(cells.shape[0], height), _interpolation(cells.shape[1], width)
    return (down @ np.asarray(cells, np.float32) @ across.T).astype(np.float32)


def _interpolation(cells: int, pixels: int) -> np.ndarray:
    """float32 [pixels, cells], rows sum to 1."""
    position = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(cells)[None]), 0).astype(np.float32)
