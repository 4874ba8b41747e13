"""The data behind the affinity explorer: boxes on the upright photo, near cosines."""

import numpy as np
import pytest

from exif_jax.forensics.patches import patch_grid
from exif_jax.reports.explorer import quantised, turned_box
from exif_jax.reports.render import upright


@pytest.mark.parametrize("turn", range(1, 9))
def test_boxes_turn_with_the_photo(turn):
    grid = patch_grid(60, 100, 16, 10)
    mask = np.zeros((60, 100), bool)
    mask[8:40, 12:76] = True
    x, y, width, height = turned_box(grid, turn, 8, 12, 32, 64)
    seen = upright(mask, turn)
    rows, columns = np.nonzero(seen.any(1))[0], np.nonzero(seen.any(0))[0]
    H, W = seen.shape
    expected = [columns[0] / W, rows[0] / H, len(columns) / W, len(rows) / H]
    np.testing.assert_allclose([x, y, width, height], expected, atol=1e-12)


@pytest.mark.parametrize("P, D, rank", [(60, 8, 8), (300, 192, 20), (500, 768, 40), (7, 300, 300)])
def test_cosines_of_the_explorer_are_near(P, D, rank):
    rng = np.random.default_rng(P)
    z = rng.normal(size=(P, min(rank, D))) @ rng.normal(size=(min(rank, D), D))
    z += rng.normal(size=(P, D)) * 0.03 * np.abs(z).mean()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    coded, unit = quantised(z.astype(np.float32))
    assert coded.dtype == np.int16 and coded.shape[1] <= 64
    error = np.abs((coded * unit) @ (coded * unit).T - z @ z.T)
    assert error.max() <= 0.02
