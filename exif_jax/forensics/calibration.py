"""What was measured on pristine photos, and which photos it holds for.

`exif_jax.calibrate` measures pristine photos, and a release file carries the result, which is here
called the calibration: a dict of plain types with the keys

* "scores": of each method that was calibrated what its scores mean
  (`exif_jax.forensics.score_calibration`), with the "grid" that this holds for;
* "exif_regression": what pixels say of EXIF (`exif_jax.forensics.exif_regression`);
* "agreement_null": how well pristine photos agree with their own EXIF (`null_distribution`), by a
  regression that has not seen their cameras;
* "tag_skill": for each tag whether the pixels predict its value, likewise;
* "reference_set": EXIF of known photos (`exif_jax.forensics.reference_set`);
* "grid": num_per_dim, max_patches and align of the patch grid that these hold for;
* "measured_on": "num_photos" and "num_cameras" of these.

NumPy only.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exif_jax.forensics.patches import Grid, patch_grid
from exif_jax.forensics.score_calibration import SCORE_VERSION

# A p-value at or below the first is weak evidence, at or below the second strong.
WEAK, STRONG = 0.05, 0.02

# A photo that holds fewer patches of the model's own side than this gets no p-value: what pristine
# photos score was measured on pictures of 6 patches of 128 pixels (384 x 256) and more.
MIN_AREA = 4.0

NOT_CALIBRATED = "the model is not calibrated (python -m exif_jax.calibrate does that)"
MAP_NOT_CALIBRATED = (
    "the learned map took part in judging this picture, and how high pristine pictures score so "
    "was not measured (python -m exif_jax.calibrate --method auto does that, and --method map)"
)
OTHER_MAP = "the model is calibrated for another learned map than this one"
MAP_IN_LARGE = (
    "how high pristine photos score by this method was measured on pictures of up to {} pixels "
    "on the longer side; --method auto judges larger ones"
)


def camera_weights(cameras: Sequence[str]) -> np.ndarray:
    """float64 [N], so that n photos of a camera weigh sqrt(n) together; their sum is 1."""
    counts = collections.Counter(cameras)
    weights_N = np.array([counts[camera] ** -0.5 for camera in cameras])
    return weights_N / weights_N.sum()


def null_distribution(values: Sequence[float], cameras: Sequence[str]) -> dict[str, Any]:
    """Describes what pristine photos score.

    Args:
        values: one score per photo.
        cameras: the camera of each photo.

    Returns:
        "values", sorted, and their "weights": the n photos of one camera weigh sqrt(n) together.
    """
    order = np.argsort(values)
    weights_N = camera_weights(cameras)[order]
    return {
        "values": [round(float(values[i]), 5) for i in order],
        "weights": [round(float(weight), 7) for weight in weights_N],
    }


def survival_function(score: float, null: Mapping[str, Any]) -> float:
    """Returns the weight of a null distribution at or above a score, in [1 / (n + 1), 1].

    The null's n values are smoothed (a normal kernel, Silverman's rule for its width), as few
    photos make a coarse staircase; they cannot show what is rarer than 1 in n + 1.
    """
    values, weights = (np.asarray(null[key], np.float64) for key in ("values", "weights"))
    weights = weights / weights.sum()
    mean = float(values @ weights)
    deviation = math.sqrt(max(float((values - mean) ** 2 @ weights), 1e-12))
    width = 0.9 * deviation * (1 / float(np.square(weights).sum())) ** -0.2
    tail = [0.5 * math.erfc((score - v) / width / math.sqrt(2)) for v in values]
    return float(np.clip(np.asarray(tail) @ weights, 1 / (len(values) + 1), 1.0))


def objection_to_grid(calibration: Mapping[str, Any], grid: Grid) -> str:
    """Says why what was measured on pristine photos does not hold for a photo's patches, or "".

    Args:
        calibration: of the release file.
        grid: of the photo.
    """
    return (
        _too_few_patches(grid, grid.area)
        or _not_calibrated(calibration)
        or _other_grid(calibration["grid"], grid)
    )


def objection_to_score(
    calibration: Mapping[str, Any], grid: Grid, area: float, method: str, map_id: str = ""
) -> str:
    """Says why a photo's splice score has no p-value, or "" where it has one.

    Args:
        calibration: of the release file.
        grid: of the photo.
        area: of the photo, in patches of the model's own side.
        method: that made the score (`Localization.scored_by`).
        map_id: of the learned map's release file, where it took part.
    """
    return (
        _too_few_patches(grid, area)
        or _other_method(calibration, method)
        or _other_map(calibration["scores"][method], grid, map_id)
        or _other_grid(calibration["scores"][method]["grid"], grid)
    )


def _too_few_patches(grid: Grid, area: float) -> str:
    if area >= MIN_AREA:
        return ""
    side = round((grid.height * grid.width / area) ** 0.5)
    return (
        f"too few patches to compare: {grid.width} x {grid.height} pixels hold fewer than "
        f"{MIN_AREA:.0f} patches of {side} x {side} side by side"
    )


def _not_calibrated(calibration: Mapping[str, Any]) -> str:
    return "" if "grid" in calibration else NOT_CALIBRATED


def _other_method(calibration: Mapping[str, Any], method: str) -> str:
    calibrated = [
        name
        for name, scores in calibration.get("scores", {}).items()
        if scores.get("score_version") == SCORE_VERSION
    ]
    if method in calibrated:
        return ""
    if not calibrated:
        return NOT_CALIBRATED
    if method in ("map", "auto"):
        return MAP_NOT_CALIBRATED
    return f"the model is calibrated for the method {', '.join(calibrated)}, not for {method}"


def _other_map(scores: Mapping[str, Any], grid: Grid, map_id: str) -> str:
    if "map" not in scores:
        return ""
    if scores["map"] != map_id:
        return OTHER_MAP
    longest = scores.get("longest", math.inf)
    return MAP_IN_LARGE.format(longest) if max(grid.height, grid.width) > longest else ""


def _other_grid(settings: Mapping[str, Any], grid: Grid) -> str:
    calibrated_grid = patch_grid(
        grid.height,
        grid.width,
        grid.patch,
        num_per_dim=settings["num_per_dim"],
        max_patches=settings["max_patches"],
        align=settings["align"],
    )
    if grid == calibrated_grid:
        return ""
    calibrated = ", ".join(f"{name} {value}" for name, value in settings.items())
    return f"the model is calibrated for another grid of patches ({calibrated})"


def agreement_p_value(agreement_null: Mapping[str, Any], agreement: float) -> float:
    """Returns how often a pristine photo agrees with its own EXIF this little.

    Args:
        agreement_null: of `null_distribution`.
        agreement: of `exif_jax.forensics.exif_regression.log_likelihood_ratio`.
    """
    mirrored = {
        "values": [-value for value in agreement_null["values"]],
        "weights": agreement_null["weights"],
    }
    return survival_function(-agreement, mirrored)


def agreement_band(p_value: float | None) -> str | None:
    """ "no contradiction", "weak doubt", "strong doubt" (in the EXIF); None without a p-value."""
    if p_value is None:
        return None
    return ("no contradiction", "weak doubt", "strong doubt")[
        (p_value <= WEAK) + (p_value <= STRONG)
    ]
