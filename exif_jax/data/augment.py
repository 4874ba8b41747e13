"""Processing history as language: what is done to a patch is also said in its text.

A tampered region has often been rescaled, and the photo it came from was compressed before. Such
operations cost nothing to apply to any photo and to name in words, so they give the contrastive
objective unlimited supervision on the very traces that splices leave.
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
RESAMPLINGS = ("bilinear", "bicubic", "lanczos")
FILTERS = {
    "median 3": ImageFilter.MedianFilter(3),
    "gaussian 0.7": ImageFilter.GaussianBlur(0.7),
    "gaussian 1.2": ImageFilter.GaussianBlur(1.2),
    "unsharp 0.8": ImageFilter.UnsharpMask(0.8, 100, 0),
    "unsharp 1.5": ImageFilter.UnsharpMask(1.5, 150, 0),
}


class PostProcessing(NamedTuple):
    """What happens to a whole picture after it was made, in this order; the default is nothing.

    Attributes:
        factor: it is shrunk by this, by Lanczos' filter.
        noise: white Gaussian noise of so many levels of 255 is added.
        jpeg: it is compressed.
    """

    factor: float = 1.0
    noise: int = 0
    jpeg: Jpeg | None = None

    def tags(self) -> dict[str, str]:
        """What was done, in words; what was not has ""."""
        return {
            SAVED_FACTOR_TAG: f"{self.factor:.1f}" if self.factor != 1.0 else "",
            SAVED_NOISE_TAG: str(self.noise or ""),
            SAVED_QUALITY_TAG: str(self.jpeg or ""),
        }


NO_POST_PROCESSING = PostProcessing()


class Augmentation(NamedTuple):
    """What is done to a patch of a photo, in this order; the default is nothing.

    Attributes:
        factor: the photo is rescaled by this with the filter of that name.
        resampling: one of RESAMPLINGS.
        filter: one of FILTERS smoothes or sharpens it, or none ("").
        jpeg: it is compressed.
        shift: rows and columns, 0..7, by which the patch lies off the JPEG grid.
        saved: what is done to all patches of a picture alike, with the patch's corner on the
            JPEG grid, as when a splice is saved.
    """

    factor: float = 1.0
    resampling: str = RESAMPLINGS[0]
    jpeg: Jpeg | None = None
    shift: tuple[int, int] = (0, 0)
    saved: PostProcessing = NO_POST_PROCESSING
    filter: str = ""

    def tags(self) -> dict[str, str]:
        """What was done, in words, in the order it was done."""
        done = {
            RESCALE_TAG: f"{self.factor:.1f} {self.resampling}" if self.factor != 1.0 else "",
            FILTER_TAG: self.filter,
            RECOMPRESSION_TAG: str(self.jpeg or ""),
            SHIFT_TAG: f"{self.shift[0]} {self.shift[1]}" if any(self.shift) else "",
            **self.saved.tags(),
        }
        return {name: value for name, value in done.items() if value}


def sample_jpeg(rng: np.random.Generator, lowest: int = 60) -> Jpeg:
    """An even quality from `lowest` to 98, with or without chroma subsampling."""
    return Jpeg(int(rng.integers(lowest // 2, 50)) * 2, int(rng.choice([0, 2])))


def sample_post_processing(
    rng: np.random.Generator, save: float, shrink: float, noise: float
) -> PostProcessing:
    """What all patches of a batch go through; each step with its probability in [0, 1].

    Shrunk by 0.5 to 0.9, noise of 1 to 5 levels, JPEG of quality 70 to 98.
    """
    jpeg = sample_jpeg(rng, lowest=70) if rng.random() < save else None
    factor = int(rng.integers(5, 10)) / 10 if shrink and rng.random() < shrink else 1.0
    levels = int(rng.integers(1, 6)) if noise and rng.random() < noise else 0
    return PostProcessing(factor, levels, jpeg)


def sample_augmentation(
    rng: np.random.Generator,
    rescale: float,
    recompress: float,
    shift: float,
    min_rescale_factor: float = 0.5,
    saved: PostProcessing = NO_POST_PROCESSING,
    filtering: float = 0.0,
) -> Augmentation:
    """A random history.

    Args:
        rng: decides.
        rescale, recompress, shift: probabilities in [0, 1] of each step.
        min_rescale_factor: the region bears no more shrinking than this; factors lie between it, or
            0.5 where that is more, and 1.5, at one decimal.
        saved: the last steps, decided elsewhere.
        filtering: probability of smoothing or sharpening.
    """
    factor, resampling, jpeg, offset, chosen = 1.0, RESAMPLINGS[0], None, (0, 0), ""
    lowest = math.ceil(10 * max(min_rescale_factor, 0.5) - 1e-9)
    if rng.random() < rescale and lowest <= 15:
        factor = int(rng.integers(lowest, 16)) / 10
        resampling = RESAMPLINGS[rng.integers(len(RESAMPLINGS))] if factor != 1.0 else resampling
    if rng.random() < recompress:
        jpeg = sample_jpeg(rng)
    if rng.random() < shift:
        offset = (int(rng.integers(BLOCK)), int(rng.integers(BLOCK)))
    if filtering and rng.random() < filtering:
        chosen = list(FILTERS)[rng.integers(len(FILTERS))]
    return Augmentation(factor, resampling, jpeg, offset, saved, chosen)


def min_rescale_factor(side: int, size: int) -> float:
    """The least factor by which a region of `side` pixels still gives any patch of `size`."""
    return (size + BLOCK) / side


def size_before_post_processing(size: int, history: Augmentation) -> int:
    """Side of a patch before it is shrunk to `size` pixels as the last step but two."""
    return math.ceil(size / history.saved.factor)


def crop_size(region_shape: tuple[int, ...], size: int, history: Augmentation) -> int:
    """Side of the square of a region that `augment` cuts out, in pixels; arguments as there."""
    size = size_before_post_processing(size, history)
    room = BLOCK if any(history.shift) or history.factor != 1.0 else 0
    return min(math.ceil((size + room) / history.factor), *region_shape[:2])


def sample_corner(
    region_shape: tuple[int, ...], wanted: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Row and column of a random window of `wanted` pixels, on the JPEG grid."""
    y, x = (int(rng.integers((side - wanted) // BLOCK + 1)) * BLOCK for side in region_shape[:2])
    return y, x


def augment(
    region: np.ndarray, size: int, history: Augmentation, corner: tuple[int, int]
) -> np.ndarray:
    """Cuts a patch out of a region and gives it a history.

    Args:
        region: uint8 [H, W, 3] that begins on a corner of the photo's JPEG grid. H and W are at
            least `size_before_post_processing` and, for a history with a factor or a shift, 8 more than that
            over the factor; a shift is cut to the room that is left.
        size: side S of the patch in pixels.
        history: what to do.
        corner: where its `crop_size` begins.

    Returns:
        uint8 [S, S, 3].
    """
    last, saved = size, history.saved
    size = size_before_post_processing(size, history)
    wanted, (y, x) = crop_size(region.shape, size, history), corner
    patch = region[y : y + wanted, x : x + wanted]
    if history.factor != 1.0:
        side = max(size, round(wanted * history.factor))
        how = Image.Resampling[history.resampling.upper()]
        patch = np.asarray(Image.fromarray(patch).resize((side, side), how))
    if history.filter:
        patch = np.asarray(Image.fromarray(patch).filter(FILTERS[history.filter]))
    if history.jpeg:
        patch = compress(patch, history.jpeg)
    y, x = (min(offset, len(patch) - size) for offset in history.shift)
    patch = patch[y : y + size, x : x + size]
    if saved.factor != 1.0:
        patch = np.asarray(Image.fromarray(patch).resize((last, last), Image.Resampling.LANCZOS))
    if saved.noise:
        seed = zlib.crc32(patch.tobytes())  # the same for the same pixels, and for no others
        added = np.random.default_rng(seed).normal(0, saved.noise, patch.shape)
        patch = np.clip(np.rint(patch + added), 0, 255).astype(np.uint8)
    return compress(patch, saved.jpeg) if saved.jpeg else patch
