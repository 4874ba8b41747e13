"""From measured samples to what a method's scores mean, and how well that holds.

Whatever is reported of a photo was fitted without its camera's photos, and without the splices on
them. NumPy only.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from exif_jax.evaluation.score_measuring import HOST, PRISTINE, SIMULATED, SPLICE, Row
from exif_jax.evaluation.score_regression import fit_null, fit_splices
from exif_jax.forensics import score_calibration
from exif_jax.forensics.calibration import MIN_AREA, camera_weights
from exif_jax.forensics.likelihood import cllr
from exif_jax.forensics.score_calibration import Conditions
from exif_jax.forensics.verdict import LEVELS, MIN_POWER

_MIN_SPLICES = 10  # below this nothing is said of splices
# A part counts as compact from here on, and as strong from the contrast that this share of the
# pristine photos' compact parts stay below.
_COMPACT, _STRONG = 0.8, 0.95
_RESAMPLES = 1000


class Judged(NamedTuple):
    """A sample, judged by a calibration that does not know its camera.

    Attributes:
        row: the sample.
        p_value: of its score.
        ratio: its likelihood ratio; None where no splices were measured.
        power: the share of splices in its conditions that are called; None likewise.
    """

    row: Row
    p_value: float
    ratio: float | None
    power: float | None

    @property
    def can_tell(self) -> bool:
        """Whether a verdict is given."""
        power = 1.0 if self.power is None else self.power
        return _large_enough(self.row) and power >= MIN_POWER


def _large_enough(row: Row) -> bool:
    return row["area"] >= MIN_AREA


def fit(judged: Sequence[Judged], grid: Mapping[str, int], date: datetime.date) -> dict[str, Any]:
    """The calibration of the method that the samples were measured with.

    Args:
        judged: the samples, of `leave_one_out`.
        grid: num_per_dim, max_patches and align of the patches.
        date: of the calibration.

    Raises:
        ValueError: the pristine photos are of fewer than two cameras.
    """
    judged = [j for j in judged if _large_enough(j.row)]
    rows = [j.row for j in judged]
    calibration = _fit(rows)
    pristine = [j for j in judged if j.row["kind"] == PRISTINE]
    spliced = [j for j in judged if j.row["kind"] in (SIMULATED, SPLICE)]
    photos = {(row["camera"], row["photo"]) for row in rows if row["kind"] == PRISTINE}
    about: dict[str, Any] = {
        "num_photos": len(photos),
        "num_cameras": len({camera for camera, _ in photos}),
        "num_samples": len(pristine),
        "num_splices": len(spliced),
        "date": date.isoformat(),
        # With every camera left out in turn: the share accused at 5 %, and its 95 % interval.
        "accused": [round(x, 4) for x in accused(pristine, LEVELS[1])],
    }
    # Without one camera's splices too few may be left for any ratio.
    if "splices" in calibration and ratios(spliced) and ratios(pristine):
        about["cllr"] = round(cllr(ratios(spliced), ratios(pristine)), 4)
    return calibration | {"grid": dict(grid), "measured_on": about}


def _fit(rows: Sequence[Row]) -> dict[str, Any]:
    """The calibration without what is said of it; pictures that are not judged take no part."""
    rows = [row for row in rows if _large_enough(row)]
    pristine, splices = _table(rows, (PRISTINE,)), _table(rows, (SIMULATED, SPLICE))
    calibration = fit_null(*pristine)
    if len(splices[0]) >= _MIN_SPLICES:
        calibration["splices"] = fit_splices(calibration, splices, pristine)
    compact = [row for row in rows if row["kind"] == PRISTINE and row["compactness"] >= _COMPACT]
    if compact:
        contrasts = [score_calibration.contrast(row["score"], conditions(row)) for row in compact]
        limit = round(float(np.quantile(contrasts, _STRONG)), 4)
        calibration["stands_out"] = {"contrast": limit, "compactness": _COMPACT}
    return calibration


def conditions(row: Row) -> Conditions:
    """The conditions of a measured sample."""
    names = ("step", "log_patch", "gap", "variation")
    return Conditions(float(np.log(row["area"])), *(row[name] for name in names))


def _table(rows: Iterable[Row], kinds: Sequence[str]):
    chosen = [row for row in rows if row["kind"] in kinds]
    return (
        [row["score"] for row in chosen],
        [conditions(row) for row in chosen],
        [row["camera"] for row in chosen],
    )


def leave_one_out(rows: Sequence[Row]) -> list[Judged]:
    """All rows, each judged by a calibration of the rows of other cameras.

    Raises ValueError where the pristine ones are of fewer than three cameras.

    A dataset's splice and its host are one camera here, and what is fitted to a dataset's splices
    is fitted without those with the host's name.
    """
    judged = []
    for camera in sorted({row["camera"] for row in rows}):
        own = [row for row in rows if row["camera"] == camera]
        calibration = _fit([row for row in rows if row["camera"] != camera])
        for row in own:
            at = conditions(row)
            p = score_calibration.p_value(calibration, row["score"], at).value
            ratio = score_calibration.ratio(calibration, row["score"], at)
            power = (
                score_calibration.power(calibration, LEVELS[1], at)
                if "splices" in calibration
                else None
            )
            judged.append(Judged(row, p, ratio, power))
    return judged


def ratios(judged: Sequence[Judged]) -> list[float]:
    """The likelihood ratios, where there are any."""
    return [j.ratio for j in judged if j.ratio is not None]


def accused(judged: Sequence[Judged], level: float) -> tuple[float, float, float]:
    """The share that is called at a p-value of `level`, and its 95 % interval over cameras.

    n samples of a camera weigh sqrt(n) together. The interval is Efron's percentile bootstrap of
    whole cameras.
    """
    cameras = [j.row["camera"] for j in judged]
    weights = camera_weights(cameras)
    called = np.array([j.can_tell and j.p_value <= level for j in judged])
    names = sorted(set(cameras))
    index = np.array([names.index(camera) for camera in cameras])
    weight = np.bincount(index, weights)
    hits = np.bincount(index, weights * called)
    draws = np.random.default_rng(0).integers(len(names), size=(_RESAMPLES, len(names)))
    shares = hits[draws].sum(axis=1) / weight[draws].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(weights @ called), float(low), float(high)


def by(judged: Sequence[Judged], name: Callable[[Row], object]) -> dict[Any, list[Judged]]:
    """The samples grouped by something that their rows say, in order of appearance."""
    groups: dict[Any, list[Judged]] = {}
    for j in judged:
        groups.setdefault(name(j.row), []).append(j)
    return groups


def table(judged: Sequence[Judged]) -> list[tuple[str, ...]]:
    """How often each kind, size, quality and number of saves is called, under a header."""
    rows: list[tuple[str, ...]] = [
        ("samples", "", "number", *(f"p <= {level:g}" for level in LEVELS[::-1]), "cannot tell")
    ]
    for kind in (PRISTINE, SIMULATED, SPLICE, HOST):
        of_kind = [j for j in judged if j.row["kind"] == kind]
        groups = {(kind, "all"): of_kind}
        fields = ("size", "quality") + ("earlier",) * any(j.row.get("earlier") for j in of_kind)
        for field in fields:
            groups |= {
                (kind, _name(field, value)): group
                for value, group in by(of_kind, lambda row, f=field: row.get(f)).items()
            }
        for (first, second), group in groups.items():
            if group:
                rows.append((first, second, str(len(group)), *_shares(group)))
    return rows


def _name(field: str, value: object) -> str:
    if field == "size":
        return str(value)
    if field == "earlier":
        return f"saved {value} times before"
    return "as it was" if value is None else f"JPEG {value}"


def _shares(judged: Sequence[Judged]) -> tuple[str, ...]:
    weights = camera_weights([j.row["camera"] for j in judged])
    told = np.array([j.can_tell for j in judged])
    shares = [
        weights @ (told & np.array([j.p_value <= level for j in judged])) for level in LEVELS[::-1]
    ]
    return tuple(f"{share:.1%}" for share in (*shares, weights @ ~told))
