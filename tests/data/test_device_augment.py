"""Patches made on the device are those that Pillow makes on the host, whatever is done to them."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from exif_jax.data import augment as host
from exif_jax.data import device_augment
from exif_jax.data.augment import Augmentation, PostProcessing
from exif_jax.data.config import DataConfig
from exif_jax.data.jpeg import JpegError
from exif_jax.data.packing import AugmentError, Shapes, make_shapes, pack
from exif_jax.reading.pixels import Jpeg
from exif_jax.training.sharding import make_mesh

SIZE, SIDE = 32, 120
PROBS = {
    "rescale_prob": 0.5,
    "recompress_prob": 0.5,
    "shift_prob": 0.5,
    "filter_prob": 0.5,
    "save_prob": 0.5,
    "shrink_prob": 0.5,
}
EVERYTHING = DataConfig(records="", noise_prob=0.5, **PROBS)
SHAPES = make_shapes(EVERYTHING, SIZE, SIDE)
PLAIN = make_shapes(DataConfig(records=""), SIZE, SIDE)

N = 48  # patches of a batch: one number, as each compiles anew
KEY = jax.random.key(0)

on_device = jax.jit(device_augment.augment, static_argnames=("size", "chunk"))


def patches_of(arrays, packed, chunk=N) -> np.ndarray:
    return np.asarray(on_device(arrays, packed, KEY, size=SIZE, chunk=chunk))


def regions(n, seed=0) -> list[np.ndarray]:
    """Smooth colours with noise, of 120 px or a little more."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 14, 14, 3), dtype=np.uint8)
    sides = [(SIDE + 8 * int(a), SIDE + 8 * int(b)) for a, b in rng.integers(0, 2, (n, 2))]
    pairs = zip(small, sides, strict=True)
    smooth = [np.asarray(Image.fromarray(x).resize(s[::-1]), int) for x, s in pairs]
    noisy = [x + rng.normal(0, 8, x.shape) for x in smooth]
    return [np.clip(x, 0, 255).astype(np.uint8) for x in noisy]


def draws(n, seed=0, noise_prob=0.0) -> list[Augmentation]:
    drawn = []
    for k in range(n):
        rng = np.random.default_rng([seed, k])
        post = host.sample_post_processing(rng, 0.6, 0.4, noise_prob)
        large = host.size_before_post_processing(SIZE, post)
        augmentation = host.sample_augmentation(
            rng, 0.6, 0.6, 0.6, 0.5, host.min_rescale_factor(SIDE, large), post
        )
        drawn.append(augmentation)
    return drawn


def packed_batch(pixels, augmentations, corners, shapes=SHAPES, rows=None):
    """(regions, what else `augment` takes)"""
    packed = [pack(x, a, c, shapes) for x, a, c in zip(pixels, augmentations, corners, strict=True)]
    batch = {name: np.stack([p[name] for p in packed]) for name in packed[0]}
    batch["row"] = np.arange(len(packed)) if rows is None else rows
    batch["row"] = batch["row"].astype(np.uint32)
    return batch.pop("region"), batch


def corners_of(pixels, augmentations) -> list[tuple[int, int]]:
    corners = []
    for k, (x, a) in enumerate(zip(pixels, augmentations, strict=True)):
        side = host.crop_size(x.shape, SIZE, a)
        corners.append(host.sample_corner(x.shape, side, np.random.default_rng(k)))
    return corners


@functools.cache
def a_batch(seed=0, noise_prob=0.0):
    pixels, augmentations = regions(N, seed), draws(N, seed, noise_prob)
    return pixels, augmentations, corners_of(pixels, augmentations)


def assert_as_on_the_host(out, pixels, augmentations, corners):
    for got, x, a, c in zip(out, pixels, augmentations, corners, strict=True):
        np.testing.assert_array_equal(got, host.augment(x, SIZE, a, c), err_msg=str(a))


def test_all_that_is_drawn_gives_the_patches_of_the_host():
    drawn = set()
    for seed in range(6):
        batch = a_batch(seed)
        assert_as_on_the_host(patches_of(*packed_batch(*batch)), *batch)
        drawn |= {step for augmentation in batch[1] for step in augmentation.tags()}
    assert len(drawn) == 6, "a step was never drawn"


def test_a_config_without_rare_steps_gives_the_patches_of_the_host():
    augmentations = [
        Augmentation(1.0, shift=(3, 5), jpeg=Jpeg(70, 2)),
        Augmentation(),
        Augmentation(1.0, post_processing=PostProcessing(jpeg=Jpeg(90, 1))),
    ]
    pixels = regions(3)
    corners = corners_of(pixels, augmentations)
    batch = packed_batch(pixels, augmentations, corners, PLAIN)
    assert batch[0].shape == (3, SIZE + 8, SIZE + 8, 3) and "filter" not in batch[1]
    assert_as_on_the_host(patches_of(*batch), pixels, augmentations, corners)


def test_real_photos_give_the_patches_of_the_host(real_photos):
    paths = sorted((real_photos / "train").glob("*.jpg"))[:: 1200 // N][:N]
    pixels = [np.asarray(Image.open(path))[:SIDE, :SIDE] for path in paths]
    augmentations = draws(N, seed=7)
    corners = corners_of(pixels, augmentations)
    out = patches_of(*packed_batch(pixels, augmentations, corners))
    assert_as_on_the_host(out, pixels, augmentations, corners)


def test_noise_comes_before_the_last_compression_and_is_of_its_strength():
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    levels = [0, 1, 3, 5]
    augmentations = [Augmentation(post_processing=PostProcessing(noise=s)) for s in levels]
    saved = PostProcessing(noise=5, jpeg=Jpeg(75, 2))
    augmentations.append(Augmentation(post_processing=saved))
    augmentations += [Augmentation()] * (N - len(augmentations))
    out = patches_of(*packed_batch([grey] * N, augmentations, [(0, 0)] * N)).astype(float)
    assert (out[0] == 128).all()
    n = out[0].size
    for got, level in zip(out[1:4], levels[1:], strict=True):
        assert got.var() == pytest.approx(level**2 + 1 / 12, rel=4 * np.sqrt(2 / n))
    assert 0 < out[4].var() < 0.5 * out[3].var(), "JPEG takes most of white noise away"


def test_neither_chunks_nor_neighbours_change_a_patch():
    arrays, packed = packed_batch(*a_batch(1, 0.5))
    order = np.random.default_rng(0).permutation(N)
    mixed = {name: x[order] for name, x in packed.items()}
    out = patches_of(arrays[order], mixed, chunk=7)  # which does not divide: 6 at a time
    np.testing.assert_array_equal(out, patches_of(arrays, packed)[order])


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_split_over_devices_a_batch_gives_the_same_patches_and_nothing_is_sent():
    arrays, packed = packed_batch(*a_batch(1, 0.5))
    mesh = make_mesh(2, 4, jax.devices()[:8])
    sharded = jax.jit(functools.partial(device_augment.sharded_augment, mesh, size=SIZE))
    compiled = sharded.lower(arrays, packed, KEY).compile()
    np.testing.assert_array_equal(compiled(arrays, packed, KEY), patches_of(arrays, packed))
    text = compiled.as_text()
    assert not any(word in text for word in ("all-gather", "all-reduce", "all-to-all", "permute("))


def test_one_program_serves_every_batch_of_a_config():
    patches_of(*packed_batch(*a_batch(1, 0.5)))
    compiled = on_device._cache_size()
    for batch in (a_batch(2, 0.5), (regions(N), [Augmentation()] * N, [(0, 0)] * N)):
        patches_of(*packed_batch(*batch))
    assert on_device._cache_size() == compiled


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_squares_cut_on_the_device_are_those_of_the_host(monkeypatch, backend):
    """Also at a region's edge, beyond which a square is black; as on a CPU, and all at once."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    pictures = np.stack([x[:SIDE, :SIDE] for x in regions(3)])
    rng = np.random.default_rng(0)
    record, corner = rng.integers(0, 3, 40), rng.integers(0, SIDE - SIZE + 1, (40, 2))
    corner[:2] = [[0, 0], [SIDE - SIZE] * 2]
    side = SHAPES.square
    cut = jax.jit(device_augment.cut_squares, static_argnames="square")
    squares = cut(pictures, record.astype(np.int32), corner.astype(np.int32), square=side)
    for k in range(40):
        y, x = corner[k]
        expected = np.zeros((side, side, 3), np.uint8)
        inside = pictures[record[k], y : y + side, x : x + side]
        expected[: inside.shape[0], : inside.shape[1]] = inside
        np.testing.assert_array_equal(squares[k], expected)


@pytest.mark.parametrize("devices", [1, 8])
def test_patches_of_regions_that_lie_on_the_device_are_those_of_squares_that_are_sent(devices):
    if jax.device_count() < devices:
        pytest.skip(f"needs {devices} devices")
    pictures, drawn, corners = a_batch(1, 0.5)
    arrays, packed = packed_batch(pictures, drawn, corners)
    rows = zip(pictures, drawn, corners, range(N), strict=True)
    rows = [pack(x, a, c, SHAPES, record) for x, a, c, record in rows]
    named = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    named["row"] = packed["row"]
    assert "region" not in named and sum(x.nbytes for x in named.values()) < arrays.nbytes
    stored = np.zeros((N, SIDE + 8, SIDE + 8, 3), np.uint8)
    for whole, x in zip(stored, pictures, strict=True):
        whole[: x.shape[0], : x.shape[1]] = x
    mesh = make_mesh(devices, 1, jax.devices()[:devices])
    sharded = functools.partial(device_augment.sharded_augment, mesh, size=SIZE)
    made = jax.jit(sharded, static_argnames="square")(stored, named, KEY, square=SHAPES.square)
    np.testing.assert_array_equal(made, patches_of(arrays, packed))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 4, 20, 36])
def test_a_size_that_is_no_multiple_of_8_is_refused(size):
    with pytest.raises(AugmentError, match=f"patches of {size} px .* must be a multiple of 8"):
        make_shapes(EVERYTHING, size, SIDE)
    assert make_shapes(EVERYTHING, 24, SIDE).size == 24


def test_regions_smaller_than_a_patch_are_refused():
    with pytest.raises(AugmentError, match="regions of 31 px are smaller than the patch of 32 px"):
        make_shapes(EVERYTHING, SIZE, 31)
    assert make_shapes(EVERYTHING, SIZE, 32).square == 32


def test_the_arrays_are_no_larger_than_the_config_asks_for():
    assert Shapes(32, 40, 32, False, False, False) == PLAIN
    assert make_shapes(DataConfig("", rescale_prob=0.1), 32, 448) == PLAIN._replace(square=80)
    shrinking = make_shapes(DataConfig("", shrink_prob=0.1), 32, 448)
    assert shrinking == Shapes(32, 72, 64, False, True, False)


@pytest.mark.parametrize(
    ("side", "augmentation", "corner"),
    [
        (31, Augmentation(), (0, 0)),
        (39, Augmentation(0.8), (0, 0)),
        (40, Augmentation(), (16, 0)),
        (40, Augmentation(), (0, -8)),
        (40, Augmentation(post_processing=PostProcessing(0.5)), (0, 0)),
        (100, Augmentation(0.01), (0, 0)),
    ],
)
def test_a_region_smaller_than_the_window_is_refused(side, augmentation, corner):
    region = np.zeros((side, 104, 3), np.uint8)
    with pytest.raises(AugmentError, match=rf"a region of 104 x {side} px has no window of \d+ px"):
        pack(region, augmentation, corner, SHAPES)


def test_a_region_as_large_as_the_window_is_taken():
    for side, augmentation in ((32, Augmentation()), (50, Augmentation(0.8))):
        region = np.zeros((side, side, 3), np.uint8)
        assert pack(region, augmentation, (0, 0), SHAPES)["region"].shape == SHAPES[1:2] * 2 + (3,)


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_out_of_range_is_refused(quality):
    with pytest.raises(JpegError, match=f"JPEG quality is {quality}; "):
        pack(regions(1)[0], Augmentation(jpeg=Jpeg(quality, 2)), (0, 0), SHAPES)
    with pytest.raises(JpegError, match="chroma subsampling is 3; "):
        pack(regions(1)[0], Augmentation(jpeg=Jpeg(90, 3)), (0, 0), SHAPES)


@pytest.mark.parametrize(
    ("name", "augmentation"),
    [
        ("filter", Augmentation(filter="median 3")),
        ("shrink", Augmentation(post_processing=PostProcessing(0.9))),
        ("noise", Augmentation(post_processing=PostProcessing(noise=2))),
    ],
)
def test_a_step_that_the_config_rules_out_is_refused(name, augmentation):
    shapes = PLAIN._replace(large=40, square=60)
    with pytest.raises(AugmentError, match=f"config.data.{name}_prob is 0"):
        pack(regions(1)[0], augmentation, (0, 0), shapes)


def test_a_square_beyond_the_room_of_the_run_is_refused():
    with pytest.raises(AugmentError, match="larger than the 40 and 32 px that this run has room"):
        pack(regions(1)[0], Augmentation(0.5), (0, 0), PLAIN)
