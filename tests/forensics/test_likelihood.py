"""The verbal scale, the cost and the fit of likelihood ratios, against closed forms and SciPy."""

import math

import numpy as np
import pytest
from scipy import optimize

from exif_jax.forensics import likelihood


@pytest.mark.parametrize(
    "ratio, words",
    [
        (1.0, "no support either way"),
        (1.9, "no support either way"),
        (2.0, "weak support"),
        (10.0, "moderate support"),
        (150.0, "moderately strong support"),
        (5e3, "strong support"),
        (5e4, "very strong support"),
        (2e6, "extremely strong support"),
        (0.6, "no support either way"),
        (0.2, "weak support"),
        (0.05, "moderate support"),
    ],
)
def test_the_verbal_scale(ratio, words):
    said = likelihood.support(ratio)
    assert said.startswith(words)
    if ratio >= 2:
        assert said.endswith("that parts come from different cameras")
    if ratio <= 0.5:
        assert said.endswith("that one camera made all of it")


def test_the_cost():
    assert likelihood.cllr([1.0, 1.0], [1.0]) == pytest.approx(1)
    assert likelihood.cllr([1e9], [1e-9]) == pytest.approx(0, abs=1e-6)
    expected = (np.log2(1 + 1 / 4) + (np.log2(1.5) + np.log2(4)) / 2) / 2
    assert likelihood.cllr([4.0], [0.5, 3.0]) == pytest.approx(expected)


def test_the_fit_is_the_minimum_of_the_weighted_loss():
    rng = np.random.default_rng(0)
    spliced = np.arange(300) < 80
    reach = rng.uniform(0.5, 2, 300)
    excess = rng.normal(0, 1, 300) + reach * spliced
    weights = rng.uniform(0.5, 1, 300)
    fit = likelihood.fit_ratio(excess, reach, spliced, weights)
    w = np.where(spliced, weights / weights[spliced].sum(), weights / weights[~spliced].sum())
    x = reach * excess - reach**2 / 2

    def loss(beta):
        margin = (beta[0] + beta[1] * x) * np.where(spliced, 1, -1)
        return (w * np.logaddexp(0, -margin)).sum() + 5e-4 * (beta**2).sum()

    best = optimize.minimize(loss, [0, 1]).x
    assert [fit["constant"], fit["slope"]] == pytest.approx(list(best), abs=2e-3)
    # Two bells of width 1, of which the line is exact: a constant of 0 and a slope of 1.
    assert fit["constant"] == pytest.approx(0, abs=0.3) and fit["slope"] == pytest.approx(
        1, abs=0.3
    )


def test_a_ratio_rises_with_the_excess_and_stays_within_its_limits():
    fit = {"constant": 0.0, "slope": 1.0, "lowest": 0.05, "highest": 40.0}
    found = [likelihood.likelihood_ratio(fit, excess, 1.5) for excess in np.linspace(-9, 9, 50)]
    assert found == sorted(found) and found[0] == 0.05 and found[-1] == 40
    # Also where splices stand out little on average, the one that does is likelier a splice.
    low, high = (likelihood.likelihood_ratio(fit, excess, -2.0) for excess in (-1.0, 5.0))
    assert low < 1 < 5 < high
    assert math.isfinite(likelihood.likelihood_ratio(fit, 1e6, 1.0))
