"""How much more often splices than pristine photos score so, in words that examiners use.

In conditions in which splices exceed pristine photos by `reach` on average, two bells of one width
would have log(ratio) = k * (reach * excess - reach^2 / 2): a straight line that is steep where the
method sees much and flat where it sees little. k, and a constant, come from a logistic regression
of splices against pristine photos, both kinds weighing equally (Brummer and du Preez 2006).

The verbal scale is that of the ENFSI guideline for evaluative reporting (2015). NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_SUPPORT = (  # from this likelihood ratio on, in the guideline's words
    (1e6, "extremely strong"),
    (1e4, "very strong"),
    (1e3, "strong"),
    (1e2, "moderately strong"),
    (1e1, "moderate"),
    (2.0, "weak"),
)
# Splices differ: also where they exceed pristine photos little or not on average, the one that does
# so is likelier a splice. Of 0.05 to 3 this gave the lowest cost on photos of cameras left out but
# 0.05, by 0.001, with which some photos of low p-values had ratios of 2.
_MIN_REACH = 0.5
_RIDGE = 1e-3


def support(ratio: float) -> str:
    """What a likelihood ratio supports, in the words of the verbal scale."""
    for_splice = ratio >= 1
    strength = ratio if for_splice else 1 / ratio
    word = next((word for least, word in _SUPPORT if strength >= least), "")
    proposition = (
        "that parts come from different cameras" if for_splice else "that one camera made all of it"
    )
    return f"{word} support for the proposition {proposition}" if word else "no support either way"


def fit_ratio(
    excess: ArrayLike, reach: ArrayLike, spliced: ArrayLike, weights: ArrayLike
) -> dict[str, float]:
    """Fits the likelihood ratio.

    Args:
        excess, reach, spliced, weights: of N samples, of both kinds.

    Returns:
        "constant" and "slope", the latter not negative.
    """
    e, d, y, w = (np.asarray(v, np.float64) for v in (excess, reach, spliced, weights))
    w = np.where(y > 0, w / w[y > 0].sum(), w / w[y == 0].sum())
    x = np.stack([np.ones_like(e), _line(e, d)], axis=1)
    beta = np.zeros(2)
    for _ in range(50):  # Newton's method
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (w * (y - p)) - _RIDGE * beta
        curvature = (x * (w * p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(2)
        beta = beta + np.linalg.solve(curvature, gradient)
    return {"constant": round(float(beta[0]), 4), "slope": round(max(float(beta[1]), 0.0), 4)}


def _line(excess: Any, reach: Any) -> Any:
    reach = np.maximum(reach, _MIN_REACH)
    return reach * excess - np.square(reach) / 2


def likelihood_ratio(fit: Mapping[str, float], excess: float, reach: float) -> float:
    """Returns the ratio, within what the number of samples can show.

    Args:
        fit: of `fit_ratio`, with "lowest" and "highest".
        excess, reach: of the photo.
    """
    log_ratio = fit["constant"] + fit["slope"] * float(_line(excess, reach))
    ratio = math.exp(min(max(log_ratio, -50.0), 50.0))
    return float(min(max(ratio, fit["lowest"]), fit["highest"]))


def cllr(of_splices: ArrayLike, of_pristine: ArrayLike) -> float:
    """The log-likelihood-ratio cost of likelihood ratios, in bits: 0 perfect, 1 says nothing.

    Brummer and du Preez (2006): the mean over both kinds, weighing equally, of what a wrong ratio
    costs.
    """
    splices, pristine = (np.asarray(v, np.float64) for v in (of_splices, of_pristine))
    cost = np.log2(1 + 1 / splices).mean() + np.log2(1 + pristine).mean()
    return float(cost / 2)
