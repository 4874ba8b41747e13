"""Augmentations that a patch's text names, on the host with NumPy and Pillow.

A tampered region was often rescaled, and the photo that it came from was compressed before. Such
operations can be applied to any photo and named in words, so that they supervise the contrastive
objective on the very traces that splices leave.

`Augmentation` says what is done to a patch, `PostProcessing` what is done to all patches of a
batch alike. Both have `tags`, which join the tags of the photo's EXIF in the text.
"""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from exif_jax.reading.pixels import BLOCK, Jpeg, compress

RESCALE_TAG = "Rescale Factor"
RECOMPRESSION_TAG = "Recompression Quality"
SHIFT_TAG = "Grid Shift"
SAVED_QUALITY_TAG = "Saved Quality"
SAVED_FACTOR_TAG = "Saved Factor"
SAVED_NOISE_TAG = "Saved Noise"
FILTER_TAG = "Filtering"
MIN_FACTOR = 0.5  # of a rescaling, and of a shrinking
RESAMPLINGS = ("bilinear", "bicubic", "lanczos")
FILTERS = {
    "median 3": ImageFilter.MedianFilter(3),
    "gaussian 0.7": ImageFilter.GaussianBlur(0.7),
    "gaussian 1.2": ImageFilter.GaussianBlur(1.2),
    "unsharp 0.8": ImageFilter.UnsharpMask(0.8, 100, 0),
    "unsharp 1.5": ImageFilter.UnsharpMask(1.5, 150, 0),
}


class PostProcessing(NamedTuple):
    """What is done to a finished picture, in this order; the default is nothing.

    Attributes:
        factor: the picture is shrunk by this factor with Lanczos' filter.
        noise: white Gaussian noise is added, whose standard deviation is so many levels of 255.
        jpeg: the picture is compressed.
    """

    factor: float = 1.0
    noise: int = 0
    jpeg: Jpeg | None = None

    def tags(self) -> dict[str, str]:
        """Returns each step in words; the value of a step that is not taken is ""."""
        return {
            SAVED_FACTOR_TAG: f"{self.factor:.1f}" if self.factor != 1.0 else "",
            SAVED_NOISE_TAG: str(self.noise or ""),
            SAVED_QUALITY_TAG: str(self.jpeg or ""),
        }


NO_POST_PROCESSING = PostProcessing()


class Augmentation(NamedTuple):
    """What is done to a patch of a photo, in this order; the default is nothing.

    Attributes:
        factor: the photo is rescaled by this factor.
        resampling: the filter of the rescaling, one of RESAMPLINGS.
        filter: the name of one of FILTERS, which smoothes or sharpens the photo; "" for none.
        jpeg: the photo is compressed.
        shift: rows and columns, 0..7, between the JPEG grid and the patch's corner.
        post_processing: what is done to all patches of a batch alike, with the patch's corner on
            the JPEG grid, as when a spliced picture is saved.
    """

    factor: float = 1.0
    resampling: str = RESAMPLINGS[0]
    jpeg: Jpeg | None = None
    shift: tuple[int, int] = (0, 0)
    post_processing: PostProcessing = NO_POST_PROCESSING
    filter: str = ""

    def tags(self) -> dict[str, str]:
        """Returns the steps that are taken, in words and in their order."""
        tags = {
            RESCALE_TAG: f"{self.factor:.1f} {self.resampling}" if self.factor != 1.0 else "",
            FILTER_TAG: self.filter,
            RECOMPRESSION_TAG: str(self.jpeg or ""),
            SHIFT_TAG: f"{self.shift[0]} {self.shift[1]}" if any(self.shift) else "",
            **self.post_processing.tags(),
        }
        return {name: value for name, value in tags.items() if value}


def sample_jpeg(rng: np.random.Generator, lowest: int = 60) -> Jpeg:
    """Draws an even quality from `lowest` to 98, with or without chroma subsampling."""
    return Jpeg(int(rng.integers(lowest // 2, 50)) * 2, int(rng.choice([0, 2])))


def sample_post_processing(
    rng: np.random.Generator, save_prob: float, shrink_prob: float, noise_prob: float
) -> PostProcessing:
    """Draws what all patches of a batch go through.

    Args:
        rng: makes the decisions.
        save_prob: probability of a compression as JPEG of quality 70 to 98.
        shrink_prob: probability of shrinking by 0.5 to 0.9.
        noise_prob: probability of noise of 1 to 5 levels.
    """
    jpeg = sample_jpeg(rng, lowest=70) if rng.random() < save_prob else None
    # Without a step nothing is drawn for it, so that a seed gives what it gave before the step was.
    factor = int(rng.integers(5, 10)) / 10 if shrink_prob and rng.random() < shrink_prob else 1.0
    noise = int(rng.integers(1, 6)) if noise_prob and rng.random() < noise_prob else 0
    return PostProcessing(factor, noise, jpeg)


def sample_augmentation(
    rng: np.random.Generator,
    rescale_prob: float,
    recompress_prob: float,
    shift_prob: float,
    filter_prob: float = 0.0,
    min_factor: float = 0.5,
    post_processing: PostProcessing = NO_POST_PROCESSING,
) -> Augmentation:
    """Draws what is done to the patches of one text.

    Args:
        rng: makes the decisions.
        rescale_prob, recompress_prob, shift_prob, filter_prob: probability of each step, in [0, 1].
        min_factor: the smallest factor that the region allows (`min_rescale_factor`); factors lie
            between it, or MIN_FACTOR where that is more, and 1.5, at one decimal.
        post_processing: the last steps, which were drawn for the whole batch.
    """
    factor, resampling, jpeg, shift, filter_name = 1.0, RESAMPLINGS[0], None, (0, 0), ""
    lowest = math.ceil(10 * max(min_factor, MIN_FACTOR) - 1e-9)
    if rng.random() < rescale_prob and lowest <= 15:
        factor = int(rng.integers(lowest, 16)) / 10
        resampling = RESAMPLINGS[rng.integers(len(RESAMPLINGS))] if factor != 1.0 else resampling
    if rng.random() < recompress_prob:
        jpeg = sample_jpeg(rng)
    if rng.random() < shift_prob:
        shift = (int(rng.integers(BLOCK)), int(rng.integers(BLOCK)))
    if filter_prob and rng.random() < filter_prob:
        filter_name = list(FILTERS)[rng.integers(len(FILTERS))]
    return Augmentation(factor, resampling, jpeg, shift, post_processing, filter_name)


def min_rescale_factor(region_side: int, size: int) -> float:
    """Returns the smallest factor by which a region of this side still gives a patch of `size`."""
    return (size + BLOCK) / region_side


def size_before_post_processing(size: int, post_processing: PostProcessing) -> int:
    """Returns the side of a patch that post-processing shrinks to `size` pixels."""
    return math.ceil(size / post_processing.factor)


def crop_size(region_shape: tuple[int, ...], size: int, augmentation: Augmentation) -> int:
    """Returns the side in pixels of the square that `augment` cuts out of a region.

    Args:
        region_shape: (H, W, ...) of the region.
        size: side S of the patch that is made of the square.
        augmentation: what is done to it.
    """
    size = size_before_post_processing(size, augmentation.post_processing)
    room = BLOCK if any(augmentation.shift) or augmentation.factor != 1.0 else 0
    return min(math.ceil((size + room) / augmentation.factor), *region_shape[:2])


def sample_corner(
    region_shape: tuple[int, ...], crop_side: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Draws the row and the column, on the JPEG grid, where a square lies in a region."""
    y, x = (int(rng.integers((side - crop_side) // BLOCK + 1)) * BLOCK for side in region_shape[:2])
    return y, x


def augment(
    region: np.ndarray, size: int, augmentation: Augmentation, corner: tuple[int, int]
) -> np.ndarray:
    """Cuts a square out of a region and makes a patch of it.

    Args:
        region: uint8 [H, W, 3] that begins on a corner of the photo's JPEG grid. H and W are at
            least `size_before_post_processing` and, with a factor or a shift, at least 8 more than
            that over the factor; in a smaller region the shift is cut to the room that is left.
        size: side S of the patch in pixels.
        augmentation: what to do.
        corner: row and column where the square of `crop_size` begins.

    Returns:
        uint8 [S, S, 3].
    """
    post_processing = augmentation.post_processing
    (y, x), crop_side = corner, crop_size(region.shape, size, augmentation)
    patch = region[y : y + crop_side, x : x + crop_side]
    large_size = size_before_post_processing(size, post_processing)
    if augmentation.factor != 1.0:
        side = max(large_size, round(crop_side * augmentation.factor))
        patch = _resize(patch, side, Image.Resampling[augmentation.resampling.upper()])
    if augmentation.filter:
        patch = np.asarray(Image.fromarray(patch).filter(FILTERS[augmentation.filter]))
    if augmentation.jpeg:
        patch = compress(patch, augmentation.jpeg)
    y, x = (min(offset, len(patch) - large_size) for offset in augmentation.shift)
    patch = patch[y : y + large_size, x : x + large_size]
    return _post_process(patch, size, post_processing)


def _post_process(patch: np.ndarray, size: int, post_processing: PostProcessing) -> np.ndarray:
    """uint8 [n, n, 3] -> [size, size, 3], n as `size_before_post_processing` has it."""
    if post_processing.factor != 1.0:
        patch = _resize(patch, size, Image.Resampling.LANCZOS)
    if post_processing.noise:
        seed = zlib.crc32(patch.tobytes())  # the same for the same pixels, and for no others
        noise = np.random.default_rng(seed).normal(0, post_processing.noise, patch.shape)
        patch = np.clip(np.rint(patch + noise), 0, 255).astype(np.uint8)
    return compress(patch, post_processing.jpeg) if post_processing.jpeg else patch


def _resize(patch: np.ndarray, side: int, resampling: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(patch).resize((side, side), resampling))
