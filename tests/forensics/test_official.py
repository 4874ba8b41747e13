"""The released procedure against a literal one: loops over pairs, a k-d tree, scikit-learn."""

import itertools

import numpy as np
import pytest
import scipy.spatial
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from exif_jax.forensics import official
from exif_jax.forensics.patches import patch_grid

SIZES = [(200, 260, 6), (300, 220, 9), (130, 400, 5)]  # height, width, steps


def embeddings(grid, seed, splice=True):
    """Two cameras with some noise; the second in a rectangle."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 24))
    z = rng.normal(size=(grid.rows, grid.columns, 24)) * 0.6 + first
    if splice:
        z[: grid.rows // 2 + 1, : grid.columns // 3 + 1] += second - first
    z = z.reshape(-1, 24)
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def slow_maps(z, grid):
    spread = max(1, grid.patch // grid.stride)
    h, w = grid.rows + spread - 1, grid.columns + spread - 1
    total, votes = np.zeros((h, w, h, w)), np.full((h, w, h, w), 1e-4)
    patches = list(itertools.product(range(grid.rows), range(grid.columns)))
    for (i, (r, c)), (j, (s, d)) in itertools.product(enumerate(patches), repeat=2):
        box = np.s_[r : r + spread, c : c + spread, s : s + spread, d : d + spread]
        total[box] += 1 - float(np.dot(z[i], z[j]))
        votes[box] += 1
    return total / votes


def slow_mean_shift(maps):
    h, w = maps.shape[:2]
    start = maps.reshape(h * w, -1).astype(np.float64)
    tree = scipy.spatial.cKDTree(start.copy())
    # The percentile is often the distance of one pair: rounding, of the last bit, would decide
    # whether the released code takes that pair for neighbours. Here they are.
    radius = np.percentile(scipy.spatial.distance.cdist(start, start), 10) * (1 + 1e-9)
    moved = start.copy()
    for _ in range(5):
        for i in range(len(moved)):
            neighbours = tree.query_ball_point(moved[i], radius)
            moved[i] = moved[neighbours].mean(axis=0)
    density = np.array([len(tree.query_ball_point(p, radius)) for p in moved])
    return moved[density == density.max()].mean(axis=0).reshape(h, w)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("height, width, steps", SIZES)
def test_maps_and_mode_agree_with_the_loops(height, width, steps, seed):
    grid = patch_grid(height, width, 64, steps)
    z = embeddings(grid, seed)
    maps = official.response_maps(z, grid)
    expected = slow_maps(z.astype(np.float64), grid)
    assert np.abs(maps - expected).max() < 1e-9
    assert np.abs(official.mean_shift(maps) - slow_mean_shift(expected)).max() < 1e-6


def test_the_order_of_the_points_matters_as_in_the_released_sweeps():
    # A synchronous mean shift would not care; the released one does.
    grid = patch_grid(200, 260, 64, 6)
    maps = official.response_maps(embeddings(grid, 0), grid)
    turned = official.mean_shift(maps[::-1, ::-1, ::-1, ::-1])[::-1, ::-1]
    assert np.abs(official.mean_shift(maps) - turned).max() > 1e-3


def test_equal_patches_have_a_flat_map_and_opposite_ones_stay_finite():
    grid = patch_grid(128, 192, 64, 4)
    same = official.response_maps(np.tile([[1.0, 0.0]], (grid.num_patches, 1)), grid)
    assert np.abs(official.mean_shift(same)).max() < 1e-9
    grid = patch_grid(128, 192, 64, 2)  # no overlap: every other patch is the opposite
    signs = np.array([1.0, -1, 1, -1, 1, -1])
    opposite = official.response_maps(np.stack([signs, 0 * signs], axis=1), grid)
    assert np.isfinite(official.mean_shift(opposite)).all()
    assert not official.spectral_cut(opposite).any()  # degrees below zero leave no eigenvector


@pytest.mark.parametrize("seed", range(4))
def test_the_cut_is_scikit_learns(seed):
    grid = patch_grid(300, 220, 64, 9)
    maps = official.response_maps(embeddings(grid, seed), grid)
    affinity = 1 - maps.reshape(maps.shape[0] * maps.shape[1], -1)
    labels = SpectralClustering(2, affinity="precomputed", random_state=0).fit_predict(
        (affinity + affinity.T) / 2
    )
    part = official.spectral_cut(maps)
    assert adjusted_rand_score(labels, part.reshape(-1)) == 1.0
    assert 0 < part.sum() <= part.size / 2


def test_stretch_puts_centres_where_opencv_does():
    # By hand: output centres 0.5, 1.5, 2.5, 3.5 of 4 are 0.25, 0.75, 1.25, 1.75 of 2 cells.
    got = official.resize_bilinear(np.array([[0.0, 1.0]]), 1, 4)
    np.testing.assert_allclose(got, [[0, 0.25, 0.75, 1]], atol=1e-7)
    noise = np.random.default_rng(0).normal(size=(5, 7))
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.interpolate(
        torch.tensor(noise, dtype=torch.float32)[None, None],
        size=(83, 54),
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    np.testing.assert_allclose(official.resize_bilinear(noise, 83, 54), expected, atol=1e-5)


def test_negatives_are_what_the_double_scaling_makes():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(official.negative(levels), levels.astype(int) * 255 % 256)
