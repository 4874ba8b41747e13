"""Where patches lie, and that they are cut where the grid says."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exif_jax.forensics import patches
from exif_jax.forensics.patches import patch_grid

# --- the grid ---------------------------------------------------------------------------------


def test_grid_is_the_papers():
    grid = patch_grid(768, 1024, 128)
    assert (grid.stride, grid.rows, grid.columns) == ((1024 - 128) // 30, 23, 31)


@given(
    patch=st.integers(1, 200),
    more=st.tuples(st.integers(0, 3000), st.integers(0, 3000)),
    num_per_dim=st.integers(1, 100),
    cap=st.integers(1, 5000),
)
def test_patches_lie_in_the_photo_and_under_the_cap(patch, more, num_per_dim, cap):
    height, width = patch + more[0], patch + more[1]
    grid = patch_grid(height, width, patch, num_per_dim, cap)
    origins = grid.origins()
    assert len(origins) == grid.num_patches <= cap
    assert origins.min() >= 0
    assert (origins.max(axis=0) + patch <= (height, width)).all()
    # Another patch would not fit.
    assert (origins.max(axis=0) + grid.stride + patch > (height, width)).all()


@pytest.mark.parametrize("bad", [(127, 500, 128), (500, 127, 128), (0, 0, 1), (9, 9, 0)])
def test_grid_refuses(bad):
    with pytest.raises(ValueError, match=r"holds no|at least 1"):
        patch_grid(*bad)


# --- patches ----------------------------------------------------------------------------------


def project(params, images):
    return images.reshape(len(images), -1).astype(jnp.float32) @ params


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("size", [(40, 61), (16, 16), (530, 20)])
def test_patches_are_cut_where_the_grid_says(size, batch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    weights = rng.normal(size=(16 * 16 * 3, 5)).astype(np.float32)
    grid = patch_grid(*size, 16, num_per_dim=8)
    expected = np.stack([image[y : y + 16, x : x + 16].ravel() for y, x in grid.origins()])
    expected = expected.astype(np.float32) @ weights
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    result = patches.embed_patches(project, weights, image, grid, batch)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_photos_of_like_size_share_one_compiled_encoder():
    calls = []

    def encode(params, images):
        calls.append(images.shape)
        return images[:, 0, 0].astype(jnp.float32)

    def run(height, width):
        grid = patch_grid(height, width, 8, 20)
        patches.embed_patches(encode, {}, np.ones((height, width, 3), np.uint8), grid, 16)
        return grid.num_patches

    first = run(60, 40)
    traces = len(calls)
    assert run(50, 70) != first
    assert len(calls) == traces > 0
