"""Lens and sensor against their formulas: noise, distortion, lateral aberration."""

import numpy as np
import pytest

from data_prep.simulation import imaging
from data_prep.simulation.demosaic import site_slices

PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))


def test_sensor_noise_has_the_variance_of_photons_and_electronics():
    rng = np.random.default_rng(0)
    light = np.full((256, 256), 0.3, np.float32)
    out = imaging.sensor(light, gain=8, full_well=20_000, read_noise=5, bits=14, rng=rng)
    electrons = 20_000 / 8
    assert float(out.mean()) == pytest.approx(0.3, abs=2e-4)
    assert float(out.var()) == pytest.approx(0.3 / electrons + (5 / electrons) ** 2, rel=0.03)
    full = imaging.sensor(light * 10, gain=1, full_well=20_000, read_noise=5, bits=14, rng=rng)
    assert float(full.min()) == 1.0


def test_distortion_and_lateral_aberration_move_corners_by_what_is_asked():
    size = 128
    x = np.broadcast_to(np.linspace(0.2, 0.8, size, dtype=np.float32), (size, size))
    planes = np.stack([x, x, x])
    step = 0.6 / (size - 1)
    half = 0.5 * np.hypot(size, size)
    for phase in PHASES:
        plain = imaging.expose(planes, phase, 0.0, (0.0, 0.0))
        np.testing.assert_allclose(plain, x, atol=1e-4)
        # Corner stays, middle of the side moves towards the centre for barrel distortion.
        barrel = imaging.expose(planes, phase, 0.1, (0.0, 0.0))
        r = (size / 2 - 1.5) / half
        moved = (x[64, 1] - barrel[64, 1]) / step
        assert moved == pytest.approx(-(1 - (0.9 + 0.1 * r * r)) * r * half, abs=0.3)
        fringed = imaging.expose(planes, phase, 0.0, (1.0, -0.5))
        red, _, _, blue = site_slices(phase)
        # x grows to the right, so a red image made smaller reads a larger value on the right.
        shift = (fringed - plain) / step
        scale = (size - 40 - 63.5) / half
        column = size - 40
        assert shift[red][:, column // 2].mean() == pytest.approx(scale, abs=0.05)
        assert shift[blue][:, column // 2].mean() == pytest.approx(-0.5 * scale, abs=0.05)
