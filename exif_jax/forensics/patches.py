"""The patches of a photo: where they lie, and what the encoder makes of them.

Shape letters: P patches, D embedding width, S side of a patch, K batches of B patches.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from exif_jax.reading.pixels import BLOCK

# (parameters, uint8 [B, S, S, 3]) -> float32 [B, D]
Encoder = Callable[[Any, jax.Array], jax.Array]
# uint8 [H, W, 3] -> float32 [H, W, 3]
PhotoFeatures = Callable[[jax.Array], jax.Array]

# Photos are padded to multiples of _SIZE_STEP pixels, and the patches to a power of two of at
# least _MIN_PATCHES, so that photos of like size share one compiled encoder.
_SIZE_STEP = 512
_MIN_PATCHES = 1024
# Longer sides, in patches of the model's own side, up to which a photo is compared by smaller ones:
# the first by patches of 3/8 of that side, the second by halves, larger ones by halves and wholes.
# Chosen on the development splices, as they are and as the web has them (docs/experiments.md).
_SMALL, _MEDIUM = 5.25, 8
# Times that the patches must cover the photo for shared features to pay: they need memory.
_MIN_OVERLAP = 2


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the patches of a photo lie.

    Attributes:
        height, width: of the photo, in pixels.
        patch: side S of a patch, in pixels.
        stride: step between neighbouring patches, in pixels.
        rows, columns: number of patches down and across, P = rows * columns.
    """

    height: int
    width: int
    patch: int
    stride: int
    rows: int
    columns: int

    @property
    def num_patches(self) -> int:
        """P."""
        return self.rows * self.columns

    @property
    def area(self) -> float:
        """Area of the photo in patches: how many it holds side by side."""
        return self.height * self.width / self.patch**2

    def origins(self) -> np.ndarray:
        """int32 [P, 2]: y and x of every patch's top left pixel, row by row."""
        y, x = np.mgrid[: self.rows, : self.columns]
        return (np.stack([y, x], axis=-1).reshape(-1, 2) * self.stride).astype(np.int32)


def patch_sides(height: int, width: int, patch: int, positions: str) -> tuple[int, ...]:
    """Sides of the patches that a photo is compared by, the smallest first.

    A part smaller than a patch is not seen, and small patches show less of a camera: what is best
    depends on how large the parts are, and so on the photo.

    Args:
        height, width: of the photo, in pixels.
        patch: the side that the model was trained for, in pixels.
        positions: of the encoder's configuration: "learned" ones hold for this side alone.

    Returns:
        One side or two, multiples of 8 unless `patch` is none.
    """
    longer = max(height, width) / patch
    if positions != "none" or patch % (2 * BLOCK):
        return (patch,)
    if longer < _SMALL:
        return (3 * patch // (8 * BLOCK) * BLOCK,)
    return (patch // 2,) if longer < _MEDIUM else (patch // 2, patch)


def patch_grid(
    height: int,
    width: int,
    patch: int,
    num_per_dim: int = 30,
    max_patches: int = 4096,
    align: int = 1,
) -> Grid:
    """The paper's grid: stride = (max(height, width) - patch) // num_per_dim, at least 1.

    Args:
        height, width: of the photo, in pixels.
        patch: side of a patch, in pixels.
        num_per_dim: steps along the longer side.
        max_patches: the stride grows until the grid holds no more patches than this; memory and
            time grow with the square of their number.
        align: the stride is rounded to a multiple of this. 8 puts every patch at the same place
            on the photo's JPEG grid, as most patches in training were.

    Raises:
        ValueError: the photo is smaller than one patch, or a setting is below 1.
    """
    if min(patch, num_per_dim, max_patches, align) < 1:
        raise ValueError("patch, num_per_dim, max_patches and align must be at least 1")
    if min(height, width) < patch:
        raise ValueError(f"a photo of {width} x {height} pixels holds no {patch} x {patch} patch")
    stride = max(1, (max(height, width) - patch) // num_per_dim)
    stride = max(align, round(stride / align) * align)

    def counts(stride):
        return (height - patch) // stride + 1, (width - patch) // stride + 1

    while math.prod(counts(stride)) > max_patches:
        stride += align
    return Grid(height, width, patch, stride, *counts(stride))


def embed_patches(
    encode: Encoder,
    params: Any,
    image: np.ndarray,
    grid: Grid,
    batch_size: int | None = None,
    photo_features: PhotoFeatures | None = None,
) -> jax.Array:
    """Embeds every patch of the grid; patches are cut out on the device, batch by batch.

    Args:
        encode: pure; compiled once per function object, `batch_size` and photo size rounded up to
            512 pixels.
        params: the encoder's parameters, any pytree.
        image: uint8 [H, W, 3].
        grid: of this photo.
        batch_size: patches per call of the encoder; None: as suits the device.
        photo_features: what the encoder would compute of every patch and takes in its place,
            computed once for the whole photo where patches overlap and their corners lie on its
            8 x 8 blocks.

    Returns:
        float32 [P, D], rows scaled to unit length.
    """
    # On a CPU a small batch stays in the cache (`benchmarks/localize.py --batch-size` compares).
    batch_size = batch_size or (32 if jax.default_backend() == "cpu" else 128)
    overlap = grid.num_patches / grid.area
    shared = overlap >= _MIN_OVERLAP and grid.stride % BLOCK == 0
    if grid.stride > grid.patch:
        # What lies between the patches never reaches the device.
        span = np.arange(grid.patch)
        rows, columns = (
            (np.arange(n)[:, None] * grid.stride + span).ravel() for n in (grid.rows, grid.columns)
        )
        image = image[rows][:, columns]
    origins_Px2 = grid.origins() // grid.stride * min(grid.stride, grid.patch)
    # Spare batches cost nothing: the loop on the device ends where the photo does.
    capacity = max(_MIN_PATCHES, 1 << (grid.num_patches - 1).bit_length())
    padding = [(0, -side % _SIZE_STEP) for side in image.shape[:2]]
    photo = jnp.asarray(np.pad(image, [*padding, (0, 0)]))
    z_PxD = embed_batches(
        encode,
        grid.patch,
        params,
        jax.jit(photo_features)(photo) if photo_features and shared else photo,
        jnp.asarray(batch_origins(origins_Px2, batch_size, capacity)),
        jnp.int32(-(-grid.num_patches // batch_size)),
    )
    return z_PxD[: grid.num_patches]


def batch_origins(origins_Px2: np.ndarray, batch_size: int, capacity: int) -> np.ndarray:
    """Returns origins [P, 2] as batches, int32 [K, B, 2] with K * B >= capacity, ended by zeros."""
    num_batches = -(-capacity // batch_size)
    origins = np.zeros((num_batches * batch_size, 2), np.int32)
    origins[: len(origins_Px2)] = origins_Px2
    return origins.reshape(num_batches, batch_size, 2)


@functools.partial(jax.jit, static_argnums=(0, 1))
def embed_batches(
    encode: Encoder,
    patch: int,
    params: Any,
    photo: jax.Array,
    origins_KxBx2: jax.Array,
    num_batches: jax.Array | int,
) -> jax.Array:
    """Embeds the patches of a photo, batch by batch; traced.

    Args:
        encode, params: as for `embed_patches`.
        patch: side S of a patch, in pixels.
        photo: uint8 [H, W, 3], or its features.
        origins_KxBx2: int32, y and x of the patches' top left pixels, B to a batch.
        num_batches: at most K; the batches after them are not encoded.

    Returns:
        float32 [K * B, D], rows scaled to unit length; zeros for what is not encoded.
    """
    cut = jax.vmap(lambda yx: jax.lax.dynamic_slice(photo, (*yx, 0), (patch, patch, 3)))

    def embed(origins_Bx2):
        z_BxD = encode(params, cut(origins_Bx2)).astype(jnp.float32)
        return z_BxD * jax.lax.rsqrt(jnp.square(z_BxD).sum(-1, keepdims=True) + 1e-12)

    K, B, _ = origins_KxBx2.shape
    D = jax.eval_shape(embed, origins_KxBx2[0]).shape[-1]
    z_KxBxD = jax.lax.fori_loop(
        0,
        num_batches,
        lambda k, z_KxBxD: z_KxBxD.at[k].set(embed(origins_KxBx2[k])),
        jnp.zeros((K, B, D), jnp.float32),
    )
    return z_KxBxD.reshape(K * B, D)


# --- the image encoder of a model -----------------------------------------------------------------

# Flax is imported with the first photo: it takes a quarter of a second, which `--help` spares.


@functools.lru_cache
def image_encoder(config: Any) -> Encoder:
    """Returns the one encoder of a configuration: JAX compiles once per function object."""
    from exif_jax.models.dual_encoder import embed_images

    return functools.partial(embed_images, config)


def features_of_photo(config: Any) -> PhotoFeatures | None:
    """What overlapping patches share by the encoder of a configuration; None: nothing."""
    from exif_jax.models.dual_encoder import photo_features

    return photo_features if getattr(config.image, "features", "") == "spectrum" else None
