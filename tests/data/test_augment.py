"""What is done to a patch is what its tags say, for every combination and in small regions too."""

import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from exif_jax.data.augment import (
    FILTER_TAG,
    FILTERS,
    RECOMPRESSION_TAG,
    RESAMPLINGS,
    RESCALE_TAG,
    SAVED_FACTOR_TAG,
    SAVED_NOISE_TAG,
    SAVED_QUALITY_TAG,
    SHIFT_TAG,
    Augmentation,
    PostProcessing,
    augment,
    crop_size,
    min_rescale_factor,
    sample_augmentation,
    sample_corner,
    sample_post_processing,
    size_before_post_processing,
)
from exif_jax.reading.pixels import BLOCK, Jpeg, compress, gradient_energy

SIZE = 32
NOTHING = Augmentation()
FACTORS = [k / 10 for k in range(5, 16)]
SHRINKING_FACTORS = [k / 10 for k in range(5, 11)]
SAVED_TAGS = (SAVED_FACTOR_TAG, SAVED_NOISE_TAG, SAVED_QUALITY_TAG)
TAGS = (RESCALE_TAG, FILTER_TAG, RECOMPRESSION_TAG, SHIFT_TAG, *SAVED_TAGS)


def noise(height=160, width=200, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(seed=0) -> np.ndarray:
    """A picture whose JPEG errors tell the quality: slow gradients in all channels."""
    small = Image.fromarray(noise(20, 20, seed))
    return np.asarray(small.resize((160, 160), Image.Resampling.BICUBIC))


def corners_in(patch, image) -> list[tuple[int, int]]:
    """The places (y, x) of the image where the patch lies as it is."""
    windows = np.lib.stride_tricks.sliding_window_view(image, patch.shape)[:, :, 0]
    likely = (windows[:, :, 0, :2] == patch[0, :2]).all(axis=(2, 3))
    places = [(int(y), int(x)) for y, x in np.argwhere(likely)]
    return [(y, x) for y, x in places if np.array_equal(windows[y, x], patch)]


def cut(region, augmentation=NOTHING, seed=0, size=SIZE) -> np.ndarray:
    side = crop_size(region.shape, size, augmentation)
    corner = sample_corner(region.shape, side, np.random.default_rng(seed))
    return augment(region, size, augmentation, corner)


def draw(seed, rescale=1.0, recompress=1.0, shift=1.0, **rest) -> Augmentation:
    return sample_augmentation(np.random.default_rng(seed), rescale, recompress, shift, **rest)


# --- drawing an augmentation ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_an_augmentation_keeps_to_its_bounds_and_its_tags_are_in_order(seed):
    post = sample_post_processing(np.random.default_rng(seed), 1.0, 0.5, 0.5)
    augmentation = draw(seed, 0.7, 0.7, 0.7, post_processing=post, filter_prob=0.5)
    tags = augmentation.tags()
    assert list(tags) == [name for name in TAGS if name in tags]
    assert (RESCALE_TAG in tags) is (augmentation.factor != 1.0)
    if RESCALE_TAG in tags:
        factor, name = tags[RESCALE_TAG].split(" ")
        assert 0.5 <= float(factor) == augmentation.factor <= 1.5
        assert name == augmentation.resampling and name in RESAMPLINGS
    if RECOMPRESSION_TAG in tags:
        quality, chroma = tags[RECOMPRESSION_TAG].split(" ")
        assert 60 <= int(quality) <= 98 and chroma in ("4:4:4", "4:2:0")
    if SHIFT_TAG in tags:
        assert tuple(map(int, tags[SHIFT_TAG].split(" "))) == augmentation.shift
        assert {*augmentation.shift} <= {*range(BLOCK)} and any(augmentation.shift)
    assert tags.get(FILTER_TAG, "") == augmentation.filter
    assert 70 <= int(tags[SAVED_QUALITY_TAG].split(" ")[0]) <= 98
    assert tags.get(SAVED_FACTOR_TAG, "1.0") == f"{post.factor:.1f}"
    assert tags.get(SAVED_NOISE_TAG, "0") == str(post.noise)


def test_how_batches_are_post_processed():
    assert sample_post_processing(np.random.default_rng(0), 0.0, 0.0, 0.0) == PostProcessing()
    drawn = [
        sample_post_processing(np.random.default_rng(seed), 0.6, 0.3, 0.2) for seed in range(400)
    ]
    assert {s.factor for s in drawn} == {k / 10 for k in range(5, 11)}
    assert {s.noise for s in drawn} == set(range(6))
    done = np.array([(s.jpeg is not None, s.factor < 1, s.noise > 0) for s in drawn])
    assert done.mean(axis=0) == pytest.approx([0.6, 0.3, 0.2], abs=0.1)


def test_no_augmentation_has_no_tags():
    assert Augmentation().tags() == {} == draw(0, 0.0, 0.0, 0.0).tags()


def test_probabilities_are_kept():
    tags = [draw(seed, 0.3, 0.6, 0.2).tags() for seed in range(400)]
    # One factor in eleven is 1, one shift in 64 is none. Within four standard errors of a share.
    for name, share in ((RESCALE_TAG, 0.3 * 10 / 11), (RECOMPRESSION_TAG, 0.6), (SHIFT_TAG, 0.2)):
        assert np.mean([name in t for t in tags]) == pytest.approx(share, abs=0.1)
    filtered = [FILTER_TAG in draw(seed, filter_prob=0.5).tags() for seed in range(400)]
    assert np.mean(filtered) == pytest.approx(0.5, abs=0.1)


def test_all_factors_filters_qualities_and_shifts_occur():
    drawn = [draw(seed, filter_prob=1.0) for seed in range(1500)]
    assert {h.filter for h in drawn} == set(FILTERS)
    assert {h.factor for h in drawn} == {k / 10 for k in range(5, 16)}
    assert {h.resampling for h in drawn} == set(RESAMPLINGS)
    assert {h.jpeg.quality for h in drawn if h.jpeg} == set(range(60, 100, 2))
    assert len({h.shift for h in drawn}) == BLOCK**2


@pytest.mark.parametrize(("side", "lowest"), [(400, 5), (80, 5), (57, 8), (40, 10), (32, 13)])
def test_a_small_region_is_not_shrunk_below_the_patch(side, lowest):
    factors = {draw(seed, min_factor=min_rescale_factor(side, SIZE)).factor for seed in range(300)}
    assert factors == {k / 10 for k in range(lowest, 16)}


def test_a_region_that_bears_no_factor_is_left_alone():
    assert {draw(seed, min_factor=1.6).factor for seed in range(20)} == {1.0}


# --- what it does to the pixels -------------------------------------------------------------------


@given(
    height=st.integers(SIZE, 150),
    width=st.integers(SIZE, 150),
    seed=st.integers(0, 2**32),
    probs=st.tuples(*[st.sampled_from([0.0, 1.0])] * 3),
)
@settings(max_examples=150, deadline=None)
def test_any_region_gives_a_patch(height, width, seed, probs):
    region = noise(height, width)
    post = PostProcessing(1.0 if min(height, width) < 2 * SIZE else 0.5, 2, Jpeg(80, 2))
    factor = min_rescale_factor(min(height, width), round(SIZE / post.factor))
    patch = cut(region, draw(seed, *probs, min_factor=factor, post_processing=post), seed)
    assert patch.shape == (SIZE, SIZE, 3) and patch.dtype == np.uint8
    assert np.array_equal(region, noise(height, width)), "the region was changed"


def large_enough(sides, size, augmentation) -> bool:
    """Whether a region is as large as `augment` asks for."""
    room = BLOCK if any(augmentation.shift) or augmentation.factor != 1.0 else 0
    large_size = size_before_post_processing(size, augmentation.post_processing)
    return min(sides) >= max(large_size, (large_size + room) / augmentation.factor)


@given(
    sides=st.tuples(st.integers(SIZE, 160), st.integers(SIZE, 160)),
    size=st.sampled_from([16, 24, 32, 40]),
    augmentation=st.builds(
        Augmentation,
        factor=st.sampled_from(FACTORS),
        resampling=st.sampled_from(RESAMPLINGS),
        jpeg=st.sampled_from([None, Jpeg(80, 2)]),
        shift=st.tuples(st.integers(0, 7), st.integers(0, 7)),
        post_processing=st.builds(
            PostProcessing,
            factor=st.sampled_from(SHRINKING_FACTORS),
            noise=st.sampled_from([0, 3]),
            jpeg=st.sampled_from([None, Jpeg(90, 0)]),
        ),
        filter=st.sampled_from(["", "median 3"]),
    ),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=300, deadline=None)
def test_the_square_that_is_cut_is_the_one_of_crop_size(sides, size, augmentation, seed):
    """Nothing outside that square may have a say, and all of it is needed: no side is cut short."""
    assume(large_enough(sides, size, augmentation))
    region = noise(*sides, seed=seed)
    side = crop_size(region.shape, size, augmentation)
    y, x = sample_corner(region.shape, side, np.random.default_rng(seed))
    square = region[y : y + side, x : x + side]
    assert square.shape == (side, side, 3)
    patch = augment(region, size, augmentation, (y, x))
    assert patch.shape == (size, size, 3)
    np.testing.assert_array_equal(patch, augment(square, size, augmentation, (0, 0)))


def test_a_rescaled_patch_of_a_shrunk_batch_comes_from_one_square():
    augmentation = Augmentation(1.04, post_processing=PostProcessing(0.5))
    region = noise(448, 448)
    assert crop_size(region.shape, 128, augmentation) == 254
    square = region[192 : 192 + 254, 192 : 192 + 254]
    np.testing.assert_array_equal(
        augment(region, 128, augmentation, (192, 192)), augment(square, 128, augmentation, (0, 0))
    )


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("shrinking", SHRINKING_FACTORS)
def test_both_factors_multiply_to_the_scale_of_rows_and_columns(factor, shrinking):
    """Ramps of one level a pixel have, rescaled by f, a slope of 1 / f."""
    rows, columns = np.mgrid[:200, :250].astype(np.uint8)
    region = np.stack([rows, columns, rows], axis=-1)
    augmentation = Augmentation(factor, post_processing=PostProcessing(shrinking))
    side = crop_size(region.shape, 48, augmentation)
    # The last corner: a square that is larger than it should be would leave the region here.
    corner = (200 - side) // BLOCK * BLOCK, (250 - side) // BLOCK * BLOCK
    patch = augment(region, 48, augmentation, corner).astype(float)[4:-4, 4:-4]
    for ramp in (patch[:, :, 0].mean(axis=1), patch[:, :, 1].mean(axis=0)):
        slope = np.polyfit(np.arange(len(ramp)), ramp, 1)[0]
        assert 1 / slope == pytest.approx(factor * shrinking, rel=0.025)


@pytest.mark.parametrize("seed", range(8))
def test_without_an_augmentation_it_is_the_regions_own_pixels_on_the_grid(seed):
    region = noise()
    ((y, x),) = corners_in(cut(region, seed=seed), region)
    assert y % BLOCK == x % BLOCK == 0


@pytest.mark.parametrize("shift", [(0, 3), (7, 7), (1, 0)])
def test_a_shift_is_the_place_on_the_photos_grid(shift):
    region = noise()
    ((y, x),) = corners_in(cut(region, Augmentation(shift=shift)), region)
    assert (y % BLOCK, x % BLOCK) == shift


def test_all_places_on_the_grid_occur():
    region = np.zeros((SIZE + 17, SIZE + 9, 3), np.uint8)
    region[:, :, 0] = np.arange(SIZE + 17)[:, None]
    region[:, :, 1] = np.arange(SIZE + 9)
    corners = {tuple(cut(region, seed=seed)[0, 0, :2]) for seed in range(100)}
    assert corners == {(y, x) for y in (0, 8, 16) for x in (0, 8)}


def test_a_seed_decides_everything():
    a, b = (draw(5) for _ in range(2))
    assert a == b and np.array_equal(cut(noise(), a, 3), cut(noise(), b, 3))
    assert any(draw(seed) != a for seed in range(6, 10))
    assert not np.array_equal(cut(noise(), a, 3), cut(noise(), a, 4))


@pytest.mark.parametrize("factor", [0.5, 0.7, 0.9, 1.1, 1.5])
@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_the_factor_is_the_scale_of_a_known_pattern(factor, resampling):
    """A ramp of one level a pixel has, rescaled by f, a slope of 1 / f."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (200, 200, 3))
    patch = cut(np.ascontiguousarray(ramp), Augmentation(factor, resampling), size=64)
    columns = patch[:, 4:-4].astype(float).mean(axis=(0, 2))
    slope = np.polyfit(np.arange(len(columns)), columns, 1)[0]
    assert 1 / slope == pytest.approx(factor, abs=0.03)  # factors differ by 0.1


@pytest.mark.parametrize(("jpeg", "shift"), [(Jpeg(60, 0), (0, 0)), (Jpeg(90, 2), (3, 5))])
def test_after_recompression_the_patch_lies_in_that_jpeg_shifted(jpeg, shift):
    region = noise()
    patch = cut(region, Augmentation(jpeg=jpeg, shift=shift), seed=2)
    # The JPEG was cut at some place on the grid: the one that compression leads back to.
    side = SIZE + (BLOCK if any(shift) else 0)
    origins = [(y, x) for y in range(0, 160 - side + 1, 8) for x in range(0, 200 - side + 1, 8)]
    compressed = [
        compress(region[y : y + side, x : x + side], jpeg)[shift[0] :, shift[1] :][:SIZE, :SIZE]
        for y, x in origins
    ]
    assert sum(np.array_equal(patch, other) for other in compressed) == 1


@pytest.mark.parametrize("jpeg", [Jpeg(60, 0), Jpeg(82, 2), Jpeg(98, 0)])
def test_compression_is_that_of_the_quality_and_subsampling_it_says(jpeg):
    region, reference = noise(64, 64), io.BytesIO()
    Image.fromarray(region).save(reference, "JPEG", quality=jpeg.quality, subsampling=jpeg[1])
    np.testing.assert_array_equal(compress(region, jpeg), np.asarray(Image.open(reference)))
    assert str(jpeg) == f"{jpeg.quality} {'4:4:4' if jpeg.subsampling == 0 else '4:2:0'}"


def test_lower_quality_harms_more():
    region = smooth()
    harm = [
        np.square(compress(region, Jpeg(quality, 0)).astype(float) - region).mean()
        for quality in (60, 70, 80, 90, 98)
    ]
    assert harm == sorted(harm, reverse=True) and harm[-1] > 0


def test_post_processing_comes_last_with_the_patchs_corner_on_the_grid():
    augmentation = Augmentation(jpeg=Jpeg(70, 0), shift=(2, 6))
    saved = augmentation._replace(post_processing=PostProcessing(jpeg=Jpeg(90, 2)))
    before, after = (cut(smooth(), steps, seed=1) for steps in (augmentation, saved))
    np.testing.assert_array_equal(after, compress(before, Jpeg(90, 2)))


def test_a_post_processed_patch_is_shrunk_then_noisy_then_compressed():
    augmentation = Augmentation(jpeg=Jpeg(70, 0), shift=(2, 6))
    before = cut(smooth(), augmentation, seed=1, size=2 * SIZE)
    small = np.asarray(Image.fromarray(before).resize((SIZE, SIZE), Image.Resampling.LANCZOS))

    def processed(*steps):
        return cut(smooth(), augmentation._replace(post_processing=PostProcessing(*steps)), seed=1)

    np.testing.assert_array_equal(processed(0.5), small)
    noisy = processed(0.5, 4)
    assert (noisy.astype(float) - small).std() == pytest.approx(4, rel=0.1)
    np.testing.assert_array_equal(noisy, processed(0.5, 4))
    np.testing.assert_array_equal(processed(0.5, 4, Jpeg(90, 2)), compress(noisy, Jpeg(90, 2)))


@pytest.mark.parametrize("name", list(FILTERS))
def test_a_filter_smoothes_or_sharpens_what_it_says(name):
    region = np.clip(noise() // 4 + 96, 0, 255).astype(np.uint8)
    before = np.asarray(Image.fromarray(region).convert("YCbCr"), float).std(axis=(0, 1))
    filtered = Image.fromarray(cut(region, Augmentation(filter=name), size=152))
    after = np.asarray(filtered.convert("YCbCr"), float).std(axis=(0, 1))
    if name.startswith("unsharp"):
        assert (after > 1.2 * before).all()
    else:
        assert (after < 0.8 * before).all()


def test_a_filter_comes_before_the_compression():
    def step(image, **steps):
        return augment(image, SIZE, Augmentation(**steps), (0, 0))

    region = smooth()[:SIZE, :SIZE]
    by_steps = step(step(region, filter="median 3"), jpeg=Jpeg(80, 2))
    np.testing.assert_array_equal(step(region, filter="median 3", jpeg=Jpeg(80, 2)), by_steps)


def test_the_shift_is_where_the_block_borders_are_seen():
    """Across a block's border a strongly compressed picture jumps; the tag says where that is."""
    agreed = []
    for seed in range(40):
        augmentation = Augmentation(jpeg=Jpeg(60, 0), shift=(0, seed % BLOCK))
        patch = cut(smooth(seed), augmentation, seed, size=96)
        luma = np.asarray(Image.fromarray(patch).convert("L"), float)
        jumps = np.abs(np.diff(luma, 3, axis=1)).mean(axis=0)
        strongest = np.argmax([jumps[k::BLOCK].mean() for k in range(BLOCK)])
        # The third difference at k spans pixels k .. k + 3: its middle step is after k + 1.
        agreed.append((strongest + 2) % BLOCK == -augmentation.shift[1] % BLOCK)
    assert np.mean(agreed) > 0.8


# --- gradient energy ------------------------------------------------------------------------------


def test_gradient_energy_is_the_mean_step_along_rows():
    rng = np.random.default_rng(0)
    region = rng.integers(0, 256, (21, 30, 3), np.uint8)
    region[:, :8] = 7
    energy = gradient_energy(region)
    assert energy.shape == (2, 3) and energy.dtype == np.float32
    green = region[..., 1].astype(int)
    assert energy[0, 0] == pytest.approx(np.abs(green[:8, 8] - 7).sum() / 64)  # its right edge
    step = np.abs(np.diff(green, axis=1))[8:16, 16:24]
    assert energy[1, 2] == pytest.approx(step.mean())
