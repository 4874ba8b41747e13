"""Outlines of regions, against Pillow's filling of polygons."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from exif_jax.forensics import regions


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
