"""p-values and ratios on scores whose distribution is known, against SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from exif_jax.evaluation import score_regression as regression
from exif_jax.forensics import score_calibration as c
from exif_jax.forensics.content import USUAL_VARIATION, content_adjusted_score
from exif_jax.forensics.score_calibration import Conditions

SLOPES = {"log_area": 0.4, "step": -0.5}
PART = 0.0, USUAL_VARIATION  # gap and variation of a score that content does not change


def expit(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def photos(count=400, cameras=80, seed=0, lift=0.0, camera_spread=0.3):
    """Scores that follow SLOPES, with cameras that differ; lifted where splices are meant."""
    rng = np.random.default_rng(seed)
    conditions = [
        Conditions(a, s, 0.0, *PART)
        for a, s in zip(rng.uniform(2, 6, count), rng.choice([0, 0.4, 0.8], count), strict=True)
    ]
    of_camera = rng.normal(0, camera_spread, cameras)
    names = [f"{seed}-{k % cameras}" for k in range(count)]
    line = np.array([sum(slope * getattr(x, n) for n, slope in SLOPES.items()) for x in conditions])
    noise = of_camera[np.arange(count) % cameras] + rng.normal(0, 0.7, count)
    return expit(-4 + line + noise + lift).tolist(), conditions, names


@pytest.fixture(scope="module")
def null():
    return regression.fit_null(*photos())


def p_values(calibration, scores, conditions):
    pairs = zip(scores, conditions, strict=True)
    return np.array([c.p_value(calibration, score, at).value for score, at in pairs])


def test_p_values_of_other_cameras_keep_their_level(null):
    scores, conditions, _ = photos(2000, 1000, seed=1)
    p = p_values(null, scores, conditions)
    for level in (0.02, 0.05, 0.15, 0.5):
        assert (p <= level).mean() == pytest.approx(level, rel=0.35)
    # And in each part of the conditions, not only on the whole.
    for at in range(2):
        column = np.array([x[at] for x in conditions])
        for part in (column <= np.median(column), column > np.median(column)):
            assert (p[part] <= 0.05).mean() == pytest.approx(0.05, abs=0.025)


def test_the_slopes_are_found_again():
    null = regression.fit_null(*photos(4000, 800, seed=2))  # of quantiles: surer from many photos
    for name, slope in SLOPES.items():
        assert null["slopes"][name] == pytest.approx(slope, abs=0.1)


def test_slopes_that_may_not_be_negative_are_not():
    scores, conditions, cameras = photos()
    flipped = [x._replace(log_area=-x.log_area) for x in conditions]
    slopes = regression.fit_null(scores, flipped, cameras)["slopes"]
    assert slopes["log_area"] == 0


def test_photos_smaller_than_those_measured_are_not_flattered(null):
    least = null["slopes"]["least_log_area"]
    assert 2 < least < 2.2
    at = Conditions(least, 0.0, 0.0, *PART)
    smaller = at._replace(log_area=least - 2)
    assert c.p_value(null, 0.2, smaller) == c.p_value(null, 0.2, at)
    assert c.p_value(null, 0.2, at).value < c.p_value(null, 0.2, at._replace(log_area=5)).value


def test_survival_falls_evenly_and_its_tail_is_marked(null):
    at = np.linspace(-4, 6, 400)
    found = [c.survival(null["null"], x) for x in at]
    values = [p.value for p in found]
    assert values == sorted(values, reverse=True)
    assert max(abs(np.diff(values))) < 0.03  # no step where the tail begins
    for p in found:
        assert p.extrapolated == (p.value < 1 / 81)
    assert values[0] == pytest.approx(1, abs=1e-3) and values[-1] == pytest.approx(0.1 / 81)


def test_survival_of_a_normal_sample_is_that_of_the_normal_distribution():
    cameras = [str(k) for k in range(600)]
    scores = expit(np.random.default_rng(3).normal(-3, 1, 600)).tolist()
    null = regression.fit_null(scores, [Conditions(0.0, 0.0, 0.0, *PART)] * 600, cameras)
    for z in (-1.0, 0.0, 1.0, 1.6, 2.0, 2.4):
        excess = z - 3 - null["slopes"]["intercept"]
        expected = stats.norm.sf(z)
        # Smoothing widens the bell; the exponential tail is heavier than the normal one.
        found = c.survival(null["null"], excess).value
        assert found == pytest.approx(expected, rel=0.5, abs=0.01)


def test_the_critical_excess_has_its_p_value(null):
    for level in (0.02, 0.05, 0.15):
        at = c.critical_excess(null["null"], level)
        assert c.survival(null["null"], at).value == pytest.approx(level, rel=1e-3)


def test_contrast_is_the_distance_that_the_score_was_made_of():
    for distance, gap, variation in ((0.3, 0.0, 0.05), (0.2, 1.4, 0.02), (0.6, 0.3, 0.2)):
        score = content_adjusted_score(distance, gap, variation)
        at = Conditions(4.0, 0.0, 0.0, gap, variation)
        assert c.contrast(score, at) == pytest.approx(distance, rel=1e-6)


def test_one_camera_is_not_enough():
    with pytest.raises(ValueError, match="at least two cameras"):
        regression.fit_null([0.1, 0.2], [Conditions(0, 0, 0.0, *PART)] * 2, ["a", "a"])


@pytest.fixture(scope="module")
def with_splices(null):
    pristine, spliced = photos(), photos(seed=5, lift=2.0)
    return null | {"splices": regression.fit_splices(null, spliced, pristine)}


def test_power_is_the_share_of_splices_that_are_called(with_splices):
    scores, conditions, _ = photos(1000, 500, seed=6, lift=2.0)
    p = p_values(with_splices, scores, conditions)
    expected = np.mean([c.power(with_splices, 0.05, at) for at in conditions])
    assert (p <= 0.05).mean() == pytest.approx(expected, abs=0.05)


def test_the_least_reach_parts_blindness_from_sight(with_splices):
    least = c.least_reach(with_splices, 0.05, 0.15)
    for at in photos(300, 30, seed=7)[1]:
        reach = c.value_at(with_splices["splices"]["reach"], at)
        assert (c.power(with_splices, 0.05, at) >= 0.15) == (reach >= least)


def test_ratios_are_those_of_the_two_densities(with_splices):
    at = Conditions(4.0, 0.0, 0.0, *PART)
    middle = -4 + sum(slope * getattr(at, name) for name, slope in SLOPES.items())
    spread = math.hypot(0.3, 0.7)
    for z in (-0.5, 0.5, 1.0, 1.5, 2.5):
        expected = stats.norm.pdf(z, 2, spread) / stats.norm.pdf(z, 0, spread)
        found = c.ratio(with_splices, float(expit(middle + z)), at)
        limits = with_splices["splices"]["ratio"]
        expected = min(max(expected, limits["lowest"]), limits["highest"])
        assert math.log(found) == pytest.approx(math.log(expected), abs=1.0)
    assert c.ratio({"slopes": with_splices["slopes"]}, 0.3, at) is None
