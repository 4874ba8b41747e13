"""The learned map's network against NumPy in float64, and what its definition promises."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.fft
from flax import nnx
from PIL import Image

from exif_jax.data.histories import encode
from exif_jax.models import tampering_map
from exif_jax.models.config import ModelConfigError, map_config_from_dict
from exif_jax.models.map_blocks import (
    AlikeComparison,
    Windows,
    local_mean,
    normalized,
    reference,
)
from exif_jax.models.map_features import (
    block_features,
    colour_features,
    features_of_cells,
    pixel_tiles,
)
from exif_jax.models.tampering_map import TamperingMapConfig, map_param_shapes
from exif_jax.models.vit import log_spectrum

map_logits = jax.jit(tampering_map.map_logits, static_argnums=0)
init_map_params = jax.jit(tampering_map.init_map_params, static_argnums=0)
cell_logits = jax.jit(tampering_map.cell_logits, static_argnums=0)

# RGB to Cb and Cr, as JFIF has them.
CHROMA = np.array([[-0.168736, 0.5], [-0.331264, -0.418688], [0.5, -0.081312]])
TINY = TamperingMapConfig(
    block_width=8,
    width=8,
    hidden=12,
    radii=(3,),
    fine_radii=(3, 3),
    references=2,
    alike=(1,),
    head_width=3,
    windows=(4, 6),
    convolutions=(5, 7),
)


@pytest.fixture(scope="module")
def params():
    """Fresh parameters, those that begin at zero moved a little."""
    fresh = init_map_params(TINY, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32), fresh)


def photos(height=48, width=64, number=2, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (number, height, width, 3), dtype=np.uint8)


def test_spectra_are_those_of_the_encoder():
    x = photos()
    ours = np.asarray(block_features(x))[..., :192]
    theirs = np.asarray(log_spectrum(x.astype(np.float32) / 127.5 - 1))
    theirs = theirs.reshape(2, 6, 8, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 8, 192)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_energies_against_numpy():
    x = photos(16, 24, 1)
    luma = x[0].astype(np.float64) @ [0.299, 0.587, 0.114]
    across, down = np.pad(luma, ((0, 0), (1, 1)), "edge"), np.pad(luma, ((1, 1), (0, 0)), "edge")
    of_columns = abs(luma - (across[:, :-2] + across[:, 2:]) / 2)
    of_rows = abs(luma - (down[:-2] + down[2:]) / 2)
    chroma = x[0].astype(np.float64) @ CHROMA
    to_the_right = abs(np.diff(chroma, axis=1, append=chroma[:, -1:])).sum(2)
    downwards = abs(np.diff(chroma, axis=0, append=chroma[-1:])).sum(2)
    found = np.asarray(block_features(x))[0, ..., 192:]
    for i in range(2):
        for j in range(3):
            block = np.s_[8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
            expected = np.concatenate(
                [energy[block].mean(axis) for energy, axis in (
                    (of_columns, 0), (of_rows, 1), (to_the_right, 0), (downwards, 1))]
            )  # fmt: skip
            np.testing.assert_allclose(found[i, j], np.log(expected + 0.1), atol=1e-4)


def test_a_grid_shows_in_the_energy_of_its_columns():
    steps = np.repeat(np.arange(8) * 20, 8)[None, :, None] + np.zeros((64, 1, 3))
    energy = np.asarray(block_features(steps.astype(np.uint8)[None]))[0, 2, 2, 192:200]
    assert set(np.argsort(energy)[-2:]) == {0, 7}  # at the seams of the blocks


def test_pairs_of_subsampled_colours_show_in_the_steps_between_columns():
    rng = np.random.default_rng(3)
    grey = np.full((32, 32, 3), 128)
    grey[..., 2] = rng.integers(0, 256, (32, 16)).repeat(2, axis=1)
    steps = np.asarray(block_features(grey.astype(np.uint8)[None]))[0, 1, 1, 208:216]
    assert steps[::2].max() < -2 and steps[1::2].min() > 2


def test_colours_at_half_resolution_against_scipy():
    x = photos(32, 48, 2)
    halved = x.astype(np.float64).reshape(2, 16, 2, 24, 2, 3).mean((2, 4)) @ CHROMA
    blocks = halved.reshape(2, 2, 8, 3, 8, 2).transpose(0, 1, 3, 2, 4, 5)
    dct = scipy.fft.dctn(blocks, axes=(3, 4), norm="ortho").reshape(2, 2, 3, 64, 2)
    expected = np.log(abs(dct[..., 1:, :]) + 0.1).reshape(2, 2, 3, 126)
    np.testing.assert_allclose(np.asarray(colour_features(x)), expected, atol=2e-3)


def test_colours_of_a_jpeg_are_small_on_its_grid_alone():
    rng = np.random.default_rng(4)
    noise = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    smooth = np.asarray(noise.resize((208, 144), Image.Resampling.BICUBIC))
    saved = encode(smooth, 60, 2)
    on_grid = np.asarray(colour_features(saved[None, :128, :192])).mean()
    for down, across in ((8, 8), (0, 8), (1, 0)):
        moved = saved[None, down : down + 128, across : across + 192]
        assert np.asarray(colour_features(moved)).mean() > on_grid + 0.2


@pytest.mark.parametrize("side", [3, 5])
def test_local_mean_against_loops(side):
    rng = np.random.default_rng(2)
    x, mask = rng.normal(size=(1, 6, 7, 2)), np.ones((1, 6, 7), bool)
    mask[:, 5:], mask[:, :, 5:] = False, False
    found = np.asarray(local_mean(x.astype(np.float32), mask, side))
    half = side // 2
    for i in range(5):
        for j in range(5):
            near = x[
                0, max(0, i - half) : min(5, i + half + 1), max(0, j - half) : min(5, j + half + 1)
            ]
            np.testing.assert_allclose(found[0, i, j], near.mean((0, 1)), atol=1e-5)


def test_reference_against_numpy():
    rng = np.random.default_rng(3)
    x, logits = rng.normal(size=(1, 3, 4, 6)), rng.normal(size=(1, 3, 4, 2))
    mask = rng.random((1, 3, 4)) > 0.3
    mean, spread = reference(x.astype(np.float32), logits.astype(np.float32), mask)
    for group in range(2):
        weights = np.exp(logits[0, ..., group]) * mask[0]
        weights = (weights / weights.sum())[..., None]
        part = x[0, ..., 3 * group : 3 * group + 3]
        expected = (weights * part).sum((0, 1))
        variance = (weights * (part - expected) ** 2).sum((0, 1))
        place = np.s_[0, 0, 0, 3 * group : 3 * group + 3]
        np.testing.assert_allclose(mean[place], expected, atol=1e-5)
        np.testing.assert_allclose(spread[place], np.sqrt(variance + 1e-4), atol=1e-4)


def by_windows(q, x):
    """What pixels add to blocks, window by window and filter by filter: [B, h, w, 8]."""
    B, H, W, _ = x.shape
    ycbcr = np.concatenate([x @ np.array([[0.299], [0.587], [0.114]]), x @ CHROMA], axis=-1)
    padded = np.pad(ycbcr, ((0, 0), (4, 4), (4, 4), (0, 0)), "edge")
    # [tile row, tile column, pixel row, pixel column, channel, filter] of a window
    kernel = q["filters"]["kernel"].reshape(4, 4, 3, 2, 2, 4).transpose(3, 4, 0, 1, 2, 5)
    kernel = kernel - kernel.mean((0, 1, 2, 3), keepdims=True)
    out = np.zeros((B, H // 8, W // 8, 8))
    for b, i, j in np.ndindex(B, H // 8, W // 8):
        found = []
        for down, across in np.ndindex(3, 3):
            y, x0 = 8 * i + 4 * down, 8 * j + 4 * across
            window = padded[b, y : y + 8, x0 : x0 + 8].reshape(2, 4, 2, 4, 3)
            found.append(np.einsum("aibjc,abijcf->f", window, kernel))
        hidden = np.arcsinh(np.concatenate(found)) @ q["up"]["kernel"] + q["up"]["bias"]
        gelu = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        out[b, i, j] = gelu @ q["down"]["kernel"]
    return out


def test_brightness_and_colour_alone_say_nothing():
    """Of even pictures, and of one that is brighter throughout, the filters say the same."""
    windows = Windows(TINY, nnx.Rngs(0))
    shape = windows.down.kernel[...].shape
    windows.down.kernel = nnx.Param(np.random.default_rng(1).normal(size=shape).astype(np.float32))

    def said(picture):
        return np.asarray(windows(pixel_tiles(picture)[:, None, None]))

    even = np.full((1, 32, 48, 3), 90, np.uint8)
    textured = photos(32, 48, 1) // 2
    for picture in (even, textured):
        other = picture + np.array([60, 0, 20], np.uint8)
        np.testing.assert_allclose(said(picture), said(other), atol=1e-3)
    assert abs(said(textured) - said(even)).max() > 0.1


def test_network_against_numpy(params):
    x = photos()
    found = np.asarray(map_logits(TINY, params, x))
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)

    def linear(q, v):
        return v @ q["kernel"] + q.get("bias", 0)

    def gelu(v):
        return 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3)))

    def norm(v):
        return v / np.sqrt((v**2).mean(-1, keepdims=True) + 1e-4)

    def compare(q, v):
        n = norm(v)
        mask = np.ones(n.shape[:3], bool)
        mean, spread = (
            np.asarray(a, np.float64)
            for a in reference(n.astype(np.float32), linear(q["weigh"], n).astype(np.float32), mask)
        )
        near = np.asarray(local_mean(n.astype(np.float32), mask, 3), np.float64)
        away = (near - mean) / spread
        y = linear(q["up"], np.concatenate([n, away, abs(away)], axis=-1))
        y = y + linear(q["of_photo"], np.log(spread))
        return v + linear(q["down"], gelu(y))

    def alike(q, n):
        """Cell by cell, each group of channels with its own attention."""
        out = np.zeros_like(n)
        for b in range(len(n)):
            flat = n[b].reshape(-1, n.shape[-1])
            query, key = linear(q["query"], flat), linear(q["key"], flat)
            away = np.zeros_like(flat)
            for group in range(2):
                head, channels = slice(3 * group, 3 * group + 3), slice(4 * group, 4 * group + 4)
                for k in range(len(flat)):
                    weights = np.exp(key[:, head] @ query[k, head] / np.sqrt(3))
                    mean = weights @ flat[:, channels] / weights.sum()
                    away[k, channels] = flat[k, channels] - mean
            y = linear(q["up"], np.concatenate([flat, away, abs(away)], axis=-1))
            out[b] = linear(q["down"], gelu(y)).reshape(n.shape[1:])
        return out

    def convolved(q, v):
        """Place by place: itself and the eight around it, 0 outside."""
        B, h, w, _ = v.shape
        padded = np.pad(norm(v), ((0, 0), (1, 1), (1, 1), (0, 0)))
        out = np.zeros_like(v)
        for b, i, j in np.ndindex(B, h, w):
            around = padded[b, i : i + 3, j : j + 3]
            y = np.einsum("abc,abcd->d", around, q["up"]["kernel"]) + q["up"]["bias"]
            out[b, i, j] = v[b, i, j] + linear(q["down"], gelu(y))
        return out

    blocks = linear(p["embed"], np.asarray(block_features(x), np.float64))
    blocks = compare(p["block"], blocks + by_windows(p["windows"], x))
    quads = norm(blocks).reshape(2, 3, 2, 4, 2, 8).transpose(0, 1, 3, 2, 4, 5).reshape(2, 3, 4, 32)
    colours = linear(p["colours"], np.asarray(colour_features(x), np.float64))
    cells = compare(p["cells0"], linear(p["merge"], quads) + colours)
    cells = convolved(p["cells_around"], cells + alike(p["alike1"], norm(cells)))
    fine = linear(p["spread"], norm(cells)).repeat(2, axis=1).repeat(2, axis=2)
    fine = linear(p["skip"], norm(blocks)) + fine
    fine = compare(p["fine1"], convolved(p["blocks_around"], compare(p["fine0"], fine)))
    expected = linear(p["out"], gelu(fine))[..., 0]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_padding_changes_nothing_inside(params):
    x = photos(48, 64, 1)
    alone = np.asarray(map_logits(TINY, params, x))
    padded = np.pad(x, ((0, 0), (0, 16), (0, 32), (0, 0)), mode="edge")
    valid = np.zeros((1, 8, 12), bool)
    valid[:, :6, :8] = True
    found = np.asarray(map_logits(TINY, params, padded, valid))[:, :6, :8]
    np.testing.assert_allclose(found, alone, atol=1e-4)


def windows_of(photo, places_RxCx2):
    """Cells of 16 x 16 with 8 pixels around each, of a photo whose border is repeated."""
    padded = np.pad(photo, ((8, 8), (8, 8), (0, 0)), mode="edge")
    rows = [
        np.stack([padded[16 * y : 16 * y + 32, 16 * x : 16 * x + 32] for y, x in row])
        for row in places_RxCx2
    ]
    return np.stack(rows)


def test_cells_taken_out_of_a_photo_have_the_features_that_they_have_in_it():
    x = photos(64, 96, 1)
    places = np.stack(np.mgrid[0:4:2, 1:6:2], axis=-1)
    blocks, colours, tiles = features_of_cells(windows_of(x[0], places)[None])
    whole = np.asarray(block_features(x)).reshape(1, 4, 2, 6, 2, -1)[:, ::2, :, 1::2]
    np.testing.assert_allclose(blocks, whole.reshape(1, 4, 6, -1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(colours, np.asarray(colour_features(x))[:, ::2, 1::2], atol=1e-4)
    of_photo = np.asarray(pixel_tiles(x))[0]
    for row, column in np.ndindex(2, 3):
        y, x0 = 4 * places[row, column]
        np.testing.assert_allclose(
            tiles[0, row, column], of_photo[y : y + 6, x0 : x0 + 6], atol=1e-4
        )


def test_all_cells_of_a_photo_are_judged_as_the_photo_is(params):
    x = photos(64, 96, 1)
    windows = windows_of(x[0], np.stack(np.mgrid[0:4, 0:6], axis=-1))
    expected = np.asarray(map_logits(TINY, params, x)).reshape(4, 2, 6, 2).mean((1, 3))
    whole = np.ones((1, 4, 6), bool)
    np.testing.assert_allclose(
        cell_logits(TINY, params, windows[None], whole)[0], expected, atol=1e-4
    )
    padded = np.pad(windows, ((0, 1), (0, 2), (0, 0), (0, 0), (0, 0)), mode="edge")
    valid = np.pad(whole, ((0, 0), (0, 1), (0, 2)))
    found = np.asarray(cell_logits(TINY, params, padded[None], valid))[0, :4, :6]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_large_pictures_compare_cells_with_a_part_of_them(params):
    """Of 32 x 32 cells every second one down and across is a key."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(1, 32, 32, 8)).astype(np.float32)
    block = AlikeComparison(TINY, nnx.Rngs(0))
    nnx.update(block, nnx.State(params["alike1"]))
    mask = np.ones((1, 32, 32), bool)
    changed = {}
    for name, place in (("key", (4, 6)), ("other", (5, 6))):
        y = x.copy()
        y[0, place[0], place[1]] += 9
        moved = np.asarray(block(y, mask)) - np.asarray(block(x, mask))
        moved[0, place[0], place[1]] = 0  # its own answer changes in any case
        changed[name] = np.abs(moved).max()
    assert changed["key"] > 1e-4 and changed["other"] == 0


def test_a_fresh_network_says_nothing():
    fresh = init_map_params(TINY, jax.random.key(1))
    assert np.asarray(map_logits(TINY, fresh, photos())).max() == 0


def test_shapes_are_those_of_the_parameters(params):
    assert jax.tree.map(lambda s: s.shape, map_param_shapes(TINY)) == jax.tree.map(np.shape, params)


def test_normalized_keeps_zero():
    assert np.asarray(normalized(np.zeros((1, 4), np.float32))).max() == 0


def test_config_survives_plain_types():
    assert map_config_from_dict(dataclasses.asdict(TINY)) == TINY


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"radii": (4,)}, "odd"),
        ({"fine_radii": (3, 2)}, "odd"),
        ({"references": 3}, "multiple"),
        ({"alike": (0,)}, "alike"),
        ({"alike": (2,)}, "from 1 to 1"),
        ({"alike": (1, 1)}, "different"),
        ({"head_width": 0}, "positive"),
        ({"hidden": 0}, "positive"),
        ({"windows": (4, 0)}, "windows is 0"),
        ({"convolutions": (4,)}, "convolutions .* two positive"),
        ({"hidden": "x"}, "type"),
    ],
)
def test_impossible_configs_are_named(change, words):
    with pytest.raises(ModelConfigError, match=words):
        map_config_from_dict(dataclasses.asdict(TINY) | change)
    with pytest.raises(ModelConfigError, match="deepth"):
        map_config_from_dict(dataclasses.asdict(TINY) | {"deepth": 2})
