"""Outlines of regions, against Pillow's filling of polygons."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from exif_jax.forensics import regions
from exif_jax.forensics.patches import patch_grid


def filled(shape, polygons):
    """The pixels whose centres lie inside, by the even-odd rule."""
    height, width = shape
    total = np.zeros(shape, bool)
    scale = 8
    for rings in polygons:
        for k, ring in enumerate(rings):
            image = Image.new("1", (width * scale, height * scale))
            ImageDraw.Draw(image).polygon([(scale * x, scale * y) for x, y in ring[:-1]], fill=1)
            inside = np.asarray(image)[scale // 2 :: scale, scale // 2 :: scale]
            total = total & ~inside if k else total | inside
    return total


def disc(shape, y, x, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def difference(mask, polygons):
    return (filled(mask.shape, polygons) ^ mask).sum() / mask.sum()


GRID = patch_grid(64, 96, 16, 10, 4096, 8)  # 7 x 11 patches


def map_of(values_P):
    """A map of GRID's photo that has these values in the middle of its patches, and 0 elsewhere."""
    heatmap = np.zeros((64, 96), np.float32)
    y, x = GRID.origins().T + 8
    heatmap[y, x] = values_P
    return heatmap


def of_two_kinds(second_P, noise=0.05):
    """Unit embeddings, one direction or another for each patch."""
    z_PxD = np.random.default_rng(0).normal(0, noise, (GRID.num_patches, 12))
    z_PxD[~second_P, 0] += 1
    z_PxD[second_P, 1] += 1
    return (z_PxD / np.linalg.norm(z_PxD, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("number", [3, 20, 35])
def test_the_threshold_lies_where_the_embeddings_part(number):
    values = np.linspace(0, 1, GRID.num_patches) ** 2  # no gap between them
    second = np.arange(GRID.num_patches) >= GRID.num_patches - number
    heatmap = map_of(np.random.default_rng(1).permutation(values))
    order = heatmap[tuple(GRID.origins().T + 8)].argsort().argsort()
    z_PxD = of_two_kinds(second[order])
    found = regions.threshold_of(heatmap, z_PxD, GRID)
    tried = np.median(values) + np.linspace(0.4, 0.95, 12) * (1 - np.median(values))
    assert min(abs(tried - found)) < 1e-6
    scores = [parted(heatmap, z_PxD, threshold) for threshold in tried]
    assert parted(heatmap, z_PxD, found) == pytest.approx(max(scores))
    if number < 35:  # 35 of 77 begin below the lowest threshold
        wanted = values[-number]
        assert abs(found - wanted) <= abs(tried - wanted).min() + 0.05


def parted(heatmap, z_PxD, threshold):
    """By the definition."""
    above = heatmap[tuple(GRID.origins().T + 8)] > threshold
    a, b = (z_PxD[part].mean(axis=0, dtype=float) for part in (above, ~above))
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return (1 - cosine) * np.sqrt(above.mean() * (1 - above.mean()))


def test_a_map_without_a_part_has_no_region():
    z_PxD = of_two_kinds(np.arange(GRID.num_patches) < 20)
    for flat in (0.0, 0.3):
        heatmap = np.full((64, 96), flat, np.float32)
        threshold = regions.threshold_of(heatmap, z_PxD, GRID)
        assert threshold == heatmap.max()
        assert not regions.mask_of(heatmap, threshold).any()
    most = map_of(np.where(np.arange(GRID.num_patches) < 39, 0.8, 0.1))  # 39 of 77 are highest
    assert not regions.mask_of(most, regions.threshold_of(most, z_PxD, GRID)).any()
    less = map_of(np.where(np.arange(GRID.num_patches) < 38, 0.8, 0.1))
    assert regions.mask_of(less, regions.threshold_of(less, z_PxD, GRID)).sum() == 38


def test_a_photo_of_one_patch_has_no_region():
    heatmap = np.full((16, 16), 0.2, np.float32)
    one = patch_grid(16, 16, 16, 10, 4096, 8)
    assert regions.threshold_of(heatmap, np.ones((1, 4), np.float32) / 2, one) == heatmap.max()


def test_one_patch_that_stands_out_is_a_region():
    values = np.zeros(GRID.num_patches)
    values[30] = 0.7
    z_PxD = of_two_kinds(values > 0)
    heatmap = map_of(values)
    assert regions.mask_of(heatmap, regions.threshold_of(heatmap, z_PxD, GRID)).sum() == 1


@pytest.mark.parametrize("shape, radius", [((120, 160), 40), ((600, 900), 200), ((1500, 700), 300)])
def test_an_outline_filled_again_is_the_region(shape, radius):
    mask = disc(shape, shape[0] // 2, shape[1] // 2, radius)
    (rings,) = regions.polygons(mask)
    assert len(rings) == 1 and rings[0][0] == rings[0][-1]
    assert difference(mask, [rings]) < 0.04
    assert len(rings[0]) < 80


def test_holes_and_several_regions():
    shape = 200, 240
    mask = disc(shape, 90, 80, 60) & ~disc(shape, 90, 80, 30) | disc(shape, 150, 200, 25)
    first, second = regions.polygons(mask)
    assert len(first) == 2 and len(second) == 1  # the ring with its hole, then the smaller disc
    assert difference(mask, [first, second]) < 0.08


def test_regions_that_touch_at_a_corner_and_at_the_edge():
    mask = np.zeros((64, 64), bool)
    mask[:32, :32] = mask[32:, 32:] = True
    assert difference(mask, regions.polygons(mask)) == 0
    mask[:] = True
    ((ring,),) = regions.polygons(mask)
    assert sorted(set(ring)) == [(0, 0), (0, 64), (64, 0), (64, 64)]


def test_specks_are_left_out_and_nothing_has_no_outline():
    mask = disc((200, 200), 100, 100, 60)
    mask[3, 3] = True
    assert len(regions.polygons(mask)) == 1
    assert regions.polygons(np.zeros((50, 50), bool)) == []


def test_random_masks_survive(seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        coarse = rng.random((6, 8)) > 0.5
        mask = np.kron(coarse, np.ones((10, 10), bool)).astype(bool)
        if mask.any():
            assert difference(mask, regions.polygons(mask)) < 1e-9


def test_the_json_holds_share_and_threshold():
    heatmap = np.zeros((40, 60), np.float32)
    heatmap[10:30, 20:50] = 0.8
    mask = regions.mask_of(heatmap, 0.5)
    found = regions.region_json(mask, 0.5)
    assert found["share"] == pytest.approx(20 * 30 / 2400) and found["threshold"] == 0.5
    assert found["type"] == "MultiPolygon"
    assert set(found["coordinates"][0][0]) == {(20, 10), (50, 10), (50, 30), (20, 30)}


@pytest.mark.parametrize("seed", range(5))
def test_otsus_threshold_parts_values_as_the_least_variance_within_does(seed):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.beta(2, 8, 900), rng.beta(8, 3, 100 + 100 * seed)])
    found = regions.otsu(values.reshape(-1, 10).astype(np.float32))

    def within(threshold):
        low, high = values[values <= threshold], values[values > threshold]
        return low.size * low.var() + high.size * high.var()

    least = min(within(t) for t in np.linspace(values.min(), values.max(), 981)[1:-1])
    assert within(found) <= least * 1.002  # of 256 bins


def test_otsus_threshold_at_its_bounds():
    assert not (np.full((4, 5), 0.3) > regions.otsu(np.full((4, 5), 0.3))).any()
    two = np.array([0.2, 0.2, 0.2, 0.9])
    assert ((two > regions.otsu(two)) == [False, False, False, True]).all()
    ends = np.array([0.0, 1.0])
    assert ((ends > regions.otsu(ends)) == [False, True]).all()
