"""The pictures that a file holds beside the photo (thumbnail, preview), against the photo itself.

Cameras write them from the same exposure. Who changes the photo and keeps the rest of the file
leaves them as they were. They are hostile data like the photo: size and scans are checked before
anything is decoded.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from exif_jax.reading import jpeg_scan
from exif_jax.reading.containers import plain_jpeg

MAX_BYTES = 8 << 20
MAX_PIXELS = 16_000_000
_SIDE = 160  # both are compared at this length of their longer side, as most thumbnails have it
_BAR_LEVEL = 40.0
_MAX_SHIFT = 2
_TURNS = (
    ("as it is", lambda a: a),
    ("turned by 90 degrees", lambda a: np.rot90(a)),
    ("turned by 180 degrees", lambda a: np.rot90(a, 2)),
    ("turned by 270 degrees", lambda a: np.rot90(a, 3)),
    ("mirrored", lambda a: a[:, ::-1]),
    ("mirrored top to bottom", lambda a: a[::-1]),
)


class Comparison(NamedTuple):
    """A thumbnail against its photo.

    Attributes:
      shows: `WHOLE` the photo, `BARRED` likewise but between black bars, or `MIDDLE` of it alone.
      aspect: Longer side over shorter of what the thumbnail shows, over the photo's; 1 where both
        have one shape, negative where one stands and the other lies.
      correlation: Of their grey values, -1 to 1, at the best shift of up to 2 pixels.
      turn: How the photo would have to be turned to fit best, in words; "as it is" for not at all.
      turned_correlation: The correlation then.
      difference: The largest deviation of a place, over what is usual in this pair.
      map: float32 [h, w] of those deviations, 0 to 1 (1 at `MAP_FULL` times the usual).
      picture: uint8 [h, w, 3] of the thumbnail, of the same size, less its black bars.
    """

    shows: str
    aspect: float
    correlation: float
    turn: str
    turned_correlation: float
    difference: float
    map: np.ndarray
    picture: np.ndarray


MAP_FULL = 12.0
WHOLE, BARRED, MIDDLE = "whole", "barred", "middle"


def decode_small(data: bytes) -> Image.Image | None:
    """Decodes a thumbnail of mode RGB; None where it is no JPEG file, damaged or too large."""
    if not 100 < len(data) <= MAX_BYTES or data[:3] != b"\xff\xd8\xff":
        return None
    try:
        jpeg = jpeg_scan.split(data)
        if jpeg.frame.width * jpeg.frame.height > MAX_PIXELS or not jpeg.end_marker:
            return None
        with Image.open(io.BytesIO(plain_jpeg(jpeg)), formats=("JPEG",)) as image:
            image.draft("RGB", (640, 640))
            return image.convert("RGB")
    except Exception:  # hostile data: decoders fail in any way
        return None


def compare(photo: Image.Image, small: Image.Image) -> Comparison:
    """Compares a photo with a smaller picture of it.

    Args:
      photo: Of mode RGB, as stored.
      small: Likewise, of `decode_small`.
    """
    reduced = _reduced(photo, 4 * _SIDE)
    small = _reduced(small, _SIDE)
    fits = []
    for shows, photo_part, small_part in _hypotheses(reduced, small):
        b = _grey(small_part, small_part.size)
        fit = _best_fit(_grey(photo_part, small_part.size), b)
        fits.append((fit, shows, photo_part, small_part))
    # A picture cut to another shape counts only where it fits clearly better than the whole.
    best = max(fits[1:], key=lambda fit: fit[0][0], default=fits[0])
    chosen = fits[0] if fits[0][0][0] > best[0][0] - 0.01 else best
    (correlation, shift), shows, photo_part, small_part = chosen
    b = _grey(small_part, small_part.size)
    turn, turned = _TURNS[0][0], correlation
    for name, function in _TURNS[1:]:
        swaps = name in ("turned by 90 degrees", "turned by 270 degrees")
        size = small.size[::-1] if swaps else small.size
        value, _ = _best_fit(function(_grey(reduced, size)), _grey(small, small.size))
        if value > turned:
            turn, turned = name, value
    deviation = _deviation(_grey(photo_part, small_part.size), b, shift)
    return Comparison(
        shows=shows,
        aspect=_aspect(photo, small) if shows == WHOLE else 1.0,
        correlation=correlation,
        turn=turn,
        turned_correlation=turned,
        difference=float(deviation.max()),
        map=np.clip(deviation / MAP_FULL, 0, 1).astype(np.float32),
        picture=np.asarray(small_part),
    )


def _reduced(image: Image.Image, side: int) -> Image.Image:
    """An image whose longer side is at most `side` pixels."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(8, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX, reducing_gap=4.0)


def _hypotheses(
    photo: Image.Image, small: Image.Image
) -> list[tuple[str, Image.Image, Image.Image]]:
    """What may show the same: both whole; the thumbnail less its bars; the photo's middle."""
    pairs = [(WHOLE, photo, small)]
    ratio = photo.width * small.height / (photo.height * small.width)
    if abs(ratio - 1) < 0.015:
        return pairs
    if ratio > 1:  # the photo is wider: bars above and below, or its sides are cut off
        height = round(small.height / ratio)
        top = (small.height - height) // 2
        inner = (0, top, small.width, top + height)
        bars = [(0, 0, small.width, top), (0, top + height, small.width, small.height)]
        left = round(photo.width * (1 - 1 / ratio) / 2)
        middle = (left, 0, photo.width - left, photo.height)
    else:
        width = round(small.width * ratio)
        left = (small.width - width) // 2
        inner = (left, 0, left + width, small.height)
        bars = [(0, 0, left, small.height), (left + width, 0, small.width, small.height)]
        top = round(photo.height * (1 - ratio) / 2)
        middle = (0, top, photo.width, photo.height - top)
    if min(inner[2] - inner[0], inner[3] - inner[1]) < 16:
        return pairs
    if all(_is_dark(small, bar) for bar in bars):
        pairs.append((BARRED, photo, small.crop(inner)))
    if min(middle[2] - middle[0], middle[3] - middle[1]) >= 16:
        pairs.append((MIDDLE, photo.crop(middle), small))
    return pairs


def _is_dark(image: Image.Image, box: tuple[int, int, int, int]) -> bool:
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        return True
    return float(np.asarray(image.crop(box).convert("L"), np.float32).mean()) < _BAR_LEVEL


def _aspect(photo: Image.Image, small: Image.Image) -> float:
    ratios = [max(i.size) / min(i.size) for i in (small, photo)]
    stands = [i.height > i.width for i in (small, photo)]
    ratio = ratios[0] / ratios[1]
    return ratio if stands[0] == stands[1] or min(ratios) < 1.02 else -ratio


def _grey(image: Image.Image, size: tuple[int, ...]) -> np.ndarray:
    """float32 [h, w] of an image reduced to a size."""
    width, height = size
    small = image.resize((width, height), Image.Resampling.BOX, reducing_gap=4.0)
    return np.asarray(small.convert("L"), np.float32)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    energy = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / energy if energy > 1e-6 else 0.0


def _best_fit(photo: np.ndarray, small: np.ndarray) -> tuple[float, tuple[int, int]]:
    """The best correlation over small shifts, and the shift."""
    m = _MAX_SHIFT
    h, w = small.shape
    inner = small[m : h - m, m : w - m]
    best, place = -2.0, (0, 0)
    for dy in range(-m, m + 1):
        for dx in range(-m, m + 1):
            window = photo[m + dy : h - m + dy, m + dx : w - m + dx]
            if (value := _correlation(window, inner)) > best:
                best, place = value, (dy, dx)
    return best, place


def _deviation(photo: np.ndarray, small: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """Deviations of places of some pixels, over what is usual; edges count less.

    Args:
      photo: float32 [h, w], reduced.
      small: float32 [h, w].
      shift: Of `_best_fit`.
    """
    m, (dy, dx) = _MAX_SHIFT, shift
    h, w = small.shape
    a = photo[m + dy : h - m + dy, m + dx : w - m + dx]
    b = small[m : h - m, m : w - m]
    slope, offset = np.polyfit(a.ravel(), b.ravel(), 1) if a.std() > 1e-3 else (1.0, 0.0)
    residual = np.abs(_blur(b - (slope * a + offset)))
    gradient = np.hypot(*np.gradient(_blur(a))) * abs(slope)
    weighted = residual / (4 + 2 * _blur(gradient))
    places = _blur(_blur(weighted))
    usual = max(float(np.median(places)), 0.1)
    return places / usual


def _blur(a: np.ndarray) -> np.ndarray:
    """The mean of 5 x 5 pixels."""
    padded = np.pad(a, 2, mode="edge")
    rows = np.lib.stride_tricks.sliding_window_view(padded, 5, axis=0).mean(-1)
    return np.lib.stride_tricks.sliding_window_view(rows, 5, axis=1).mean(-1)
