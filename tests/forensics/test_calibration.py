"""p-values and bands: rank statistics on samples whose distribution is known."""

import math

import numpy as np
import pytest

from exif_jax.forensics import calibration as c
from exif_jax.forensics.patches import patch_grid


def null_of(logits, **slopes):
    slopes = {"log_area": 0.0, "gradient_energy_gap": 0.0} | slopes
    cameras = [str(i) for i in range(len(logits))]
    null = c.null_distribution(logits, cameras)
    return {"method": "cut", "area": 10.0, "slopes": slopes, "null_distribution": null}


def expit(x):
    return 1 / (1 + math.exp(-x))


def test_p_values_of_fresh_draws_are_even():
    # Were p uniform, 5 % of fresh scores would fall below 0.05; the smoothing is a little shy.
    rng = np.random.default_rng(0)
    null = null_of(rng.normal(-2, 1, 400))
    fresh = [expit(x) for x in rng.normal(-2, 1, 4000)]
    p = np.array([c.score_p_value(null, s, 10.0, 0.0) for s in fresh])
    for level in (0.02, 0.05, 0.2, 0.5, 0.8):
        assert 0.6 * level < (p <= level).mean() < 1.3 * level + 0.01


def test_p_falls_with_the_score_and_has_a_floor():
    null = null_of(np.linspace(-5, -1, 60))
    p = [c.score_p_value(null, s, 10.0, 0.0) for s in (0.0, 0.02, 0.1, 0.2, 0.6, 1.0)]
    assert p == sorted(p, reverse=True)
    assert p[0] == pytest.approx(1, abs=0.02)
    assert p[-1] == pytest.approx(1 / 61)


def test_p_rises_with_the_size_and_with_what_the_content_explains():
    null = null_of(np.linspace(-5, -1, 60), log_area=0.5, gradient_energy_gap=1.0)
    assert c.score_p_value(null, expit(-2), 10.0, 0.0) == pytest.approx(
        c.score_p_value(null, expit(-2 + 0.5 * math.log(4) + 0.3), 40.0, 0.3)
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
    null = c.fit_score_calibration(*photos(0.4, 1.2))
    assert null["slopes"]["log_area"] == pytest.approx(0.4, abs=0.15)
    assert null["slopes"]["gradient_energy_gap"] == pytest.approx(1.2, abs=0.15)
    assert null["area"] == 10.0 and len(null["null_distribution"]["values"]) == 300
    # The middle of the photos at fifty parts whose content differs much is again the middle.
    middle = expit(-3 + 0.4 * math.log(50) + 1.2 * 1.5)
    assert c.score_p_value(null, middle, 500.0, 1.5) == pytest.approx(0.5, abs=0.2)


def test_p_values_of_other_cameras_keep_their_level():
    null = c.fit_score_calibration(*photos(0.3, 1.0, 400))
    scores, gaps, *_ = photos(0.3, 1.0, 2000, seed=2)
    p = np.array(
        [
            c.score_p_value(null, row[-1], 10.0 * len(row), gap[-1])
            for row, gap in zip(scores, gaps, strict=True)
        ]
    )
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() == pytest.approx(level, rel=0.35)


def test_slopes_are_never_negative_and_one_part_is_enough():
    flat_slopes = {"log_area": 0.0, "gradient_energy_gap": 0.0}
    falling = c.fit_score_calibration(*photos(-0.8, -1.0))
    assert falling["slopes"] == flat_slopes
    single = c.fit_score_calibration([[0.5], [0.2]], [[0.0], [0.0]], 1.0, ["a", "b"], "cut")
    assert single["slopes"] == flat_slopes
    values = single["null_distribution"]["values"]
    assert values == pytest.approx([math.log(0.25), 0.0], abs=1e-4)


def test_many_photos_of_one_camera_do_not_drown_the_others():
    scores = [0.1] * 25 + [0.9]
    null = c.null_distribution(scores, ["a"] * 25 + ["b"])
    # One camera of weight 5, one of weight 1.
    assert c.survival_function(0.5, null) == pytest.approx(1 / 6, abs=0.01)


GRID = {"num_per_dim": 30, "max_patches": 4096, "align": 8}


def calibration_of(method="cut"):
    return {"grid": GRID, "score_null": null_of([0.1, 0.2]) | {"method": method}}


def test_what_was_measured_holds_for_the_grid_and_the_method_that_it_was_measured_with():
    grid = patch_grid(768, 1024, 128, 30, 4096, 8)
    assert c.objection_to_grid(calibration_of(), grid) == ""
    assert c.objection_to_score(calibration_of(), grid, "cut") == ""
    official_grid = patch_grid(768, 1024, 128, 30, 4096, 1)
    for other_grid in (grid, official_grid):
        words = c.objection_to_score(calibration_of(), other_grid, "official")
        assert "for the method cut, not for official" in words
    assert "for the method cut, not for mean_shift" in c.objection_to_score(
        calibration_of(), grid, "mean_shift"
    )
    for other in ((60, 4096, 8), (30, 4096, 1), (30, 300, 8)):
        words = c.objection_to_score(calibration_of(), patch_grid(768, 1024, 128, *other), "cut")
        assert "another grid of patches (num_per_dim 30, max_patches 4096, align 8)" in words
    # Settings that give the very same patches are no other grid.
    assert c.objection_to_grid(calibration_of(), patch_grid(768, 1024, 128, 30, 999, 8)) == ""


@pytest.mark.parametrize(
    "height, width, enough",
    [(128, 128, False), (255, 256, False), (256, 256, True), (128, 511, False), (128, 512, True)],
)
def test_fewer_than_four_patches_side_by_side_are_too_few(height, width, enough):
    words = c.objection_to_grid(calibration_of(), patch_grid(height, width, 128, 30, 4096, 8))
    assert (words == "") == enough
    assert enough or f"too few patches to compare: {width} x {height} pixels" in words


def test_without_a_calibration_nothing_was_measured():
    grid = patch_grid(768, 1024, 128, 30, 4096, 8)
    assert "not calibrated" in c.objection_to_score({}, grid, "cut")
    assert c.score_band(None) is None and c.agreement_band(None) is None


def test_low_agreement_is_what_is_rare():
    null = c.null_distribution(list(np.linspace(0, 10, 50)), [str(i) for i in range(50)])
    assert c.agreement_p_value(null, -20.0) == pytest.approx(1 / 51)
    assert c.agreement_p_value(null, 5.0) == pytest.approx(0.5, abs=0.02)
    assert c.agreement_p_value(null, 30.0) == pytest.approx(1.0)


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
