"""Procedural scenes: linear light with the statistics of photographs."""

import numpy as np
import pytest
from PIL import Image

from data_prep.simulation.scenes import collage, scene


def test_scene_is_linear_light_and_has_the_spectrum_of_photographs():
    slopes = []
    for seed in range(4):
        view = scene(np.random.default_rng(seed), 256)
        assert view.shape == (256, 256, 3)
        assert view.dtype == np.float32
        assert view.min() > 0
        assert np.isfinite(view).all()
        light = np.log(view.mean(-1))
        window = np.hanning(256)[:, None] * np.hanning(256)
        power = np.abs(np.fft.fft2((light - light.mean()) * window)) ** 2
        radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)) * 256
        rings = [(r, power[(radius >= r) & (radius < 1.4 * r)].mean()) for r in (4, 8, 16, 32, 64)]
        slopes.append(np.polyfit(*np.log(np.array(rings)).T, 1)[0])
    # Photographs: power falls as 1/f^2, give or take.
    assert -2.9 < np.mean(slopes) < -1.4


def test_scene_depends_on_its_seed_only():
    first, again, other = (scene(np.random.default_rng(s), 64) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def picture(number):
    """A plain colour with a fine checkerboard, which shrinking removes."""
    level = 60 + 30 * number + 40 * (np.indices((96, 80)).sum(0) % 2)
    return Image.fromarray(np.repeat(level[..., None], 3, axis=2).astype(np.uint8))


@pytest.mark.parametrize("size", [16, 64, 250])
def test_a_collage_holds_several_pictures_without_their_finest_detail(size):
    counts = []
    for seed in range(8):
        view = collage(picture, 5, np.random.default_rng(seed), size)
        assert view.shape == (size, size, 3)
        assert view.dtype == np.float32
        assert view.min() > 0
        assert view.mean() == pytest.approx(0.2, rel=0.01)
        # Unshrunk, the darkest picture's checkerboard would step by 0.08 before it is scaled.
        assert np.median(np.abs(np.diff(view, axis=1))) < 0.01
        _, areas = np.unique(view[..., 1].round(2), return_counts=True)
        counts.append(int((areas > 0.04 * size**2).sum()))
    assert 2 <= max(counts) <= 5
    one = collage(picture, 1, np.random.default_rng(0), size)
    np.testing.assert_array_equal(one, collage(picture, 1, np.random.default_rng(0), size))
