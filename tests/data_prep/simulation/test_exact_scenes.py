"""Scenes and outlines in whole numbers: what they cover, and that last digits decide nothing."""

import numpy as np
import pytest

from data_prep.simulation import exact_scenes
from data_prep.simulation.exact_random import ExactRandom
from data_prep.simulation.exact_scenes import exact_blob, exact_scene, fill_convex


def inside(corners, height, width):
    """Pixels inside a convex polygon, by the sign of each corner's cross product: float64."""
    y, x = np.mgrid[:height, :width] * 16.0
    sides = []
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        sides.append((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0)
    return np.logical_and.reduce(sides)


def test_polygons_cover_the_pixels_whose_centres_lie_inside():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        if np.diff(np.append(angle, angle[0] + 2 * np.pi)).max() > 3.1:
            continue  # the centre must lie inside
        centre, radius = rng.uniform(-100, 700, 2), rng.uniform(20, 400)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        corners = np.rint(centre + radius * circle).astype(np.int64)
        canvas = np.zeros((30, 40), np.int64)
        fill_convex(canvas, corners, 7)
        np.testing.assert_array_equal(canvas, 7 * inside(corners, 30, 40))
        covered += canvas.any()
    assert covered > 100


def test_a_polygon_outside_or_between_pixels_changes_nothing():
    canvas = np.zeros((5, 5), np.int64)
    square = np.array([[0, 0], [16, 0], [16, 16], [0, 16]])
    fill_convex(canvas, square + 2000, 1)
    fill_convex(canvas, square - 200, 1)
    fill_convex(canvas, square // 8 + 20, 1)  # less than a pixel, and no centre in it
    assert not canvas.any()
    fill_convex(canvas, square, 1)  # its border counts
    assert canvas[:2, :2].all() and canvas.sum() == 4


def test_scenes_are_light_on_a_grid_so_fine_that_sums_are_exact():
    view = exact_scene(ExactRandom(3), 96, 128)
    assert view.shape == (96, 128, 3) and view.dtype == np.float32
    assert view.min() > 0 and 0.05 < view.mean() < 0.6
    steps = view.astype(np.float64) * 2**20
    np.testing.assert_array_equal(steps, np.rint(steps))
    green = view[..., 1].astype(np.float64)
    shuffled = np.random.default_rng(0).permutation(green.ravel())
    assert green.sum() == shuffled.sum() == np.cumsum(green)[-1]
    assert np.abs(exact_scene(ExactRandom(4), 96, 128) - view).mean() > 0.05


@pytest.mark.parametrize("share", [0.09, 0.2, 0.29])
def test_blobs_cover_what_is_asked(share):
    for seed in range(10):
        mask = exact_blob(ExactRandom(seed), 96, 128, share)
        assert mask.shape == (96, 128) and mask.dtype == bool
        assert mask.mean() == pytest.approx(share, abs=0.02)


def test_the_last_digits_of_a_machine_decide_nothing(monkeypatch):
    view, mask = exact_scene(ExactRandom(5), 96, 128), exact_blob(ExactRandom(5), 96, 128, 0.2)
    real, calls = exact_scenes.rounded, []

    def shaken(values, grain):
        values = np.asarray(values, np.float64)
        calls.append(values.size)
        sign = np.where(np.arange(values.size).reshape(values.shape) % 3, 1, -1)
        return real(values * (1 + 1e-13 * sign), grain)

    monkeypatch.setattr(exact_scenes, "rounded", shaken)
    exact_scenes.cosines.cache_clear()
    exact_scenes._texture_bank.cache_clear()
    try:
        np.testing.assert_array_equal(exact_scene(ExactRandom(5), 96, 128), view)
        np.testing.assert_array_equal(exact_blob(ExactRandom(5), 96, 128, 0.2), mask)
        assert sum(calls) > 2**20  # the textures too
    finally:
        exact_scenes.cosines.cache_clear()
        exact_scenes._texture_bank.cache_clear()
