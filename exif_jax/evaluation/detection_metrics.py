"""How well a score tells tampered photos from pristine ones, and how sure a mean is. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DETECTION = ("auc", "ap", "balanced_accuracy", "fpr_at_95_tpr", "tpr_at_5_fpr")
RESAMPLES = 1000
COVERAGE = 0.95


def detection_metrics(tampered: np.ndarray, pristine: np.ndarray) -> dict[str, float]:
    """All metrics of a score of whole photos.

    Args:
        tampered, pristine: finite scores, one per photo, neither empty; higher means tampered.

    Returns:
        auc: how often a tampered photo scores above a pristine one, over all pairs; ties half.
        ap: average precision, tampered photos being the positives. balanced_accuracy: the mean of
        both classes' shares told right, at the best threshold (an oracle's).
        fpr_at_95_tpr: share of pristine photos that a threshold accuses which finds at least 95 %
        of the tampered ones. tpr_at_5_fpr: share of tampered photos found by the lowest threshold
        that accuses at most 5 % of the pristine ones.

    Raises:
        ValueError: either is empty or has a value that is not finite.
    """
    tampered, pristine = (np.sort(np.ravel(x).astype(np.float64)) for x in (tampered, pristine))
    if not tampered.size or not pristine.size:
        raise ValueError("detection needs scores of tampered photos and of pristine ones")
    if not (np.isfinite(tampered).all() and np.isfinite(pristine).all()):
        raise ValueError("a score is not finite")
    thresholds = np.unique(np.concatenate([tampered, pristine]))
    tp, fp = (x.size - np.searchsorted(x, thresholds) for x in (tampered, pristine))
    tpr, fpr = tp / tampered.size, fp / pristine.size
    below, not_above = (np.searchsorted(pristine, tampered, side) for side in ("left", "right"))
    wins = below + not_above
    at_score = tp - np.append(tp[1:], 0)  # tampered photos that have exactly this score
    return {
        "auc": float(wins.sum() / (2 * tampered.size * pristine.size)),
        "ap": float((at_score * (tp / (tp + fp))).sum() / tampered.size),
        "balanced_accuracy": float(max((tpr + 1 - fpr).max(), 1) / 2),
        "fpr_at_95_tpr": float(fpr[tpr >= 0.95 - 1e-12].min()),
        "tpr_at_5_fpr": float(tpr[fpr <= 0.05 + 1e-12].max(initial=0)),
    }


def mean_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """Where the mean of a metric would lie on other photos of the kind, 95 times in 100.

    Efron's percentile bootstrap over photos; None for fewer than two.
    """
    x = np.asarray(values, np.float64)
    if x.size < 2:
        return None
    rng = np.random.default_rng(seed)
    # One draw after the other: together those of 100,000 photos take 800 MB.
    return _middle(
        np.array([x[rng.integers(x.size, size=x.size)].mean() for _ in range(RESAMPLES)])
    )


def detection_intervals(
    tampered: np.ndarray, pristine: np.ndarray, seed: int = 0
) -> dict[str, tuple[float, float]] | None:
    """`mean_interval` of each of `detection_metrics`, both classes resampled each for itself."""
    tampered, pristine = np.ravel(tampered), np.ravel(pristine)
    if min(tampered.size, pristine.size) < 2:
        return None
    rng = np.random.default_rng(seed)
    draws = [
        detection_metrics(
            tampered[rng.integers(tampered.size, size=tampered.size)],
            pristine[rng.integers(pristine.size, size=pristine.size)],
        )
        for _ in range(RESAMPLES)
    ]
    return {name: _middle(np.array([draw[name] for draw in draws])) for name in DETECTION}


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
