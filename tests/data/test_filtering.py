"""Filters on the device give the levels that Pillow gives; noise is white and of its own key."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import stats

from exif_jax.data.augment import FILTERS
from exif_jax.data.filtering import (
    FilterNumbers,
    add_noise,
    apply_filter,
    filter_numbers,
)

OTHERS = {
    "gaussian 0.3": ImageFilter.GaussianBlur(0.3),
    "gaussian 2.3": ImageFilter.GaussianBlur(2.3),
    "unsharp 2.0 of 37 %": ImageFilter.UnsharpMask(2.0, 37, 0),
}

filter_on_device = jax.jit(apply_filter)


def pictures(n, seed=0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (n, 40, 48, 3), dtype=np.uint8)
    noise[1::2] = (noise[1::2] > 127) * np.uint8(255)
    return noise


def planes(images) -> np.ndarray:
    return np.moveaxis(images, 3, 1).astype(np.int32)


def stacked(numbers: list[FilterNumbers]) -> FilterNumbers:
    return FilterNumbers(*(np.stack(values) for values in zip(*numbers, strict=True)))


def test_every_filter_gives_the_levels_of_pillow_whatever_stands_beside_it():
    names = [*FILTERS, *OTHERS, ""] * 4
    filters = FILTERS | OTHERS
    images, rng = pictures(len(names)), np.random.default_rng(1)
    sides = rng.integers(3, [41, 49], (len(names), 2))
    sides[: len(filters)] = 40, 48
    numbers = stacked([filter_numbers(filters.get(name)) for name in names])
    out = np.moveaxis(filter_on_device(planes(images), numbers, sides), 1, 3)
    for image, name, (height, width), got in zip(images, names, sides, out, strict=True):
        image = image[:height, :width]
        expected = np.asarray(Image.fromarray(image).filter(filters[name])) if name else image
        np.testing.assert_array_equal(got[:height, :width], expected, err_msg=name)


def test_photos_give_the_levels_of_pillow(real_photos):
    paths = sorted((real_photos / "train").glob("*.jpg"))[::60]
    images = np.stack([np.asarray(Image.open(path))[:40, 40:88] for path in paths])
    names = [list(FILTERS)[k % len(FILTERS)] for k in range(len(images))]
    numbers = stacked([filter_numbers(FILTERS[name]) for name in names])
    out = filter_on_device(planes(images), numbers, np.tile([40, 48], (len(images), 1)))
    for image, name, got in zip(images, names, np.moveaxis(out, 1, 3), strict=True):
        expected = np.asarray(Image.fromarray(image).filter(FILTERS[name]))
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "other",
    [
        ImageFilter.MedianFilter(5),
        ImageFilter.GaussianBlur(3.0),
        ImageFilter.UnsharpMask(1.0, 100, 3),
        ImageFilter.BoxBlur(1),
    ],
)
def test_a_filter_that_the_device_lacks_is_refused(other):
    with pytest.raises(ValueError, match=r"no such filter|reaches too far"):
        filter_numbers(other)


def grey(n, level=128) -> np.ndarray:
    return np.full((n, 3, 64, 64), level, np.int32)


def noisy(planes, sigma, seed, rows) -> np.ndarray:
    rows = np.asarray(rows, np.uint32)
    return np.asarray(jax.jit(add_noise)(planes, np.asarray(sigma), jax.random.key(seed), rows))


def test_noise_is_white_and_gaussian_and_of_its_standard_deviation():
    sigma = np.array([0, 1, 5, 20])
    out = noisy(grey(4), sigma, 0, range(4))
    np.testing.assert_array_equal(out[0], 128)
    n = out[0].size
    for got, s in zip(out[1:] - 128, sigma[1:], strict=True):
        variance = s**2 + 1 / 12  # rounding adds a twelfth
        assert abs(got.mean()) < 4 * np.sqrt(variance / n)
        assert got.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / n))
        for neighbour in (np.roll(got, 1, axis) for axis in range(3)):
            assert abs(np.corrcoef(got.ravel(), neighbour.ravel())[0, 1]) < 4 / np.sqrt(n)
    jittered = (out[3] - 128).ravel() + np.random.default_rng(0).uniform(-0.5, 0.5, n)
    assert stats.kstest(jittered, "norm", (0, np.sqrt(400 + 1 / 12))).pvalue > 1e-3


def test_noise_keeps_to_the_levels():
    out = noisy(grey(2, 254), [5, 5], 0, range(2))
    assert out.max() == 255 and out.min() < 250


def test_a_samples_noise_is_its_own_wherever_it_stands():
    sigma, order = np.full(6, 9), np.array([4, 2, 5])
    whole = noisy(grey(6), sigma, 3, range(6))
    np.testing.assert_array_equal(noisy(grey(3), sigma[:3], 3, order), whole[order])
    assert len({row.tobytes() for row in whole}) == 6
    assert (noisy(grey(6), sigma, 4, range(6)) != whole).mean() > 0.9
