"""The regression from pixels to EXIF: against scikit-learn and SciPy, and hostile numbers."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_reference_set import COLUMNS, PHOTOS, planted_regression
from scipy.stats import multivariate_normal
from sklearn.metrics.pairwise import rbf_kernel

from exif_jax.forensics import exif_regression as module
from exif_jax.forensics.exif_regression import NUMBERS, PRESENT, RegressionError, exif_table


def test_exif_as_columns():
    columns = [("Make", PRESENT), ("Make", "nikon"), ("ISO", "~100"), ("Flash", PRESENT)]
    photos = [
        {"Make": "NIKON CORPORATION", "ISO": "125", "Exposure Time": "1/64 s"},
        {"Make": "Nikon", "Flash": "Fired", "F Number": "f/4.0"},
        {"ISO": "1/0"},
    ]
    table = exif_table(photos, columns)
    assert table[:, :4].tolist() == [[1, 1, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0]]
    numbers = dict(zip(NUMBERS, table[:, 4:].T, strict=True))
    np.testing.assert_allclose(numbers["Exposure Time"], [-6, math.nan, math.nan])
    np.testing.assert_allclose(numbers["F Number"], [math.nan, 2, math.nan])
    np.testing.assert_allclose(numbers["ISO"], [math.log2(125), math.nan, math.nan])


def test_what_cropping_changes_and_what_names_a_model_is_no_column():
    exif = {"Model": "D1", "Software": "x", "Exif Image Width": "9", "Orientation": "Horizontal"}
    assert list(module.columns_of(exif)) == []


@given(st.sampled_from([*NUMBERS, "Make", "Flash"]), st.text(max_size=40))
def test_any_text_is_a_row_of_finite_components(tag, value):
    regression = planted_regression()
    row = regression.exif(exif_table([{tag: value}], regression.columns))
    assert np.isfinite(row).all() and np.abs(row).max() <= 5


def test_components_fill_and_cut():
    components = module.Components(
        *(np.array(x, float) for x in ([7, 8], [1, 2], [2, 4], [0.5, 0], [[1, 0], [0, 3]]))
    )
    table = np.array([[math.nan, math.inf], [1e300, -1e300], [3, 6]])
    filled = np.array([[7, 8], [11, -18], [3, 6]])  # five deviations from the mean
    expected = ((filled - [1, 2]) / [2, 4] - [0.5, 0]) * [1, 3]
    np.testing.assert_allclose(components(table), expected)


def test_the_kernel_is_scikit_learns():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    np.testing.assert_allclose(module.kernel(a, b, 0.4), rbf_kernel(a, b, 0.4))
    assert (np.diag(module.kernel(a * 1e6, a * 1e6, 1.0)) <= 1).all()


def test_densities_and_ratios_are_scipys():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(13, 13))
    regression = dataclasses.replace(
        planted_regression(),
        residual_KxK=root @ root.T / 13 + np.eye(13),
        total_KxK=3 * np.eye(13) + 0.5,
    )
    predicted, exif = rng.normal(size=(4, 13)), rng.normal(size=(6, 13))
    ratios = module.log_likelihood_ratio(predicted, exif, regression)
    own = [multivariate_normal(mean, regression.residual_KxK).logpdf(exif) for mean in predicted]
    anyone = multivariate_normal(np.zeros(13), regression.total_KxK).logpdf(exif)
    np.testing.assert_allclose(ratios, np.array(own) - anyone, atol=1e-9)


def test_the_mean_of_one_patch_is_the_patch():
    z = np.random.default_rng(2).normal(size=(1, 6)).astype(np.float32)
    np.testing.assert_array_equal(module.photo_features(z), z[0].astype(np.float64))


def test_json_round_trip():
    regression = planted_regression()
    description = json.loads(json.dumps(module.to_json(regression), allow_nan=False))
    back = module.from_json(description, 8)
    features = np.random.default_rng(3).normal(size=(5, 8))
    np.testing.assert_allclose(
        module.predict(features, back), module.predict(features, regression), atol=1e-6
    )
    assert back.columns == COLUMNS and module.to_json(back) == description
    assert module.known_tags(PHOTOS[0] | {"Lens": "x"}, back.columns) == ["Make", "ISO"]


GOOD = module.to_json(planted_regression())


@pytest.mark.parametrize(
    "change",
    [
        {"columns": 3},
        {"columns": [["a"]]},
        {"numbers": ["ISO"]},
        {"gamma": 0},
        {"gamma": 1e6},
        {"gamma": math.nan},
        {"gamma": "x"},
        {"min_tags": math.inf},
        {"min_tags": None},
        {"points": ""},
        {"points": "?"},
        {"points": module._pack(np.eye(3), module._SMALL)},
        {"dual": module._pack(np.full((8, 13), math.nan))},
        {"dual": module._pack(np.ones((7, 13)))},
        {"residual": module._pack(np.zeros((13, 13)))},
        {"total": module._pack(-np.eye(13))},
        {"pixels": {}},
        {"pixels": GOOD["exif"]},
        {"exif": GOOD["exif"] | {"scale": module._pack(np.zeros(13))}},
        {"exif": [1]},
    ],
)
def test_numbers_that_do_not_fit_are_refused(change):
    assert module.from_json(GOOD, 8).min_tags == 1
    with pytest.raises(RegressionError, match="not a regression to EXIF"):
        module.from_json(GOOD | change, 8)


@pytest.mark.parametrize("data", [None, 3, [], {}, "x"])
def test_what_is_no_regression_is_refused(data):
    with pytest.raises(RegressionError):
        module.from_json(data, 8)
    with pytest.raises(RegressionError):
        module.from_json(GOOD, 9)  # of another model
