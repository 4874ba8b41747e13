"""What the device needs to know to augment a patch: `device_augment.augment` does what `pack` says.

The host draws what is done to each patch as it always does, and texts say so. `pack` turns one
patch's `Augmentation` into numbers of fixed shapes. `Shapes` is what a compiled program depends on:
one for each size of patch and kind of config.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from exif_jax.data.augment import (
    FILTERS,
    MIN_FACTOR,
    Augmentation,
    crop_size,
    size_before_post_processing,
)
from exif_jax.data.config import DataConfig
from exif_jax.data.jpeg import check_jpeg, quality_tables
from exif_jax.data.resample import Weights, padded_weights, resize_weights
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.pixels import BLOCK, Jpeg

# Room for a shift and for the rounding of a rescaled side.
MARGIN = 2 * BLOCK
# The chroma subsampling of a compression that is not done.
NO_JPEG = -1
# What `pack` gives, and the patches' numbers in the batch.
PACKED = (
    *(
        "region",
        "record",
        "corner",
        "row",
        "side",
        "offset",
        "large",
        "resize_start",
        "resize_weight",
    ),
    *("jpeg_tables", "jpeg_subsampling", "filter", "shrink_start", "shrink_weight", "noise"),
)
_NO_TABLES = np.ones((2, BLOCK**2), np.uint8)


class AugmentError(ExifJaxError):
    """Patches cannot be augmented so on the device; the message says what is possible."""


class Shapes(NamedTuple):
    """The sides of arrays, and which steps a config takes at all.

    Attributes:
        size: S, side of a finished patch.
        square: R, side of the array that holds the square cut out of a region.
        large: side of the largest patch before post-processing shrinks it.
        filters, shrinks, noises: whether any patch may be filtered, shrunk, made noisy.
    """

    size: int
    square: int
    large: int
    filters: bool
    shrinks: bool
    noises: bool


def make_shapes(config: DataConfig, size: int, region_side: int) -> Shapes:
    """Returns the shapes of a run.

    Args:
        config: which steps are taken.
        size: side of a patch in pixels.
        region_side: shorter side of the regions; of larger ones, squares of that side are used.

    Raises:
        AugmentError: the size is no multiple of 8, or the regions are smaller.
    """
    if size < BLOCK or size % BLOCK:
        raise AugmentError(
            f"patches of {size} px cannot be augmented on the device: the side must be a multiple "
            f"of {BLOCK}; choose another config.model.image.image_size, or config.data.augment_on "
            "'host'"
        )
    if region_side < size:
        raise AugmentError(
            f"regions of {region_side} px are smaller than the patch of {size} px; write the "
            "records with a larger --region-size or train on smaller patches"
        )
    shrinks = config.shrink_prob > 0
    large = min(round(size / MIN_FACTOR) if shrinks else size, region_side)
    least = MIN_FACTOR if config.rescale_prob else 1.0
    square = min(round((large + BLOCK) / least), region_side)
    return Shapes(size, square, large, config.filter_prob > 0, shrinks, config.noise_prob > 0)


def pack(
    region: np.ndarray,
    augmentation: Augmentation,
    corner: tuple[int, int],
    shapes: Shapes,
    record: int | None = None,
) -> dict[str, np.ndarray]:
    """Returns what `augment` needs for one patch; stacked, it is what `augment` takes.

    Args:
        region: uint8 [H, W, 3], as `augment.augment` wants it.
        augmentation: what to do.
        corner: row and column where the square of `augment.crop_size` begins.
        shapes: of the run.
        record: the region's place among those that lie on the device.

    Returns:
        region uint8 [R, R, 3], the square in its upper left corner, or with a record instead of it
        record int32 and corner int32 [2]; side, offset [2] and large
        int32: of the rescaled picture, of the patch in it and before post-processing; resize_start
        and resize_weight (`resample.Weights`); jpeg_tables uint8 [2, 2, 64] and jpeg_subsampling
        int32 [2] of both compressions, -1 for none; and where the config takes such steps filter
        int32, shrink_start, shrink_weight and noise int32.

    Raises:
        AugmentError: the region is too small for that, or the config said that there would be no
            such step.
        JpegError, ResampleError: no JPEG has such settings, or nothing would be left.
    """
    size, post = shapes.size, augmentation.post_processing
    large = size_before_post_processing(size, post)
    crop_side = crop_size(region.shape, size, augmentation)
    side = crop_side
    if augmentation.factor != 1.0:
        side = max(large, round(crop_side * augmentation.factor))
    _check_patch(region, augmentation, corner, crop_side, large, shapes)
    y, x = corner
    if record is None:
        square = np.zeros((shapes.square, shapes.square, 3), np.uint8)
        square[:crop_side, :crop_side] = region[y : y + crop_side, x : x + crop_side]
        source = {"region": square}
    else:
        source = {"record": np.int32(record), "corner": np.array(corner, np.int32)}
    resize = _padded_weights(crop_side, side, augmentation.resampling, shapes.large + MARGIN)
    tables, subsampling = zip(*map(_jpeg_numbers, (augmentation.jpeg, post.jpeg)), strict=True)
    arrays = source | {
        "side": np.int32(side),
        "offset": np.minimum(augmentation.shift, side - large).astype(np.int32),
        "large": np.int32(large),
        "resize_start": resize.start,
        "resize_weight": resize.weight,
        "jpeg_tables": np.stack(tables),
        "jpeg_subsampling": np.array(subsampling, np.int32),
    }
    if shapes.filters:
        names = ["", *FILTERS]
        arrays["filter"] = np.int32(names.index(augmentation.filter))
    if shapes.shrinks:
        shrink = _padded_weights(large, size, "lanczos", size)
        arrays |= {"shrink_start": shrink.start, "shrink_weight": shrink.weight}
    if shapes.noises:
        arrays["noise"] = np.int32(post.noise)
    return {name: np.asarray(value) for name, value in arrays.items()}


def _check_patch(
    region: np.ndarray,
    augmentation: Augmentation,
    corner: tuple[int, int],
    crop_side: int,
    large: int,
    shapes: Shapes,
) -> None:
    """Raises AugmentError where a patch does not fit into its region or the shapes."""
    post = augmentation.post_processing
    whole = region.shape[0] >= corner[0] + crop_side and region.shape[1] >= corner[1] + crop_side
    if min(corner) < 0 or not whole or round(crop_side * augmentation.factor) < large:
        raise AugmentError(
            f"a region of {region.shape[1]} x {region.shape[0]} px has no window of {crop_side} px "
            f"at row {corner[0]}, column {corner[1]} that gives {large} px at factor "
            f"{augmentation.factor:g}"
        )
    if crop_side > shapes.square or large > shapes.large:
        raise AugmentError(
            f"a square of {crop_side} px, for {large} px, is larger than the {shapes.square} and "
            f"{shapes.large} px that this run has room for"
        )
    for taken, name in (
        (augmentation.filter and not shapes.filters, "filter"),
        (post.factor != 1.0 and not shapes.shrinks, "shrink"),
        (post.noise and not shapes.noises, "noise"),
    ):
        if taken:
            raise AugmentError(f"config.data.{name}_prob is 0, and a patch takes that step")


@functools.lru_cache(4096)
def _padded_weights(before: int, after: int, resampling: str, length: int) -> Weights:
    return padded_weights(resize_weights(before, after, resampling), length)


@functools.lru_cache(512)
def _jpeg_numbers(jpeg: Jpeg | None) -> tuple[np.ndarray, int]:
    if jpeg is None:
        return _NO_TABLES, NO_JPEG
    tables = quality_tables(jpeg.quality)
    check_jpeg(tables, np.array(jpeg.subsampling))
    return tables.astype(np.uint8), jpeg.subsampling
