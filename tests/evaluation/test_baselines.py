"""Maps that know nothing of cameras."""

import numpy as np
import pytest
from stand_in import spliced

from exif_jax.evaluation import baselines
from exif_jax.evaluation.splice_metrics import pixel_metrics


@pytest.mark.parametrize("name", baselines.BASELINES)
@pytest.mark.parametrize("size", [(1, 1), (7, 90), (64, 48)])
def test_baselines_give_finite_maps_of_any_photo(name, size):
    for image in (
        np.full((*size, 3), 200, np.uint8),
        np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8),
    ):
        values = baselines.BASELINES[name](image)
        assert values.shape == size and values.dtype == np.float32
        assert np.isfinite(values).all()


def auc(scores: np.ndarray, mask: np.ndarray) -> float:
    return pixel_metrics(scores, mask)["auc"]


def test_each_baseline_finds_what_it_looks_for():
    image, mask = spliced()
    assert auc(baselines.error_level(image), mask) > 0.9
    tinted = image.copy()
    tinted[mask] = tinted[mask] // 2 + np.array([100, 0, 20], np.uint8)
    assert auc(baselines.colour_clusters(tinted), mask) > 0.9
    # The smaller cluster counts, whichever colour it has.
    assert auc(baselines.colour_clusters(255 - tinted), mask) > 0.9
    middle = np.zeros((60, 80), bool)
    middle[20:40, 30:50] = True
    assert auc(baselines.centre(np.zeros((60, 80, 3), np.uint8)), middle) > 0.95
