"""The content-adjusted score and what it is made of, against their definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from exif_jax.forensics.content import (
    USUAL_VARIATION,
    content_adjusted_score,
    gradient_energy_gap,
    part_variation,
)
from exif_jax.forensics.patches import patch_grid
from exif_jax.reading.pixels import gradient_energy


def test_the_gradient_energy_gap_is_that_of_the_parts():
    rng = np.random.default_rng(0)
    image = np.full((96, 160, 3), 128.0)
    image[:, :80] += rng.normal(0, 8, (96, 80, 3))
    image[:, 80:] += rng.normal(0, 2, (96, 80, 3))
    image = image.clip(0, 255).astype(np.uint8)
    energy = gradient_energy(image)
    grid = patch_grid(96, 160, 32, 16, 4096, 8)
    left = (grid.origins()[:, 1] + 16 < 80).reshape(grid.rows, grid.columns).astype(int)
    step = np.abs(np.diff(image[..., 1].astype(int), axis=1))

    def log_of(y, x):
        return math.log(0.5 + step[y : y + 32, x : min(x + 32, 159)].mean())

    logs = np.array([log_of(y, x) for y, x in grid.origins()])
    parts = left.ravel() > 0
    expected = logs[parts].mean() - logs[~parts].mean()
    assert gradient_energy_gap(energy, left, grid) == pytest.approx(expected, abs=0.02)
    assert gradient_energy_gap(energy, 1 - left.ravel(), grid) == gradient_energy_gap(
        energy, left, grid
    )
    assert gradient_energy_gap(energy, left * 0, grid) == 0
    small = patch_grid(16, 20, 16, 4, 16, 1)
    parts = np.arange(small.num_patches).reshape(small.rows, small.columns) % 2
    assert np.isfinite(gradient_energy_gap(gradient_energy(image[:16, :20]), parts, small))


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 20), st.floats(0.01, 0.9))
def test_content_multiplies_the_odds(distance, gap, variation):
    score = content_adjusted_score(distance, gap, variation)
    assert 0 <= score <= 1
    log_factor = 3 * (special.logit(variation) - special.logit(0.05)) - gap
    assert score * (1 - distance) == pytest.approx(
        distance * (1 - score) * math.exp(log_factor), rel=1e-6, abs=1e-9
    )
    traced = jax.jit(content_adjusted_score)(distance, gap, variation)
    assert float(traced) == pytest.approx(score, rel=1e-3, abs=1e-5)


def test_usual_content_changes_nothing():
    for distance in (0.0, 0.3, 1.0):
        found = content_adjusted_score(distance, 0.0, USUAL_VARIATION)
        assert found == pytest.approx(distance)


def test_a_part_of_one_patch_and_opposite_patches_have_a_score():
    for variation in (0.0, 1.2, np.float32(0), np.float64(2)):
        assert 0 < content_adjusted_score(0.5, 0.0, variation) < 1


def variation(z_PxD, clusters, grid):
    """Of NumPy and of JAX, which must agree."""
    found = part_variation(z_PxD, clusters, grid)
    traced = jax.jit(part_variation, static_argnums=2)(
        jnp.asarray(z_PxD), jnp.asarray(clusters), grid
    )
    assert float(traced) == pytest.approx(float(found), abs=1e-6)
    return float(found)


def unit_rows(count, seed=4):
    z_PxD = np.random.default_rng(seed).normal(size=(count, 5))
    return z_PxD / np.linalg.norm(z_PxD, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "size, steps, apart",
    [((64, 88), 7, 4), ((96, 128), 3, 1), ((200, 320), 2, 1)],  # strides of 8, 32 and 144
)
def test_the_variation_of_a_part_is_that_of_its_neighbours_that_do_not_overlap(size, steps, apart):
    grid = patch_grid(*size, 32, steps, 4096, 8)
    z_PxD = unit_rows(grid.num_patches)
    clusters = (np.random.default_rng(0).random((grid.rows, grid.columns)) < 0.7).astype(int)
    z_RxCxD = z_PxD.reshape(grid.rows, grid.columns, -1)
    pairs = [
        1 - z_RxCxD[y, x] @ z_RxCxD[v, u]
        for y in range(grid.rows)
        for x in range(grid.columns)
        for v, u in ((y + apart, x), (y, x + apart))
        if v < grid.rows and u < grid.columns and clusters[y, x] and clusters[v, u]
    ]
    assert pairs
    assert variation(z_PxD, clusters, grid) == pytest.approx(np.mean(pairs))
    assert variation(z_PxD, clusters.ravel(), grid) == pytest.approx(np.mean(pairs))


def test_a_part_without_such_neighbours_varies_as_all_its_pairs_do():
    grid = patch_grid(64, 96, 32, 8, 4096, 8)  # 5 x 9 patches, of which every fourth is apart
    z_PxD = unit_rows(grid.num_patches)
    clusters = np.zeros((grid.rows, grid.columns), int)
    clusters[0, :3] = 1
    part = z_PxD[clusters.ravel() > 0]
    expected = np.mean([1 - a @ b for a in part for b in part])
    assert variation(z_PxD, clusters, grid) == pytest.approx(expected)
    clusters[0, 4] = 1  # beside the first: one pair
    assert variation(z_PxD, clusters, grid) == pytest.approx(1 - z_PxD[0] @ z_PxD[4])
    assert variation(z_PxD, clusters * 0, grid) == 0
    one = patch_grid(32, 32, 32, 8, 4096, 8)
    assert variation(z_PxD[:1], np.ones((1, 1), int), one) == pytest.approx(0, abs=1e-9)
