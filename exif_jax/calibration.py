"""From a score to how often untouched photos of unknown cameras score as high.

A release file carries the scores of such photos (`exif_jax.calibrate` measures them); here they
become p-values and plain words. Pure NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# A p-value at or below the first is weak evidence, at or below the second strong.
WEAK, STRONG = 0.05, 0.02


def null_of(values: Sequence[float], cameras: Sequence[str]) -> dict[str, Any]:
    """Scores of untouched photos as plain types; n photos of one camera weigh sqrt(n)."""
    counts = {name: list(cameras).count(name) for name in set(cameras)}
    order = np.argsort(values)
    return {
        "values": [round(float(values[i]), 5) for i in order],
        "weights": [round(counts[cameras[i]] ** -0.5, 4) for i in order],
    }


def share_above(score: float, null: dict[str, Any]) -> float:
    """Share of the null that scores at least this high, in [1 / (n + 1), 1].

    The null's n values are smoothed (a normal kernel, Silverman's rule for its width), as few
    photos make a coarse staircase; below 1 in n + 1 they say nothing.
    """
    values, weights = (np.asarray(null[key], np.float64) for key in ("values", "weights"))
    weights = weights / weights.sum()
    mean = float(values @ weights)
    deviation = math.sqrt(max(float((values - mean) ** 2 @ weights), 1e-12))
    width = 0.9 * deviation * (1 / float(np.square(weights).sum())) ** -0.2
    tail = [0.5 * math.erfc((score - v) / width / math.sqrt(2)) for v in values]
    return float(np.clip(np.asarray(tail) @ weights, 1 / (len(values) + 1), 1.0))


def score_p_value(
    calibration: dict[str, Any], score: float, method: str, num_areas: float
) -> float | None:
    """How often an untouched photo's splice score is this high; None where nothing tells.

    Args:
        calibration: of the release file.
        score: of `exif_jax.localize`.
        method: that it was computed with; None is returned for one without calibration.
        num_areas: how many patches the photo holds side by side. More room, more differences: the
            null is that of the nearest size.
    """
    scores = calibration.get("scores", {})
    if scores.get("method") != method or not scores.get("sizes"):
        return None
    nearest = min(scores["sizes"], key=lambda s: abs(math.log(s["areas"] / num_areas)))
    # On the logit scale the scores' spread is even; a score of 0 or 1 stays finite.
    null = {
        "values": [_logit(v) for v in nearest["null"]["values"]],
        "weights": nearest["null"]["weights"],
    }
    return share_above(_logit(score), null)


def _logit(score: float) -> float:
    score = min(max(score, 1e-3), 1 - 1e-3)
    return math.log(score / (1 - score))


def agreement_p_value(calibration: dict[str, Any], agreement: float) -> float | None:
    """How often an untouched photo agrees with its own EXIF this little, or None."""
    null = calibration.get("agreement")
    if not null:
        return None
    mirrored = {"values": [-v for v in null["values"]], "weights": null["weights"]}
    return share_above(-agreement, mirrored)


def band(p_value: float | None, none: str, weak: str, strong: str) -> str | None:
    """The p-value in words: one of the three given, or None without a p-value."""
    if p_value is None:
        return None
    return strong if p_value <= STRONG else weak if p_value <= WEAK else none


def score_band(p_value: float | None) -> str | None:
    """ "no evidence", "weak" or "strong" (evidence of a splice); None: not calibrated."""
    return band(p_value, "no evidence", "weak", "strong")


def agreement_band(p_value: float | None) -> str | None:
    """ "no contradiction", "weak doubt" or "strong doubt" (in the EXIF); None: not calibrated."""
    return band(p_value, "no contradiction", "weak doubt", "strong doubt")
