"""The fit from pixels to EXIF: against scikit-learn, on cameras that are made to leave a trace."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge

from exif_jax.evaluation import exif_fitting as module
from exif_jax.evaluation.exif_fitting import FittingError, fit
from exif_jax.forensics import exif_regression


def photos_with_traces(cameras=48, each=3, seed=0):
    """Features that show maker and ISO, beside what is each camera's own and noise."""
    rng = np.random.default_rng(seed)
    trace, features, exif = rng.normal(size=(8, 12)), [], []
    for camera in range(cameras):
        own = 0.3 * rng.normal(size=12)
        for _ in range(each):
            iso = rng.integers(0, 4)
            features.append(trace[camera % 3] + trace[4 + iso] + own + 0.3 * rng.normal(size=12))
            tags = {"Make": "ABC"[camera % 3], "Model": str(camera), "ISO": str(100 * 4**iso)}
            exif.append(tags | ({"Flash": "Fired"} if camera % 2 else {}))
    return np.array(features), exif


def test_own_exif_is_likelier_than_swapped_on_cameras_left_out():
    features, exif = photos_with_traces()
    fitted = fit(features, exif)
    cameras = np.array([tags["Model"] for tags in exif])
    other = cameras[:, None] != cameras
    own, swapped = np.diag(fitted.ratios_NxN), fitted.ratios_NxN[other]
    assert (own[:, None] > swapped).mean() > 0.8
    for camera in set(cameras):
        assert len(set(fitted.fold_N[cameras == camera])) == 1
    shuffled = np.random.default_rng(1).permutation(features)
    ratios = fit(shuffled, exif).ratios_NxN
    assert abs((np.diag(ratios)[:, None] > ratios[other]).mean() - 0.5) < 0.12


def test_it_is_deterministic_and_reads_as_it_was_written():
    features, exif = photos_with_traces()
    first, second = fit(features, exif), fit(features, exif)
    description = exif_regression.to_json(first.regression)
    assert description == exif_regression.to_json(second.regression)
    back = exif_regression.from_json(description, 12)
    np.testing.assert_array_equal(
        exif_regression.predict(features, back), exif_regression.predict(features, first.regression)
    )


def test_columns_are_those_that_enough_cameras_share():
    _, exif = photos_with_traces()
    columns = module.shared_columns(exif, [tags["Model"] for tags in exif])
    assert columns == sorted(columns) and ("Make", "a") in columns and ("Flash", "*") in columns
    assert ("Make", "*") not in columns  # all write it, so that it tells nothing
    assert not any(tag == "Model" for tag, _ in columns)
    few = [dict(tags) for tags in exif]
    for tags in few:
        if int(tags["Model"]) < 7:
            tags["Lens Make"] = "X"
    assert ("Lens Make", "*") not in module.shared_columns(few, [t["Model"] for t in few])


def test_components_are_scikit_learns():
    rng = np.random.default_rng(3)
    table = rng.normal(size=(60, 9)) @ rng.normal(size=(9, 9))
    table[5, 2] = np.nan
    weights = rng.uniform(0.5, 2, 60)
    ours = module.components(table, weights, 4)
    filled = np.where(np.isnan(table), np.nanmedian(table, axis=0), table)
    mean = np.average(filled, axis=0, weights=weights)
    scale = np.sqrt(np.average((filled - mean) ** 2, axis=0, weights=weights)) + 1e-6
    theirs = PCA(4, whiten=True, svd_solver="full").fit_transform(
        np.clip((filled - mean) / scale, -5, 5)
    )
    np.testing.assert_allclose(np.abs(ours(table)), np.abs(theirs), atol=1e-8)


def test_the_regression_is_scikit_learns():
    rng = np.random.default_rng(4)
    u, t, weights = rng.normal(size=(40, 5)), rng.normal(size=(40, 3)), rng.uniform(0.5, 2, 40)
    theirs = KernelRidge(alpha=module._RIDGE, kernel="rbf", gamma=0.2)
    theirs.fit(u, t, sample_weight=weights)
    v = rng.normal(size=(6, 5))
    ours = exif_regression.kernel(v, u, 0.2) @ module.dual_weights(u, t, weights, 0.2)
    np.testing.assert_allclose(ours, theirs.predict(v), atol=1e-10)


def test_moments_are_weighted_and_shrunk():
    weights = np.array([0.5, 0.5, 0.5, 0.5, 1]) / 0.6
    x = np.random.default_rng(5).normal(size=(5, 2))
    plain = sum(w * np.outer(row, row) for w, row in zip(weights, x, strict=True)) / weights.sum()
    shrunk = module.second_moment(x, weights)
    np.testing.assert_allclose(np.diag(shrunk), np.diag(plain))
    np.testing.assert_allclose(shrunk[0, 1], 0.9 * plain[0, 1])


@pytest.mark.parametrize(("cameras", "enough"), [(23, False), (24, True)])
def test_too_few_cameras_are_named(cameras, enough):
    features, exif = photos_with_traces(cameras)
    if enough:
        assert fit(features, exif).regression.min_tags >= 1
    else:
        with pytest.raises(FittingError, match="69 photos of 23 cameras; at least 24 cameras"):
            fit(features, exif)


def test_photos_that_are_all_alike_teach_nothing():
    _, exif = photos_with_traces()
    with pytest.raises(FittingError, match="do not differ"):
        fit(np.ones((len(exif), 12)), exif)
