"""Detection against scikit-learn, and what the bootstrap covers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exif_jax.evaluation import detection_metrics as d


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 30), st.sampled_from([2, 5, 999]))
@settings(deadline=None, max_examples=60)
def test_agrees_with_scikit_learn(seed, spliced, pristine, levels):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, levels, spliced) + 0.5, rng.integers(0, levels, pristine)
    truth = np.repeat([1, 0], [spliced, pristine])
    scores = np.concatenate([a, b])
    found = d.detection_metrics(a, b)
    fpr, tpr, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    expected = {
        "auc": metrics.roc_auc_score(truth, scores),
        "ap": metrics.average_precision_score(truth, scores),
        "balanced_accuracy": ((tpr + 1 - fpr) / 2).max(),
        "fpr_at_95_tpr": fpr[tpr >= 0.95].min(),
        "tpr_at_5_fpr": tpr[fpr <= 0.05].max(),
    }
    assert found == pytest.approx(expected) and tuple(found) == d.DETECTION


def test_ends():
    perfect = d.detection_metrics(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    assert perfect == {"auc": 1, "ap": 1, "balanced_accuracy": 1, "fpr_at_95_tpr": 0,
                       "tpr_at_5_fpr": 1}  # fmt: skip
    assert d.detection_metrics(np.array([0.5]), np.array([0.5, 0.1]))["auc"] == 0.75
    for bad in (np.array([]), np.array([np.nan])):
        with pytest.raises(ValueError, match=r"scores of|not finite"):
            d.detection_metrics(np.array([0.5]), bad)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        low, high = d.mean_interval(rng.exponential(size=40), seed=trial)
        hits += low <= 1 <= high
    assert 0.86 <= hits / 200 <= 0.99  # 0.95, less what a percentile bootstrap of 40 loses


def test_detection_intervals_hold_the_figure_and_shrink():
    rng = np.random.default_rng(0)
    widths = []
    for count in (10, 160):
        a, b = rng.normal(1, 1, count), rng.normal(0, 1, count)
        found, between = d.detection_metrics(a, b), d.detection_intervals(a, b)
        assert set(between) == set(d.DETECTION)
        assert between["auc"][0] <= found["auc"] <= between["auc"][1]
        widths.append(between["auc"][1] - between["auc"][0])
    assert widths[1] < widths[0] / 2
    assert d.mean_interval([0.5]) is None
    assert d.detection_intervals(np.array([1.0]), np.array([0.0, 1.0])) is None
