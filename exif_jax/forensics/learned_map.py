"""From a photo's pixels to the learned map: any size, by some thousands of its cells where large.

The network gives a logit to every 8 x 8 block. A map of it is the sigmoid of these, and its score
that of the surest part of the photo. Of large photos it sees cells of 16 x 16 pixels that lie apart
from each other, as many at a time as its composites had: so it compares what is far apart in a
photo as it has learned to, and has no more to do for 12 megapixels than for one.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from exif_jax.forensics import affinity
from exif_jax.forensics.content import content_adjusted_score, unadjusted
from exif_jax.forensics.patches import Grid
from exif_jax.forensics.score_calibration import logit
from exif_jax.reading.pixels import BLOCK, CELL

if TYPE_CHECKING:
    from exif_jax.weights.map_file import MapModel

_MOST_CELLS = 4096  # of a large photo that are looked at
_WINDOW = CELL + 2 * BLOCK  # pixels: side of a cell with what lies around it
# Added to the network's logits. It learned from blocks of which a tenth was tampered, so that it
# hardly ever says 0.5; even odds would add 2.3, and put a fifth of pristine small pictures' area
# above it. With this a fourteenth of it is (docs/experiments.md).
LIFT = 1.4
# Photos are padded to multiples of so many pixels, and rows and columns of cells to multiples of so
# many cells, so that photos of like size share a compiled program.
_PIXEL_STEP, _CELL_STEP = 128, 8


def logits_of(photo: np.ndarray, model: MapModel) -> tuple[np.ndarray, Grid]:
    """How likely each part of a photo is tampered, by the learned map.

    Args:
        photo: uint8 [H, W, 3], at least 16 pixels in either direction.
        model: a loaded map.

    Returns:
        float32 [rows, columns], lifted logits; and where the parts lie: 8 x 8 blocks, or in photos
        of LARGE pixels and more cells of 16 x 16.
    """
    height, width = photo.shape[:2]
    if max(height, width) >= LARGE:
        logits, step = sampled_logits(photo, model), CELL * _cell_step(photo)
        return logits, Grid(height, width, CELL, step, *logits.shape)
    logits = block_logits(photo, model)
    return logits, Grid(height, width, BLOCK, BLOCK, *logits.shape)


def block_logits(photo: np.ndarray, model: MapModel) -> np.ndarray:
    """The same of every 8 x 8 block that lies in a whole cell of 16 x 16 pixels.

    Returns:
        float32 [h, w], h = 2 (H // 16), w = 2 (W // 16).
    """
    photo = _whole_cells(photo)
    height, width = photo.shape[:2]
    padding = [(0, -side % _PIXEL_STEP) for side in (height, width)]
    padded = np.pad(photo, (*padding, (0, 0)), mode="edge")
    inside = np.zeros((padded.shape[0] // BLOCK, padded.shape[1] // BLOCK), bool)
    h, w = height // BLOCK, width // BLOCK
    inside[:h, :w] = True
    logits = _program(model.config)(_on_device(model), padded[None], inside[None])
    return np.asarray(logits)[0, :h, :w] + np.float32(LIFT)


def sampled_logits(photo: np.ndarray, model: MapModel) -> np.ndarray:
    """The same of cells spread evenly over a photo, 4,096 at most.

    The network sees them in four parts, each of every second row and every second column of them.

    Returns:
        float32 [rows, columns] of cells.
    """
    photo, step = _whole_cells(photo), _cell_step(photo)
    high, wide = (side // CELL for side in photo.shape[:2])
    rows, columns = -(-high // step), -(-wide // step)
    y_2xR, x_2xC = _every_second(rows), _every_second(columns)
    windows = _windows(photo, _places(y_2xR, step, high), _places(x_2xC, step, wide))
    R, C = y_2xR.shape[1], x_2xC.shape[1]
    valid = (y_2xR < rows)[:, None, :, None] & (x_2xC < columns)[None, :, None]
    program = _cell_program(model.config)
    logits = program(
        _on_device(model), windows.reshape(4, R, C, *windows.shape[4:]), valid.reshape(4, R, C)
    )
    logits = np.asarray(logits).reshape(2, 2, R, C).transpose(2, 0, 3, 1).reshape(2 * R, 2 * C)
    return _smoothed(logits[:rows, :columns]) + np.float32(LIFT)


def _smoothed(x: np.ndarray) -> np.ndarray:
    """Each value with its neighbours, weighed 1, 2, 1, as the four parts may differ in level."""
    wide = np.pad(x, 1, mode="edge")
    down = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
    return (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / 4


def _whole_cells(photo: np.ndarray) -> np.ndarray:
    return photo[: photo.shape[0] // CELL * CELL, : photo.shape[1] // CELL * CELL]


def _cell_step(photo: np.ndarray) -> int:
    """Every so many cells, in either direction, one is looked at."""
    high, wide = (side // CELL for side in photo.shape[:2])
    step = 1
    while -(-high // step) * -(-wide // step) > _MOST_CELLS:
        step += 1
    return step


def _every_second(number: int) -> np.ndarray:
    """The even numbers and the odd ones from 0 on: int [2, N], N as programs are compiled for."""
    half = -(-number // (2 * _CELL_STEP)) * _CELL_STEP
    return 2 * np.arange(half)[None] + np.arange(2)[:, None]


def _places(numbers: np.ndarray, step: int, cells: int) -> np.ndarray:
    """The cells, in the middle of `step` each, that have these numbers; the last one beyond."""
    return np.minimum(numbers * step + step // 2, cells - 1)


def _windows(photo: np.ndarray, y_2xR: np.ndarray, x_2xC: np.ndarray) -> np.ndarray:
    """Cells with the pixels around them, at the border repeated: uint8 [2, 2, R, C, 32, 32, 3]."""

    def pixels(cells: np.ndarray, side: int) -> np.ndarray:
        around = cells[..., None] * CELL + np.arange(_WINDOW) - BLOCK
        return np.clip(around, 0, side - 1)

    y_2xRx32, x_2xCx32 = pixels(y_2xR, photo.shape[0]), pixels(x_2xC, photo.shape[1])
    return photo[y_2xRx32[:, None, :, None, :, None], x_2xCx32[None, :, None, :, None]]


@functools.lru_cache
def _program(config: Any) -> Any:
    # Flax is imported with the first photo.
    from exif_jax.models.tampering_map import map_logits

    return jax.jit(functools.partial(map_logits, config))


@functools.lru_cache
def _cell_program(config: Any) -> Any:
    from exif_jax.models.tampering_map import cell_logits

    return jax.jit(functools.partial(cell_logits, config))


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


def upsampled(logits: np.ndarray, grid: Grid) -> np.ndarray:
    """Bilinear from `logits_of` to pixels: float32 [grid.height, grid.width]."""
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

# Longer side in pixels from which on a photo is taken for one as its camera wrote it, and up to
# which what small pictures show is taken to hold. These and the constants below were chosen on the
# development splices and the third of CASIA v1 that is for choosing (docs/experiments.md).
LARGE, SMALL = 1024, 600
_CUT_WEIGHT = 16.0  # logits that a unit of the cut's map counts
_USUAL = -3.1  # what the network gives most blocks of pristine pictures, without the lift
_CUT_IN_LARGE = 3.5  # log odds that the cut gains in large photos
_CUT_IN_SMALL = 1.0  # log odds that it loses in small ones that were compressed as coarsely as this
_COARSE = 0.4  # the step at quality 80; at finer ones it loses less
_MAP_IN_SCORE = 0.5  # what the learned map's log odds count in the score of all but small pictures
_VARIATION_IN_SMALL = 0.18  # of the smaller part: the median of small pristine pictures


def share_of_map(map_score: float, cut_score: float, gain_of_cut: float = 0.0) -> float:
    """The learned map's share of a photo's map: its odds beside those of the cut.

    In camera originals the cut is sure of itself and right, in pictures that were saved a few times
    the learned map; the same holds for pictures of one size, so that size tells little.

    Args:
        map_score: `picture_score` of the photo.
        cut_score: the photo's score by the cut.
        gain_of_cut: `gain_of_cut` of the photo.

    Returns:
        A number in [0, 1].
    """
    odds = float(logit(cut_score) - logit(map_score)) + gain_of_cut
    return 1 / (1 + math.exp(odds))


def gain_of_cut(longer: int, step: float) -> float:
    """What the cut gains in a photo's map beside the learned one, or loses, in log odds.

    Args:
        longer: the photo's longer side in pixels. Small patches of pictures that were compressed
            tell cameras apart hardly at all.
        step: of the last JPEG compression (`quantization_step`).
    """
    if longer >= LARGE:
        return _CUT_IN_LARGE
    return -_CUT_IN_SMALL * min(1.0, step / _COARSE) if longer <= SMALL else 0.0


def mixed(logits_HxW: np.ndarray, cut_HxW: np.ndarray, share: float) -> np.ndarray:
    """What both maps say, as a probability: float32 [H, W] in [0, 1].

    The learned map's logits as the network gives them, and how far the cut's map rises above its
    median, which lies where the network sees most blocks of pristine pictures.

    Args:
        logits_HxW: of the learned map, lifted.
        cut_HxW: the cut's map, in [0, 1].
        share: of the learned map, in [0, 1]; the cut's is the rest.
    """
    every = 1 + math.isqrt(cut_HxW.size) // 2048  # of 100 megapixels a part tells it
    median = np.median(cut_HxW[::every, ::every])
    heatmap = np.empty_like(cut_HxW)
    for top in range(0, len(cut_HxW), 512):  # arrays of 100 megapixels take 400 MB each
        rows = slice(top, top + 512)
        by_cut = _USUAL + _CUT_WEIGHT * (cut_HxW[rows] - median)
        heatmap[rows] = probability(share * (logits_HxW[rows] - LIFT) + (1 - share) * by_cut)
    return heatmap


def joint_score(map_score: float, cut_score: float, variation: float, small: bool) -> float:
    """The score of a picture from those of both maps: their log odds added, in [0, 1].

    Small pictures were often saved and shrunk before. There the learned map knows more, and how
    varied the cut's part is leads astray: the usual takes its place.

    Args:
        map_score: `picture_score` of the photo.
        cut_score: the photo's score by the cut.
        variation: `content.part_variation`, which has its share in `cut_score`.
        small: the photo has at most SMALL pixels on its longer side.
    """
    if small:
        distance = unadjusted(cut_score, 0.0, variation)
        cut_score = content_adjusted_score(distance, 0.0, _VARIATION_IN_SMALL)
    weight = 1.0 if small else _MAP_IN_SCORE
    return 1 / (1 + math.exp(-float(logit(cut_score) + weight * logit(map_score))))


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
