"""What a photo's content does to the distance between its parts, and the score that allows for it.

One camera's photo may part as far as a splice does, where a smooth part meets a rough one or where
one part is of a single piece. Of NumPy or of JAX, traced or not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exif_jax.forensics.patches import Grid
from exif_jax.reading.pixels import BLOCK

# What a unit of log odds of the variation counts beside one of the distance. Chosen on splices made
# of pristine photos, the cameras left out in turn (docs/experiments.md).
VARIATION_WEIGHT = 3
USUAL_VARIATION = 0.05  # about that of pristine photos, which leaves the score as it is
_LEAST = 1e-3  # variations are cut to [_LEAST, 1 - _LEAST]


def gradient_energy_gap(energy: Any, clusters: Any, grid: Grid) -> Any:
    """How unlike two parts of a photo are in texture: content alone makes such parts differ.

    Args:
        energy: of the photo, `exif_jax.reading.pixels.gradient_energy`; of NumPy or of JAX.
        clusters: int [P] or [rows, columns], 0 and 1.
        grid: of the patches.

    Returns:
        The difference of the parts' mean log energy (half a level added, by patches), a scalar,
        not negative; 0 where there is one part.
    """
    xp = energy.__array_namespace__()
    down = _blocks_of_patches(grid.rows, len(energy), grid)
    across = _blocks_of_patches(grid.columns, energy.shape[1], grid)
    log_P = xp.log(0.5 + down @ energy @ across.T).ravel()
    inside_P = xp.asarray(clusters).ravel() != 0
    inside, outside = inside_P.sum(), (~inside_P).sum()
    mean_inside = xp.where(inside_P, log_P, 0.0).sum() / xp.maximum(inside, 1)
    mean_outside = xp.where(inside_P, 0.0, log_P).sum() / xp.maximum(outside, 1)
    return xp.where((inside > 0) & (outside > 0), abs(mean_inside - mean_outside), 0.0)


def part_variation(z_PxD: Any, clusters: Any, grid: Grid) -> Any:
    """How unlike its neighbours a patch of the smaller part is.

    Sky, water and walls are of one piece: such a part lies far from the rest of the photo although
    one camera made both. What is pasted in shows more than one thing.

    Args:
        z_PxD: unit rows; of NumPy or of JAX.
        clusters: int [P] or [rows, columns], 1 in the part.
        grid: of the patches.

    Returns:
        The mean of 1 - cosine over the pairs of the part's patches that lie one beside the other,
        across or down, and do not overlap, as nearly as the grid allows; of a part without such
        pairs over all its pairs, each patch with itself too. A scalar in [0, 2]; 0 of no part.
    """
    xp = z_PxD.__array_namespace__()
    z_RxCxD = z_PxD.reshape(grid.rows, grid.columns, -1)
    part_RxC = xp.asarray(clusters).reshape(grid.rows, grid.columns) != 0
    apart = max(1, round(grid.patch / grid.stride))
    total, number = 0.0, 0
    for ahead, behind in (
        (np.s_[apart:], np.s_[:-apart]),
        (np.s_[:, apart:], np.s_[:, :-apart]),
    ):
        both = part_RxC[ahead] & part_RxC[behind]
        unlike = 1 - (z_RxCxD[ahead] * z_RxCxD[behind]).sum(axis=-1)
        total, number = total + xp.where(both, unlike, 0.0).sum(), number + both.sum()
    return xp.where(number > 0, total / xp.maximum(number, 1), _part_spread(z_PxD, part_RxC))


def _part_spread(z_PxD: Any, part_RxC: Any) -> Any:
    xp = z_PxD.__array_namespace__()
    part_P = part_RxC.ravel().astype(z_PxD.dtype)
    mean_D = part_P @ z_PxD / xp.maximum(part_P.sum(), 1)
    return xp.where(part_P.sum() > 0, 1 - xp.square(mean_D).sum(), 0.0)


def _blocks_of_patches(patches: int, blocks: int, grid: Grid) -> np.ndarray:
    """float32 [patches, blocks] along one side: the mean over the 8-pixel blocks of each patch."""
    side = max(1, grid.patch // BLOCK)
    first = np.clip(np.arange(patches) * grid.stride // BLOCK, 0, max(0, blocks - side))[:, None]
    block = np.arange(blocks)[None]
    inside = ((block >= first) & (block < first + side)).astype(np.float32)
    return inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)


def content_adjusted_score(distance: Any, gap: Any, variation: Any) -> Any:
    """What the distance between two parts says beside what their content explains.

    In pristine photos smooth and rough parts lie apart too, though one camera made them, and so
    does a sky, a wall or water, which is of one piece as hardly anything is that was pasted in.
    That the odds fall by e and not by another number was chosen on the development splices;
    splices of other cameras agree (docs/experiments.md).

    Args:
        distance: 1 - cosine of the parts' means, in [0, 1]; a number or a scalar array.
        gap: `gradient_energy_gap`, at least 0; each unit divides the odds by e.
        variation: `part_variation` of the smaller part; the odds grow as the third power of its
            own.

    Returns:
        A score in [0, 1].
    """
    kept = distance * content_factor(gap, variation)
    return kept / (1 - distance + kept)


def unadjusted(score: float, gap: float, variation: float) -> float:
    """The distance that `content_adjusted_score` made a score of; its arguments as there."""
    odds = score / max(1 - score, 1e-12) / content_factor(gap, variation)
    return odds / (1 + odds)


def content_factor(gap: Any, variation: Any) -> Any:
    """By what `content_adjusted_score` multiplies the odds of a distance; positive."""
    varied = _clipped(variation)
    odds = varied / (1 - varied) * ((1 - USUAL_VARIATION) / USUAL_VARIATION)
    return math.e**-gap * odds**VARIATION_WEIGHT  # not math.exp, which takes no arrays of JAX


def _clipped(variation: Any) -> Any:
    if isinstance(variation, float):
        return min(max(variation, _LEAST), 1 - _LEAST)
    return variation.__array_namespace__().clip(variation, _LEAST, 1 - _LEAST)
