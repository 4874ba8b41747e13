"""Processing history as language: what is done to a patch is also said in its text.

A pasted region has often been rescaled, and the photo it came from was compressed before. Such
operations cost nothing to apply to any photo and to name in words, so they give the contrastive
objective unlimited supervision on the very traces that splices leave.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

RESCALE_TAG = "Rescale Factor"
RECOMPRESSION_TAG = "Recompression Quality"
SHIFT_TAG = "Grid Shift"
GRID = 8  # pixels: side of a JPEG block
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Room around the patch, so that the last crop can put it anywhere on a new JPEG grid.
_MARGIN = 16


def process(
    region: np.ndarray,
    size: int,
    rng: np.random.Generator,
    rescale: float,
    recompress: float,
    shift: float,
) -> tuple[np.ndarray, dict[str, str]]:
    """Cuts a random patch out of a region, perhaps rescaled and then recompressed as JPEG.

    Args:
        region: uint8 [H, W, 3], with H and W at least `size`, that begins on a corner of the
            photo's JPEG grid.
        size: side S of the patch in pixels.
        rng: decides everything.
        rescale: probability in [0, 1] of rescaling by a factor in 0.5..1.5, where the region is
            large enough for it.
        recompress: probability in [0, 1] of compressing with a quality in 60..98, on a JPEG grid
            that begins where the crop before it did.
        shift: probability in [0, 1] of cropping anywhere; otherwise crops begin on a corner of
            the JPEG grid, as the patches of `affinity.patch_grid` do.

    Returns:
        The patch, uint8 [S, S, 3], and the tags that say what was done, in the order it was done.
    """
    tags = {}
    factor = 1.0
    if rng.random() < rescale:
        factor = round(rng.uniform(0.5, 1.5), 1)
    jpeg = rng.random() < recompress
    step = 1 if rng.random() < shift else GRID
    margin = _MARGIN if jpeg or factor != 1.0 else 0
    wanted = math.ceil((size + margin) / factor)
    if wanted > min(region.shape[:2]):  # too small a region to be shrunk by so much
        factor, wanted = 1.0, min(size + margin, *region.shape[:2])
    patch, offset = _random_crop(region, wanted, step, rng)
    if factor != 1.0:
        name = rng.choice(sorted(_FILTERS))
        side = max(size, round(wanted * factor))
        patch = np.asarray(Image.fromarray(patch).resize((side, side), _FILTERS[name]))
        tags[RESCALE_TAG] = f"{factor:.1f} {name}"
    if jpeg:
        quality = int(rng.integers(30, 50)) * 2
        subsampling = int(rng.choice([0, 2]))
        buffer = io.BytesIO()
        Image.fromarray(patch).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        patch = np.asarray(Image.open(buffer))
        tags[RECOMPRESSION_TAG] = f"{quality} {'4:4:4' if subsampling == 0 else '4:2:0'}"
        offset = (0, 0)
    patch, last_offset = _random_crop(patch, size, step, rng)
    if step != GRID and (jpeg or factor == 1.0):
        y, x = ((a + b) % GRID for a, b in zip(offset, last_offset, strict=True))
        tags[SHIFT_TAG] = f"{y} {x}"
    return patch, tags


def _random_crop(
    image: np.ndarray, size: int, step: int, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int]]:
    """A square at a random multiple of `step` pixels down and across, and where it lies."""
    y, x = (int(rng.integers((side - size) // step + 1)) * step for side in image.shape[:2])
    return image[y : y + size, x : x + size], (y, x)
