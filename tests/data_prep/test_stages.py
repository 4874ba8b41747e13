"""data_prep.stages: regions, split and vocabulary as pure functions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.stages import (
    GRID,
    Settings,
    _objection,
    choose_regions,
    seeded_hash,
    shard_bounds,
    tag_vocabulary,
    validation_cameras,
)


def places(pixels: np.ndarray, sha256: str, wanted: Settings) -> list[tuple[int, int, int, int]]:
    """(y, x, height, width) of the regions, whose pixels are those of the photo there."""
    found = []
    for y, x, region in choose_regions(Image.fromarray(pixels), sha256, wanted).chosen:
        h, w = region.shape[:2]
        np.testing.assert_array_equal(region, pixels[y : y + h, x : x + w])
        found.append((y, x, h, w))
    return found


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
    wanted = Settings(seed=seed, region_size=size, regions_per_photo=count)
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
        chosen = Settings(seed=seed, region_size=128)
        regions = places(pixels, "a" * 64, chosen)
        tiles = choose_regions(Image.fromarray(pixels), "a" * 64, chosen)
        left_out = (tiles.flat, tiles.saturated)
        assert regions and min(left_out) == 0
        assert max(left_out) > 0 and (left_out[0] > 0) == (dull == 128)
        for y, x, h, w in regions:
            assert y + h > 256 and x + w > 512
    assert places(pixels[:256], "a" * 64, Settings()) == []


def test_a_dull_photo_still_gives_its_best_region():
    pixels = np.full((128, 1024, 3), 100, np.uint8)
    pixels[::8, 640:, 1] += 1
    pixels[:, 700::40, 1] += 1
    (region,) = places(pixels, "a" * 64, Settings(region_size=128))
    assert region[1] > 512


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)
def test_split_keeps_near_its_share_and_never_takes_all(counts, share, seed):
    cameras = {("Make", f"M{k}"): count for k, count in enumerate(counts)}
    chosen = validation_cameras(cameras, Settings(seed=seed, validation_fraction=share))
    assert chosen <= set(cameras) and len(chosen) < len(cameras)
    assert chosen == validation_cameras(
        dict(reversed(cameras.items())), Settings(seed=seed, validation_fraction=share)
    )
    assert bool(chosen) == (share > 0 and len(cameras) > 1)
    held_out = sum(cameras[camera] for camera in chosen)
    assert abs(held_out - share * sum(counts)) <= max(counts)


def test_hashes_are_fixed_for_ever():
    # Another value here means that old records cannot be made again.
    assert seeded_hash(0, "camera", "Canon", "EOS 5D") == 0xED718AA2230D7CB8
    assert seeded_hash(1, "a") != seeded_hash(0, "a") != seeded_hash(0, "b")


def test_vocabulary_is_half_of_the_photos_in_canonical_order():
    counts = {"B": 5, "A": 4, "C": 10}
    assert tag_vocabulary(counts, 10, ["A", "B", "C", "D"]) == ["B", "C"]
    assert tag_vocabulary({}, 0, ["A"]) == []


def test_shards_are_even_and_never_empty():
    assert shard_bounds(10, 10, Settings(shards=3)) == [0, 3, 6, 10]
    assert shard_bounds(2, 2, Settings(shards=9)) == [0, 1, 2]
    assert shard_bounds(4, 240, Settings(), target_bytes=100) == [0, 1, 2, 4]
    assert shard_bounds(0, 0, Settings(shards=3)) == [0]


@pytest.mark.parametrize(
    ("software", "reason"),
    [
        *(
            ("Adobe Photoshop CS6 (Windows)", "edited"),
            ("GIMP 2.8", "edited"),
            ("Picasa", "edited"),
        ),
        *(("Ver.1.00", ""), ("Nikon Transfer 6.2.1 W", ""), ("11.2.5", ""), ("", "")),
        *(("HDR+ 1.0.362396382zd", ""), ("G920VVRU4DQL1", ""), ("ACDSee Pro 3", "edited")),
    ],
)
def test_photos_that_a_program_wrote_are_rejected_unless_asked_for(software, reason):
    exif = dict.fromkeys("abc", "1") | {"Make": "Canon", "Model": "X", "Software": software}
    assert _objection(exif, (600, 400), Settings(), True)[0] == reason
    assert _objection(exif, (600, 400), Settings(keep_edited=True), True)[0] == ""


@pytest.mark.parametrize(
    ("told", "whole", "reason"),
    [
        *(
            (("600", "400"), True, ""),
            (("400", "600"), True, ""),
            (("6000", "4000"), True, "resized"),
        ),
        *(
            (("6000", "4000"), False, ""),
            (("wide", "4000"), True, ""),  # a manifest may say anything
            (("600", ""), True, ""),
            (("601", "400"), True, "resized"),
        ),
    ],
)
def test_photos_of_another_size_than_their_exif_are_rejected(told, whole, reason):
    exif = dict.fromkeys("abc", "1") | {"Make": "Canon", "Model": "X"}
    exif |= {"Exif Image Width": told[0], "Exif Image Height": told[1]}
    found, message = _objection(exif, (600, 400), Settings(), whole)
    assert found == reason
    assert ("600 x 400 pixels" in message) == (reason != "")
