"""How well a heat map finds the tampered pixels: NumPy, from how many pixels have each score.

A name without prefix is *oriented*: high in the heat map must mean tampered. `p_` is *permuted*:
the better of the heat map and its inverse, photo by photo, which takes an oracle. `_fixed` cuts it
at 0.5, `_weighted` takes it for a probability (PhotoHolmes' metrics), and `_official` is what the
released evaluator of "EXIF as Language" computes under that name (eval/image_splice/metrics.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EXACT_PIXELS = 2**20
"""Maps of more pixels are rounded to 65,536 levels between their lowest and highest score first,
which spares the sorting of millions of numbers; a megapixel's figures move by less than 1e-4."""
_LEVELS = 2**16

METRICS = ("ap", "p_map", "f1", "auc")
"""What tables show; `pixel_metrics` gives more."""

_PERMUTED = {"p_map": "ap"} | {f"p_{name}": name for name in ("f1", "iou", "ciou", "mcc", "auc")}
OF_ANY_MAP = ("ap", "f1", "iou", "ciou", "mcc", "auc", *_PERMUTED)
OF_PROBABILITIES = (
    *(f"{name}_{form}" for form in ("fixed", "weighted") for name in ("f1", "iou", "mcc")),
    *("mcc_official", "ciou_official"),
)

OF_MASK = tuple(f"{name}_mask" for name in ("f1", "iou", "mcc"))
"""Of the mask that a detector gives beside its map, at the threshold that it chose itself."""

COLUMNS = ("ap", "p_map", "f1", "f1_mask", "auc")
"""What tables of whole evaluations show: the best F1 beside that of the detector's own mask."""


def mask_metrics(predicted: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Those of OF_MASK, of two bool arrays of one shape."""
    metrics = weighted(soft_counts(predicted, mask))
    return {f"{name}_mask": value for name, value in metrics.items()}


def pixel_metrics(scores: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """All metrics of one heat map.

    Args:
        scores: any real dtype, any shape; higher means tampered.
        mask: of the same shape; true (not 0) where tampered. Both classes must be present.

    Returns:
        Those of OF_ANY_MAP, and of OF_PROBABILITIES where all scores lie in [0, 1]:

        * ap: average precision, as scikit-learn defines it; p_map its permuted form, whose mean
          over photos is the paper's p-mAP. auc: area under the ROC curve, ties counting half.
        * f1, iou, mcc (Matthews' correlation), ciou (the mean IoU of the tampered and the other
          pixels): best over all thresholds. f1_official and auc_official would be p_f1 and p_auc.
        * f1_fixed, iou_fixed, mcc_fixed: above 0.5. mcc_official: the better of the map and of
          1 - map, so.
        * f1_weighted, iou_weighted, mcc_weighted: from sums of probabilities (`soft_counts`).
        * ciou_official: bug-compatible. Its negative class is inverted bit by bit, which leaves
          true where it should be false, so that a constant map of a photo half tampered gets 0.75.

    Raises:
        ValueError: shapes differ, a score is not finite, or one class is missing.
    """
    scores, mask = _checked(scores, mask)
    values, positive, negative = _histogram(scores, mask)
    metrics = _oriented(positive, negative)
    inverse = _oriented(positive[::-1], negative[::-1])
    metrics |= {permuted: max(metrics[name], inverse[name]) for permuted, name in _PERMUTED.items()}
    if values[0] >= 0 and values[-1] <= 1:
        metrics |= _of_probabilities(scores, mask)
        inverse_values = (1 - values)[::-1]
        metrics["ciou_official"] = max(
            _ciou_official(values, positive, negative),
            _ciou_official(inverse_values, positive[::-1], negative[::-1]),
        )
    return metrics


def average_precision(scores: np.ndarray, mask: np.ndarray) -> float:
    """Average precision in [0, 1]; arguments and errors as in `pixel_metrics`."""
    return pixel_metrics(scores, mask)["ap"]


def soft_counts(scores: np.ndarray, mask: np.ndarray) -> tuple[float, float, float, float]:
    """True and false positives, false and true negatives of a heat map of probabilities, in pixels.

    A pixel of probability p counts p as positive and 1 - p as negative; arguments as in
    `pixel_metrics`. PhotoHolmes' "v2" metrics are `weighted` of the sums over a dataset.
    """
    mask = np.asarray(mask).astype(bool)
    true = float(np.sum(scores, where=mask, dtype=np.float64))
    false = float(np.sum(scores, where=~mask, dtype=np.float64))
    tampered = int(np.count_nonzero(mask))
    return true, false, tampered - true, mask.size - tampered - false


def weighted(counts: Sequence[float]) -> dict[str, float]:
    """f1, iou and mcc of four counts, as `soft_counts` gives them; 0 where undefined."""
    tp, fp, fn, tn = map(float, counts)
    spread = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    return {
        "f1": 2 * tp / (2 * tp + fp + fn) if tp else 0.0,
        "iou": tp / (tp + fp + fn) if tp else 0.0,
        "mcc": (tp * tn - fp * fn) / spread if spread else 0.0,
    }


def _checked(scores: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat scores and flat bool mask, fit to be measured."""
    scores, mask = np.asarray(scores), np.asarray(mask)
    if scores.shape != mask.shape:
        raise ValueError(f"scores have shape {scores.shape} but the mask {mask.shape}")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)  # so that scores can be subtracted
    scores, mask = scores.ravel(), mask.ravel().astype(bool)
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    if mask.all() or not mask.any():  # an empty mask is all and not any
        raise ValueError("the mask must have tampered and other pixels")
    return scores, mask


def _histogram(scores: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct scores, rising, and how many tampered and other pixels have each."""
    if scores.size <= EXACT_PIXELS:
        values, level = np.unique(scores, return_inverse=True)
    else:
        low, high = scores.min(), scores.max()
        step = (float(high) - float(low)) / (_LEVELS - 1) or 1.0  # 1: of a constant map
        level = ((scores - low) * scores.dtype.type(1 / step) + 0.5).astype(np.uint16)
        values = low + np.arange(_LEVELS) * step
        values[-1] = high
    both = np.bincount(level, minlength=len(values))
    positive = np.bincount(level[mask], minlength=len(values))
    return values, positive, both - positive


def _oriented(positive: np.ndarray, negative: np.ndarray) -> dict[str, float]:
    """Best over "at least this score", for every score: counts of each, rising."""
    true, false = (np.cumsum(x[::-1], dtype=np.float64) for x in (positive, negative))
    positives, negatives = true[-1], false[-1]
    predicted = np.maximum(true + false, 1)  # levels above all scores predict nothing
    f1 = float(2 * (true / (predicted + positives)).max())
    # true * tn - false * fn, over the root of the product of the margins.
    numerator = true * negatives - false * positives
    spread = np.sqrt(predicted * (positives + negatives - predicted)) * np.sqrt(
        positives * negatives
    )
    mcc = np.divide(numerator, spread, out=np.zeros_like(spread), where=spread > 0)
    ciou = true / (positives + false) + (negatives - false) / (negatives + positives - true)
    nothing = negatives / (negatives + positives)  # marking nothing is a threshold too
    gained = positive[::-1]
    # Of every pair a tampered pixel wins against the others below its score, and half its equals.
    wins = gained @ (negatives - false + negative[::-1] / 2)
    return {
        "ap": float(gained @ (true / predicted) / positives),
        "f1": f1,
        "iou": f1 / (2 - f1),  # the same threshold: each is a monotone function of the other
        "ciou": float(max(ciou.max(), nothing) / 2),
        "mcc": float(max(mcc.max(), 0.0)),
        "auc": float(wins / positives / negatives),
    }


def _of_probabilities(scores: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    fixed, inverse = (weighted(soft_counts(cut > 0.5, mask)) for cut in (scores, 1 - scores))
    return (
        {f"{name}_fixed": value for name, value in fixed.items()}
        | {f"{name}_weighted": v for name, v in weighted(soft_counts(scores, mask)).items()}
        | {"mcc_official": max(fixed["mcc"], inverse["mcc"])}
    )


def _ciou_official(values: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Of distinct scores, rising, and the counts of each."""
    at = np.searchsorted(values, np.linspace(0, 1, 1000))  # the first score not below
    below = [np.concatenate([[0.0], np.cumsum(x)])[at] for x in (positive, negative)]
    true, false = positive.sum() - below[0], negative.sum() - below[1]
    iou_of_tampered = (true / (positive.sum() + false)).max()
    # "Not tampered" is true everywhere, so its IoU is the share that is not marked.
    iou_of_others = (sum(below) / (positive.sum() + negative.sum())).max()
    return float((iou_of_tampered + iou_of_others) / 2)
