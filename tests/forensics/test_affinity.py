"""Every step from embeddings to map against a plain NumPy reading of the paper."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import decomposition

from exif_jax.forensics import affinity
from exif_jax.forensics.affinity import pca_colours
from exif_jax.forensics.patches import patch_grid

TIGHT = dict(rtol=1e-4, atol=1e-5)


def unit_rows(rng, count, width=6):
    z = rng.normal(size=(count, width))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def cells_of_embeddings(grid, z):
    """Cell embeddings from pixels: who covers a pixel votes on it, a cell averages its pixels."""
    extent = (
        (grid.rows - 1) * grid.stride + grid.patch,
        (grid.columns - 1) * grid.stride + grid.patch,
    )
    down, across = (-(-side // grid.stride) for side in extent)
    sums, votes = np.zeros((down, across, z.shape[1])), np.zeros((down, across, 1))
    for (y, x), row in zip(grid.origins(), z, strict=True):
        for py in range(y, y + grid.patch):
            for px in range(x, x + grid.patch):
                sums[py // grid.stride, px // grid.stride] += row
                votes[py // grid.stride, px // grid.stride] += 1
    return sums / votes


# --- affinity, score, votes -------------------------------------------------------------------


def test_affinity_and_score():
    z = unit_rows(np.random.default_rng(1), 40)
    cosines = z.astype(np.float64) @ z.T.astype(np.float64)
    np.testing.assert_allclose(affinity.affinity_matrix(z), cosines, **TIGHT)
    np.testing.assert_allclose(affinity.splice_score(z), (1 - cosines).mean(), **TIGHT)


@pytest.mark.parametrize(
    "shape", [(20, 33, 8, 5), (12, 12, 12, 3), (30, 17, 7, 30), (19, 19, 3, 3)]
)
def test_votes_spread_over_the_cells_that_a_patch_covers(shape):
    grid = patch_grid(*shape)
    z = unit_rows(np.random.default_rng(2), grid.num_patches)
    np.testing.assert_allclose(
        affinity.patches_to_cells(z, grid), cells_of_embeddings(grid, z), **TIGHT
    )


def test_product_of_cells_is_the_mean_cosine_of_their_patches():
    grid = patch_grid(20, 33, 8, 5)
    z = unit_rows(np.random.default_rng(3), grid.num_patches)
    spread = np.einsum(
        "hr,wc->hwrc",
        affinity.cell_weights(grid.rows, 8, grid.stride),
        affinity.cell_weights(grid.columns, 8, grid.stride),
    ).reshape(-1, grid.num_patches)
    cells = np.asarray(affinity.patches_to_cells(z, grid)).reshape(len(spread), -1)
    np.testing.assert_allclose(1 - cells @ cells.T, spread @ (1 - z @ z.T) @ spread.T, **TIGHT)


# --- the mode ---------------------------------------------------------------------------------


def mode_response(cells):
    """Mean shift as the paper describes it, on whole [N, N] response maps in float64."""
    maps = 1 - cells.astype(np.float64) @ cells.T.astype(np.float64)

    def distance(a, b):
        return np.sqrt(np.square(a[:, None] - b[None]).sum(-1))

    window = np.quantile(distance(maps, maps), 0.1, method="inverted_cdf")
    points = maps.copy()
    for _ in range(5):
        near = distance(points, maps) <= window * (1 + 1e-4) + 1e-6
        points = near.astype(float) @ maps / near.sum(axis=1, keepdims=True)
    density = (distance(points, maps) <= window * (1 + 1e-4) + 1e-6).sum(axis=1)
    return points[density == density.max()].mean(axis=0)


@pytest.mark.parametrize("seed", range(6))
def test_mode_is_that_of_mean_shift_on_the_response_maps(seed):
    rng = np.random.default_rng(seed)
    camera = np.repeat(unit_rows(rng, 3), (30, 12, 8), axis=0)
    cells = camera + 0.15 * rng.normal(size=camera.shape)
    with jax.enable_x64(True):  # a flat window has edges: a rounding there moves the mode
        mode = np.asarray(affinity.dominant_mode(cells))
    np.testing.assert_allclose(1 - cells @ mode, mode_response(cells), **TIGHT)


def test_mode_of_identical_cells_is_theirs():
    cells = np.tile(unit_rows(np.random.default_rng(0), 1), (30, 1))
    np.testing.assert_allclose(affinity.dominant_mode(cells), cells[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_map_is_high_in_the_minority_and_never_stretched(seed, share):
    grid = patch_grid(200, 300, 40, 20)
    y, x = np.moveaxis(grid.origins() + 20, 1, 0)
    tampered = (x < 300 * share) if seed % 2 else (x > 300 * (1 - share))
    rng = np.random.default_rng(seed)
    host, donor = np.eye(8, dtype=np.float32)[:2]
    z = np.where(tampered[:, None], donor, host) + 0.02 * rng.normal(size=(len(y), 8))
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    cells = np.asarray(affinity.inconsistency(z, grid))
    far, near = (cells[:, 0], cells[:, -1])[:: 1 if seed % 2 else -1]
    np.testing.assert_allclose(far, 1.0, atol=0.04)  # unrelated cameras: cosine 0
    np.testing.assert_allclose(near, 0.0, atol=0.04)


@given(st.integers(0, 10**6), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_map_is_finite_and_within_its_range(seed, noise):
    rng = np.random.default_rng(seed)
    grid = patch_grid(24, 24, 8, 4)
    z = np.ones((grid.num_patches, 4)) + 4 * noise * rng.normal(size=(grid.num_patches, 4))
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    cells = np.asarray(affinity.inconsistency(z, grid))
    assert np.isfinite(cells).all()
    assert cells.min() >= 0 and cells.max() <= 1


# --- to pixels --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 33, 8, 5), (12, 12, 12, 3), (30, 17, 7, 30)])
def test_upsampling_puts_cell_centres_at_their_place(shape):
    grid = patch_grid(*shape)
    down = len(affinity.cell_weights(grid.rows, grid.patch, grid.stride))
    across = len(affinity.cell_weights(grid.columns, grid.patch, grid.stride))
    cells = np.random.default_rng(0).random((down, across)).astype(np.float32)

    def along(values, pixels):
        centres = (np.arange(len(values)) + 0.5) * grid.stride
        return np.interp(np.arange(pixels) + 0.5, centres, values)

    expected = np.apply_along_axis(along, 0, cells, grid.height)
    expected = np.apply_along_axis(along, 1, expected, grid.width)
    result = affinity.upsample(cells, grid)
    assert result.shape == (grid.height, grid.width) and result.dtype == np.float32
    np.testing.assert_allclose(result, expected, **TIGHT)


# --- the PCA picture ----------------------------------------------------------------------------


def test_the_pca_picture_is_scikit_learns_up_to_signs():
    grid = patch_grid(200, 300, 64, 9)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(grid.num_patches, 12)) * np.linspace(3, 0.1, 12)
    z = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
    places = decomposition.PCA(3, whiten=True).fit_transform(z.astype(np.float64))
    got = pca_colours(z, grid).reshape(-1, 3).astype(float)
    for k in range(3):
        assert abs(np.corrcoef(places[:, k], got[:, k])[0, 1]) > 0.99
    assert got.min() == 0 and got.max() == 255  # the stretch from percentile to percentile


def test_the_pca_picture_of_equal_patches_is_grey():
    grid = patch_grid(64, 128, 64, 2)
    assert (pca_colours(np.ones((grid.num_patches, 1), np.float32), grid) == 128).all()
