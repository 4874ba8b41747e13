"""Resizing on the device gives the levels that Pillow gives."""

import math

import jax
import numpy as np
import pytest
from PIL import Image

from exif_jax.data.augment import RESAMPLINGS
from exif_jax.data.resample import (
    ResampleError,
    Weights,
    padded_weights,
    resample,
    resize_weights,
)

SIZE, SQUARE, CANVAS = 48, 112, 64
FACTORS = [k / 10 for k in range(5, 16)]

resample_on_device = jax.jit(resample)


def pictures(n, side, seed) -> np.ndarray:
    """uint8 [n, side, side, 3]: noise, and black and white in turn, which overshoots."""
    noise = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    noise[1::2] = (noise[1::2] > 127) * np.uint8(255)
    return noise


def stacked(weights: list[Weights]) -> Weights:
    padded = [padded_weights(w, CANVAS) for w in weights]
    return Weights(np.stack([w.start for w in padded]), np.stack([w.weight for w in padded]))


def through_pillow(image, height, width, resampling) -> np.ndarray:
    filter_ = Image.Resampling[resampling.upper()]
    return np.asarray(Image.fromarray(image).resize((width, height), filter_))


def on_device(images, weights: list[tuple[Weights, Weights]]) -> np.ndarray:
    rows, columns = (stacked(list(axis)) for axis in zip(*weights, strict=True))
    return np.moveaxis(resample_on_device(np.moveaxis(images, 3, 1), rows, columns), 1, 3)


@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_every_factor_gives_the_levels_of_pillow(resampling):
    images = pictures(len(FACTORS), SQUARE, 0)
    sides = [math.ceil((SIZE + 8) / factor) for factor in FACTORS]
    sizes = [max(SIZE, round(side * factor)) for side, factor in zip(sides, FACTORS, strict=True)]
    weights = [
        resize_weights(side, size, resampling) for side, size in zip(sides, sizes, strict=True)
    ]
    out = on_device(images, [(w, w) for w in weights])
    for image, got, side, size in zip(images, out, sides, sizes, strict=True):
        expected = through_pillow(image[:side, :side], size, size, resampling)
        np.testing.assert_array_equal(got[:size, :size], expected)


def test_rows_and_columns_may_be_resized_apart_columns_first():
    rng = np.random.default_rng(1)
    images = pictures(60, SQUARE, 2)
    after = rng.integers(5, CANVAS + 1, (60, 2))
    before = np.minimum(SQUARE, np.maximum(1, after * rng.uniform(0.3, 2.1, (60, 2)))).astype(int)
    names = [RESAMPLINGS[i % 3] for i in range(60)]
    weights = [
        (resize_weights(h, p, name), resize_weights(w, q, name))
        for (h, w), (p, q), name in zip(before.tolist(), after.tolist(), names, strict=True)
    ]
    out = on_device(images, weights)
    for i, ((h, w), (p, q)) in enumerate(zip(before, after, strict=True)):
        wide = through_pillow(images[i, :h, :w], h, q, names[i])
        expected = through_pillow(wide, p, q, names[i])
        np.testing.assert_array_equal(out[i, :p, :q], expected)


def test_photos_give_the_levels_of_pillow(real_photos):
    paths = sorted((real_photos / "train").glob("*.jpg"))[::60]
    images = np.stack([np.asarray(Image.open(path))[:SQUARE, 40 : 40 + SQUARE] for path in paths])
    weights = resize_weights(SQUARE, 61, "lanczos")
    out = on_device(images, [(weights, weights)] * len(images))
    expected = np.stack([through_pillow(image, 61, 61, "lanczos") for image in images])
    np.testing.assert_array_equal(out[:, :61, :61], expected)


def test_the_same_size_changes_nothing_beside_others_and_alone():
    images = pictures(2, SQUARE, 3)
    same, smaller = resize_weights(56, 56, "lanczos"), resize_weights(SQUARE, 56, "lanczos")
    for other in (same, smaller):
        out = on_device(images, [(same, same), (other, other)])
        np.testing.assert_array_equal(out[0, :56, :56], images[0, :56, :56])


def test_a_picture_may_be_smaller_than_the_window_of_a_tile():
    images = pictures(2, 20, 4)
    weights = resize_weights(20, 30, "bicubic")
    out = on_device(images, [(weights, weights)] * 2)
    for image, got in zip(images, out, strict=True):
        np.testing.assert_array_equal(got[:30, :30], through_pillow(image, 30, 30, "bicubic"))


@pytest.mark.parametrize(("before", "after"), [(100, 0), (0, 10), (106, 50), (100, 40)])
def test_a_factor_that_leaves_too_little_is_refused(before, after):
    with pytest.raises(ResampleError, match=f"{before} pixels cannot be resized to {after}: "):
        resize_weights(before, after, "lanczos")
    assert len(resize_weights(105, 50, "lanczos").start) == 50


def test_an_unknown_filter_is_refused():
    with pytest.raises(ResampleError, match="resampling is 'box'; it must be one of"):
        resize_weights(10, 10, "box")
