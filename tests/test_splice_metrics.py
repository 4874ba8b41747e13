"""Metrics against scikit-learn, with ties, and at the ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exif_jax import splice_metrics as m


@st.composite
def scored_masks(draw):
    size = draw(st.integers(2, 60))
    levels = draw(st.sampled_from([1, 2, 5, 10**6]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    mask = rng.random(size) < draw(st.floats(0.05, 0.95))
    mask[0], mask[1] = True, False
    scores = rng.integers(0, levels, size) / levels
    return scores.astype(draw(st.sampled_from([np.float32, np.float64]))), mask


@given(scored_masks())
@settings(deadline=None)  # scikit-learn takes seconds to import
def test_agrees_with_scikit_learn(case):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, mask = case
    found = m.pixel_metrics(scores, mask)
    ap = metrics.average_precision_score(mask, scores)
    precision, recall, _ = metrics.precision_recall_curve(mask, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    expected = {
        "ap": ap,
        "p_map": max(ap, metrics.average_precision_score(mask, -scores)),
        "f1": f1.max(),
        "auc": metrics.roc_auc_score(mask, scores),
    }
    assert found == pytest.approx(expected, abs=1e-9)
    assert m.average_precision(scores, mask) == found["ap"]
    assert m.best_f1(scores, mask) == found["f1"]
    assert m.auc(scores, mask) == found["auc"]


def test_perfect_inverted_and_constant_maps():
    mask = np.zeros((6, 5), np.uint8)
    mask[:2] = 255
    share = 1 / 3
    assert m.pixel_metrics(mask, mask) == {"ap": 1, "p_map": 1, "f1": 1, "auc": 1}
    inverted = m.pixel_metrics(255 - mask, mask)
    assert inverted["p_map"] == 1 and inverted["auc"] == 0
    assert inverted["ap"] == pytest.approx(share)
    constant = m.pixel_metrics(np.full(mask.shape, 0.3), mask)
    expected = {"ap": share, "p_map": share, "f1": 2 * share / (1 + share), "auc": 0.5}
    assert constant == pytest.approx(expected)


def test_float32_maps_of_many_pixels_lose_nothing():
    # Sums of a million terms and counts beyond float32's integers.
    rng = np.random.default_rng(0)
    mask = rng.random((1200, 900)) < 0.2
    scores = (rng.random(mask.shape) + 0.3 * mask).astype(np.float32)
    found = m.pixel_metrics(scores, mask)
    metrics = pytest.importorskip("sklearn.metrics")
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(mask.ravel(), scores.ravel()))
    ap = metrics.average_precision_score(mask.ravel(), scores.ravel())
    assert found["ap"] == pytest.approx(ap, abs=1e-9)


@pytest.mark.parametrize(
    ("scores", "mask", "why"),
    [
        (np.zeros(3), np.zeros(4), "shape"),
        (np.array([0.0, np.nan]), np.array([0, 1]), "not finite"),
        (np.array([0.0, np.inf]), np.array([0, 1]), "not finite"),
        (np.zeros(3), np.zeros(3), "pasted and other"),
        (np.zeros(3), np.ones(3), "pasted and other"),
        (np.zeros(0), np.zeros(0), "pasted and other"),
    ],
)
def test_refuses(scores, mask, why):
    with pytest.raises(ValueError, match=why):
        m.pixel_metrics(scores, mask)


def test_detection():
    assert m.detection_auc(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.3])) == 1
    assert m.detection_auc(np.array([0.5]), np.array([0.5, 0.1])) == 0.75
    with pytest.raises(ValueError, match="pasted and other"):
        m.detection_auc(np.array([0.5]), np.array([]))
