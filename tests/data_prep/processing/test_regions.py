"""Regions lie inside the photo, on the grid and apart, where there is something to see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.processing.regions import GRID, choose_regions
from data_prep.processing.settings import PrepSettings, seeded_hash


def places(pixels: np.ndarray, sha256: str, wanted: PrepSettings) -> list[tuple[int, ...]]:
    """(y, x, height, width) of the regions, whose pixels are those of the photo there."""
    boxes = []
    for y, x, region in choose_regions(Image.fromarray(pixels), sha256, wanted).regions:
        h, w = region.shape[:2]
        np.testing.assert_array_equal(region, pixels[y : y + h, x : x + w])
        boxes.append((y, x, h, w))
    return boxes


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(128, 700),
    width=st.integers(128, 700),
    size=st.sampled_from([128, 192, 448]),
    count=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
def test_regions_lie_inside_on_the_grid_and_apart(height, width, size, count, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    wanted = PrepSettings(seed=seed, region_size=size, regions_per_photo=count)
    regions = places(pixels, f"{seed:064x}", wanted)
    assert regions == places(pixels, f"{seed:064x}", wanted)
    assert len(regions) == min(count, max(height // size, 1) * max(width // size, 1))
    covered = np.zeros((height, width), int)
    for y, x, h, w in regions:
        assert y % GRID == 0 and x % GRID == 0
        assert (h, w) == (min(size, height), min(size, width))
        assert 0 <= y <= height - h and 0 <= x <= width - w
        covered[y : y + h, x : x + w] += 1
    assert covered.max() == 1


@pytest.mark.parametrize("dull", [0, 128, 255])
def test_flat_and_burnt_out_areas_are_avoided(dull):
    pixels = np.full((512, 1024, 3), dull, np.uint8)
    pixels[256:, 512:] = np.random.default_rng(0).integers(0, 256, (256, 512, 3), np.uint8)
    for seed in range(20):
        chosen = PrepSettings(seed=seed, region_size=128)
        regions = places(pixels, "a" * 64, chosen)
        result = choose_regions(Image.fromarray(pixels), "a" * 64, chosen)
        skipped = (result.num_flat, result.num_saturated)
        assert regions and min(skipped) == 0
        assert max(skipped) > 0 and (skipped[0] > 0) == (dull == 128)
        for y, x, h, w in regions:
            assert y + h > 256 and x + w > 512
    assert places(pixels[:256], "a" * 64, PrepSettings()) == []


def test_a_dull_photo_still_gives_its_best_region():
    pixels = np.full((128, 1024, 3), 100, np.uint8)
    pixels[::8, 640:, 1] += 1
    pixels[:, 700::40, 1] += 1
    (region,) = places(pixels, "a" * 64, PrepSettings(region_size=128))
    assert region[1] > 512


def test_hashes_are_fixed_for_ever():
    # Another value here means that old records cannot be made again.
    assert seeded_hash(0, "camera", "Canon", "EOS 5D") == 0xED718AA2230D7CB8
    assert seeded_hash(1, "a") != seeded_hash(0, "a") != seeded_hash(0, "b")
