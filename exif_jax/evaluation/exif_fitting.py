"""Fits the regression from pixels to EXIF (`exif_jax.forensics.exif_regression`).

Photos of one camera count as the square root of their number. How far EXIF lies from what is
predicted is measured on cameras that are left out, fold by fold. What the likelihood ratios of
unknown cameras are like is measured by fits that have seen nothing of a camera: where the cameras
that are judged had only a part in the residuals' covariance, the ratios of swapped EXIF seemed to
be lower than theirs with an AUC of 0.89 in place of 0.81.

Shape letters as there.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from exif_jax.forensics import exif_regression
from exif_jax.forensics.calibration import camera_weights
from exif_jax.forensics.exif_regression import (
    Column,
    Components,
    ExifRegression,
    columns_of,
    exif_table,
    kernel,
    known_tags,
    log_likelihood_ratio,
    predict,
)
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.exif import camera_name

# Chosen on folds of the training cameras (docs/experiments.md).
PIXEL_COMPONENTS, EXIF_COMPONENTS = 40, 30
_MIN_CAMERAS = 8  # that share a column, and that lack it
_RIDGE = 1.0
_GAMMA = 0.3  # times the squared distance, divided by the number of components
_SHRINKAGE = 0.1  # of covariances towards their diagonals
_FOLDS = 8
_FEW_TAGS = 0.01  # the share of photos whose EXIF has fewer tags than `min_tags`

MIN_CAMERAS = 3 * _MIN_CAMERAS
"""With fewer no column might be left where a fold is taken away."""


class FittingError(ExifJaxError, ValueError):
    """The photos do not suffice for a fit; the message says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A regression, and how photos are judged that it has not seen.

    Attributes:
        regression: fitted to all photos.
        ratios_NxN: log-likelihood ratio of each photo's EXIF for each photo's pixels, by a
            regression that was fitted without the pixels' camera and all others of its fold.
        fold_N: the fold of each photo; a camera's photos share one.
    """

    regression: ExifRegression
    ratios_NxN: np.ndarray
    fold_N: np.ndarray


def fit(features_NxF: np.ndarray, photos: Sequence[Mapping[str, str]], seed: int = 0) -> Fitted:
    """Fits the regression, and judges each photo by one that has not seen its camera.

    Args:
        features_NxF: of `exif_regression.photo_features`.
        photos: canonical EXIF of the same photos.
        seed: decides which cameras share a fold.

    Raises:
        FittingError: there are too few cameras, or they are all alike.
    """
    cameras = [camera_name(exif) for exif in photos]
    if len(set(cameras)) < MIN_CAMERAS:
        raise FittingError(
            f"{len(photos)} photos of {len(set(cameras))} cameras; at least {MIN_CAMERAS} cameras "
            "are needed to compare pixels with EXIF"
        )
    fold_N = camera_folds(cameras, seed)
    ratios_NxN = np.zeros((len(photos), len(photos)))
    for fold in range(_FOLDS):
        left = np.flatnonzero(fold_N == fold)
        inside = np.flatnonzero(fold_N != fold)
        without = fit_regression(features_NxF[inside], [photos[int(i)] for i in inside], seed)
        exif_NxK = without.exif(exif_table(photos, without.columns))
        predicted = predict(features_NxF[left], without)
        ratios_NxN[left] = log_likelihood_ratio(predicted, exif_NxK, without)
    return Fitted(fit_regression(features_NxF, photos, seed), ratios_NxN, fold_N)


def fit_regression(
    features_NxF: np.ndarray, photos: Sequence[Mapping[str, str]], seed: int
) -> ExifRegression:
    """Fits the regression alone, with its numbers rounded as a file keeps them; see `fit`."""
    cameras = [camera_name(exif) for exif in photos]
    weights_N = camera_weights(cameras) * len(cameras)  # with mean 1
    columns = shared_columns(photos, cameras)
    table_NxC = exif_table(photos, columns)
    exif = components(table_NxC, weights_N, EXIF_COMPONENTS)
    pixels = components(features_NxF, weights_N, PIXEL_COMPONENTS)
    t_NxK, u_NxJ = exif(table_NxC), pixels(features_NxF)
    gamma = _GAMMA / u_NxJ.shape[1]
    fold_N = camera_folds(cameras, seed)
    residual_NxK = np.zeros_like(t_NxK)
    for fold in range(_FOLDS):
        inside, left = fold_N != fold, fold_N == fold
        dual = dual_weights(u_NxJ[inside], t_NxK[inside], weights_N[inside], gamma)
        residual_NxK[left] = t_NxK[left] - kernel(u_NxJ[left], u_NxJ[inside], gamma) @ dual
    known = [len(known_tags(tags, columns)) for tags in photos]
    regression = ExifRegression(
        columns=tuple(columns),
        pixels=pixels,
        exif=exif,
        gamma=gamma,
        points_TxJ=u_NxJ,
        dual_TxK=dual_weights(u_NxJ, t_NxK, weights_N, gamma),
        residual_KxK=second_moment(residual_NxK, weights_N),
        total_KxK=second_moment(t_NxK, weights_N),
        min_tags=int(np.quantile(known, _FEW_TAGS, method="lower")),
    )
    return exif_regression.from_json(exif_regression.to_json(regression), features_NxF.shape[1])


def camera_folds(cameras: Sequence[str], seed: int) -> np.ndarray:
    """int64 [N]: the fold of each photo, drawn by camera."""
    names = sorted(set(cameras))
    drawn = np.random.default_rng(seed).permutation(len(names)) % _FOLDS
    folds = dict(zip(names, drawn.tolist(), strict=True))
    return np.array([folds[camera] for camera in cameras])


def shared_columns(photos: Sequence[Mapping[str, str]], cameras: Sequence[str]) -> list[Column]:
    """The columns that enough cameras set and enough never do, in alphabetical order."""
    seen: dict[Column, set[str]] = collections.defaultdict(set)
    for exif, camera in zip(photos, cameras, strict=True):
        for column in columns_of(exif):
            seen[column].add(camera)
    most = len(set(cameras)) - _MIN_CAMERAS
    return sorted(column for column, who in seen.items() if _MIN_CAMERAS <= len(who) <= most)


def components(table_NxF: np.ndarray, weights_N: np.ndarray, count: int) -> Components:
    """Fits the main components of a table whose missing values are not finite.

    Raises:
        FittingError: the rows are all alike.
    """
    finite_NxF = np.where(np.isfinite(table_NxF), table_NxF, np.nan)
    some_F = np.isfinite(finite_NxF).any(axis=0)
    filling_F = np.zeros(table_NxF.shape[1])
    filling_F[some_F] = np.nanmedian(finite_NxF[:, some_F], axis=0)
    filled_NxF = np.where(np.isfinite(table_NxF), table_NxF, filling_F)
    mean_F = np.average(filled_NxF, axis=0, weights=weights_N)
    scale_F = np.sqrt(np.average((filled_NxF - mean_F) ** 2, axis=0, weights=weights_N)) + 1e-6
    unit = np.zeros(0)
    standardised_NxF = Components(filling_F, mean_F, scale_F, unit, unit).standardised(filled_NxF)
    centre_F = standardised_NxF.mean(axis=0)
    _, singular, axes = np.linalg.svd(standardised_NxF - centre_F, full_matrices=False)
    deviations = singular / np.sqrt(len(table_NxF) - 1)
    count = min(count, int((deviations > 1e-3).sum()))
    if not count:
        raise FittingError("the photos do not differ, so that nothing can be learned of them")
    axes_FxK = axes[:count].T / deviations[:count]
    signs_K = np.sign(axes_FxK[np.abs(axes_FxK).argmax(axis=0), range(count)])
    return Components(filling_F, mean_F, scale_F, centre_F, axes_FxK * signs_K)


def dual_weights(
    u_NxJ: np.ndarray, t_NxK: np.ndarray, weights_N: np.ndarray, gamma: float
) -> np.ndarray:
    """float64 [N, K]: of weighted kernel ridge regression."""
    system_NxN = kernel(u_NxJ, u_NxJ, gamma) + np.diag(_RIDGE / weights_N)
    return np.linalg.solve(system_NxN, t_NxK)


def second_moment(x_NxK: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
    """float64 [K, K] about zero, shrunk towards its diagonal."""
    moment_KxK = (x_NxK * weights_N[:, None]).T @ x_NxK / weights_N.sum()
    return (1 - _SHRINKAGE) * moment_KxK + _SHRINKAGE * np.diag(np.diag(moment_KxK))
