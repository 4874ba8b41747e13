"""How strongly a photo was last compressed, from its pixels alone.

JPEG rounds every coefficient of an 8 x 8 block to multiples of a step. Decoded pixels still show
it: their coefficients lie on a comb (Fan and de Queiroz 2003, "Identification of bitmap compression
history"). Read from the pixels and not from the file's tables, a step means the same in a JPEG and
in the PNG that somebody made of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exif_jax.reading.pixels import BLOCK

# The eight lowest frequencies (down, across) but the mean: in others most coefficients are 0, which
# lies on every comb. And their steps at quality 50, of JPEG's example table (ITU-T T.81, K.1).
_FREQUENCIES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2))
_STEPS_AT_50 = np.array([11, 12, 12, 10, 14, 14, 13, 16], np.float32)
_STEPS = np.arange(2, 49)
# A comb is seen where the mean of cos(2 pi coefficient / step) exceeds this: it is about 0.9 on
# the comb itself, as decoding rounds pixels, and 0 where there is none.
_SEEN = 0.5
_MIN_SHARE = 0.002  # of the blocks, which must have a coefficient beyond half a step
_MAX_BLOCKS = 4096


def _basis() -> np.ndarray:
    """float32 [64, 8]: the DCT of a block, row by row, at the frequencies."""
    n = np.arange(BLOCK)
    waves = np.cos((2 * n[None] + 1) * n[:, None] * math.pi / (2 * BLOCK)) / 2
    waves[0] /= math.sqrt(2)
    products = [np.outer(waves[down], waves[across]).ravel() for down, across in _FREQUENCIES]
    return np.stack(products, axis=1).astype(np.float32)


def quantization_step(image: Any) -> Any:
    """The step of the last JPEG compression, relative to that of quality 50.

    Args:
        image: uint8 [H, W, 3], of NumPy or of JAX; its blocks begin at the top left corner.

    Returns:
        A float32 scalar, not negative: the median over the lowest frequencies of the largest step
        on whose multiples their coefficients lie, over the step at quality 50: 1 at quality 50, 0.2
        at 90. 0 where no step of 2 levels and more is seen: no compression, quality 95 and
        above, or one whose blocks lie elsewhere.
    """
    xp = image.__array_namespace__()
    rows, columns = (side // BLOCK for side in image.shape[:2])
    if rows * columns == 0:
        return xp.zeros((), xp.float32)
    skip = math.ceil(math.sqrt(rows * columns / _MAX_BLOCKS))  # every n-th block of large photos
    blocks = image[: rows * BLOCK, : columns * BLOCK]
    blocks = blocks.reshape(rows, BLOCK, columns, BLOCK, 3)[::skip, :, ::skip]
    luma = blocks.astype(xp.float32) @ xp.asarray([0.299, 0.587, 0.114], dtype=xp.float32)
    luma_Nx64 = xp.swapaxes(luma, 1, 2).reshape(-1, BLOCK * BLOCK)
    coefficients_NxF = luma_Nx64 @ xp.asarray(_basis())
    largest_F = xp.zeros(len(_FREQUENCIES), xp.float32)
    for step in _STEPS.tolist():
        # What rounds to 0 lies on every comb and shows none.
        counts_NxF = abs(coefficients_NxF) > step / 2
        number_F = counts_NxF.sum(axis=0)
        on_comb_NxF = xp.cos(coefficients_NxF * (2 * math.pi / step))
        mean_F = xp.where(counts_NxF, on_comb_NxF, 0.0).sum(axis=0) / xp.maximum(number_F, 1)
        seen_F = (mean_F > _SEEN) & (number_F > _MIN_SHARE * len(luma_Nx64))
        largest_F = xp.where(seen_F, xp.float32(step), largest_F)
    return xp.median(largest_F / xp.asarray(_STEPS_AT_50))


def quality_of_step(step: float) -> int | None:
    """The quality, 1 to 94, of libjpeg's scale that has this step; None of a step of 0.

    Args:
        step: of `quantization_step`.
    """
    if step <= 0:
        return None
    quality = 50 / step if step > 1 else 100 - 50 * step
    return max(1, round(quality))
