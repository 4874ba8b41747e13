"""What is done to a patch is what its tags say, and nothing fails on a small region."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exif_jax.processing import GRID, RECOMPRESSION_TAG, RESCALE_TAG, SHIFT_TAG, process

SIZE = 32


def noise(height=160, width=200, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def corners_in(patch, image) -> list[tuple[int, int]]:
    """The places (y, x) of the image where the patch lies as it is."""
    windows = np.lib.stride_tricks.sliding_window_view(image, patch.shape)[:, :, 0]
    likely = (windows[:, :, 0, :2] == patch[0, :2]).all(axis=(2, 3))
    places = [(int(y), int(x)) for y, x in np.argwhere(likely)]
    return [(y, x) for y, x in places if np.array_equal(windows[y, x], patch)]


def smooth(seed=0) -> np.ndarray:
    """A picture whose JPEG errors tell the quality: slow gradients in all channels."""
    small = Image.fromarray(noise(20, 20, seed))
    return np.asarray(small.resize((160, 160), Image.Resampling.BICUBIC))


@contextlib.contextmanager
def jpegs_caught():
    """The bytes of the JPEGs that are written meanwhile."""
    written, save = [], Image.Image.save

    def caught(self, buffer, *args, **kwargs):
        save(self, buffer, *args, **kwargs)
        written.append(buffer.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "save", caught)
        yield written


def run(region, seed, rescale=0.0, recompress=0.0, shift=1.0, size=SIZE):
    return process(region, size, np.random.default_rng(seed), rescale, recompress, shift)


@given(
    height=st.integers(SIZE, 150),
    width=st.integers(SIZE, 150),
    seed=st.integers(0, 2**32),
    rescale=st.sampled_from([0.0, 0.5, 1.0]),
    recompress=st.sampled_from([0.0, 0.5, 1.0]),
    shift=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_any_region_gives_a_patch_and_tags_of_the_known_form(
    height, width, seed, rescale, recompress, shift
):
    region = noise(height, width)
    patch, tags = run(region, seed, rescale, recompress, shift)
    assert patch.shape == (SIZE, SIZE, 3) and patch.dtype == np.uint8
    order = [RESCALE_TAG, RECOMPRESSION_TAG, SHIFT_TAG]
    assert list(tags) == [name for name in order if name in tags]
    for name, share in zip(order, (rescale, recompress, shift), strict=True):
        assert share > 0 or name not in tags
    assert recompress < 1 or RECOMPRESSION_TAG in tags
    # A rescaled patch has no grid any more, unless it is compressed again.
    if shift == 1:
        assert (SHIFT_TAG in tags) is (RESCALE_TAG not in tags or RECOMPRESSION_TAG in tags)
    if RESCALE_TAG in tags:
        factor, name = tags[RESCALE_TAG].split(" ")
        assert 0.5 <= float(factor) <= 1.5 and factor != "1.0"
        assert name in ("bilinear", "bicubic", "lanczos")
    if RECOMPRESSION_TAG in tags:
        quality, chroma = tags[RECOMPRESSION_TAG].split(" ")
        assert 60 <= int(quality) <= 98 and chroma in ("4:4:4", "4:2:0")
    if SHIFT_TAG in tags:
        assert {int(part) for part in tags[SHIFT_TAG].split(" ")} <= set(range(GRID))
    assert np.array_equal(region, noise(height, width)), "the region was changed"


@pytest.mark.parametrize("seed", range(20))
def test_without_tags_the_patch_is_the_regions_own_pixels(seed):
    region = noise(60, 70)
    patch, tags = run(region, seed, rescale=0.5, recompress=0.5, shift=0)
    assert bool(corners_in(patch, region)) is (tags == {})


@pytest.mark.parametrize("seed", range(8))
def test_the_shift_tag_is_the_place_on_the_photos_grid(seed):
    region = noise()
    patch, tags = run(region, seed, shift=1)
    ((y, x),) = corners_in(patch, region)
    assert tags == {SHIFT_TAG: f"{y % GRID} {x % GRID}"}
    patch, tags = run(region, seed, shift=0)
    ((y, x),) = corners_in(patch, region)
    assert tags == {} and y % GRID == x % GRID == 0


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_after_recompression_it_is_the_place_on_the_new_grid(seed, shift):
    with jpegs_caught() as written:
        patch, tags = run(noise(), seed, rescale=0.5, recompress=1, shift=shift)
    with Image.open(io.BytesIO(written[0])) as image:
        ((y, x),) = corners_in(patch, np.asarray(image))
    assert tags.get(SHIFT_TAG, "0 0") == f"{y % GRID} {x % GRID}"
    assert (SHIFT_TAG in tags) is (shift == 1)


def test_all_positions_occur():
    region = np.zeros((SIZE + 2, SIZE + 1, 3), np.uint8)
    region[:, :, 0] = np.arange(SIZE + 2)[:, None]
    region[:, :, 1] = np.arange(SIZE + 1)
    corners = {tuple(run(region, seed)[0][0, 0, :2]) for seed in range(100)}
    assert corners == {(y, x) for y in range(3) for x in range(2)}


def test_a_seed_decides_everything():
    region = noise()
    (a, tags_a), (b, tags_b) = (run(region, 5, 1, 1) for _ in range(2))
    assert tags_a == tags_b and np.array_equal(a, b)
    assert any(run(region, seed, 1, 1)[1] != tags_a for seed in range(6, 10))


def test_probabilities_are_kept():
    region = noise()
    tags = [run(region, seed, 0.3, 0.6, 0.2)[1] for seed in range(400)]
    # A factor of 1.0 in ten or so is no rescaling. Within four standard errors of a share.
    rescaled = np.mean([RESCALE_TAG in t for t in tags])
    recompressed = np.mean([RECOMPRESSION_TAG in t for t in tags])
    assert rescaled == pytest.approx(0.3 * 0.9, abs=0.1)
    assert recompressed == pytest.approx(0.6, abs=0.1)
    # Of those with a grid: 1 - 0.27 * 0.4 of all.
    assert np.mean([SHIFT_TAG in t for t in tags]) == pytest.approx(0.2 * 0.89, abs=0.08)


@pytest.mark.parametrize("seed", range(8))
def test_the_rescale_tag_is_the_scale_of_a_known_pattern(seed):
    """A ramp of one level a pixel has, rescaled by f, a slope of 1 / f."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (200, 200, 3))
    patch, tags = run(np.ascontiguousarray(ramp), seed, rescale=1, recompress=0, size=64)
    factor = float(tags[RESCALE_TAG].split(" ")[0]) if RESCALE_TAG in tags else 1.0
    columns = patch[:, 4:-4].astype(float).mean(axis=(0, 2))
    slope = np.polyfit(np.arange(len(columns)), columns, 1)[0]
    assert 1 / slope == pytest.approx(factor, abs=0.03)  # tags differ by 0.1


@pytest.mark.parametrize("seed", range(12))
def test_the_quality_tag_is_that_of_the_jpeg_between(seed):
    region = noise(seed=seed)
    with jpegs_caught() as written:
        patch, tags = run(region, seed, recompress=1)
    (data,) = written
    quality, chroma = tags[RECOMPRESSION_TAG].split(" ")
    again, subsampling = io.BytesIO(), {"4:4:4": 0, "4:2:0": 2}[chroma]
    same = Image.fromarray(region[:16, :16])
    same.save(again, "JPEG", quality=int(quality), subsampling=subsampling)
    with Image.open(io.BytesIO(data)) as image, Image.open(again) as reference:
        assert image.quantization == reference.quantization
        assert image.layer == reference.layer
        assert corners_in(patch, np.asarray(image))
    assert not corners_in(patch, region)


def test_lower_quality_harms_more():
    region, harm = smooth(), {False: [], True: []}
    for seed in range(80):
        patch, tags = run(region, seed, recompress=1, size=160)  # no room: the place is known
        quality = int(tags[RECOMPRESSION_TAG].split(" ")[0])
        error = np.square(patch.astype(float) - region).mean()
        harm[quality >= 80].append(error)
    assert np.mean(harm[False]) > 1.5 * np.mean(harm[True]) > 0


def test_the_shift_is_where_the_block_borders_are_seen():
    """Across a block's border a strongly compressed picture jumps; the tag says where that is."""
    agreed = []
    for seed in range(120):
        patch, tags = run(smooth(seed), seed, recompress=1, size=96)
        if int(tags[RECOMPRESSION_TAG].split(" ")[0]) < 70:
            luma = np.asarray(Image.fromarray(patch).convert("L"), float)
            jumps = np.abs(np.diff(luma, 3, axis=1)).mean(axis=0)
            strongest = np.argmax([jumps[k::GRID].mean() for k in range(GRID)])
            # The third difference at k spans pixels k .. k + 3: its middle step is after k + 1.
            border = (strongest + 2) % GRID
            agreed.append(border == -int(tags[SHIFT_TAG].split(" ")[1]) % GRID)
    assert len(agreed) > 10 and np.mean(agreed) > 0.8
