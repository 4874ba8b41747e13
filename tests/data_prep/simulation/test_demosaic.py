"""Demosaicing: measured values stay, smooth pictures come back, the lattice leaves its trace."""

import numpy as np
import pytest

from data_prep.simulation import imaging
from data_prep.simulation.demosaic import demosaic, site_slices
from data_prep.simulation.scenes import scene

METHODS = ("bilinear", "linear5", "directed", "hue")
PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("phase", PHASES)
def test_demosaic_keeps_measured_values_and_restores_smooth_pictures(method, phase):
    y, x = np.mgrid[0:32, 0:48] / 48.0
    # Grey with gentle curvature: each method must come close everywhere.
    grey = (0.4 + 0.2 * np.sin(2 * x + y)).astype(np.float32)
    planes = np.stack([grey, grey, grey])
    mosaic = np.empty_like(grey)
    for where, colour in zip(site_slices(phase), (0, 1, 1, 2), strict=True):
        mosaic[where] = planes[colour][where]
    out = demosaic(mosaic, phase, method)
    assert out.shape == (3, 32, 48)
    assert out.dtype == np.float32
    for where, colour in zip(site_slices(phase), (0, 1, 1, 2), strict=True):
        np.testing.assert_allclose(out[colour][where], mosaic[where], atol=1e-6)
    np.testing.assert_allclose(out[:, 3:-3, 3:-3], planes[:, 3:-3, 3:-3], atol=2e-3)


def test_better_demosaicing_methods_restore_green_better():
    view = np.moveaxis(scene(np.random.default_rng(0), 128), -1, 0)
    planes = np.stack([imaging.blur(np.minimum(plane, 1), 0.6) for plane in view])
    mosaic = np.empty_like(planes[0])
    for where, colour in zip(site_slices((0, 0)), (0, 1, 1, 2), strict=True):
        mosaic[where] = planes[colour][where]
    errors = {m: float(np.std(demosaic(mosaic, (0, 0), m)[1] - planes[1])) for m in METHODS}
    assert max(errors["directed"], errors["linear5"]) < 0.8 * errors["bilinear"]
    assert errors["hue"] == errors["bilinear"]


def test_demosaic_names_a_method_it_does_not_know():
    with pytest.raises(ValueError, match="vng"):
        demosaic(np.zeros((8, 8), np.float32), (0, 0), "vng")


@pytest.mark.parametrize("phase", PHASES)
def test_demosaicing_leaves_the_lattice_of_the_mosaic(phase):
    """Interpolated green is smoother than measured green: variances differ by site."""
    rng = np.random.default_rng(0)
    mosaic = rng.normal(0.5, 0.05, (128, 128)).astype(np.float32)
    for method in ("bilinear", "linear5", "directed", "hue"):
        green = demosaic(mosaic, phase, method)[1]
        red, green_r, green_b, blue = (float(green[w].var()) for w in site_slices(phase))
        assert max(red, blue) < 0.9 * min(green_r, green_b), method
