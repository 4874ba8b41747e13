"""What looks for splices and can be measured: our model, its use of EXIF, functions of pixels."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from exif_jax import __version__
from exif_jax.forensics import affinity
from exif_jax.forensics.embed import embed_exif
from exif_jax.forensics.learned_map import loaded_map
from exif_jax.forensics.localization import localize, localize_by_own_patches
from exif_jax.forensics.methods import LEARNED, LocalizationSettings, LocalizeError
from exif_jax.reading.photo import read_photo
from exif_jax.weights.release_file import Model


class Prediction(NamedTuple):
    """What a detector makes of a photo.

    Attributes:
        heatmap: float [H, W], higher where it suspects that the photo was tampered with.
        score: of the whole photo, higher where it suspects tampering; None where it gives none.
        p_value: how often a pristine photo scores as high; None where it does not know.
        mask: bool [H, W], what it takes for tampered; None where it does not decide.
    """

    heatmap: np.ndarray
    score: float | None = None
    p_value: float | None = None
    mask: np.ndarray | None = None


class Detector(NamedTuple):
    """Something that looks for tampered regions.

    Attributes:
        name: in tables.
        key: what its figures depend on (weights, settings): equal keys, equal figures.
        predict: takes uint8 [H, W, 3] and the file that these pixels come from, or None where they
            were changed since; may raise LocalizeError.
    """

    name: str
    key: str
    predict: Callable[[np.ndarray, pathlib.Path | None], Prediction]


def model_detector(model: Model, settings: LocalizationSettings, name: str) -> Detector:
    """A model of ours as a detector; raises ReleaseError where its learned map cannot be read."""

    def predict(pixels: np.ndarray, file: pathlib.Path | None) -> Prediction:
        localization = localize(pixels, model, settings)
        return Prediction(
            localization.heatmap, localization.score, localization.p_value, localization.mask
        )

    # What changes the figures, and not the speed alone: rows of earlier runs stay valid.
    grid = f"num_per_dim={settings.num_per_dim} max_patches={settings.max_patches}"
    grid += f" align={settings.align}"
    learned = f" {loaded_map(settings.map_model).id}" if settings.method in LEARNED else ""
    return Detector(name, f"{model.id}{learned} {settings.method} {grid} {__version__}", predict)


def text_detector(model: Model, name: str) -> Detector:
    """Patches against the file's own EXIF, and not against each other, as a detector.

    The heat map is (1 - cos) / 2 of each patch and the text, the score its mean over the patches:
    the paper's use of both encoders at test time. A photo without EXIF is refused.
    """

    def predict(pixels: np.ndarray, file: pathlib.Path | None) -> Prediction:
        # The file was read before, under a limit that the user may have raised.
        exif = read_photo(file, max_pixels=pixels.size).exif if file else {}
        known = {tag: value for tag, value in exif.items() if tag in model.tags}
        if not known:
            raise LocalizeError("no EXIF of the camera was found in the file; this needs it")
        localization = localize_by_own_patches(pixels, model)
        (z_D,) = embed_exif([known], model)
        grid = localization.grid
        distance_P = (1 - localization.embeddings @ z_D) / 2
        cells = affinity.patches_to_cells(distance_P, grid)
        heatmap = np.asarray(affinity.upsample(cells, grid))
        return Prediction(heatmap, float(distance_P.mean()))

    return Detector(name, f"{model.id} text {__version__}", predict)


def map_detector(name: str, make_map: Callable[[np.ndarray], np.ndarray]) -> Detector:
    """A function from pixels to a heat map, without a score, as a detector."""

    def predict(pixels: np.ndarray, file: pathlib.Path | None) -> Prediction:
        return Prediction(make_map(pixels))

    return Detector(name, name, predict)
