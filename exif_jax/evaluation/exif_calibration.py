"""What `exif_jax.verify` has to know of pristine photos, measured on photos of many cameras.

The regression from pixels to EXIF is fitted to all of them. What the likelihood ratios of photos
by unknown cameras are like, and, tag by tag, whether the pixels predict its value, is measured on
each photo by a fit that has not seen its camera.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from exif_jax.evaluation.exif_fitting import Fitted, FittingError, fit
from exif_jax.evaluation.score_measuring import MeasuringError, weights_id
from exif_jax.forensics import exif_regression
from exif_jax.forensics import reference_set as reference_sets
from exif_jax.forensics.calibration import MIN_AREA, null_distribution
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.forensics.patches import embed_patches, image_encoder, patch_grid
from exif_jax.forensics.reference_set import ReferenceSet, TagPosteriors, coarse_value
from exif_jax.forensics.suitability import is_flat
from exif_jax.io import jsonl
from exif_jax.io.text import printable
from exif_jax.reading.exif import camera_name, checked
from exif_jax.reading.photo import PhotoError, read_bytes, read_photo
from exif_jax.weights.release_file import Model

# Steps of the patch grid along the longer side: a tenth of the patches move the mean little.
_NUM_PER_DIM, _BATCH_SIZE = 9, 32
_REFERENCES = 4  # photos of a camera in the reference set
_RESAMPLES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class KnownPhoto:
    """A pristine photo: its canonical tags, and its features (`exif_regression`)."""

    exif: dict[str, str]
    features_D: np.ndarray

    @property
    def camera(self) -> str:
        """Make and model; "" where the photo does not say."""
        return camera_name(self.exif)


def known_photos(
    photos: Mapping[str, Sequence[pathlib.Path]],
    model: Model,
    journal: pathlib.Path,
    report_failure: Callable[[str], object],
) -> list[KnownPhoto]:
    """Embeds the photos that the journal lacks; equal files count once.

    Args:
        photos: pristine ones, of each camera.
        model: a loaded model.
        journal: of rows, which is made or added to.
        report_failure: takes a message about each photo that is left out.

    Raises:
        OSError: the journal cannot be read or written.
    """
    about = {"weights": weights_id(model), "method": f"exif, {_NUM_PER_DIM} steps"}
    rows = {r["key"]: r for r in jsonl.read_rows(journal) if about.items() <= r.items()}
    known = {}
    for path in tqdm(sorted(p for paths in photos.values() for p in paths), unit="photo"):
        try:
            key = hashlib.sha256(read_bytes(path)).hexdigest()[:16]
            if key not in rows:
                rows[key] = {"key": key} | about | _row(path, model)
                jsonl.append_rows(journal, [rows[key]])
            if "skipped" in rows[key]:
                report_failure(f"{printable(path)}: left out: {rows[key]['skipped']}")
            else:
                known[key] = _known_photo(rows[key])
        except PhotoError as e:
            report_failure(printable(e))
    return list(known.values())


def _row(path: pathlib.Path, model: Model) -> dict[str, Any]:
    photo = read_photo(path)
    pixels = photo.pixels
    if photo.objection:
        return {"skipped": photo.objection}
    if is_flat(pixels) or pixels.shape[0] * pixels.shape[1] < MIN_AREA * model.patch_size**2:
        return {"skipped": "it is flat, or too small"}
    features_D = embedded_features(pixels, model).astype("<f4")
    packed = base64.b64encode(features_D.tobytes()).decode()
    return {"file": path.name, "exif": photo.exif, "features": packed}


def embedded_features(pixels: np.ndarray, model: Model) -> np.ndarray:
    """float64 [D] of uint8 [H, W, 3], which hold a patch: `exif_regression.photo_features`."""
    height, width = pixels.shape[:2]
    align = LocalizationSettings().align
    grid = patch_grid(height, width, model.patch_size, _NUM_PER_DIM, align=align)
    encode = image_encoder(model.config)
    z_PxD = embed_patches(encode, model.params, pixels, grid, _BATCH_SIZE)
    return exif_regression.photo_features(np.asarray(z_PxD))


def _known_photo(row: Mapping[str, Any]) -> KnownPhoto:
    features_D = np.frombuffer(base64.b64decode(row["features"]), "<f4")
    return KnownPhoto(checked(row["exif"]), features_D.astype(np.float64))


def measure_skill(
    posteriors: Sequence[TagPosteriors],
    exif: Sequence[dict[str, str]],
    tag: str,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Measures whether the pixels predict a tag's value, on cameras that the model never saw.

    Args:
        posteriors: of each photo, `reference_set.tag_posteriors`.
        exif: of each photo.
        tag: its name.
        seed: of the bootstrap.

    Returns:
        "auc": the chance that a photo's log(posterior / share) is higher for its own value than
        for another camera's photo's different value, cameras weighing equally; "auc_low": the 5th
        percentile of that over bootstrapped cameras; "num_photos" and "num_cameras". None where the
        reference set knows the values of fewer than three cameras, or fewer than two values.
    """
    known = []  # (index of the photo, its value, its camera)
    for i, tags in enumerate(exif):
        value = coarse_value(tag, tags.get(tag, ""))
        if value in posteriors[i].get(tag, {}):
            known.append((i, value, camera_name(tags)))
    cameras = sorted({camera for _, _, camera in known})
    if len(cameras) < 3 or len({value for _, value, _ in known}) < 2:
        return None
    camera_index = {name: i for i, name in enumerate(cameras)}
    counts = np.bincount([camera_index[camera] for _, _, camera in known])
    truth, ratio, first, second = [], [], [], []
    for i, own_value, own_camera in known:
        values = posteriors[i][tag]
        for _, value, camera in known:
            if (value == own_value) != (camera == own_camera):
                continue
            posterior, share = values[value]
            truth.append(value == own_value)
            ratio.append(np.log(posterior / share))
            first.append(camera_index[own_camera])
            second.append(camera_index[camera])
    truth, first, second = map(np.array, (truth, first, second))
    if truth.all() or not truth.any():
        return None

    # Sorted once for all draws of cameras; equal ratios share a place.
    _, place = np.unique(ratio, return_inverse=True)

    def auc(camera_weights: np.ndarray) -> float:
        share = camera_weights / counts
        weight = share[first] * share[second]
        won = np.bincount(place, weight * truth)
        lost = np.bincount(place, weight * ~truth)
        if not (won.sum() > 0 and lost.sum() > 0):
            return 0.5
        below = np.cumsum(lost) - lost / 2
        return float(won @ below / (won.sum() * lost.sum()))

    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(cameras), np.full(len(cameras), 1 / len(cameras)), _RESAMPLES)
    low = np.quantile([auc(draw.astype(float)) for draw in draws], 0.05)
    return {
        "auc": round(auc(np.ones(len(cameras))), 3),
        "auc_low": round(float(low), 3),
        "num_photos": len(known),
        "num_cameras": len(cameras),
    }


def exif_calibration(photos: Sequence[KnownPhoto]) -> dict[str, Any]:
    """What `exif_jax.verify` needs of a calibration (`exif_jax.forensics.calibration`).

    Raises:
        MeasuringError: the photos are of too few cameras.
    """
    exif = [photo.exif for photo in photos]
    cameras = [photo.camera for photo in photos]
    try:
        fitted = fit(np.array([photo.features_D for photo in photos]), exif)
    except FittingError as e:
        raise MeasuringError(f"EXIF cannot be calibrated: {e}; give a folder with more") from e
    own_N = np.diag(fitted.ratios_NxN)
    references = _first_of_each(cameras, _REFERENCES)
    posteriors, judged = _posteriors(fitted, exif, references, _first_of_each(cameras, 1))
    tags = sorted(exif_regression.compared_tags(fitted.regression.columns))
    skills = {tag: measure_skill(posteriors, judged, tag) for tag in tqdm(tags, unit="tag")}
    return {
        "exif_regression": exif_regression.to_json(fitted.regression),
        "reference_set": reference_sets.to_json(_reference_set(exif, references)),
        "agreement_null": null_distribution(own_N.tolist(), cameras),
        "tag_skill": {tag: skill for tag, skill in skills.items() if skill},
        "grid": grid_of(LocalizationSettings()),
        "measured_on": {"num_photos": len(photos), "num_cameras": len(set(cameras))},
    }


def _first_of_each(cameras: Sequence[str], most: int) -> list[int]:
    """Numbers of the first photos of each camera."""
    counts: collections.Counter[str] = collections.Counter()
    chosen = []
    for i, camera in enumerate(cameras):
        counts[camera] += 1
        if counts[camera] <= most:
            chosen.append(i)
    return chosen


def _reference_set(exif: Sequence[dict[str, str]], chosen: Sequence[int]) -> ReferenceSet:
    return reference_sets.make_reference_set([exif[i] for i in chosen])


def _posteriors(
    fitted: Fitted, exif: Sequence[dict[str, str]], references: Sequence[int], judged: Sequence[int]
) -> tuple[list[TagPosteriors], list[dict[str, str]]]:
    """What the pixels of photos say of every tag, by references of other folds; and their EXIF."""
    sets = {}
    for fold in set(fitted.fold_N.tolist()):
        others = [i for i in references if fitted.fold_N[i] != fold]
        sets[fold] = (others, _reference_set(exif, others))
    posteriors = []
    for i in judged:
        others, reference_set = sets[int(fitted.fold_N[i])]
        posterior_N = reference_sets.photo_posterior(fitted.ratios_NxN[i, others], reference_set)
        posteriors.append(reference_sets.tag_posteriors(posterior_N, reference_set))
    return posteriors, [exif[i] for i in judged]


def grid_of(settings: LocalizationSettings) -> dict[str, int]:
    """What of the settings decides where the patches lie."""
    names = ("num_per_dim", "max_patches", "align")
    return {name: getattr(settings, name) for name in names}


def without_old_keys(model: Model) -> Model:
    """The model without what earlier versions kept of its scores' null distribution."""
    calibration = {key: value for key, value in model.calibration.items() if key != "score_null"}
    return dataclasses.replace(model, calibration=calibration)
