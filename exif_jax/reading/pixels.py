"""What training and inference alike do to pixels: the JPEG grid, texture and compression."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

BLOCK = 8  # pixels: side of a block of JPEG, whose grid and DCT the traces keep to
CELL = 2 * BLOCK  # pixels: side of what shares a block of chroma where it is subsampled
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")  # of JPEG's chroma, by Pillow's numbers
_BAND = 32  # rows of blocks


class Jpeg(NamedTuple):
    """How a JPEG file is compressed.

    Attributes:
        quality: 1 to 100.
        subsampling: Pillow's number, the place of the chroma's name in SUBSAMPLINGS.
    """

    quality: int
    subsampling: int

    def __str__(self) -> str:
        return f"{self.quality} {SUBSAMPLINGS[self.subsampling]}"


def gradient_energy(region: np.ndarray) -> np.ndarray:
    """Returns how rough the texture is: the mean step between neighbouring pixels of each block.

    Args:
        region: uint8 [H, W, 3], of NumPy or of JAX.

    Returns:
        float32 [H // 8, W // 8], in levels of 255, of blocks of 8 x 8.
    """
    xp = region.__array_namespace__()
    rows, columns = (side // BLOCK for side in region.shape[:2])
    bands = [xp.zeros((0, columns), np.float32)]
    for top in range(0, rows, _BAND):  # in bands, as a large photo's steps need its memory again
        bottom = min(top + _BAND, rows)
        green = region[top * BLOCK : bottom * BLOCK, :, 1].astype(np.int16)
        step = abs(xp.diff(green, axis=1, append=green[:, -1:]))[:, : columns * BLOCK]
        blocks = step.reshape(bottom - top, BLOCK, columns, BLOCK)
        bands.append(blocks.mean(axis=(1, 3), dtype=np.float32))
    return xp.concatenate(bands)


def compress(image: np.ndarray, jpeg: Jpeg) -> np.ndarray:
    """Returns uint8 [H, W, 3] after a compression to JPEG and back."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=jpeg.quality, subsampling=jpeg.subsampling)
    return np.asarray(Image.open(buffer))


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Returns the square nearest the centre that begins on the JPEG grid.

    Args:
        image: [H, W, 3].
        size: side of the square.

    Returns:
        [size, size, 3].
    """
    y, x = ((side - size) // 2 // BLOCK * BLOCK for side in image.shape[:2])
    return image[y : y + size, x : x + size]
