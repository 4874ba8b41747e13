"""What happens to photos on their way: compression, rescaling, blur, noise, networks, screens.

Each distortion changes a photo and its mask together, and changes the same photo always alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from exif_jax.evaluation.runner import Change
from exif_jax.reading.pixels import Jpeg, compress


class Distortion(NamedTuple):
    """Something done to a photo.

    Attributes:
        kind: what, as its curve is called.
        strength: how much, along the curve.
        label: of the strength.
        change: (pixels, mask) -> (pixels, mask).
    """

    kind: str
    strength: float
    label: str
    change: Change


def resize(
    pixels: np.ndarray, mask: np.ndarray | None, factor: float, resampling: Image.Resampling
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels, uint8 [H, W, 3], by a filter, mask by the nearest; at least one pixel a side."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if mask is not None:
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return np.asarray(Image.fromarray(pixels).resize(size, resampling)), mask


def jpeg(quality: int) -> Change:
    """Saved as JPEG with 4:2:0 chroma."""
    return lambda pixels, mask: (compress(pixels, Jpeg(quality, 2)), mask)


def rescale(factor: float) -> Change:
    """Resized by Lanczos' filter."""
    return lambda pixels, mask: resize(pixels, mask, factor, Image.Resampling.LANCZOS)


def blur(sigma: float) -> Change:
    """Gaussian blur of sigma pixels."""

    def change(pixels, mask):
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma))), mask

    return change


def noise(deviation: float) -> Change:
    """White Gaussian noise in levels of 255, the same for photos of one size."""

    def change(pixels, mask):
        added = np.random.default_rng(0).normal(0, deviation, pixels.shape)
        return np.clip(np.rint(pixels + added), 0, 255).astype(np.uint8), mask

    return change


def social(longest: int, quality: int) -> Change:
    """As social networks send photos on: shrunk to a longest side, sharpened a little, JPEG."""

    def change(pixels, mask):
        factor = min(1.0, longest / max(pixels.shape[:2]))
        if factor < 1:
            pixels, mask = resize(pixels, mask, factor, Image.Resampling.LANCZOS)
            sharp = Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(0.6, 60, 0))
            pixels = np.asarray(sharp)
        return compress(pixels, Jpeg(quality, 2)), mask

    return change


def screenshot(factor: float, quality: int | None) -> Change:
    """As a screen shows it: scaled bilinearly, cut by odd margins; saved as PNG or JPEG."""

    def change(pixels, mask):
        pixels, mask = resize(pixels, mask, factor, Image.Resampling.BILINEAR)
        pixels, mask = pixels[5:, 3:], mask if mask is None else mask[5:, 3:]
        return (compress(pixels, Jpeg(quality, 0)) if quality else pixels), mask

    return change


DISTORTIONS = (
    *(Distortion("JPEG quality", -q, str(q), jpeg(q)) for q in (100, 90, 80, 70, 60, 50)),
    *(Distortion("rescaling", f, f"{f:g}", rescale(f)) for f in (0.5, 0.75, 1.25, 1.5)),
    *(Distortion("blur, sigma in pixels", s, f"{s:g}", blur(s)) for s in (0.5, 1.0, 2.0)),
    *(Distortion("noise, levels", s, f"{s:g}", noise(s)) for s in (2, 5, 10)),
    *(
        Distortion("social network", k, f"{side} px, q {q}", social(side, q))
        for k, (side, q) in enumerate(((2048, 85), (960, 80), (720, 70)))
    ),
    *(
        Distortion("screenshot", k, f"x {f:g}, {f'q {q}' if q else 'PNG'}", screenshot(f, q))
        for k, (f, q) in enumerate(((0.9, None), (0.75, 90), (0.6, 80)))
    ),
)
