"""Fits what scores mean, for `forensics.score_calibration`.

Quantiles of pristine photos' evidence and mostly upper ones, not its mean, as alarms are made of
those (composite quantile regression, Zou and Yuan 2008). NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from exif_jax.forensics.calibration import camera_weights
from exif_jax.forensics.likelihood import fit_ratio
from exif_jax.forensics.score_calibration import (
    FILE_CONDITIONS,
    SCORE_VERSION,
    Conditions,
    logit,
    value_at,
)

# The direction that a slope may have: more room makes for more differences in pristine photos too;
# what compression does is left to the data (0).
_NULL_SIGNS = (1, 0, 0)
# Splices stand out more in large photos and less after strong compression.
_REACH_SIGNS = (1, -1, 0)
_SCALES = np.array([1.0, 0.4, 0.4])  # about the conditions' standard deviations
_RIDGE = 0.5  # towards no slope, in units of one camera
_QUANTILES = (0.5, 0.8, 0.9)
_TAIL = 0.1  # the share of the excesses, from the top, that the tail is fitted to
_LEAST_TAIL = 0.05
_TABLE = 128  # places
_CAMERAS_AT_LEAST = 5  # with photos as small as the smallest size that counts as measured
_ITERATIONS = 30
_FOLDS = 10  # of whole cameras

Samples = tuple[Sequence[float], Sequence[Conditions], Sequence[str]]
"""Scores in [0, 1], the conditions and the camera of each (of splices, the hosts')."""


def fit_null(
    scores: Sequence[float],
    conditions: Sequence[Conditions],
    cameras: Sequence[str],
) -> dict[str, Any]:
    """Fits what pristine photos score.

    Args:
        scores: N, in [0, 1].
        conditions, cameras: of each.

    Returns:
        "slopes": "intercept" and one of each of CONDITIONS, and "least_log_area": smaller photos
        were hardly measured, and are expected to score as photos of that size; "null": how often
        what excess is exceeded, as a table, and the number of "cameras"; "score_version", of
        the scores that this holds for.

    Raises:
        ValueError: there are fewer than two cameras.
    """
    if len(set(cameras)) < 2:
        raise ValueError("photos of at least two cameras are needed")
    y, x = _evidence_and_file(scores, conditions)
    named = np.asarray(cameras)
    excess = np.empty(len(y))
    names = sorted(set(cameras))
    for fold in range(min(_FOLDS, len(names))):
        own = np.isin(named, names[fold::_FOLDS])
        fit = _quantile_line(x[~own], y[~own], named[~own].tolist())
        excess[own] = y[own] - _on_line(fit, x[own])
    least = sorted(x[named == camera, 0].min() for camera in names)[:_CAMERAS_AT_LEAST][-1]
    return {
        "slopes": _named(_quantile_line(x, y, cameras))
        | {"least_log_area": round(float(least), 4)},
        "null": _survival_table(excess, camera_weights(cameras)) | {"cameras": len(set(cameras))},
        "score_version": SCORE_VERSION,
    }


def _evidence_and_file(
    scores: Sequence[float], conditions: Sequence[Conditions]
) -> tuple[np.ndarray, np.ndarray]:
    """float64 [N], and [N, C] of the conditions that are of the file."""
    return logit(np.array(scores)), np.array(
        [at[: len(FILE_CONDITIONS)] for at in conditions], np.float64
    )


def _survival_table(excess: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """How often pristine photos exceed what: "excess", rising, "p" at each, and "tail".

    The excesses are smoothed (a normal kernel, Silverman's rule for its width), as few photos
    make a coarse staircase. The table ends where the highest tenth begins, which is taken for
    exponential with the mean "tail".
    """
    order = np.argsort(excess)
    values, weights = excess[order], weights[order]
    deviation = math.sqrt(max(float((values - values @ weights) ** 2 @ weights), 1e-12))
    width = 0.9 * deviation * (1 / float(np.square(weights).sum())) ** -0.2
    start = float(values[np.searchsorted(np.cumsum(weights), 1 - _TAIL)])
    above = values > start
    tail = float((values[above] - start) @ weights[above] / max(weights[above].sum(), 1e-12))
    # Drawn together by as much as smoothing widens (Silverman and Young 1987).
    middle = float(values @ weights)
    values = middle + (values - middle) / math.sqrt(1 + (width / deviation) ** 2)
    grid = np.linspace(values[0] - 3 * width, start, _TABLE)
    tails = [[0.5 * math.erfc((x - v) / width / math.sqrt(2)) for v in values] for x in grid]
    return {
        "excess": [round(float(x), 4) for x in grid],
        "p": [round(float(p), 6) for p in np.minimum(np.array(tails) @ weights, 1)],
        "tail": round(max(tail, _LEAST_TAIL), 4),
    }


def _quantile_line(x: np.ndarray, y: np.ndarray, cameras: Sequence[str]) -> np.ndarray:
    """[1 + C]: composite quantile regression, by least squares that are weighted again and again.

    The intercept is that of the middle one of _QUANTILES.
    """
    count, levels = len(x), len(_QUANTILES)
    weights = np.tile(camera_weights(cameras) * len(set(cameras)), levels)
    level = np.repeat(_QUANTILES, count)
    columns = np.concatenate(
        [np.repeat(np.eye(levels), count, axis=0), np.tile(x / _SCALES, (levels, 1))], axis=1
    )
    target = np.tile(y, levels)
    signs = [0] * levels + list(_NULL_SIGNS)

    def solve(kept: list[int]) -> np.ndarray:
        a = columns[:, kept]
        ridge = np.diag([_RIDGE if k >= levels else 1e-6 for k in kept])
        fit = np.linalg.lstsq(a, target, rcond=None)[0]
        for _ in range(_ITERATIONS):
            off = target - a @ fit
            w = weights * np.where(off > 0, level, 1 - level) / np.maximum(abs(off), 0.02)
            fit = np.linalg.solve((a * w[:, None]).T @ a + ridge, a.T @ (w * target))
        return fit

    fit = _with_signs(signs, solve)
    return np.concatenate([[fit[levels // 2]], fit[levels:] / _SCALES])


def _mean_line(x: np.ndarray, y: np.ndarray, cameras: Sequence[str]) -> np.ndarray:
    """[1 + C]: weighted least squares of a splice's excess."""
    weights = camera_weights(cameras) * len(set(cameras))
    columns = np.concatenate([np.ones((len(x), 1)), x / _SCALES], axis=1)

    def solve(kept: list[int]) -> np.ndarray:
        a = columns[:, kept]
        ridge = np.diag([_RIDGE if k else 1e-6 for k in kept])
        return np.linalg.solve((a * weights[:, None]).T @ a + ridge, a.T @ (weights * y))

    fit = _with_signs([0, *_REACH_SIGNS], solve)
    return np.concatenate([fit[:1], fit[1:] / _SCALES])


def _with_signs(signs: Sequence[int], solve: Callable[[list[int]], np.ndarray]):
    """Solves without the columns whose coefficient would have the wrong sign; theirs is 0."""
    kept = list(range(len(signs)))
    while True:
        fit = np.zeros(len(signs))
        fit[kept] = solve(kept)
        wrong = [k for k in kept if fit[k] * signs[k] < 0]
        if not wrong:
            return fit
        kept = [k for k in kept if k not in wrong]


def _on_line(fit: np.ndarray, x: np.ndarray) -> np.ndarray:
    return fit[0] + x @ fit[1:]


def _named(fit: np.ndarray) -> dict[str, float]:
    return {
        name: round(float(v), 5)
        for name, v in zip(("intercept", *FILE_CONDITIONS), fit, strict=True)
    }


def fit_splices(
    calibration: Mapping[str, Any],
    splices: Samples,
    pristine: Samples,
) -> dict[str, Any]:
    """Fits what splices score beside pristine photos.

    Args:
        calibration: with what `fit_null` returns.
        splices, pristine: scores, conditions and cameras (of splices, the hosts').

    Returns:
        "reach": "intercept" and slopes, by how much splices exceed pristine photos; "residuals" of
        the splices around it, rising, and their "weights"; "ratio", of `likelihood.fit_ratio`,
        with "lowest" and "highest", beyond which so few samples show nothing.
    """
    excess, x, weights = {}, {}, {}
    for name, (scores, conditions, cameras) in (("s", splices), ("p", pristine)):
        y, x[name] = _evidence_and_file(scores, conditions)
        excess[name] = y - np.array([value_at(calibration["slopes"], at) for at in conditions])
        weights[name] = camera_weights(cameras)
    line = _mean_line(x["s"], excess["s"], splices[2])
    residuals = excess["s"] - _on_line(line, x["s"])
    order = np.argsort(residuals)
    both = [np.concatenate([table["s"], table["p"]]) for table in (excess, weights)]
    reach = _on_line(line, np.concatenate([x["s"], x["p"]]))
    spliced = np.arange(len(reach)) < len(residuals)
    ratio: dict[str, float] = fit_ratio(both[0], reach, spliced, both[1])
    ratio["lowest"] = round(1 / (len(set(splices[2])) + 1), 5)
    ratio["highest"] = float(len(set(pristine[2])) + 1)
    return {
        "reach": _named(line),
        "residuals": [round(float(value), 4) for value in residuals[order]],
        "weights": [round(float(weight), 6) for weight in weights["s"][order]],
        "ratio": ratio,
    }
