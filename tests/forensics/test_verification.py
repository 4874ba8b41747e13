"""Pixels against EXIF: planted embeddings, and photos that ship with the tests' environment."""

import dataclasses
import json
import math

import numpy as np
import pytest
from planted_reference_set import (
    GRID,
    PHOTOS,
    SKILL,
    patches_of,
    planted_model,
    planted_regression,
)

import exif_jax
from exif_jax.forensics import exif_regression, reference_set
from exif_jax.forensics import verification as module
from exif_jax.forensics.patches import patch_grid
from exif_jax.forensics.verification import VerifyError, verify_embeddings
from exif_jax.reading.photo import Photo


@pytest.fixture
def model():
    return planted_model()


def test_a_photo_agrees_with_its_own_exif(model):
    result = verify_embeddings(patches_of(2), GRID, PHOTOS[2], model)
    assert result.closest[0][0] == "NIKON D1" and result.closest[0][1] > 0.7
    assert result.rank == 0 and result.reference_size == 8
    assert result.agreement > 1 and result.band == "no contradiction"
    verdicts = {finding.tag: finding.verdict for finding in result.tags}
    assert verdicts == {"Make": "agrees", "Model": "cannot tell", "ISO": "cannot tell"}  # no skill
    assert [finding.tag for finding in result.looks_like] == ["Make"]
    assert result.looks_like[0].preferred[0][0] == "NIKON"


def test_another_cameras_exif_is_doubted(model):
    result = verify_embeddings(patches_of(2), GRID, PHOTOS[7], model)
    assert result.agreement < -1 and result.rank > 4
    assert result.band == "strong doubt" and result.p_value < 0.02
    (doubted,) = [finding for finding in result.tags if finding.verdict == "disagrees"]
    assert doubted.tag == "Make"
    assert doubted.value == "Apple" and doubted.preferred[0][0] == "NIKON"
    assert "strong doubt" in result.summary and "Make Apple (pixels: NIKON)" in result.summary


def test_it_says_what_the_pixels_look_like_of_the_most_telling_tags(model):
    known = [{f"Tag {k}": "a"} | PHOTOS[0] for k in range(12)]
    model.calibration["reference_set"] = reference_set.to_json(
        reference_set.make_reference_set(known)
    )
    skills = {f"Tag {k}": SKILL["Make"] | {"auc": 0.8 + k / 100} for k in range(12)}
    model.calibration["tag_skill"] = skills
    looks = verify_embeddings(patches_of(0), GRID, {}, model).looks_like
    assert [finding.tag for finding in looks] == [f"Tag {k}" for k in range(11, 5, -1)]


def test_a_photo_that_may_be_damaged_is_not_judged(model):
    why = "the file may be damaged"
    result = verify_embeddings(patches_of(2), GRID, PHOTOS[7], model, objection=why)
    assert result.p_value is None and result.band is None and why in result.summary
    assert {finding.verdict for finding in result.tags} == {"cannot tell"}


@pytest.mark.parametrize(
    "factor, verdict",
    [(0.33, "disagrees"), (0.34, "cannot tell"), (0.999, "cannot tell"), (1.0, "agrees")],
)
def test_a_value_is_doubted_where_the_pixels_make_it_three_times_rarer(factor, verdict):
    values = {"a": (0.3 * factor, 0.3), "b": (1 - 0.3 * factor, 0.7)}
    assert module._tag_finding("Make", "a", values, SKILL["Make"], 0.05).verdict == verdict
    assert module._tag_finding("Make", "a", values, {}, 0.05).verdict == "cannot tell"


@pytest.mark.parametrize("p_value", [0.051, None])
def test_a_value_is_doubted_only_with_the_exif_as_a_whole(p_value):
    values = {"a": (0.01, 0.3), "b": (0.99, 0.7)}
    assert module._tag_finding("Make", "a", values, SKILL["Make"], p_value).verdict == "cannot tell"
    assert module._tag_finding("Make", "b", values, SKILL["Make"], p_value).verdict == "agrees"


@pytest.mark.parametrize(
    "exif, summary",
    [
        ({}, "no EXIF was found, so there is nothing to verify"),
        ({"Lens Model": "x"}, "no EXIF was found that the model knows, so there is nothing to"),
    ],
)
def test_without_exif_it_says_what_the_pixels_look_like(model, exif, summary):
    result = verify_embeddings(patches_of(4), GRID, exif, model)
    assert result.agreement is None and result.p_value is None and result.rank is None
    assert result.tags == () and result.summary.startswith(summary)
    assert result.looks_like[0].preferred[0][0] == "SONY"


def test_a_value_that_no_photo_of_the_reference_set_has_is_left_open(model):
    result = verify_embeddings(patches_of(0), GRID, {"Make": "Unheard"}, model)
    assert result.tags[0].verdict == "cannot tell" and result.tags[0].probability is None


@pytest.mark.parametrize(("min_tags", "is_judged"), [(2, True), (3, False)])
def test_exif_with_fewer_tags_than_cameras_write_is_not_judged(model, min_tags, is_judged):
    data = {**model.calibration["exif_regression"], "min_tags": min_tags}
    model.calibration["exif_regression"] = data
    result = verify_embeddings(patches_of(2), GRID, PHOTOS[2], model)  # Make and ISO count
    assert (result.p_value is not None) == is_judged == ("taken away" not in result.summary)
    assert result.agreement is not None and result.closest


def test_one_patch_is_enough_for_the_numbers(model):
    one, many = (
        verify_embeddings(patches_of(2, count), GRID, PHOTOS[2], model) for count in (1, 9)
    )
    assert one.agreement == pytest.approx(many.agreement)


@pytest.mark.parametrize(
    "iso", ["1/0", "0", "-5", "1e400", "9" * 200, "nan", "inf", "٣", "\x00", "1/1/1"]
)
def test_no_number_in_exif_breaks_the_comparison(model, iso):
    result = verify_embeddings(patches_of(2), GRID, {"Make": "NIKON", "ISO": iso}, model)
    assert math.isfinite(result.agreement) and 0 < result.p_value <= 1
    json.dumps(module.as_json(result), allow_nan=False)


def test_a_flat_photo_is_not_compared(model):
    result = verify_embeddings(patches_of(0), GRID, PHOTOS[0], model, flat=True)
    assert result.band is None and result.tags == () and "flat" in result.summary


@pytest.mark.parametrize(
    "grid, why",
    [
        (patch_grid(32, 32, 32), "too few patches to compare"),
        (patch_grid(160, 224, 32, 3, 4096, 8), "calibrated for another grid of patches"),
    ],
)
def test_patches_that_nothing_was_measured_for_are_not_judged(model, grid, why):
    result = verify_embeddings(patches_of(2), grid, PHOTOS[7], model)
    assert result.p_value is None and result.band is None
    assert "cannot be judged" in result.summary and why in result.summary
    assert {finding.verdict for finding in result.tags} == {"cannot tell"}
    assert result.looks_like == ()


def test_an_uncalibrated_model_is_explained(model):
    model.calibration.pop("agreement_null")
    result = verify_embeddings(patches_of(0), GRID, PHOTOS[0], model)
    assert result.p_value is None and "not calibrated" in result.summary


@pytest.mark.parametrize("key", ["exif_regression", "reference_set"])
def test_a_model_of_before_the_regression_compares_nothing_and_says_the_cure(model, key):
    model.calibration.pop(key)
    result = verify_embeddings(patches_of(0), GRID, PHOTOS[0], model)
    assert result.p_value is None and result.band is None and result.tags == ()
    assert "carries no regression" in result.summary and "--exif DIR" in result.summary


def test_a_damaged_regression_is_refused_in_one_line(model):
    calibration = dict(model.calibration)
    model.calibration["reference_set"] = {"tags": 3}
    with pytest.raises(VerifyError, match=r"cannot verify EXIF: not a reference set.*fit it again"):
        verify_embeddings(patches_of(0), GRID, PHOTOS[0], model)
    model.calibration.update(calibration | {"exif_regression": {"columns": 3}})
    with pytest.raises(VerifyError, match=r"cannot verify EXIF: not a regression"):
        verify_embeddings(patches_of(0), GRID, PHOTOS[0], model)


def test_numbers_at_the_ends_of_float32_give_a_finite_likelihood(model):
    huge, tiny = np.full((8, 13), 3e38), 1e-37 * np.eye(13)
    extreme = dataclasses.replace(
        planted_regression(), dual_TxK=huge, gamma=1e-9, residual_KxK=tiny, total_KxK=tiny
    )
    model.calibration["exif_regression"] = exif_regression.to_json(extreme)
    result = verify_embeddings(np.full((2, 8), 0.1), GRID, PHOTOS[0], model)
    assert math.isfinite(result.agreement) and 0 < result.p_value <= 1


def test_real_photos_fit_their_own_exif_better_than_swapped(real_photos):
    """Training photos of two cameras; held-out ones are measured by benchmarks.verify."""
    rows = map(json.loads, (real_photos / "train/manifest.jsonl").read_text().splitlines())
    rows = list(rows)
    first = next(r for r in rows if r["make"].startswith("OLYMPUS"))
    second = next(r for r in rows if r["make"].startswith("Apple"))
    read = [exif_jax.read_photo(real_photos / "train" / r["file"]) for r in (first, second)]
    own = [exif_jax.verify_photo(photo).agreement for photo in read]
    a, b = read
    swapped = [
        exif_jax.verify_photo(Photo(a.image, b.exif, 1, "JPEG", "", 0, ())).agreement,
        exif_jax.verify_photo(Photo(b.image, a.exif, 1, "JPEG", "", 0, ())).agreement,
    ]
    assert min(own) > max(swapped)
