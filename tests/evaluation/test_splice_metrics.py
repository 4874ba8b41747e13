"""Pixel metrics against scikit-learn and brute force, with ties, and at the ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exif_jax.evaluation import splice_metrics as m


@st.composite
def scored_masks(draw):
    size = draw(st.integers(2, 60))
    levels = draw(st.sampled_from([1, 2, 5, 10**6]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    mask = rng.random(size) < draw(st.floats(0.05, 0.95))
    mask[0], mask[1] = True, False
    scores = rng.integers(0, levels + 1, size) / levels
    return scores.astype(draw(st.sampled_from([np.float32, np.float64]))), mask


def by_hand(scores, mask):
    """Every metric from its definition, threshold by threshold."""
    metrics = pytest.importorskip("sklearn.metrics")

    def best(function, s):
        cuts = [s >= t for t in np.unique(s)] + [np.zeros(s.shape, bool)]
        return max(function(mask, cut) for cut in cuts)

    def iou(truth, cut):
        return (truth & cut).sum() / max((truth | cut).sum(), 1)

    functions = {
        "f1": lambda truth, cut: metrics.f1_score(truth, cut, zero_division=0),
        "iou": iou,
        "ciou": lambda truth, cut: (iou(truth, cut) + iou(~truth, ~cut)) / 2,
        "mcc": metrics.matthews_corrcoef,
    }
    found = {
        "ap": metrics.average_precision_score(mask, scores),
        "p_map": metrics.average_precision_score(mask, -scores),
        "auc": metrics.roc_auc_score(mask, scores),
        "p_auc": metrics.roc_auc_score(mask, -scores),
    }
    for name, function in functions.items():
        found[name], found[f"p_{name}"] = best(function, scores), best(function, -scores)
        if name != "ciou":
            found[f"{name}_fixed"] = function(mask, scores > 0.5)
    for name in ("auc", "f1", "iou", "ciou", "mcc"):
        found[f"p_{name}"] = max(found[name], found[f"p_{name}"])
    found["p_map"] = max(found["ap"], found["p_map"])
    # PhotoHolmes: sums of probabilities instead of counts.
    s = scores.astype(np.float64)
    tp, fp = (s * mask).sum(), (s * ~mask).sum()
    fn, tn = ((1 - s) * mask).sum(), ((1 - s) * ~mask).sum()
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    found["f1_weighted"] = 2 * tp / max(2 * tp + fp + fn, 1e-30)
    found["iou_weighted"] = tp / max(tp + fp + fn, 1e-30)
    found["mcc_weighted"] = (tp * tn - fp * fn) / np.sqrt(margins) if margins > 0 else 0
    found["mcc_official"] = max(
        metrics.matthews_corrcoef(mask, scores > 0.5),
        metrics.matthews_corrcoef(mask, (1 - scores) > 0.5),
    )
    found["ciou_official"] = max(released_ciou(mask, scores), released_ciou(mask, 1 - scores))
    return found


def released_ciou(mask, scores):
    """cIoU as the released evaluator has it: a uint8 label inverted bit by bit."""
    label = mask.astype(np.uint8)
    marked = scores[:, None] >= np.linspace(0, 1, 1000)[None]

    def best(cut, truth):
        union = np.logical_or(cut, truth[:, None]).sum(0)
        return (np.logical_and(cut, truth[:, None]).sum(0) / union).max()

    return (best(marked, label) + best(~marked, ~label)) / 2


@given(scored_masks())
@settings(deadline=None, max_examples=60)  # scikit-learn takes seconds to import
def test_agrees_with_the_definitions(case):
    scores, mask = case
    found = m.pixel_metrics(scores, mask)
    assert set(found) == {*m.OF_ANY_MAP, *m.OF_PROBABILITIES}
    assert found == pytest.approx(by_hand(scores, mask), abs=1e-9)
    assert m.average_precision(scores, mask) == found["ap"]


def test_perfect_inverted_and_constant_maps():
    mask = np.zeros((6, 5), np.uint8)
    mask[:2] = 1
    share = 1 / 3
    perfect = m.pixel_metrics(mask, mask)
    assert perfect.pop("ciou_official") == pytest.approx((1 + 2 / 3) / 2)  # its fault
    assert perfect == pytest.approx(dict.fromkeys(perfect, 1))
    inverted = m.pixel_metrics(1 - mask, mask)
    assert inverted["auc"] == inverted["mcc"] == 0 and inverted["mcc_fixed"] == pytest.approx(-1)
    assert inverted["ap"] == pytest.approx(share)
    permuted = {name: inverted[name] for name in m.OF_ANY_MAP if name.startswith("p_")}
    assert permuted == pytest.approx(dict.fromkeys(permuted, 1))
    constant = m.pixel_metrics(np.full(mask.shape, 0.3), mask)
    expected = {"ap": share, "p_map": share, "f1": 2 * share / (1 + share), "auc": 0.5}
    assert {name: constant[name] for name in expected} == pytest.approx(expected)
    assert constant["ciou"] == pytest.approx(1 / 3)  # nothing marked: 0 and two thirds


def test_the_released_ciou_flatters_a_constant_map():
    half = np.arange(100) < 50
    found = m.pixel_metrics(np.full(100, 0.5), half)
    assert found["ciou_official"] == 0.75 and found["ciou"] == 0.25


def test_maps_that_are_no_probabilities_have_no_fixed_metrics():
    found = m.pixel_metrics(np.array([-3.0, 0.2, 9.0]), np.array([0, 0, 1]))
    assert set(found) == set(m.OF_ANY_MAP) and found["ap"] == 1


def test_large_maps_are_rounded_without_harm(monkeypatch):
    rng = np.random.default_rng(0)
    mask = rng.random((1200, 900)) < 0.2
    assert mask.size > m.EXACT_PIXELS
    scores = np.clip(rng.random(mask.shape) + 0.3 * mask, 0, 1.3).astype(np.float32) / 1.3
    for values in (scores, 255 * scores - 7, (scores * 255).astype(np.uint8), scores * 0):
        rounded = m.pixel_metrics(values, mask)
        monkeypatch.setattr(m, "EXACT_PIXELS", mask.size)
        assert rounded == pytest.approx(m.pixel_metrics(values, mask), abs=1e-4)
        monkeypatch.undo()
    metrics = pytest.importorskip("sklearn.metrics")
    assert m.pixel_metrics(scores, mask)["auc"] == pytest.approx(
        metrics.roc_auc_score(mask.ravel(), scores.ravel()), abs=1e-4
    )


def test_counts_of_probabilities_add_up_over_a_dataset():
    rng = np.random.default_rng(0)
    parts = [(rng.random(40), rng.random(40) < 0.3) for _ in range(3)]
    pooled = m.weighted(np.sum([m.soft_counts(*part) for part in parts], axis=0))
    scores, mask = (np.concatenate(part) for part in zip(*parts, strict=True))
    whole = m.pixel_metrics(scores, mask)
    assert pooled == pytest.approx({name: whole[f"{name}_weighted"] for name in pooled})


@pytest.mark.parametrize(
    ("scores", "mask", "why"),
    [
        (np.zeros(3), np.zeros(4), "shape"),
        (np.array([0.0, np.nan]), np.array([0, 1]), "not finite"),
        (np.array([0.0, np.inf]), np.array([0, 1]), "not finite"),
        (np.zeros(3), np.zeros(3), "tampered and other"),
        (np.zeros(3), np.ones(3), "tampered and other"),
        (np.zeros(0), np.zeros(0), "tampered and other"),
    ],
)
def test_refuses(scores, mask, why):
    with pytest.raises(ValueError, match=why):
        m.pixel_metrics(scores, mask)
