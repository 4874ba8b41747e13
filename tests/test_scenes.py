"""Procedural scenes: linear light with the statistics of photographs."""

import numpy as np

from data_prep.scenes import scene


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
