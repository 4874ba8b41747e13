"""Which photos must not be judged, whatever they score: what made them is no single exposure.

NumPy only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from exif_jax.reading.pixels import BLOCK

if TYPE_CHECKING:
    from exif_jax.reading.photo import Photo

# Wider than any camera's format (phones: 20:9 to 21:9) are only panoramas and strips.
_PANORAMA = 2.5
# Sides of screens in pixels, of phones, tablets and computers.
_SCREEN_SIZES = (
    "1136x640 1280x720 1280x800 1334x750 1366x768 1440x720 1440x900 1480x720 1520x720 1560x720 "
    "1600x720 1600x900 1680x1050 1792x828 1920x1080 1920x1200 2160x1080 2208x1242 2220x1080 "
    "2224x1668 2280x1080 2340x1080 2388x1668 2400x1080 2408x1080 2436x1125 2532x1170 2556x1179 "
    "2560x1440 2560x1600 2622x1206 2688x1242 2732x2048 2778x1284 2796x1290 2868x1320 2880x1800 "
    "2960x1440 3040x1440 3088x1440 3120x1440 3200x1440 3440x1440 3840x2160"
)
_SCREENS = frozenset(tuple(map(int, size.split("x"))) for size in _SCREEN_SIZES.split())
_PLAIN_BLOCKS = 0.05  # the share of blocks of one colour that drawn pictures have and photos lack
_MARGIN_SHARE = 0.02  # of the rows or columns
_MARGIN_RANGE = 2  # levels: JPEG keeps plain margins that plain
_MAX_SAMPLES = 512  # rows and columns that are looked at

# Below this standard deviation of its values, in levels of 255, a photo is a plain colour.
_FLAT_STD = 0.5

FLAT = "the photo is flat: it shows no texture, so there is nothing to compare"
PANORAMA = "it has the shape of a panorama, whose parts are several exposures"
SCREENSHOT = "it seems to be a screenshot, which a screen has drawn and scaled"
MARGINS = "it has plain margins, as screenshots and collages have, which differ from any photo"


def objection_to_kind(photo: Photo) -> str:
    """Why a photo is of a kind that cannot be judged, in words; "" where nothing shows that.

    Args:
        photo: as read. What its file says of a camera speaks against a screenshot.
    """
    if photo.objection:
        return photo.objection
    pixels = photo.pixels
    longer, shorter = sorted(pixels.shape[:2], reverse=True)
    if longer >= _PANORAMA * shorter:
        return PANORAMA
    if photo.exif.get("Make"):
        return ""
    if photo.format == "PNG" and (longer, shorter) in _SCREENS and _is_drawn(pixels):
        return SCREENSHOT
    return MARGINS if has_margins(pixels) else ""


def is_flat(image: Any) -> Any:
    """Whether uint8 [H, W, 3], of NumPy or of JAX, is a plain colour: a bool scalar."""
    step = max(1, math.isqrt(image.size >> 20))  # about a million samples of a large photo
    return (image[::step, ::step].std(axis=(0, 1)) < _FLAT_STD).all()


def has_margins(pixels: np.ndarray) -> bool:
    """Whether whole rows, or whole columns, of uint8 [H, W, 3] have one colour.

    Rows and columns in which nothing but the lightest or darkest level occurs do not count: a sky
    that is burnt out has them too.
    """
    return _plain_share(pixels) > _MARGIN_SHARE or (
        _plain_share(np.swapaxes(pixels, 0, 1)) > _MARGIN_SHARE
    )


def _is_drawn(pixels: np.ndarray) -> bool:
    rows, columns = (side // BLOCK for side in pixels.shape[:2])
    blocks = pixels[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, 3)
    return float((np.ptp(blocks, axis=(1, 3)) == 0).all(axis=-1).mean()) > _PLAIN_BLOCKS


def _plain_share(pixels: np.ndarray) -> float:
    """The share of rows of one colour."""
    step = math.ceil(len(pixels) / _MAX_SAMPLES)
    across = math.ceil(pixels.shape[1] / _MAX_SAMPLES)
    rows = pixels[::step, ::across]
    lowest, highest = rows.min(axis=1).astype(int), rows.max(axis=1).astype(int)  # [rows, 3]
    plain = ((highest - lowest) <= _MARGIN_RANGE).all(axis=1)
    burnt_out = (lowest >= 253).all(axis=1) | (highest <= 2).all(axis=1)
    return float((plain & ~burnt_out).mean())
