"""The reference set of EXIF: rounding, posteriors against sums by hand, hostile descriptions."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exif_jax.forensics import reference_set as module
from exif_jax.forensics.reference_set import coarse_value

PHOTOS = [
    {"Make": "A", "Model": "A1", "ISO": "100"},
    {"Make": "A", "Model": "A1", "ISO": "400"},
    {"Make": "A", "Model": "A1", "ISO": "110"},
    {"Make": "A", "Model": "A1"},
    {"Make": "B", "Model": "B7", "ISO": "400"},
]


@pytest.mark.parametrize(
    "tag, value, expected",
    [
        ("ISO", "100", "~100"),
        ("ISO", "125", "~100"),
        ("ISO", "1600", "~1600"),
        ("Exposure Time", "1/60 s", "~1/60"),
        ("Exposure Time", "1/320 s", "~1/240"),
        ("F Number", "f/2.8", "~2.8"),
        ("F Number", "f/11", "~11"),
        ("Focal Length", "50.0 mm", "~50"),
        ("Exif Image Width", "4032", "~4000"),
        ("Digital Zoom Ratio", "0.00", "0.00"),
        ("ISO", "unknown", "unknown"),
        ("ISO", "1/0", "1/0"),
        ("Make", "Canon 5", "Canon 5"),
    ],
)
def test_numbers_of_some_tags_are_rounded_to_a_series(tag, value, expected):
    assert coarse_value(tag, value) == expected


@given(st.sampled_from(["ISO", "Exposure Time", "Focal Length", "Make"]), st.text(max_size=40))
def test_any_text_is_rounded_to_some_text(tag, value):
    assert isinstance(coarse_value(tag, value), str)


@given(st.floats(1e-3, 1e5))
def test_rounding_moves_by_at_most_half_a_step(number):
    rounded = coarse_value("ISO", f"{number:.6f}").removeprefix("~")
    top, _, bottom = rounded.partition("/")
    back = float(top) / float(bottom or 1)
    assert abs(math.log2(back / number)) < 0.5 + 0.08  # half a step, and two digits


def reference_set_of_photos():
    return module.make_reference_set(PHOTOS)


def test_a_camera_with_many_photos_weighs_their_root():
    weights = reference_set_of_photos().weights
    np.testing.assert_allclose(weights, np.array([0.5, 0.5, 0.5, 0.5, 1]) / 3)


def test_posteriors_are_sums_over_the_photos_that_have_the_tag():
    reference_set = reference_set_of_photos()
    log_likelihood = np.array([-1000.0, -1001.5, -1000.2, -1003.0, -999.0])  # exp() would be 0
    mass = reference_set.weights * np.exp(log_likelihood + 1000)
    mass /= mass.sum()
    posterior = module.photo_posterior(log_likelihood, reference_set)
    np.testing.assert_allclose(posterior, mass)
    iso = module.tag_posteriors(posterior, reference_set)["ISO"]
    low, high = mass[0] + mass[2], mass[1] + mass[4]  # photo 3 has no ISO
    share = 1.0 / 2.5
    assert iso["~100"][1] == pytest.approx(share)
    assert iso["~100"][0] == pytest.approx(0.9 * low / (low + high) + 0.1 * share)
    assert sum(p for p, _ in iso.values()) == pytest.approx(1)
    assert sum(s for _, s in iso.values()) == pytest.approx(1)


def test_json_round_trip_and_equal_weights():
    reference_set = reference_set_of_photos()
    description = json.loads(json.dumps(module.to_json(reference_set)))
    back = module.from_json(description)
    assert back.photos == reference_set.photos
    np.testing.assert_array_equal(back.weights, reference_set.weights)
    assert module.to_json(back) == description


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        {"tags": ["a"], "values": [["x"]], "photos": []},
        {"tags": ["a"], "values": [["x"]], "photos": [[5]]},
        {"tags": ["a"], "values": [["x"]], "photos": [[0, 0]]},
        {"tags": 3, "values": 3, "photos": 3},
    ],
)
def test_what_is_no_reference_set_is_refused(data):
    with pytest.raises(module.ReferenceSetError, match="not a reference set"):
        module.from_json(data)
