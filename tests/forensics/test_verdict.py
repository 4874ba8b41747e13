"""Bands on both sides of their bounds, and what is said with them."""

import math

import pytest

from exif_jax.forensics import score_calibration, verdict
from exif_jax.forensics.score_calibration import Conditions, PValue
from exif_jax.forensics.verdict import Picture

AT = Conditions(4.0, 0.4)
PLAIN = Picture(0.3, 0.4)


@pytest.mark.parametrize(
    "p, band",
    [
        (0.02, "strong"),
        (math.nextafter(0.02, 1), "weak"),
        (0.05, "weak"),
        (math.nextafter(0.05, 1), "slight signs"),
        (0.15, "slight signs"),
        (math.nextafter(0.15, 1), "no evidence"),
        (1.0, "no evidence"),
    ],
)
def test_bands_on_both_sides_of_their_bounds(p, band):
    assert verdict.band_of(p) == band


def judged(monkeypatch, p, extrapolated=False, power=0.8, picture=PLAIN, score=0.1, ratio=3.0):
    monkeypatch.setattr(score_calibration, "p_value", lambda *_: PValue(p, extrapolated))
    monkeypatch.setattr(score_calibration, "power", lambda *_: power)
    monkeypatch.setattr(score_calibration, "ratio", lambda *_: ratio)
    limits = {"contrast": 0.5, "compactness": 0.8}
    return verdict.judge({"splices": {}, "stands_out": limits}, score, AT, picture)


def test_what_is_said_names_region_and_frequency(monkeypatch):
    found = judged(monkeypatch, 0.04, picture=Picture(1.2, 0.17))
    assert found.band == "weak" and found.likelihood_ratio == 3
    assert "a region of 17 % of the photo" in found.reason and "about 4 in 100" in found.reason
    assert "rarer than the photos measured" not in found.reason
    assert "rarer than the photos measured" in judged(monkeypatch, 0.004, True).reason
    assert "fewer than 1 in 100" in judged(monkeypatch, 0.004, True).reason
    assert "no reason for suspicion" in judged(monkeypatch, 0.4).reason


def test_a_compact_and_strong_map_is_not_no_evidence_where_the_ratio_does_not_say_so(monkeypatch):
    strong = Picture(1.1, 0.2)
    found = judged(monkeypatch, 0.4, picture=strong, score=0.6)
    assert found.band == "slight signs" and "compact and strong" in found.reason
    assert found.p_value == 0.4
    assert judged(monkeypatch, 0.4, picture=strong, score=0.4).band == "no evidence"
    assert judged(monkeypatch, 0.4, picture=PLAIN, score=0.6).band == "no evidence"
    assert judged(monkeypatch, 0.01, picture=strong, score=0.6).band == "strong"
    of_a_sky = judged(monkeypatch, 0.4, picture=strong, score=0.6, ratio=0.9)
    assert of_a_sky.band == "no evidence"


def test_where_the_method_is_blind_there_is_no_band_and_no_p_value(monkeypatch):
    found = judged(monkeypatch, 0.01, power=0.14)
    assert found.band is found.p_value is found.likelihood_ratio is None
    assert "only 14 in 100" in found.reason and "quality 80" in found.reason
    assert judged(monkeypatch, 0.01, power=0.15).band == "strong"
