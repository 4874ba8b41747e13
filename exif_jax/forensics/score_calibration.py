"""What a score means: how often pristine photos score so, and how much more often splices do.

Conformal prediction with cameras as folds, around a quantile regression. The upper quantiles of
logit(score) of pristine photos are expected to be linear functions, of the same slopes, of what is
known of the file (its *conditions*: size, content, compression), and what exceeds that, the
*excess*, to be alike whatever they are. A photo's excess is compared with those of pristine photos,
each by a fit to other cameras' photos (as in CV+, Barber et al. 2021), so that the comparison
is with cameras that the fit does not know. Linear is smooth and monotone, and has few enough
numbers for a few dozen cameras. Upper quantiles and not the mean, as alarms are made of them: in
photos of one texture the mean score is far lower, and the highest ones are not (composite quantile
regression, Zou and Yuan 2008).

Splices made of the same photos say how far the excess of splices lies above, `reach`, at the same
size and compression; from that the likelihood ratio, and where the method is blind.

A method's calibration is a dict of plain types: "slopes" and "null" (`fit_null`), "splices"
(`fit_splices`; missing where none were measured), and what `exif_jax.calibrate` adds. NumPy only.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from exif_jax.forensics.likelihood import fit_ratio, likelihood_ratio

CONDITIONS = ("log_area", "gap", "texture", "step")
# The direction that a slope may have: more room and more unlike content make for more
# differences in pristine photos too; what else does is left to the data (0).
_NULL_SIGNS = (1, 1, 0, 0)
# Splices stand out more in large photos and less after strong compression; None: not looked at.
_REACH_SIGNS = (1, None, None, -1)
_SCALES = np.array([1.0, 0.5, 0.5, 0.4])  # about the conditions' standard deviations
_RIDGE = 0.5  # towards no slope, in units of one camera
_QUANTILES = (0.8, 0.9, 0.95)
_TAIL = 0.1  # the share of the excesses, from the top, that the tail is fitted to
_LEAST_TAIL = 0.05
_TABLE = 128  # places
_CAMERAS_AT_LEAST = 5  # with photos as small as the smallest size that counts as measured
_ITERATIONS = 30
_FOLDS = 10  # of whole cameras
_FINEST = 0.1  # no p-value is lower than this share of one in the number of cameras


class Conditions(NamedTuple):
    """What is known of a file beside its score; numbers, or scalars of JAX.

    Attributes:
        log_area: log of `Grid.area`.
        gap: `Localization.gradient_energy_gap`.
        texture: `Localization.texture`.
        step: `Localization.quantization_step`.
    """

    log_area: Any
    gap: Any
    texture: Any
    step: Any


class PValue(NamedTuple):
    """How often a pristine photo of such conditions scores as high.

    Attributes:
        value: in (0, 1].
        extrapolated: whether it is rarer than one in the number of cameras, which no data show.
    """

    value: float
    extrapolated: bool


def logit(score: Any) -> Any:
    """log(score / (1 - score)) of a score cut to [0.001, 0.999]: there its spread is even."""
    score = np.clip(score, 1e-3, 1 - 1e-3)
    return np.log(score) - np.log1p(-score)


def contrast(score: float, conditions: Conditions) -> float:
    """How far the parts lie apart, what their content explains included, in [0, 1].

    The inverse of `methods.content_adjusted_score`; the score itself where there is no gap.
    """
    return float(1 / (1 + np.exp(-logit(score) - conditions.gap)))


def camera_weights(cameras: Sequence[str]) -> np.ndarray:
    """float64 [N], so that n samples of a camera weigh sqrt(n) together; their sum is 1."""
    counts = collections.Counter(cameras)
    weights = np.array([counts[camera] ** -0.5 for camera in cameras])
    return weights / weights.sum()


def fit_null(
    scores: Sequence[float], conditions: Sequence[Conditions], cameras: Sequence[str]
) -> dict[str, Any]:
    """Fits what pristine photos score.

    Args:
        scores: N, in [0, 1].
        conditions, cameras: of each.

    Returns:
        "slopes": "intercept" and one of each of CONDITIONS, and "least_log_area": smaller photos
        were hardly measured, and are expected to score as photos of that size; "null": how often
        what excess is exceeded, as a table, and the number of "cameras".

    Raises:
        ValueError: there are fewer than two cameras.
    """
    if len(set(cameras)) < 2:
        raise ValueError("photos of at least two cameras are needed")
    y, x = logit(np.asarray(scores, np.float64)), np.array(conditions, np.float64)
    named = np.asarray(cameras)
    excess = np.empty(len(y))
    names = sorted(set(cameras))
    for fold in range(min(_FOLDS, len(names))):
        own = np.isin(named, names[fold::_FOLDS])
        fit = _quantile_line(x[~own], y[~own], named[~own].tolist())
        excess[own] = y[own] - _on_line(fit, x[own])
    least = sorted(x[named == camera, 0].min() for camera in names)[:_CAMERAS_AT_LEAST][-1]
    return {
        "slopes": _named(_quantile_line(x, y, cameras)) | {"least_log_area": round(least, 4)},
        "null": _survival_table(excess, camera_weights(cameras)) | {"cameras": len(set(cameras))},
    }


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
    grid = np.linspace(values[0] - 3 * width, start, _TABLE)
    tails = [[0.5 * math.erfc((x - v) / width / math.sqrt(2)) for v in values] for x in grid]
    above = values > start
    tail = float((values[above] - start) @ weights[above] / max(weights[above].sum(), 1e-12))
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


def _with_signs(signs: Sequence[int | None], solve: Callable[[list[int]], np.ndarray]):
    """Solves without the columns whose coefficient would have the wrong sign; theirs is 0."""
    kept = [k for k, sign in enumerate(signs) if sign is not None]
    while True:
        fit = np.zeros(len(signs))
        fit[kept] = solve(kept)
        wrong = [k for k in kept if fit[k] * (signs[k] or 0) < 0]
        if not wrong:
            return fit
        kept = [k for k in kept if k not in wrong]


def _on_line(fit: np.ndarray, x: np.ndarray) -> np.ndarray:
    return fit[0] + x @ fit[1:]


def _named(fit: np.ndarray) -> dict[str, float]:
    return {
        name: round(float(v), 5) for name, v in zip(("intercept", *CONDITIONS), fit, strict=True)
    }


def value_at(slopes: Mapping[str, float], conditions: Conditions) -> Any:
    """The line with these slopes: of numbers a number, of scalars of JAX such a scalar."""
    least = slopes.get("least_log_area", -math.inf)
    conditions = conditions._replace(log_area=max(conditions.log_area, least))
    terms = (slopes[name] * value for name, value in zip(CONDITIONS, conditions, strict=True))
    return sum(terms, slopes["intercept"])


def survival(null: Mapping[str, Any], excess: float) -> PValue:
    """How often a pristine photo's excess is this high; `null` is of `fit_null`."""
    p = float(np.interp(excess, null["excess"], null["p"], left=1.0))
    if excess > null["excess"][-1]:
        p *= math.exp((null["excess"][-1] - excess) / null["tail"])
    rarest_seen = 1 / (null["cameras"] + 1)
    return PValue(max(p, _FINEST * rarest_seen), p < rarest_seen)


def p_value(calibration: Mapping[str, Any], score: float, conditions: Conditions) -> PValue:
    """How often a pristine photo of such conditions scores as high.

    Args:
        calibration: of the method that made the score.
        score: in [0, 1].
        conditions: of the photo.
    """
    excess = float(logit(score)) - value_at(calibration["slopes"], conditions)
    return survival(calibration["null"], excess)


def critical_excess(null: Mapping[str, Any], level: float) -> float:
    """The excess whose p-value is `level`."""
    if level >= null["p"][-1]:
        return float(np.interp(-level, np.negative(null["p"]), null["excess"]))
    return null["excess"][-1] + null["tail"] * math.log(null["p"][-1] / level)


def fit_splices(
    calibration: Mapping[str, Any],
    splices: tuple[Sequence[float], Sequence[Conditions], Sequence[str]],
    pristine: tuple[Sequence[float], Sequence[Conditions], Sequence[str]],
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
        expected = [value_at(calibration["slopes"], c) for c in conditions]
        excess[name] = logit(np.asarray(scores, np.float64)) - np.array(expected)
        x[name], weights[name] = np.array(conditions, np.float64), camera_weights(cameras)
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


def power(calibration: Mapping[str, Any], level: float, conditions: Conditions) -> float:
    """The share of splices, of those that were measured, with a p-value of `level` or less."""
    splices = calibration["splices"]
    residuals, weights = (np.asarray(splices[key]) for key in ("residuals", "weights"))
    needed = critical_excess(calibration["null"], level) - value_at(splices["reach"], conditions)
    return float(weights[residuals >= needed].sum() / weights.sum())


def least_reach(calibration: Mapping[str, Any], level: float, share: float) -> float:
    """The reach from which on `power` is at least a share."""
    splices = calibration["splices"]
    residuals, weights = (np.asarray(splices[key])[::-1] for key in ("residuals", "weights"))
    enough = np.cumsum(weights) >= share * weights.sum()
    return critical_excess(calibration["null"], level) - float(residuals[enough.argmax()])


def ratio(calibration: Mapping[str, Any], score: float, conditions: Conditions) -> float | None:
    """How much more often splices than pristine photos of such conditions score so.

    None where no splices were measured.
    """
    splices = calibration.get("splices")
    if not splices:
        return None
    excess = float(logit(score)) - value_at(calibration["slopes"], conditions)
    return likelihood_ratio(splices["ratio"], excess, value_at(splices["reach"], conditions))
