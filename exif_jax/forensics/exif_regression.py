"""What the pixels of a photo say of its EXIF: kernel ridge regression to EXIF as a vector.

EXIF becomes numbers: for each tag whether it is there, for each common value of it whether it is
that one, and logarithms of the camera settings; of these the main components are kept. A photo's
patches become the mean of their embeddings, of which likewise. What the regression predicts, and
how far the EXIF of other cameras' photos lay from what was predicted for them, give the likelihood
of any EXIF for these pixels; beside its likelihood for any pixels it says whether it is this
photo's. Where the numbers come from: `exif_jax.evaluation.exif_fitting`.

NumPy only. Shape letters: N photos, M EXIF, F columns of features, J and K components of pixels
and of EXIF, T photos that were fitted to.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from exif_jax.forensics.reference_set import coarse_value, number_in
from exif_jax.io.errors import ExifJaxError

NUMBERS = (
    "ISO",
    "Exposure Time",
    "F Number",
    "Focal Length",
    "Focal Length In 35mm Format",
    "Max Aperture Value",
)
"""Tags whose logarithms are columns."""

# Sizes and orientation are the file's matter (`forensics.file_evidence`), and a photo that was cut
# would be doubted for them; a model or a program is no class that other cameras share.
_NOT_READ = frozenset(
    (
        *("Model", "Software", "Processing Software", "Orientation", "Exif Image Width"),
        *("Exif Image Height", "Related Image Width", "Related Image Height"),
    )
)
PRESENT = "*"
"""In place of a value: the column that says whether the tag is there."""

_CLIP = 5.0  # standard deviations: no column counts for more
# float32 as it is kept can take no likelihood in float64 to infinity, with this.
_MAX_GAMMA = 1e6
_SMALL, _LARGE = np.dtype("<f2"), np.dtype("<f4")

Column = tuple[str, str]


class RegressionError(ExifJaxError, ValueError):
    """The numbers of a regression are not ones that this version can read."""


@dataclasses.dataclass(frozen=True, eq=False)
class Components:
    """The main components of a table, each of unit variance.

    Attributes:
        filling_F: stands for a value that is missing (not finite).
        mean_F, scale_F: of each column; standardised values are cut at five.
        centre_F: mean of the standardised values.
        axes_FxK: from those to the components.
    """

    filling_F: np.ndarray
    mean_F: np.ndarray
    scale_F: np.ndarray
    centre_F: np.ndarray
    axes_FxK: np.ndarray

    def standardised(self, table_NxF: np.ndarray) -> np.ndarray:
        """float64 [N, F] with missing values filled, at most five deviations from the mean."""
        filled = np.where(np.isfinite(table_NxF), table_NxF, self.filling_F)
        return np.clip((filled - self.mean_F) / self.scale_F, -_CLIP, _CLIP)

    def __call__(self, table_NxF: np.ndarray) -> np.ndarray:
        """float64 [N, K]: the components of a table's rows."""
        return (self.standardised(table_NxF) - self.centre_F) @ self.axes_FxK


@dataclasses.dataclass(frozen=True, eq=False)
class ExifRegression:
    """A fitted regression.

    Attributes:
        columns: (tag, coarse value or `PRESENT`) of each column of EXIF; the logarithms of
            `NUMBERS` come behind them.
        pixels: from photo features to J components.
        exif: from columns of EXIF to K components.
        gamma: of the kernel exp(-gamma * squared distance).
        points_TxJ: pixels of the photos that were fitted to.
        dual_TxK: their weights.
        residual_KxK: second moment of EXIF less its prediction, on cameras left out of the fit.
        total_KxK: second moment of EXIF.
        min_tags: EXIF with fewer tags that have columns is not judged: cameras write more, so
            what is missing was taken away, and says nothing of the pixels.
    """

    columns: tuple[Column, ...]
    pixels: Components
    exif: Components
    gamma: float
    points_TxJ: np.ndarray
    dual_TxK: np.ndarray
    residual_KxK: np.ndarray
    total_KxK: np.ndarray
    min_tags: int


def photo_features(z_PxD: np.ndarray) -> np.ndarray:
    """float64 [D]: the mean of a photo's patch embeddings [P, D]."""
    return np.asarray(z_PxD, np.float64).mean(axis=0)


def columns_of(exif: Mapping[str, str]) -> Iterator[Column]:
    """The columns that a photo's canonical tags set to 1."""
    for tag, value in exif.items():
        if tag not in _NOT_READ:
            yield tag, PRESENT
            yield tag, make_of(value) if tag == "Make" else coarse_value(tag, value)


def make_of(value: str) -> str:
    """ "NIKON CORPORATION" and "Nikon" are one maker: its first word."""
    words = "".join(c if c.isalnum() else " " for c in value.lower()).split()
    return words[0] if words else ""


def exif_table(photos: Sequence[Mapping[str, str]], columns: Sequence[Column]) -> np.ndarray:
    """float64 [M, len(columns) + len(NUMBERS)] of canonical tags; NaN where a number is missing."""
    place = {column: i for i, column in enumerate(columns)}
    table = np.zeros((len(photos), len(columns) + len(NUMBERS)))
    for row, photo in zip(table, photos, strict=True):
        for column in columns_of(photo):
            if column in place:
                row[place[column]] = 1
        for i, tag in enumerate(NUMBERS, len(columns)):
            number = number_in(photo.get(tag, ""))
            row[i] = math.nan if number is None else math.log2(number)
    return table


def kernel(a_NxJ: np.ndarray, b_TxJ: np.ndarray, gamma: float) -> np.ndarray:
    """float64 [N, T]: exp(-gamma * squared distance)."""
    return np.exp(-gamma * _squared_distances(a_NxJ, b_TxJ))


def _squared_distances(a_NxK: np.ndarray, b_MxK: np.ndarray) -> np.ndarray:
    squares = (a_NxK**2).sum(1)[:, None] + (b_MxK**2).sum(1) - 2 * a_NxK @ b_MxK.T
    return np.maximum(squares, 0)


def predict(features_NxF: np.ndarray, regression: ExifRegression) -> np.ndarray:
    """float64 [N, K]: the EXIF that photos should have, by their features."""
    u_NxJ = regression.pixels(features_NxF)
    return kernel(u_NxJ, regression.points_TxJ, regression.gamma) @ regression.dual_TxK


def log_density(
    predicted_NxK: np.ndarray, exif_MxK: np.ndarray, covariance_KxK: np.ndarray
) -> np.ndarray:
    """float64 [N, M]: log of the normal density of each EXIF about each prediction."""
    lower = np.linalg.cholesky(covariance_KxK)
    a_NxK, b_MxK = (np.linalg.solve(lower, x.T).T for x in (predicted_NxK, exif_MxK))
    constant = 0.5 * len(lower) * math.log(2 * math.pi) + np.log(np.diag(lower)).sum()
    return -0.5 * _squared_distances(a_NxK, b_MxK) - constant


def log_likelihood_ratio(
    predicted_NxK: np.ndarray, exif_MxK: np.ndarray, regression: ExifRegression
) -> np.ndarray:
    """float64 [N, M]: how much more likely each EXIF is for these pixels than for any, in nats."""
    nothing = np.zeros((1, exif_MxK.shape[1]))
    own = log_density(predicted_NxK, exif_MxK, regression.residual_KxK)
    return own - log_density(nothing, exif_MxK, regression.total_KxK)


def compared_tags(columns: Sequence[Column]) -> frozenset[str]:
    """Names of the tags that some column or number is of."""
    return frozenset({tag for tag, _ in columns} | set(NUMBERS))


def known_tags(exif: Mapping[str, str], columns: Sequence[Column]) -> list[str]:
    """Those of a photo's tags that are compared."""
    compared = compared_tags(columns)
    return [tag for tag in exif if tag in compared]


# --- in a release file --------------------------------------------------------------------------


def to_json(regression: ExifRegression) -> dict[str, Any]:
    """Returns a regression as plain types: arrays as base64 of little-endian float32.

    The points are float16, which moves the kernel by 1e-3 of it at most.
    """
    return {
        "columns": [list(column) for column in regression.columns],
        "numbers": list(NUMBERS),
        "pixels": _components_to_json(regression.pixels),
        "exif": _components_to_json(regression.exif),
        "gamma": regression.gamma,
        "points": _pack(regression.points_TxJ, _SMALL),
        "dual": _pack(regression.dual_TxK),
        "residual": _pack(regression.residual_KxK),
        "total": _pack(regression.total_KxK),
        "min_tags": regression.min_tags,
    }


def from_json(data: Any, embed_dim: int) -> ExifRegression:
    """Undoes `to_json`.

    Args:
        data: what a release file holds; anyone may have written it.
        embed_dim: D of the model.

    Raises:
        RegressionError: this is no regression, its numbers are not finite, or its shapes or
            covariances do not fit each other or the model.
    """
    try:
        columns = tuple((str(tag), str(value)) for tag, value in data["columns"])
        if tuple(data["numbers"]) != NUMBERS:
            raise ValueError(f"its numbers are {data['numbers']}")
        pixels = _components_from_json(data["pixels"], embed_dim)
        exif = _components_from_json(data["exif"], len(columns) + len(NUMBERS))
        J, K = pixels.axes_FxK.shape[1], exif.axes_FxK.shape[1]
        points_TxJ = _unpack(data["points"], (-1, J), _SMALL)
        regression = ExifRegression(
            columns=columns,
            pixels=pixels,
            exif=exif,
            gamma=float(data["gamma"]),
            points_TxJ=points_TxJ,
            dual_TxK=_unpack(data["dual"], (len(points_TxJ), K)),
            residual_KxK=_unpack(data["residual"], (K, K)),
            total_KxK=_unpack(data["total"], (K, K)),
            min_tags=int(data["min_tags"]),
        )
        if not 0 < regression.gamma < _MAX_GAMMA:
            raise ValueError(f"its gamma is {regression.gamma}")
        for covariance in (regression.residual_KxK, regression.total_KxK):
            np.linalg.cholesky(covariance)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as e:
        raise RegressionError(f"not a regression to EXIF ({type(e).__name__}: {e})") from e
    return regression


def _components_to_json(components: Components) -> dict[str, str]:
    arrays = (getattr(components, field.name) for field in dataclasses.fields(components))
    return dict(zip(_COMPONENTS, map(_pack, arrays), strict=True))


_COMPONENTS = ("filling", "mean", "scale", "centre", "axes")


def _components_from_json(data: Any, width: int) -> Components:
    filling_F, mean_F, scale_F, centre_F = (
        _unpack(data[name], (width,)) for name in _COMPONENTS[:4]
    )
    if not (scale_F > 0).all():
        raise ValueError("a column's scale is not above 0")
    axes_FxK = _unpack(data["axes"], (width, -1))
    return Components(filling_F, mean_F, scale_F, centre_F, axes_FxK)


def _pack(array: np.ndarray, dtype: np.dtype = _LARGE) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def _unpack(text: str, shape: tuple[int, ...], dtype: np.dtype = _LARGE) -> np.ndarray:
    array = np.frombuffer(base64.b64decode(text, validate=True), dtype).reshape(shape)
    if not array.size or not np.isfinite(array).all():
        raise ValueError("an array is empty or not finite")
    return array.astype(np.float64)
