"""What happens to a picture between the camera and whoever looks at it: pure functions on pixels.

Compressions as programs make them, rescaling and the like, with NumPy and Pillow. All randomness
comes from the generator that is passed in.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

Rng = np.random.Generator

RESAMPLING = (
    Image.Resampling.BICUBIC,
    Image.Resampling.BICUBIC,
    Image.Resampling.BILINEAR,
    Image.Resampling.LANCZOS,
    Image.Resampling.HAMMING,
)
# Tables of a widely used editor, which Pillow carries with their subsampling; others scale those of
# the standard. The coarser ones hide most, so that there is most to learn behind them.
_PRESETS = (
    *("low", "medium", "medium", "medium", "high", "high", "maximum"),
    *("web_medium", "web_high", "web_very_high", "web_maximum"),
)
_PRESET_SHARE = 0.15
_EDITORS_PRESET_SHARE = 0.4  # of finished pictures
_SHARES_420 = (0, 2, 2, 2)  # 4:4:4 in a quarter, 4:2:0 otherwise
_EDITORS_420 = (0, 0, 2)  # of finished pictures, as editors save them at high quality


def chance(rng: Rng, probability: float) -> bool:
    """True so often."""
    return bool(rng.random() < probability)


def pick(rng: Rng, options):
    """One of a sequence."""
    return options[int(rng.integers(len(options)))]


def encode(picture: np.ndarray, quality: int | str, subsampling: int) -> np.ndarray:
    """uint8 [H, W, 3] after a compression to JPEG and back.

    Args:
        picture: uint8 [H, W, 3].
        quality: 1 to 100, or the name of one of Pillow's presets.
        subsampling: Pillow's number: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
    """
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(buffer))


def compressed(
    picture: np.ndarray,
    rng: Rng,
    lowest: int,
    highest: int,
    subsamplings: tuple[int, ...] = _SHARES_420,
    presets: float = _PRESET_SHARE,
) -> np.ndarray:
    """A compression as a program chooses it; qualities of the standard's tables within bounds."""
    if chance(rng, presets):
        return encode(picture, pick(rng, _PRESETS), pick(rng, _EDITORS_420))
    return encode(picture, int(rng.integers(lowest, highest + 1)), pick(rng, subsamplings))


def earlier_saves(picture: np.ndarray, rng: Rng, none: float = 0.15) -> np.ndarray:
    """The compressions behind a picture that somebody found: mostly one, up to three.

    Args:
        picture: uint8 [H, W, 3].
        rng: makes the decisions.
        none: share of pictures without any.
    """
    if chance(rng, none):
        return picture
    picture = compressed(picture, rng, 60, 98)
    for probability in (0.18, 0.2):
        if not chance(rng, probability):
            break
        picture = compressed(picture, rng, 70, 98)
    return picture


def resized(picture: np.ndarray, width: int, height: int, rng: Rng) -> np.ndarray:
    """uint8 [height, width, 3], by a filter that people's tools have."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), pick(rng, RESAMPLING)))


def there_and_back(picture: np.ndarray, rng: Rng) -> np.ndarray:
    """Shrunk, in a quarter enlarged, and brought back to its size."""
    height, width = picture.shape[:2]
    enlarged = chance(rng, 0.25)
    factor = rng.uniform(1.05, 2) if enlarged else rng.uniform(0.5, 0.95)
    there = resized(picture, max(8, round(width * factor)), max(8, round(height * factor)), rng)
    return resized(there, width, height, rng)


def on_another_grid(picture: np.ndarray, rng: Rng) -> np.ndarray:
    """Compressed with the corner of the grid of 16 x 16 pixels elsewhere."""
    shift = int(rng.integers(16)), int(rng.integers(16))
    moved = earlier_saves(np.roll(picture, shift, (0, 1)), rng, none=0)
    return np.roll(moved, (-shift[0], -shift[1]), (0, 1))


def retouched(picture: np.ndarray, rng: Rng) -> np.ndarray:
    """Blurred, sharpened, cleaned, relit or grained, as a tool for a part of a picture does."""
    kind = rng.random()
    if kind < 0.55:
        if kind < 0.25:
            tool = ImageFilter.GaussianBlur(rng.uniform(0.5, 2.5))
        elif kind < 0.45:
            tool = ImageFilter.UnsharpMask(rng.uniform(0.6, 2), int(rng.integers(50, 200)), 0)
        else:
            tool = ImageFilter.MedianFilter(pick(rng, (3, 5)))
        return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).filter(tool))
    values = picture.astype(np.float32)
    if kind < 0.78:
        values = 255 * (values / 255) ** rng.uniform(0.6, 1.6)
        values = values * rng.uniform(0.8, 1.25, 3).astype(np.float32) + rng.uniform(-15, 15)
    else:
        channels = pick(rng, (1, 3))
        noise = rng.standard_normal((*picture.shape[:2], channels), np.float32)
        values = values + rng.uniform(1, 6) * noise
    return to_uint8(values)


def later_life(picture: np.ndarray, rng: Rng) -> np.ndarray:
    """Saved up to twice at 70 to 100, or never (PNG): uint8 [H, W, 3] of the same size."""
    saves = rng.choice(3, p=(0.22, 0.63, 0.15))
    for _ in range(saves):
        if chance(rng, 0.15):
            picture = encode(picture, pick(rng, (90, 92, 95, 98, 100)), pick(rng, _EDITORS_420))
        else:
            lowest = pick(rng, (70, 85))
            picture = compressed(picture, rng, lowest, 100, _EDITORS_420, _EDITORS_PRESET_SHARE)
    return picture


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounded and clipped."""
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
