"""p-values and bands: rank statistics on samples whose distribution is known."""

import math

import numpy as np
import pytest

from exif_jax import calibration as c


def calibrated(scores, method="cut"):
    cameras = [str(i) for i in range(len(scores))]
    null = c.null_of(scores, cameras)
    return {"scores": {"method": method, "sizes": [{"areas": 10.0, "null": null}]}}


def test_p_values_of_fresh_draws_are_even():
    # Were p uniform, 5 % of fresh scores would fall below 0.05; the smoothing is a little shy.
    rng = np.random.default_rng(0)
    draw = lambda n: 1 / (1 + np.exp(-rng.normal(-2, 1, n)))  # noqa: E731
    model = calibrated(draw(400))
    p = np.array([c.score_p_value(model, float(s), "cut", 10.0) for s in draw(4000)])
    for level in (0.02, 0.05, 0.2, 0.5, 0.8):
        assert 0.6 * level < (p <= level).mean() < 1.3 * level + 0.01


def test_p_falls_with_the_score_and_has_a_floor():
    model = calibrated(np.linspace(0.01, 0.3, 60))
    p = [c.score_p_value(model, s, "cut", 10.0) for s in (0.0, 0.1, 0.2, 0.3, 0.6, 1.0)]
    assert p == sorted(p, reverse=True)
    assert p[0] == pytest.approx(1, abs=0.01)
    assert p[-1] == pytest.approx(1 / 61)


def test_the_null_of_the_nearest_size_counts():
    small, large = c.null_of([0.1] * 30, list("a" * 30)), c.null_of([0.5] * 30, list("a" * 30))
    sizes = [{"areas": 10.0, "null": small}, {"areas": 40.0, "null": large}]
    model = {"scores": {"method": "cut", "sizes": sizes}}
    assert c.score_p_value(model, 0.3, "cut", 12) < 0.05
    assert c.score_p_value(model, 0.3, "cut", 500) > 0.9


def test_many_photos_of_one_camera_do_not_drown_the_others():
    scores = [0.1] * 25 + [0.9]
    null = c.null_of(scores, ["a"] * 25 + ["b"])
    # One camera of weight 5, one of weight 1.
    assert c.share_above(0.5, null) == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.parametrize("calibration", [{}, {"scores": {}}, {"scores": {"method": "cut"}}])
def test_without_a_calibration_there_is_no_p_value(calibration):
    assert c.score_p_value(calibration, 0.5, "cut", 10) is None
    assert c.agreement_p_value(calibration, 0.5) is None
    assert c.score_band(None) is None and c.agreement_band(None) is None


def test_another_method_is_not_calibrated():
    assert c.score_p_value(calibrated([0.1, 0.2]), 0.5, "mean_shift", 10) is None


def test_low_agreement_is_what_is_rare():
    model = {"agreement": c.null_of(list(np.linspace(0, 10, 50)), [str(i) for i in range(50)])}
    assert c.agreement_p_value(model, -20.0) == pytest.approx(1 / 51)
    assert c.agreement_p_value(model, 5.0) == pytest.approx(0.5, abs=0.02)
    assert c.agreement_p_value(model, 30.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "p, score, doubt",
    [
        (0.02, "strong", "strong doubt"),
        (math.nextafter(0.02, 1), "weak", "weak doubt"),
        (0.05, "weak", "weak doubt"),
        (math.nextafter(0.05, 1), "no evidence", "no contradiction"),
    ],
)
def test_bands_on_both_sides_of_their_bounds(p, score, doubt):
    assert c.score_band(p) == score and c.agreement_band(p) == doubt
