"""Earlier compressions and resampling: planted in made photos, and not seen where none is."""

import io

import numpy as np
import pytest
import scipy.fft
from camera_file import jpeg, scene
from PIL import Image

from exif_jax.forensics.file_evidence import recompression as rc

# ITU T.81, annex K, row by row.
ANNEX_K = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
CANDIDATES = {f"quality {q}": rc.ijg_table(q) for q in range(50, 100)}
BIG = scene(768, 512)


def found_in(data: bytes) -> rc.Recompression:
    with Image.open(io.BytesIO(data)) as image:
        last = tuple(image.quantization[0])
    return rc.find_recompression(rc.luma_square(data), last, CANDIDATES)


@pytest.mark.parametrize("quality", [1, 10, 50, 75, 92, 100])
def test_standard_tables_are_annex_k_scaled(quality):
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    expected = np.clip((np.array(ANNEX_K) * scale + 50) // 100, 1, 255)
    assert rc.ijg_table(quality) == tuple(expected)
    assert rc.ijg_quality([rc.ijg_table(quality)]) == quality
    assert rc.ijg_quality([(7,) * 64]) is None and rc.ijg_quality([]) is None
    assert abs(rc.nearest_quality(rc.ijg_table(quality)) - quality) <= 1


def test_block_coefficients_are_scipys():
    luma = np.random.default_rng(0).uniform(0, 255, (24, 16)).astype(np.float32)
    expected = scipy.fft.dctn(luma[8:16, :8].astype(float) - 128, norm="ortho")
    np.testing.assert_allclose(rc.block_coefficients(luma)[2].reshape(8, 8), expected, atol=1e-3)


def test_luma_is_that_of_the_files_own_grid():
    data = jpeg(BIG, quality=80)
    luma = rc.luma_square(data)
    table = np.array(rc.ijg_table(80))
    levels = rc.block_coefficients(luma) / table
    assert luma.shape == (512, 768)
    # The file's coefficients are whole multiples of its table, but for rounded and clipped pixels.
    assert np.abs(levels - np.rint(levels))[:, :10].mean() < 0.06


@pytest.mark.parametrize(("first", "last"), [(60, 85), (70, 90), (75, 95), (85, 95)])
def test_an_earlier_compression_is_seen_with_its_quality(first, last):
    once = jpeg(BIG, quality=first)
    with Image.open(io.BytesIO(once)) as image:
        twice = jpeg(image, quality=last)
    found = found_in(twice)
    assert found.gain > 0.02 and abs(int(found.name.split()[1]) - first) <= 1


@pytest.mark.parametrize("quality", [60, 75, 85, 95])
def test_one_compression_is_one(quality):
    assert found_in(jpeg(BIG, quality=quality)).gain < 0.02


def test_the_same_table_twice_leaves_no_trace():
    with Image.open(io.BytesIO(jpeg(BIG, quality=85))) as image:
        assert found_in(jpeg(image, quality=85)).gain < 0.02


@pytest.mark.parametrize("image", [Image.new("RGB", (200, 200), "grey"), scene(64, 64)])
def test_flat_and_small_photos_show_nothing(image):
    assert found_in(jpeg(image)) == rc.Recompression(0.0, (), "")
    assert rc.resampling_peak(np.asarray(image.convert("L"), np.float32))[0] == 0


def test_a_photo_without_luma_has_none():
    assert rc.luma_square(jpeg(Image.new("CMYK", (100, 100)))).size == 0


def grain(side: int) -> Image.Image:
    pixels = np.random.default_rng(1).normal(128, 5, (side, side))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("factor", [1.25, 1.3, 1.45])
def test_resampling_leaves_its_period(factor):
    side = 512
    large = grain(side).resize((round(side * factor),) * 2, Image.Resampling.BICUBIC)
    peak, frequency = rc.resampling_peak(np.asarray(large, np.float32))
    assert peak > rc.MIN_PEAK
    # The period of the source's grid, or an alias of it.
    expected = {1 / factor, abs(1 - 1 / factor), abs(2 / factor - 1), abs(2 - 2 / factor)}
    assert min(abs(frequency - f) for f in expected) < 0.01


def test_grain_as_it_is_has_no_period():
    assert rc.resampling_peak(np.asarray(grain(512), np.float32))[0] < rc.MIN_PEAK
