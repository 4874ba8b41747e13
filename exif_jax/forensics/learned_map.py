"""From a photo's pixels to the learned map: any size, in tiles where it is large.

The network gives a logit to every 8 x 8 block. A map of it is the sigmoid of these, and its score
that of the surest part of the photo.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from exif_jax.forensics import affinity
from exif_jax.forensics.patches import Grid
from exif_jax.forensics.score_calibration import logit
from exif_jax.reading.pixels import BLOCK, CELL

if TYPE_CHECKING:
    from exif_jax.weights.map_file import MapModel

_TILE = 2048  # pixels: largest side that is computed at once
_OVERLAP = 256  # pixels that two neighbouring tiles share at least
# Added to the network's logits. It learned from blocks of which a tenth was tampered, so that it
# hardly ever says 0.5; even odds would add 2.3, and put a fifth of pristine small pictures' area
# above it. With this a fourteenth of it is (docs/experiments.md).
LIFT = 1.4
# Photos are padded to multiples of these, so that photos of like size share a compiled program.
_SMALL_STEP, _LARGE_STEP, _SMALL = 128, 512, 1024


def block_logits(photo: np.ndarray, model: MapModel) -> np.ndarray:
    """How likely each block is tampered, by the learned map.

    Args:
        photo: uint8 [H, W, 3], at least 16 pixels in either direction.
        model: a loaded map.

    Returns:
        float32 [h, w], lifted logits of the 8 x 8 blocks that lie in whole cells of 16 x 16
        pixels: h = 2 (H // 16), w = 2 (W // 16).
    """
    photo = photo[: photo.shape[0] // CELL * CELL, : photo.shape[1] // CELL * CELL]
    rows, columns = (_tiles(side) for side in photo.shape[:2])
    if len(rows) == len(columns) == 1:
        return _tile_logits(photo, model)
    shape = (photo.shape[0] // BLOCK, photo.shape[1] // BLOCK)
    total, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for top, bottom in rows:
        for left, right in columns:
            place = (slice(top // BLOCK, bottom // BLOCK), slice(left // BLOCK, right // BLOCK))
            ramp = _ramp(bottom - top)[:, None] * _ramp(right - left)[None]
            total[place] += ramp * _tile_logits(photo[top:bottom, left:right], model)
            weight[place] += ramp
    return total / weight


def _tiles(side: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along a side, in pixels, on whole cells and about evenly spread."""
    if side <= _TILE:
        return [(0, side)]
    number = math.ceil((side - _OVERLAP) / (_TILE - _OVERLAP))
    starts = np.linspace(0, side - _TILE, number) // CELL * CELL
    return [(int(start), int(start) + _TILE) for start in starts]


def _ramp(side: int) -> np.ndarray:
    """float32 [side / 8]: weights that rise from both ends over the overlap."""
    place = np.arange(side // BLOCK) + 1
    overlap = _OVERLAP // BLOCK
    return np.minimum(np.minimum(place, place[::-1]), overlap).astype(np.float32) / overlap


def _tile_logits(tile: np.ndarray, model: MapModel) -> np.ndarray:
    """float32 [h, w] of uint8 [H, W, 3], H and W multiples of 16."""
    height, width = tile.shape[:2]
    padding = [(0, _padded(side) - side) for side in (height, width)]
    padded = np.pad(tile, (*padding, (0, 0)), mode="edge")
    inside = np.zeros((padded.shape[0] // BLOCK, padded.shape[1] // BLOCK), bool)
    h, w = height // BLOCK, width // BLOCK
    inside[:h, :w] = True
    logits = _program(model.config)(_on_device(model), padded[None], inside[None])
    return np.asarray(logits)[0, :h, :w] + np.float32(LIFT)


def _padded(side: int) -> int:
    step = _SMALL_STEP if side <= _SMALL else _LARGE_STEP
    return -(-side // step) * step


@functools.lru_cache
def _program(config: Any) -> Any:
    # Flax is imported with the first photo.
    from exif_jax.models.tampering_map import map_logits

    return jax.jit(functools.partial(map_logits, config))


@functools.lru_cache(2)
def _on_device(model: MapModel) -> Any:
    return jax.device_put(model.params)


@functools.lru_cache(4)
def loaded_map(path: str) -> MapModel:
    """The map of a release file, read once; of "", the one that ships.

    Raises:
        ReleaseError: it cannot be read as a learned map.
    """
    from exif_jax.weights.map_file import PRETRAINED_MAP, load_map

    return load_map(path or PRETRAINED_MAP)


def upsampled(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear from blocks to pixels: float32 [h, w] -> [height, width]."""
    grid = Grid(height, width, BLOCK, BLOCK, *logits.shape)
    return np.asarray(affinity.upsample(logits, grid))


def probability(logits: np.ndarray) -> np.ndarray:
    """The logistic function, float32 in [0, 1]."""
    return (0.5 * (1 + np.tanh(0.5 * np.asarray(logits, np.float32)))).astype(np.float32)


def picture_score(logits: np.ndarray) -> float:
    """One number for a picture from the logits of its blocks: how sure the surest part is.

    Args:
        logits: float [h, w] of one picture.

    Returns:
        The probability of the mean of the highest hundredth (eight blocks at least), in [0, 1];
        higher is more likely tampered.
    """
    flat = np.sort(np.asarray(logits, np.float64).ravel())
    return 1 / (1 + math.exp(-flat[-max(8, flat.size // 100) :].mean()))


# --- beside the cut -------------------------------------------------------------------------------

# Longer side in pixels from which on the cut alone maps a photo, and up to which "auto" judges by
# both scores: in larger ones both rank better and the cut's calls more splices. Chosen, and so was
# what the cut's map counts, on the development splices and the third of CASIA v1 that is for
# choosing (docs/experiments.md).
LARGE, SMALL = 1024, 600
_CUT_WEIGHT = 16.0  # logits that a unit of the cut's map counts
_USUAL = -3.1  # what the network gives most blocks of pristine pictures, without the lift


def share_of_map(map_score: float, cut_score: float) -> float:
    """The learned map's share of a photo's map: its odds beside those of the cut.

    In camera originals the cut is sure of itself and right, in pictures that were saved a few times
    the learned map; the same holds for pictures of one size, so that size does not tell.

    Args:
        map_score: `picture_score` of the photo.
        cut_score: the photo's score by the cut.

    Returns:
        A number in [0, 1].
    """
    return 1 / (1 + math.exp(float(logit(cut_score) - logit(map_score))))


def mixed(logits_HxW: np.ndarray, cut_HxW: np.ndarray, share: float) -> np.ndarray:
    """What both maps say, as a probability: float32 [H, W] in [0, 1].

    The learned map's logits as the network gives them, and how far the cut's map rises above its
    median, which lies where the network sees most blocks of pristine pictures.

    Args:
        logits_HxW: of the learned map, lifted.
        cut_HxW: the cut's map, in [0, 1].
        share: of the learned map, in [0, 1]; the cut's is the rest.
    """
    by_cut = _USUAL + _CUT_WEIGHT * (cut_HxW - np.median(cut_HxW))
    return probability(share * (logits_HxW - LIFT) + (1 - share) * by_cut)


def joint_score(map_score: float, cut_score: float) -> float:
    """The score of a picture from those of both maps: their log odds added, in [0, 1]."""
    total = float(logit(map_score) + logit(cut_score))
    return 1 / (1 + math.exp(-total))


def parts(heatmap_HxW: np.ndarray, grid: Grid) -> np.ndarray:
    """The patches in two parts by their mean in a map: int32 [rows, columns], 1 in the smaller."""
    sums = np.pad(heatmap_HxW.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    y, x = (np.arange(number) * grid.stride for number in (grid.rows, grid.columns))
    bottom, right = y + grid.patch, x + grid.patch
    means = (
        sums[np.ix_(bottom, right)]
        - sums[np.ix_(y, right)]
        - sums[np.ix_(bottom, x)]
        + sums[np.ix_(y, x)]
    )
    high = means > (means.min() + means.max()) / 2
    smaller = high if high.sum() * 2 <= high.size else ~high
    return smaller.astype(np.int32)
