"""What a score means: how often pristine photos score so, and how much more often splices do.

Conformal prediction with cameras as folds, around a quantile regression. The evidence is
logit(score). Of pristine photos its quantiles are
expected to be linear functions, of the same slopes, of what is known of the file (its size and last
compression), and what exceeds that, the *excess*, to be alike whatever they are. A photo's excess
is compared with those of pristine photos, each by a fit to other cameras' photos (as in CV+, Barber
et al. 2021), so that the comparison is with cameras that the fit does not know. Linear is smooth
and monotone, and has few enough numbers for a few dozen cameras.

Splices made of the same photos say how far the excess of splices lies above, `reach`, at the same
size and compression; from that the likelihood ratio, and where the method is blind.

A method's calibration is a dict of plain types: "slopes" and "null", "score_version", "splices"
(missing where none were measured), all of `exif_jax.evaluation.score_regression`, and what
`exif_jax.calibrate` adds. NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from exif_jax.forensics.content import USUAL_VARIATION, unadjusted
from exif_jax.forensics.likelihood import likelihood_ratio

FILE_CONDITIONS = ("log_area", "step", "log_patch")
"""What evidence is expected to depend on; the first of `Conditions`."""
SCORE_VERSION = 2
"""Counts the changes in how scores are made; a calibration of another version's says nothing."""
_FINEST = 0.1  # no p-value is lower than this share of one in the number of cameras


class Conditions(NamedTuple):
    """What is known of a photo beside its score; numbers, or scalars of JAX.

    The last two are of the cut's parts, and the score has made use of them.

    Attributes:
        log_area: log of `Localization.area`.
        step: `Localization.quantization_step`.
        log_patch: log of how large its patches are beside the model's own: small ones differ more.
        gap: `Localization.gradient_energy_gap`.
        variation: `content.part_variation`.
    """

    log_area: Any
    step: Any
    log_patch: Any = 0.0
    gap: Any = 0.0
    variation: Any = USUAL_VARIATION


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
    """How far the parts lie apart, what their content explains included, in [0, 1]."""
    return unadjusted(score, conditions.gap, conditions.variation)


def value_at(slopes: Mapping[str, float], conditions: Conditions) -> Any:
    """The line with these slopes: of numbers a number, of scalars of JAX such a scalar."""
    least = slopes.get("least_log_area", -math.inf)
    conditions = conditions._replace(log_area=max(conditions.log_area, least))
    known = zip(FILE_CONDITIONS, conditions, strict=False)
    # A calibration of an earlier version is of patches of one size.
    terms = (slopes.get(name, 0.0) * value for name, value in known)
    return sum(terms, slopes["intercept"])


def survival(null: Mapping[str, Any], excess: float) -> PValue:
    """How often a pristine photo's excess is this high; of the calibration's "null"."""
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
