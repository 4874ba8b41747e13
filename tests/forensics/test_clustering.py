"""The two spectral cuts against NumPy in float64 on the whole matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exif_jax.forensics import clustering
from exif_jax.forensics.patches import patch_grid


def unit_rows(z):
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def two_cameras(tampered, noise, seed=0, cosine=0.0):
    """Embeddings of host and tampered patches, whose directions have the given cosine."""
    rng = np.random.default_rng(seed)
    host, other = np.eye(8)[0], np.eye(8)[0] * cosine + np.eye(8)[1] * np.sqrt(1 - cosine**2)
    z = np.where(tampered[:, None], other, host) + noise * rng.normal(size=(len(tampered), 8))
    return unit_rows(z)


GRID = patch_grid(200, 300, 40, 20)


def rectangle(top, left, bottom, right):
    """bool [P]: the patches of GRID whose centre lies in it."""
    y, x = np.moveaxis(GRID.origins() + 20, 1, 0)
    return (top <= y) & (y < bottom) & (left <= x) & (x < right)


# --- the normalised cut of the paper ------------------------------------------------------------


def best_cut(z):
    """Shi and Malik on the whole matrix: the cost of every split along the second eigenvector."""
    weights = (1 + z.astype(np.float64) @ z.T.astype(np.float64)) / 2
    degree = weights.sum(axis=1)
    root = np.sqrt(degree)
    vector = np.linalg.eigh(weights / root[:, None] / root[None])[1][:, -2] / root
    order = np.argsort(vector)
    costs = []
    for k in range(1, len(z)):
        low, high = order[:k], order[k:]
        between = weights[np.ix_(low, high)].sum()
        costs.append(between / degree[low].sum() + between / degree[high].sum())
    high = np.zeros(len(z), int)
    high[order[np.argmin(costs) + 1 :]] = 1
    return 1 - high if 2 * high.sum() > len(z) else high


@pytest.mark.parametrize("seed", range(6))
def test_cut_is_that_of_the_whole_matrix(seed):
    rng = np.random.default_rng(seed)
    z = np.repeat(unit_rows(rng.normal(size=(2, 6))), (26, 11), axis=0)
    z = unit_rows(z + 0.2 * rng.normal(size=(37, 6)))[rng.permutation(37)]
    np.testing.assert_array_equal(clustering.normalized_cut(z), best_cut(z))


def test_cut_parts_two_cameras_and_marks_the_smaller():
    tampered = np.arange(60) % 5 == 0
    np.testing.assert_array_equal(clustering.normalized_cut(two_cameras(tampered, 0.05)), tampered)


def test_one_patch_is_one_part():
    assert clustering.normalized_cut(np.ones((1, 1), np.float32)).tolist() == [0]


# --- the spatial cut ----------------------------------------------------------------------------


def whole_matrix_cut(z, grid):
    """The second generalised eigenvector and what follows from it, one patch at a time."""
    z = z.astype(np.float64)
    place = grid.origins() / grid.patch
    distance = np.square(place[:, None] - place[None]).sum(axis=2)
    weights = np.exp((z @ z.T - 1) / 0.5) * (0.3 + 0.7 * np.exp(-distance / 2))
    root = np.sqrt(weights.sum(axis=1))
    side = np.linalg.eigh(weights / root[:, None] / root[None])[1][:, -2] / root
    side = side * np.sign(((side - side.mean()) ** 3).sum())
    threshold = side.mean()
    for _ in range(5):
        low, high = side[side <= threshold].mean(), side[side > threshold].mean()
        threshold = (low + high) / 2
    part = side > threshold
    low, high = side[~part].mean(), side[part].mean()
    a, b = (z[members].mean(axis=0) for members in (part, ~part))
    height = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return (side - (low + high) / 2) / (high - low), height, part


@pytest.mark.parametrize("seed", range(4))
def test_the_spatial_cut_is_that_of_the_whole_matrix(seed):
    z = two_cameras(rectangle(40, 60 + 20 * seed, 140, 180), 0.25, seed, cosine=0.5)
    side, height, part = clustering._cut(z, GRID.origins().astype(np.float32) / GRID.patch)
    expected_side, expected_height, expected_part = whole_matrix_cut(z, GRID)
    np.testing.assert_allclose(side, expected_side, atol=2e-3)
    assert float(height) == pytest.approx(expected_height, abs=1e-3)
    # A patch on the border between the parts may fall to either by rounding.
    assert (np.asarray(part) == expected_part).mean() > 0.99


def test_the_map_is_high_where_the_pasted_part_lies_and_its_height_is_the_cosines():
    tampered = rectangle(60, 100, 160, 220)
    for cosine in (0.0, 0.6):
        cells, part, score = map(
            np.asarray, clustering.spatial_cut(two_cameras(tampered, 0.02, 0, cosine), GRID)
        )
        assert score == pytest.approx(1 - cosine, abs=0.02)
        assert (part == tampered).mean() > 0.98
        inside = cells[8:10, 11:13].mean()
        assert inside == pytest.approx(0.88 * (1 - cosine), abs=0.03)  # sigmoid(2) = 0.88
        assert cells[:2].max() < 0.2 * inside


def test_scattered_patches_are_no_region():
    """What stands out patch by patch yields to what stands out together."""
    rng = np.random.default_rng(1)
    region, scattered = rectangle(60, 60, 140, 140), rng.random(GRID.num_patches) < 0.1
    z = two_cameras(region, 0.02, cosine=0.6)
    z[scattered & ~region] = unit_rows(np.eye(8)[2] * 0.8 + np.eye(8)[0] * 0.6 + np.zeros((1, 8)))
    _, part, _ = clustering.spatial_cut(z, GRID)
    assert np.asarray(part)[region].mean() > 0.95
    assert np.asarray(part)[scattered & ~region].mean() < 0.2


@given(st.integers(0, 10**6), st.floats(0, 1), st.tuples(st.integers(8, 30), st.integers(8, 30)))
@settings(max_examples=30, deadline=None)
def test_the_map_is_finite_and_within_its_range(seed, noise, size):
    rng = np.random.default_rng(seed)
    grid = patch_grid(*size, 8, 4)
    z = unit_rows(
        np.ones((grid.num_patches, 4)) + 4 * noise * rng.normal(size=(grid.num_patches, 4))
    )
    cells, part, score = map(np.asarray, clustering.spatial_cut(z, grid))
    assert 0 <= score <= 1
    assert np.isfinite(cells).all() and cells.min() >= 0 and cells.max() <= 1
    assert part.shape == (grid.num_patches,) and set(np.unique(part)) <= {0, 1}


def test_equal_patches_give_a_low_map():
    cells, _, _ = clustering.spatial_cut(
        np.tile(np.eye(8, dtype=np.float32)[:1], (GRID.num_patches, 1)), GRID
    )
    assert np.asarray(cells).max() < 1e-3


def test_one_patch_gives_zeros_and_two_no_nan():
    grid = patch_grid(10, 13, 10, 1)
    assert grid.num_patches == 2
    cells, _, _ = clustering.spatial_cut(np.eye(2, dtype=np.float32), grid)
    assert np.isfinite(cells).all()
    grid = patch_grid(10, 10, 10, 1)
    cells, part, score = clustering.spatial_cut(np.ones((1, 1), np.float32), grid)
    assert not np.any(cells) and part.tolist() == [0] and score == 0
