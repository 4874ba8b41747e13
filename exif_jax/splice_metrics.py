"""How well a map finds the pasted pixels, and a score the spliced photos: NumPy, exact with ties.

Every figure needs only the positives' scores, sorted, and how many negatives lie above each: two
sorts and binary searches, fast enough for maps of tens of megapixels.
"""

from __future__ import annotations

import numpy as np

METRICS = ("ap", "p_map", "f1", "auc")


def pixel_metrics(scores: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """All metrics of one map.

    Args:
        scores: any real dtype, any shape; higher means pasted.
        mask: of the same shape; true (not 0) where pasted. Both classes must be present.

    Returns:
        ap: average precision, as scikit-learn defines it. p_map: the better of the ap of the map
        and of its inverse (the paper's permuted AP of one image: an oracle picks the polarity).
        f1: best over all thresholds. auc: area under the ROC curve, ties counting half.

    Raises:
        ValueError: shapes differ, a score is not finite, or one class is missing.
    """
    positive, negative = _split(scores, mask)
    ap = _average_precision(positive, negative)
    inverse = _average_precision(-positive[::-1], -negative[::-1])
    return {
        "ap": ap,
        "p_map": max(ap, inverse),
        "f1": _best_f1(positive, negative),
        "auc": _auc(positive, negative),
    }


def average_precision(scores: np.ndarray, mask: np.ndarray) -> float:
    """Average precision in [0, 1]; arguments and errors as in `pixel_metrics`."""
    return _average_precision(*_split(scores, mask))


def best_f1(scores: np.ndarray, mask: np.ndarray) -> float:
    """Best F1 over all thresholds, in [0, 1]; arguments and errors as in `pixel_metrics`."""
    return _best_f1(*_split(scores, mask))


def auc(scores: np.ndarray, mask: np.ndarray) -> float:
    """Area under the ROC curve in [0, 1]; arguments and errors as in `pixel_metrics`."""
    return _auc(*_split(scores, mask))


def detection_auc(spliced: np.ndarray, pristine: np.ndarray) -> float:
    """How often a spliced photo's score is above a pristine one's, over all pairs; ties half.

    Args:
        spliced, pristine: finite scores, one per photo, neither empty.

    Raises:
        ValueError: either is empty or has a value that is not finite.
    """
    scores = np.concatenate([np.ravel(spliced), np.ravel(pristine)])
    return auc(scores, np.arange(scores.size) < np.size(spliced))


def _split(scores: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, mask = np.asarray(scores), np.asarray(mask)
    if scores.shape != mask.shape:
        raise ValueError(f"scores have shape {scores.shape} but the mask {mask.shape}")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)  # so that scores can be negated
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    pasted = mask.astype(bool)
    positive, negative = np.sort(scores[pasted]), np.sort(scores[~pasted])
    if not positive.size or not negative.size:
        raise ValueError("the mask must have pasted and other pixels")
    return positive, negative


def _counts_at_positives(positive: np.ndarray, negative: np.ndarray):
    """At every distinct positive score: how many positives equal it, true and false positives.

    Recall changes at these thresholds only, and no other threshold has a better F1.
    """
    thresholds, equal = np.unique_counts(positive)
    true = equal[::-1].cumsum()[::-1]
    false = negative.size - np.searchsorted(negative, thresholds, side="left")
    return equal, true, false


def _average_precision(positive: np.ndarray, negative: np.ndarray) -> float:
    equal, true, false = _counts_at_positives(positive, negative)
    return float((equal * (true / (true + false))).sum() / positive.size)


def _best_f1(positive: np.ndarray, negative: np.ndarray) -> float:
    _, true, false = _counts_at_positives(positive, negative)
    return float((2 * true / (true + false + positive.size)).max())


def _auc(positive: np.ndarray, negative: np.ndarray) -> float:
    below = np.searchsorted(negative, positive, side="left")
    below_or_equal = np.searchsorted(negative, positive, side="right")
    wins = 0.5 * (below.sum(dtype=np.float64) + below_or_equal.sum(dtype=np.float64))
    return float(wins / positive.size / negative.size)
