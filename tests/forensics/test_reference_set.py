"""The bank of EXIF: rounding, posteriors against sums by hand, hostile descriptions."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exif_jax.forensics import reference_set as banks

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
def test_numbers_of_some_tags_are_rounded_to_rows(tag, value, expected):
    assert banks.coarse_value(tag, value) == expected


@given(st.sampled_from(["ISO", "Exposure Time", "Focal Length", "Make"]), st.text(max_size=40))
def test_any_text_is_rounded_to_some_text(tag, value):
    assert isinstance(banks.coarse_value(tag, value), str)


@given(st.floats(1e-3, 1e5))
def test_rounding_moves_by_at_most_half_a_step(number):
    rounded = banks.coarse_value("ISO", f"{number:.6f}").removeprefix("~")
    top, _, bottom = rounded.partition("/")
    back = float(top) / float(bottom or 1)
    assert abs(math.log2(back / number)) < 0.5 + 0.08  # half a step, and two digits


def test_a_camera_with_many_photos_weighs_their_root():
    bank = banks.make_reference_set(PHOTOS)
    np.testing.assert_allclose(bank.weights, np.array([0.5, 0.5, 0.5, 0.5, 1]) / 3)


def test_posteriors_are_sums_over_the_photos_that_have_the_tag():
    bank = banks.make_reference_set(PHOTOS)
    cosines, scale = np.array([0.1, 0.5, -0.2, 0.9, 0.3]), 4.0
    mass = np.array([w * math.exp(scale * c) for w, c in zip(bank.weights, cosines, strict=True)])
    mass /= mass.sum()
    posterior = banks.photo_posterior(cosines, bank, scale)
    np.testing.assert_allclose(posterior, mass)
    iso = banks.tag_posteriors(posterior, bank)["ISO"]
    low, high = mass[0] + mass[2], mass[1] + mass[4]  # photo 3 has no ISO
    share = 1.0 / 2.5
    assert iso["~100"][1] == pytest.approx(share)
    assert iso["~100"][0] == pytest.approx(0.9 * low / (low + high) + 0.1 * share)
    assert sum(p for p, _ in iso.values()) == pytest.approx(1)
    assert sum(s for _, s in iso.values()) == pytest.approx(1)


def test_agreement_adds_what_the_pixels_say_and_passes_over_the_unknown():
    known = {"ISO": {"~100": (0.2, 0.4), "~400": (0.8, 0.6)}, "Make": {"A": (0.9, 0.3)}}
    tags = {"ISO": "400", "Make": "A", "Lens": "x"}
    assert banks.agreement(known, tags) == pytest.approx(math.log(0.8 / 0.6) + math.log(3))
    assert banks.agreement(known, {"Make": "Z"}) == 0.0
    assert banks.agreement(known, {}) == 0.0


def test_json_round_trip_and_equal_weights():
    bank = banks.make_reference_set(PHOTOS)
    back = banks.from_json(json.loads(json.dumps(banks.to_json(bank))))
    assert back.photos == bank.photos
    np.testing.assert_array_equal(back.weights, bank.weights)


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
def test_what_is_no_bank_is_refused(data):
    with pytest.raises(banks.ReferenceSetError, match="not a bank"):
        banks.from_json(data)


def test_embeddings_pack_to_text_and_back():
    z = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    packed = json.loads(json.dumps(banks.encode_embeddings(z)))
    back = banks.decode_embeddings(packed, 7, 5)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, z, rtol=2**-11)
    assert banks.encode_embeddings(back) == packed


@pytest.mark.parametrize(
    "packed", [3, ["a"], "no base64!", banks.encode_embeddings(np.zeros((3, 2))), "AAA="]
)
def test_embeddings_of_other_texts_are_refused(packed):
    with pytest.raises(banks.ReferenceSetError, match="not the embeddings of 2 texts"):
        banks.decode_embeddings(packed, 2, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_no_numbers_are_refused(value):
    with pytest.raises(banks.ReferenceSetError, match="not finite"):
        banks.decode_embeddings(banks.encode_embeddings(np.full((2, 2), value)), 2, 2)


def test_cameras_are_named_once():
    assert banks.camera_name({"Make": "Canon", "Model": "Canon EOS 5D"}) == "Canon EOS 5D"
    assert banks.camera_name({"Make": "SONY", "Model": "DSC"}) == "SONY DSC"
    assert banks.camera_name({"Make": "X"}) == "X" and banks.camera_name({}) == ""
