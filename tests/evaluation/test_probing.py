"""Linear probing: distortion against a known mapping, and the probe itself."""

import numpy as np
import pytest

from exif_jax.evaluation.probing import crop, distort, probe, resize


def test_resize_and_crop():
    pixels = np.arange(300 * 260 * 3, dtype=np.uint64).reshape(300, 260, 3).astype(np.uint8)
    assert resize(pixels).shape == (224, 224, 3)
    np.testing.assert_array_equal(crop(pixels), pixels[38:262, 18:242])
    small = crop(pixels[:100])
    assert small.shape == (224, 224, 3) and not small[:62].any() and not small[162:].any()
    np.testing.assert_array_equal(small[62:162], pixels[:100, 18:242])


def test_distortion_moves_points_as_the_formula_says():
    # The photo's values are its coordinates, so the result tells where each came from.
    side = 336
    at = np.linspace(-1, 1, side)
    y, x = np.meshgrid(at, at, indexing="ij")
    pixels = np.stack([(y + 1) * 127.5, (x + 1) * 127.5, 0 * x], axis=-1).astype(np.uint8)
    for k1 in (-0.3, 0.0, 0.25):
        distorted = distort(pixels, k1)
        assert distorted.shape == (224, 224, 3)
        where = (np.arange(224) - 111.5) / 167.5
        yy, xx = np.meshgrid(where, where, indexing="ij")
        stretch = 1 + k1 * (yy**2 + xx**2)
        expected = np.stack([(yy * stretch + 1) * 127.5, (xx * stretch + 1) * 127.5], axis=-1)
        assert np.abs(distorted[..., :2] - expected).max() < 2
    assert distort(pixels[:, :200], 0.1).shape == (224, 224, 3)


def test_the_probe_finds_what_is_linear_and_no_more():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 6))
    labels = (features[:, 2] > 0).astype(int)
    figures = probe(features, labels, np.arange(300))
    assert (
        figures["accuracy"] > 0.93 and figures["auc"] > 0.97 and figures["balanced_accuracy"] > 0.93
    )
    assert figures["chance"] == pytest.approx(max(labels.mean(), 1 - labels.mean()))
    noise = probe(features, rng.integers(0, 2, 300), np.arange(300))
    assert abs(noise["accuracy"] - 0.5) < 0.12


def test_photos_of_a_group_are_on_one_side():
    # Features are the group's number: only a leak across the split could tell random labels.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    features = np.eye(60)[groups]
    labels = rng.integers(0, 4, 60)[groups]
    assert probe(features, labels, groups)["accuracy"] < 0.5
