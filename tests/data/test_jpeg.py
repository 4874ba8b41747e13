"""JPEG on the device gives the bytes that Pillow gives, and refuses what Pillow cannot write."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from exif_jax.data.jpeg import JpegError, check_jpeg, compress_batch, quality_tables
from exif_jax.reading.pixels import Jpeg, compress

SUBSAMPLINGS = (0, 1, 2)
# What cameras and Photoshop write: not multiples of the standard's tables, luma and chroma alike.
CUSTOM = {
    "flat": np.full((2, 64), 17),
    "least": np.ones((2, 64), int),
    "coarsest": np.full((2, 64), 255),
    "one table": np.tile(1 + np.arange(64) // 3, (2, 1)),
    "falling": np.stack([255 - 3 * np.arange(64), 2 + np.arange(64)]),
}

compress_on_device = jax.jit(compress_batch)


def smooth(n, size, seed) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 9, 9, 3), dtype=np.uint8)
    resized = [Image.fromarray(s).resize((size, size), Image.Resampling.BICUBIC) for s in small]
    return np.stack([np.asarray(image) for image in resized])


def pictures(n, size, seed) -> np.ndarray:
    """uint8 [n, size, size, 3]: noise, smooth colours, black and white dots, stripes in turn."""
    rng = np.random.default_rng([seed, 1])
    noise = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    stripes = np.broadcast_to((noise[:, :1] > 127) * np.uint8(255), noise.shape)
    kinds = [noise, smooth(n, size, seed), (noise > 127) * np.uint8(255), stripes]
    return np.stack([kinds[i % 4][i] for i in range(n)])


def through_pillow(image, tables, subsampling) -> np.ndarray:
    buffer = io.BytesIO()
    tables = [[int(step) for step in table] for table in tables]
    Image.fromarray(image).save(buffer, "JPEG", qtables=tables, subsampling=int(subsampling))
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("quality", [1, 2, 24, 25, 49, 50, 51, 75, 95, 99, 100])
def test_the_tables_of_a_quality_are_those_that_pillow_writes(quality):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
    written = Image.open(buffer).quantization  # type: ignore[reportAttributeAccessIssue]
    np.testing.assert_array_equal(quality_tables(quality), [written[0], written[1]])


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_every_quality_gives_the_bytes_of_pillow(subsampling):
    images = pictures(100, 48, subsampling)
    tables = np.stack([quality_tables(quality) for quality in range(1, 101)])
    out = compress_on_device(images, tables, np.full(100, subsampling))
    for quality, image, got in zip(range(1, 101), images, np.asarray(out), strict=True):
        np.testing.assert_array_equal(got, compress(image, Jpeg(quality, subsampling)))


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_tables_give_the_bytes_of_pillow(name):
    images = pictures(24, 48, 5)
    tables = np.broadcast_to(CUSTOM[name], (24, 2, 64))
    subsampling = np.arange(24) // 4 % 3
    out = np.asarray(compress_on_device(images, tables, subsampling))
    for i in range(24):
        np.testing.assert_array_equal(out[i], through_pillow(images[i], tables[i], subsampling[i]))


def test_random_tables_and_any_side_give_the_bytes_of_pillow():
    rng = np.random.default_rng(3)
    n = 96
    images, sides = pictures(n, 56, 6), rng.integers(5, 57, (n, 2))
    tables = rng.integers(1, rng.choice([8, 64, 256], (n, 1, 1)), (n, 2, 64))
    subsampling = rng.integers(0, 3, n)
    out = np.asarray(compress_on_device(images, tables, subsampling, sides))
    for i, (height, width) in enumerate(sides):
        expected = through_pillow(images[i, :height, :width], tables[i], subsampling[i])
        np.testing.assert_array_equal(out[i, :height, :width], expected)


def test_what_lies_beyond_a_picture_has_no_say():
    images, sides = pictures(6, 56, 7), np.tile([37, 29], (6, 1))
    arguments = np.tile(quality_tables(70), (6, 1, 1)), np.array([0, 1, 2, 0, 1, 2]), sides
    other = images.copy()
    other[:, 37:], other[:, :, 29:] = 0, 255
    first, second = (compress_on_device(pixels, *arguments) for pixels in (images, other))
    np.testing.assert_array_equal(first[:, :37, :29], second[:, :37, :29])


def test_several_generations_of_photos_give_the_bytes_of_pillow(real_photos):
    paths = sorted((real_photos / "train").glob("*.jpg"))[::60]
    images = np.stack([np.asarray(Image.open(path))[:72, 40:112] for path in paths])
    qualities = np.random.default_rng(0).integers(30, 101, (3, len(images)))
    subsampling = np.arange(len(images)) % 3
    expected, out = list(images), images
    for generation in qualities:
        tables = np.stack([quality_tables(int(quality)) for quality in generation])
        out = compress_on_device(out, tables, subsampling)
        settings = [Jpeg(int(q), int(s)) for q, s in zip(generation, subsampling, strict=True)]
        expected = [compress(image, jpeg) for image, jpeg in zip(expected, settings, strict=True)]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("quality", [-1, 0, 101])
def test_a_quality_out_of_range_is_refused(quality):
    with pytest.raises(JpegError, match=f"JPEG quality is {quality}; .* between 1 and 100"):
        quality_tables(quality)


def test_tables_that_no_file_has_are_refused():
    good = quality_tables(80)[None]
    check_jpeg(good, np.array([1]))
    for step in (0, 256):
        bad = good.copy()
        bad[0, 1, 5] = step
        with pytest.raises(JpegError, match="they must lie between 1 and 255"):
            check_jpeg(bad, np.array([1]))
    with pytest.raises(JpegError, match="two tables of 64"):
        check_jpeg(good[:, :1], np.array([1]))
    with pytest.raises(JpegError, match="chroma subsampling is 3; it must be 0"):
        check_jpeg(good, np.array([3]))
