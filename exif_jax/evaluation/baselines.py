"""Heat maps that know nothing of cameras, so that an easy benchmark fools nobody.

Each takes uint8 [H, W, 3] and gives float32 [H, W], higher where it guesses tampered pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.cluster import KMeans


def constant(image: np.ndarray) -> np.ndarray:
    """The same everywhere: its average precision is the tampered share."""
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
    return gaussian_filter(change.astype(np.float32), sigma)


def colour_clusters(image: np.ndarray, sigma: float = 12.0) -> np.ndarray:
    """Two-means on smoothed lightness and opponent colours; high in the smaller cluster.

    Args:
        image: uint8 [H, W, 3].
        sigma: of the smoothing, in pixels.
    """
    red, green, blue = np.moveaxis(image.astype(np.float32), 2, 0)
    opponent = ((red + green + blue) / 3, red - green, (red + green) / 2 - blue)
    lab = np.stack([gaussian_filter(channel, sigma) for channel in opponent], axis=-1)
    # Every n-th pixel is enough to find two centres, about 20,000 of them.
    step = max(1, round((image.shape[0] * image.shape[1] / 20_000) ** 0.5))
    sample = lab[::step, ::step].reshape(-1, 3)
    if np.ptp(sample, axis=0).max() == 0:
        return constant(image)
    two_means = KMeans(2, n_init=1, random_state=0)  # type: ignore[reportArgumentType]
    labels = two_means.fit_predict(sample)
    first, second = two_means.cluster_centers_.astype(np.float32)
    # Distance to the plane between the centres, above 0 on the second's side.
    second_side = (lab - (first + second) / 2) @ (second - first)
    return second_side if 2 * labels.sum() <= len(sample) else -second_side


BASELINES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": constant,
    "centre": centre,
    "error level": error_level,
    "colour clusters": colour_clusters,
}
