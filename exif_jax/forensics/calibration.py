"""From a score to how often pristine photos of unknown cameras score as high.

A release file carries the scores of such photos (`exif_jax.calibrate` measures them); here they
become p-values and plain words. Pure NumPy.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# A p-value at or below the first is weak evidence, at or below the second strong.
WEAK, STRONG = 0.05, 0.02


def null_distribution(values: Sequence[float], cameras: Sequence[str]) -> dict[str, Any]:
    """Scores of pristine photos as plain types; n photos of one camera weigh sqrt(n)."""
    counts = collections.Counter(cameras)
    order = np.argsort(values)
    return {
        "values": [round(float(values[i]), 5) for i in order],
        "weights": [round(counts[cameras[int(i)]] ** -0.5, 4) for i in order],
    }


def survival_function(score: float, null: dict[str, Any]) -> float:
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


def fit_score_calibration(
    scores: Sequence[Sequence[float]],
    gaps: Sequence[Sequence[float]],
    areas: float,
    cameras: Sequence[str],
    method: str,
) -> dict[str, Any]:
    """What pristine photos score, and how that grows with size and content, as plain types.

    Args:
        scores: of each photo, cut to 1, 2, ... equal parts of its own side by side.
        gaps: `Localization.gradient_energy_gap` of each of them.
        areas: patches that one part holds side by side.
        cameras: that made the photos.
        method: of the localisation.

    Returns:
        "slopes": of logit(score) over log(areas) and over the gap, by weighted least squares, not
        below 0; "areas": that the former counts from; "null": what is left of each photo's last
        logit(score).
    """
    weight, columns, logits = [], [], []
    for row, gap, camera in zip(scores, gaps, cameras, strict=True):
        for k, (score, between) in enumerate(zip(row, gap, strict=True)):
            weight.append(list(cameras).count(camera) ** -0.5 / len(row))
            columns.append((1.0, math.log(k + 1), between))
            logits.append(_logit(score))
    x, y, w = np.array(columns), np.array(logits), np.sqrt(weight)
    kept, slopes = [0, 1, 2], np.zeros(3)
    while True:  # without the columns whose slope would be negative
        slopes[:] = 0
        # A little towards no slope, as few photos may hardly differ.
        ridge = np.diag([0.0, 1.0, 1.0])[:, kept]
        left = np.concatenate([x[:, kept] * w[:, None], 0.1 * ridge])
        slopes[kept] = np.linalg.lstsq(left, np.concatenate([y * w, np.zeros(3)]), rcond=None)[0]
        if (slopes[1:] >= 0).all():
            break
        kept = [k for k in kept if k == 0 or slopes[k] >= 0]
    last = np.cumsum([len(row) for row in scores]) - 1
    return {
        "method": method,
        "areas": areas,
        "slopes": {"log_areas": round(float(slopes[1]), 4), "gap": round(float(slopes[2]), 4)},
        "null": null_distribution((y[last] - x[last, 1:] @ slopes[1:]).tolist(), cameras),
    }


def score_p_value(
    calibration: dict[str, Any], score: float, method: str, num_areas: float, gap: float
) -> float | None:
    """How often a pristine photo's splice score is this high; None where nothing tells.

    Args:
        calibration: of the release file.
        score: of `exif_jax.localize`.
        method: that it was computed with; None is returned for one without calibration.
        num_areas: how many patches the photo holds side by side. More room, more differences:
            beyond the sizes that were measured (`fit_score_calibration`) this is extrapolated.
        gap: `Localization.gradient_energy_gap`; as high a score is more common where they are unlike.
    """
    scores = calibration.get("scores", {})
    slopes = scores.get("slopes")  # files of the first version have none
    if scores.get("method") != method or not slopes:
        return None
    expected = slopes["log_areas"] * math.log(num_areas / scores["areas"]) + slopes["gap"] * gap
    return survival_function(_logit(score) - expected, scores["null"])


def _logit(score: float) -> float:
    """Of a score cut to [0.001, 0.999]: on this scale the spread of scores is even."""
    score = min(max(score, 1e-3), 1 - 1e-3)
    return math.log(score / (1 - score))


def agreement_p_value(calibration: dict[str, Any], agreement: float) -> float | None:
    """How often a pristine photo agrees with its own EXIF this little, or None."""
    null = calibration.get("agreement")
    if not null:
        return None
    mirrored = {"values": [-v for v in null["values"]], "weights": null["weights"]}
    return survival_function(-agreement, mirrored)


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
