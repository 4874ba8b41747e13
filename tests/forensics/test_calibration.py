"""p-values and bands: rank statistics on samples whose distribution is known."""

import math

import numpy as np
import pytest

from exif_jax.forensics import calibration as c


def calibrated(logits, method="cut", **slopes):
    null = c.null_distribution(logits, [str(i) for i in range(len(logits))])
    slopes = {"log_areas": 0.0, "gap": 0.0} | slopes
    return {"scores": {"method": method, "areas": 10.0, "slopes": slopes, "null": null}}


def expit(x):
    return 1 / (1 + math.exp(-x))


def test_p_values_of_fresh_draws_are_even():
    # Were p uniform, 5 % of fresh scores would fall below 0.05; the smoothing is a little shy.
    rng = np.random.default_rng(0)
    model = calibrated(rng.normal(-2, 1, 400))
    fresh = [expit(x) for x in rng.normal(-2, 1, 4000)]
    p = np.array([c.score_p_value(model, s, "cut", 10.0, 0.0) for s in fresh])
    for level in (0.02, 0.05, 0.2, 0.5, 0.8):
        assert 0.6 * level < (p <= level).mean() < 1.3 * level + 0.01


def test_p_falls_with_the_score_and_has_a_floor():
    model = calibrated(np.linspace(-5, -1, 60))
    p = [c.score_p_value(model, s, "cut", 10.0, 0.0) for s in (0.0, 0.02, 0.1, 0.2, 0.6, 1.0)]
    assert p == sorted(p, reverse=True)
    assert p[0] == pytest.approx(1, abs=0.02)
    assert p[-1] == pytest.approx(1 / 61)


def test_p_rises_with_the_size_and_with_what_the_content_explains():
    model = calibrated(np.linspace(-5, -1, 60), log_areas=0.5, gap=1.0)
    assert c.score_p_value(model, expit(-2), "cut", 10.0, 0.0) == pytest.approx(
        c.score_p_value(model, expit(-2 + 0.5 * math.log(4) + 0.3), "cut", 40.0, 0.3)
    )


def photos(slope, per_gap, count=300, noise=0.1, seed=1):
    """Scores and gaps of photos cut to one, two and three parts."""
    rng = np.random.default_rng(seed)
    scores, gaps = [], []
    for i in range(count):
        parts = range(1, 2 + i % 3)
        gaps.append([abs(rng.normal(0, 0.5)) for _ in parts])
        base = rng.normal(-3, 0.7)
        scores.append(
            [
                expit(base + slope * math.log(k) + per_gap * g + rng.normal(0, noise))
                for k, g in zip(parts, gaps[-1], strict=True)
            ]
        )
    return scores, gaps, 10.0, [str(i) for i in range(count)], "cut"


def test_the_slopes_are_found_again():
    found = c.fit_score_calibration(*photos(0.4, 1.2))
    assert found["slopes"]["log_areas"] == pytest.approx(0.4, abs=0.15)
    assert found["slopes"]["gap"] == pytest.approx(1.2, abs=0.15)
    assert found["areas"] == 10.0 and len(found["null"]["values"]) == 300
    # The middle of the photos at fifty parts whose content differs much is again the middle.
    middle = expit(-3 + 0.4 * math.log(50) + 1.2 * 1.5)
    p = c.score_p_value({"scores": found}, middle, "cut", 500.0, 1.5)
    assert p == pytest.approx(0.5, abs=0.2)


def test_p_values_of_other_cameras_keep_their_level():
    model = {"scores": c.fit_score_calibration(*photos(0.3, 1.0, 400))}
    scores, gaps, *_ = photos(0.3, 1.0, 2000, seed=2)
    p = np.array(
        [
            c.score_p_value(model, row[-1], "cut", 10.0 * len(row), gap[-1])
            for row, gap in zip(scores, gaps, strict=True)
        ]
    )
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() == pytest.approx(level, rel=0.35)


def test_slopes_are_never_negative_and_one_part_is_enough():
    falling = c.fit_score_calibration(*photos(-0.8, -1.0))
    assert falling["slopes"] == {"log_areas": 0.0, "gap": 0.0}
    single = c.fit_score_calibration([[0.5], [0.2]], [[0.0], [0.0]], 1.0, ["a", "b"], "cut")
    assert single["slopes"] == {"log_areas": 0.0, "gap": 0.0}
    assert single["null"]["values"] == pytest.approx([math.log(0.25), 0.0], abs=1e-4)


def test_many_photos_of_one_camera_do_not_drown_the_others():
    scores = [0.1] * 25 + [0.9]
    null = c.null_distribution(scores, ["a"] * 25 + ["b"])
    # One camera of weight 5, one of weight 1.
    assert c.survival_function(0.5, null) == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.parametrize("calibration", [{}, {"scores": {}}])
def test_without_a_calibration_there_is_no_p_value(calibration):
    assert c.score_p_value(calibration, 0.5, "cut", 10, 0.0) is None
    assert c.agreement_p_value(calibration, 0.5) is None
    assert c.score_band(None) is None and c.agreement_band(None) is None


def test_another_method_is_not_calibrated():
    assert c.score_p_value(calibrated([0.1, 0.2]), 0.5, "mean_shift", 10, 0.0) is None


def test_low_agreement_is_what_is_rare():
    model = {
        "agreement": c.null_distribution(list(np.linspace(0, 10, 50)), [str(i) for i in range(50)])
    }
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
