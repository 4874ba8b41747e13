"""p-values and bands: rank statistics on samples whose distribution is known."""

import math

import numpy as np
import pytest

from exif_jax.forensics import calibration as c
from exif_jax.forensics.patches import patch_grid
from exif_jax.forensics.score_calibration import SCORE_VERSION


def objection_to_score(calibration, grid, method, map_id=""):
    return c.objection_to_score(calibration, grid, grid.area, method, map_id)


def test_many_photos_of_one_camera_do_not_drown_the_others():
    scores = [0.1] * 25 + [0.9]
    null = c.null_distribution(scores, ["a"] * 25 + ["b"])
    # One camera of weight 5, one of weight 1.
    weights = c.camera_weights(["a"] * 25 + ["b"])
    assert weights[-1] == pytest.approx(1 / 6) and weights.sum() == pytest.approx(1)
    assert c.survival_function(0.5, null) == pytest.approx(1 / 6, abs=0.01)


GRID = {"num_per_dim": 30, "max_patches": 4096, "align": 8}


def calibration_of(method="cut"):
    scores = {"grid": GRID, "score_version": SCORE_VERSION}
    return {"grid": GRID, "scores": {method: scores}}


def test_what_was_measured_holds_for_the_grid_and_the_method_that_it_was_measured_with():
    grid = patch_grid(768, 1024, 128, 30, 4096, 8)
    assert c.objection_to_grid(calibration_of(), grid) == ""
    assert objection_to_score(calibration_of(), grid, "cut") == ""
    official_grid = patch_grid(768, 1024, 128, 30, 4096, 1)
    for other_grid in (grid, official_grid):
        words = objection_to_score(calibration_of(), other_grid, "official")
        assert "for the method cut, not for official" in words
    assert "for the method cut, not for mean_shift" in objection_to_score(
        calibration_of(), grid, "mean_shift"
    )
    for other in ((60, 4096, 8), (30, 4096, 1), (30, 300, 8)):
        words = objection_to_score(calibration_of(), patch_grid(768, 1024, 128, *other), "cut")
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


def test_the_learned_map_is_judged_by_what_itself_scored():
    of_cut = calibration_of()["scores"]["cut"]
    scores = {"map": of_cut | {"map": "abc", "longest": 600}, "cut": of_cut}
    small, large = patch_grid(256, 384, 128, 30, 4096, 8), patch_grid(600, 608, 128, 30, 4096, 8)
    largest = patch_grid(600, 600, 128, 30, 4096, 8)
    for grid in (small, largest):
        assert objection_to_score({"scores": scores}, grid, "map", "abc") == ""
    assert objection_to_score({"scores": scores}, small, "cut") == ""
    assert "learned map took part" in objection_to_score({"scores": scores}, small, "auto")
    assert "up to 600 pixels" in objection_to_score({"scores": scores}, large, "map", "abc")
    assert "another learned map" in objection_to_score({"scores": scores}, small, "map", "abd")
    both = {"scores": {"auto": of_cut | {"map": "abc"}}}  # measured on pictures of every size
    assert objection_to_score(both, large, "auto", "abc") == ""
    assert "another learned map" in objection_to_score(both, large, "auto", "abd")
    assert "learned map took part" in objection_to_score(calibration_of(), small, "map", "abc")
    assert "not calibrated" in objection_to_score({}, small, "map", "abc")
    tiny = patch_grid(192, 256, 128, 30, 4096, 8)
    assert "too few patches" in objection_to_score({"scores": scores}, tiny, "map", "abc")


def test_without_a_calibration_nothing_was_measured():
    grid = patch_grid(768, 1024, 128, 30, 4096, 8)
    assert "not calibrated" in objection_to_score({}, grid, "cut")
    assert "not calibrated" in objection_to_score({"grid": GRID}, grid, "cut")
    assert c.agreement_band(None) is None


def test_what_was_calibrated_by_other_evidence_does_not_count():
    grid = patch_grid(768, 1024, 128, 30, 4096, 8)
    for former in ({}, {"score_version": SCORE_VERSION + 1}):
        known = {"grid": GRID, "scores": {"cut": {"grid": GRID} | former}}
        assert "not calibrated" in objection_to_score(known, grid, "cut")


def test_low_agreement_is_what_is_rare():
    null = c.null_distribution(list(np.linspace(0, 10, 50)), [str(i) for i in range(50)])
    assert c.agreement_p_value(null, -20.0) == pytest.approx(1 / 51)
    assert c.agreement_p_value(null, 5.0) == pytest.approx(0.5, abs=0.02)
    assert c.agreement_p_value(null, 30.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "p, doubt",
    [
        (0.02, "strong doubt"),
        (math.nextafter(0.02, 1), "weak doubt"),
        (0.05, "weak doubt"),
        (math.nextafter(0.05, 1), "no contradiction"),
    ],
)
def test_bands_on_both_sides_of_their_bounds(p, doubt):
    assert c.agreement_band(p) == doubt
