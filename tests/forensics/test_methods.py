"""The content-adjusted score and what it is made of, against their definitions; the table."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exif_jax.forensics.methods import (
    content_adjusted_score,
    gradient_energy_gap,
    part_at_border,
    part_spread,
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


@given(st.floats(0, 1), st.floats(0, 20))
def test_the_gap_divides_the_odds(distance, gap):
    score = content_adjusted_score(distance, gap)
    assert 0 <= score <= distance
    assert score * (1 - distance) == pytest.approx(
        distance * (1 - score) * math.exp(-gap), abs=1e-12
    )


def test_without_a_gap_nothing_is_taken_off():
    for distance in (0.0, 0.3, 1.0):
        assert content_adjusted_score(distance, 0.0) == distance


def test_the_spread_of_a_part_is_that_of_all_its_pairs():
    z_PxD = np.random.default_rng(4).normal(size=(12, 5))
    z_PxD /= np.linalg.norm(z_PxD, axis=1, keepdims=True)
    clusters = np.arange(12).reshape(3, 4) % 3 == 0
    part = z_PxD[clusters.ravel()]
    expected = np.mean([1 - a @ b for a in part for b in part])
    assert part_spread(z_PxD, clusters.astype(int)) == pytest.approx(expected)
    traced = part_spread(jnp.asarray(z_PxD), jnp.asarray(clusters))
    assert float(traced) == pytest.approx(expected, abs=1e-6)
    assert part_spread(z_PxD, np.zeros((3, 4), int)) == 0


def test_how_much_of_the_sides_belongs_to_a_part():
    clusters = np.zeros((4, 6), int)
    clusters[1:3, 2:4] = 1
    assert part_at_border(clusters) == 0
    clusters[0] = 1  # 6 of 16 patches along the sides
    assert part_at_border(clusters) == pytest.approx(6 / 16)
    assert float(part_at_border(jnp.asarray(clusters))) == pytest.approx(6 / 16)
    for shape in ((1, 5), (2, 2), (1, 1)):  # all of whose patches lie along the sides
        assert part_at_border(np.ones(shape, int)) == 1
