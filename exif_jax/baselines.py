"""Maps that know nothing of cameras, so that an easy benchmark fools nobody. NumPy and Pillow.

Each takes uint8 [H, W, 3] and gives float32 [H, W], higher where it guesses a splice.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image


def constant(image: np.ndarray) -> np.ndarray:
    """The same everywhere: its average precision is the pasted share."""
    return np.zeros(image.shape[:2], np.float32)


def centre(image: np.ndarray) -> np.ndarray:
    """Higher towards the middle of the photo, where people paste."""
    height, width = image.shape[:2]
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2)[:, None]
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2)[None]
    return -np.hypot(y, x)


def error_level(image: np.ndarray, quality: int = 90, sigma: float = 12.0) -> np.ndarray:
    """Error-level analysis: what one more JPEG compression changes, smoothed.

    Args:
        image: uint8 [H, W, 3].
        quality: of the compression.
        sigma: of the smoothing, in pixels.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    again = np.asarray(Image.open(buffer).convert("RGB"))
    change = np.abs(image.astype(np.int16) - again).sum(axis=2)
    return _smooth(change, sigma)


def colour_clusters(image: np.ndarray, sigma: float = 12.0) -> np.ndarray:
    """Two-means on smoothed lightness and opponent colours; high in the smaller cluster.

    Args:
        image: uint8 [H, W, 3].
        sigma: of the smoothing, in pixels.
    """
    red, green, blue = np.moveaxis(image.astype(np.float32), 2, 0)
    lab = np.stack(
        [
            _smooth(channel, sigma)
            for channel in ((red + green + blue) / 3, red - green, (red + green) / 2 - blue)
        ],
        axis=-1,
    )
    # Every n-th pixel is enough to find two centres, about 20,000 of them.
    step = max(1, round((image.shape[0] * image.shape[1] / 20_000) ** 0.5))
    sample = lab[::step, ::step].reshape(-1, 3)
    axis = np.linalg.eigh(np.cov(sample.T) if len(sample) > 1 else np.eye(3))[1][:, -1]
    high = (sample - sample.mean(axis=0)) @ axis > 0
    for _ in range(20):
        if high.all() or not high.any():
            return constant(image)
        centres = sample[~high].mean(axis=0), sample[high].mean(axis=0)
        high = _nearer_second(sample, *centres) > 0
    minority = _nearer_second(lab, *centres)
    return (minority if 2 * high.sum() <= high.size else -minority).astype(np.float32)


BASELINES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": constant,
    "centre": centre,
    "error level": error_level,
    "colour clusters": colour_clusters,
}


def _nearer_second(points: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Signed distance to the plane between two centres; above 0 on the second's side."""
    return (points - (first + second) / 2) @ (second - first)


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Three box filters, close to a Gaussian; the edges are repeated. -> float32 [H, W]."""
    radius = max(1, round((sigma**2 + 0.25) ** 0.5 - 0.5))
    for _ in range(3):
        values = _box(_box(values, radius).T, radius).T
    return values.astype(np.float32)


def _box(values: np.ndarray, radius: int) -> np.ndarray:
    padded = np.pad(values, [(radius + 1, radius), (0, 0)], mode="edge")
    sums = padded.cumsum(axis=0, dtype=np.float64)
    return (sums[2 * radius + 1 :] - sums[: -2 * radius - 1]) / (2 * radius + 1)
