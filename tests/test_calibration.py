"""p-values and bands: rank statistics on samples whose distribution is known."""

import math

import numpy as np
import pytest

from exif_jax import calibration as c


def calibrated(scores, method="cut"):
    cameras = [str(i) for i in range(len(scores))]
    null = c.null_of(scores, cameras)
    return {"scores": {"method": method, "areas": 10.0, "slope": 0.0, "null": null}}


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


def test_larger_photos_score_higher_by_the_slope_that_was_measured():
    rng = np.random.default_rng(1)
    base, slope = rng.normal(-3, 1, 200), 0.4
    areas = np.log([1, 2, 3])
    rows = [
        [1 / (1 + math.exp(-(x + slope * a + rng.normal(0, 0.1)))) for a in areas[: 1 + i % 3]]
        for i, x in enumerate(base)
    ]
    model = {"scores": c.scores_of(rows, 10.0, [str(i) for i in range(200)], "cut")}
    assert model["scores"]["slope"] == pytest.approx(slope, abs=0.05)
    assert model["scores"]["areas"] == 20.0 and len(model["scores"]["null"]["values"]) == 200
    score = 1 / (1 + math.exp(3 - slope * math.log(2)))  # the middle, at two parts
    assert c.score_p_value(model, score, "cut", 20.0) == pytest.approx(0.5, abs=0.08)
    large = 1 / (1 + math.exp(3 - slope * math.log(50)))  # the middle, at fifty
    assert c.score_p_value(model, large, "cut", 500.0) == pytest.approx(0.5, abs=0.08)


def test_a_slope_is_never_negative_and_one_part_is_enough():
    falling = c.scores_of([[0.5, 0.3], [0.4, 0.2]], 1.0, ["a", "b"], "cut")
    assert falling["slope"] == 0.0
    single = c.scores_of([[0.5], [0.4]], 1.0, ["a", "b"], "cut")
    assert single["slope"] == 0.0 and single["null"]["values"] == [0.4, 0.5]


def test_many_photos_of_one_camera_do_not_drown_the_others():
    scores = [0.1] * 25 + [0.9]
    null = c.null_of(scores, ["a"] * 25 + ["b"])
    # One camera of weight 5, one of weight 1.
    assert c.share_above(0.5, null) == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.parametrize("calibration", [{}, {"scores": {}}])
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
