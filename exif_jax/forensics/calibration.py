"""From a score to how often pristine photos of unknown cameras score as high.

`exif_jax.calibrate` measures pristine photos, and a release file carries the result, which is here
called the calibration: a dict of plain types with the keys

* "score_null": what their splice scores are like (`fit_score_calibration`);
* "agreement_null": how well they agree with their own EXIF (`null_distribution`);
* "tag_skill": for each tag whether the pixels predict its value (`exif_jax.calibrate`);
* "reference_set": EXIF of known photos (`exif_jax.forensics.reference_set`);
* "grid": num_per_dim, max_patches and align of the patch grid that all of this holds for;
* "measured_on": "num_photos" and "num_cameras".

This module turns it into p-values and plain words. NumPy only.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exif_jax.forensics.patches import Grid, patch_grid

# A p-value at or below the first is weak evidence, at or below the second strong.
WEAK, STRONG = 0.05, 0.02

# A photo that holds fewer patches side by side than this gets no p-value: each part of a splice
# needs patches of its own beside the other's, and where all patches overlap a low score says
# nothing. Of the 24 development splices, cut to squares of which a third is tampered, p <= 0.05
# calls none at 1.6 patches (160 pixels), 1 at 2.2, 2 at 3.1, 8 at 4 and 9 at 6.2; the calibration
# was measured on photos of 12 and more.
MIN_AREA = 4.0

NOT_CALIBRATED = "the model is not calibrated (python -m exif_jax.calibrate does that)"


def null_distribution(values: Sequence[float], cameras: Sequence[str]) -> dict[str, Any]:
    """Describes what pristine photos score.

    Args:
        values: one score per photo.
        cameras: the camera of each photo.

    Returns:
        "values", sorted, and their "weights": the n photos of one camera weigh sqrt(n) together.
    """
    counts = collections.Counter(cameras)
    order = np.argsort(values)
    return {
        "values": [round(float(values[i]), 5) for i in order],
        "weights": [round(counts[cameras[int(i)]] ** -0.5, 4) for i in order],
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


def fit_score_calibration(
    scores: Sequence[Sequence[float]],
    gaps: Sequence[Sequence[float]],
    area: float,
    cameras: Sequence[str],
    method: str,
) -> dict[str, Any]:
    """Fits what pristine photos score, and how that grows with size and content.

    Args:
        scores: of each photo, cut to 1, 2, ... equal parts of its own side by side.
        gaps: `Localization.gradient_energy_gap` of each of them.
        area: `Grid.area` of one part.
        cameras: the camera of each photo.
        method: the name of the localisation's method.

    Returns:
        "method" and "area" as given; "slopes": of logit(score) over log(area) ("log_area") and over
        the gap ("gradient_energy_gap"), by weighted least squares, not below 0;
        "null_distribution": of what the slopes leave of each photo's last logit(score).
    """
    weights, columns, logits = [], [], []
    for photo_scores, photo_gaps, camera in zip(scores, gaps, cameras, strict=True):
        for k, (score, gap) in enumerate(zip(photo_scores, photo_gaps, strict=True)):
            weights.append(list(cameras).count(camera) ** -0.5 / len(photo_scores))
            columns.append((1.0, math.log(k + 1), gap))
            logits.append(_logit(score))
    x, y, w = np.array(columns), np.array(logits), np.sqrt(weights)
    kept, slopes = [0, 1, 2], np.zeros(3)
    while True:  # without the columns whose slope would be negative
        slopes[:] = 0
        # A little towards no slope, as few photos may hardly differ.
        ridge = np.diag([0.0, 1.0, 1.0])[:, kept]
        rows = np.concatenate([x[:, kept] * w[:, None], 0.1 * ridge])
        slopes[kept] = np.linalg.lstsq(rows, np.concatenate([y * w, np.zeros(3)]), rcond=None)[0]
        if (slopes[1:] >= 0).all():
            break
        kept = [k for k in kept if k == 0 or slopes[k] >= 0]
    last = np.cumsum([len(photo_scores) for photo_scores in scores]) - 1
    log_area, gradient_energy_gap = (round(float(slope), 4) for slope in slopes[1:])
    return {
        "method": method,
        "area": area,
        "slopes": {"log_area": log_area, "gradient_energy_gap": gradient_energy_gap},
        "null_distribution": null_distribution(
            (y[last] - x[last, 1:] @ slopes[1:]).tolist(), cameras
        ),
    }


def objection_to_grid(calibration: Mapping[str, Any], grid: Grid) -> str:
    """Says why what was measured on pristine photos does not hold for a photo's patches, or "".

    Args:
        calibration: of the release file.
        grid: of the photo.
    """
    return _too_few_patches(grid) or _not_calibrated(calibration) or _other_grid(calibration, grid)


def objection_to_score(calibration: Mapping[str, Any], grid: Grid, method: str) -> str:
    """Says why a photo's splice score has no p-value, or "" where it has one.

    Args:
        calibration: of the release file.
        grid: of the photo.
        method: the name of the localisation's method.
    """
    return (
        _too_few_patches(grid)
        or _not_calibrated(calibration)
        or _other_method(calibration, method)
        or _other_grid(calibration, grid)
    )


def _too_few_patches(grid: Grid) -> str:
    if grid.area >= MIN_AREA:
        return ""
    return (
        f"too few patches to compare: {grid.width} x {grid.height} pixels hold fewer than "
        f"{MIN_AREA:.0f} patches of {grid.patch} x {grid.patch} side by side"
    )


def _not_calibrated(calibration: Mapping[str, Any]) -> str:
    return "" if calibration else NOT_CALIBRATED


def _other_method(calibration: Mapping[str, Any], method: str) -> str:
    calibrated = calibration["score_null"]["method"]
    if method == calibrated:
        return ""
    return f"the model is calibrated for the method {calibrated}, not for {method}"


def _other_grid(calibration: Mapping[str, Any], grid: Grid) -> str:
    settings = calibration["grid"]
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


def expected_logit(score_null: Mapping[str, Any], area: float, gap: Any) -> Any:
    """Returns by how much logit(score) of a pristine photo exceeds that of the null distribution.

    Args:
        score_null: of `fit_score_calibration`.
        area: `Grid.area` of the photo. More room, more differences: beyond the sizes that were
            measured this is extrapolated.
        gap: `Localization.gradient_energy_gap`, a number or a JAX scalar: parts of unlike content
            differ more in pristine photos too.
    """
    slopes = score_null["slopes"]
    return (
        slopes["log_area"] * math.log(area / score_null["area"])
        + slopes["gradient_energy_gap"] * gap
    )


def score_p_value(score_null: Mapping[str, Any], score: float, area: float, gap: float) -> float:
    """Returns how often a pristine photo's splice score is this high.

    Args:
        score_null: of `fit_score_calibration`.
        score: of the localisation, by the calibrated method.
        area, gap: as for `expected_logit`.
    """
    excess = _logit(score) - expected_logit(score_null, area, gap)
    return survival_function(excess, score_null["null_distribution"])


def _logit(score: float) -> float:
    """Of a score cut to [0.001, 0.999]: on this scale the spread of scores is even."""
    score = min(max(score, 1e-3), 1 - 1e-3)
    return math.log(score / (1 - score))


def agreement_p_value(agreement_null: Mapping[str, Any], agreement: float) -> float:
    """Returns how often a pristine photo agrees with its own EXIF this little.

    Args:
        agreement_null: of `null_distribution`.
        agreement: of `exif_jax.forensics.reference_set.agreement`.
    """
    mirrored = {
        "values": [-value for value in agreement_null["values"]],
        "weights": agreement_null["weights"],
    }
    return survival_function(-agreement, mirrored)


def score_band(p_value: float | None) -> str | None:
    """ "no evidence", "weak" or "strong" (evidence of a splice); None without a p-value."""
    return _band(p_value, ("no evidence", "weak", "strong"))


def agreement_band(p_value: float | None) -> str | None:
    """ "no contradiction", "weak doubt", "strong doubt" (in the EXIF); None without a p-value."""
    return _band(p_value, ("no contradiction", "weak doubt", "strong doubt"))


def _band(p_value: float | None, words: tuple[str, str, str]) -> str | None:
    if p_value is None:
        return None
    return words[(p_value <= WEAK) + (p_value <= STRONG)]
