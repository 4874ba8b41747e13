"""What `exif_jax.verify` has to know of pristine photos, measured on records of real photos.

The reference set is the EXIF of the training split. What pristine photos of unknown cameras look
like comes from the validation split, whose cameras the model never saw: the distribution of
agreements with their own EXIF, and, tag by tag, whether the pixels predict its value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from exif_jax.data import records
from exif_jax.evaluation.score_measuring import PRISTINE, Row
from exif_jax.evaluation.score_samples import figures
from exif_jax.forensics import reference_set as reference_sets
from exif_jax.forensics.calibration import null_distribution
from exif_jax.forensics.embed import embed_exif
from exif_jax.forensics.localization import LocalizationSettings, localize
from exif_jax.forensics.reference_set import ReferenceSet, TagPosteriors, coarse_value
from exif_jax.forensics.verification import logit_scale
from exif_jax.reading.exif import camera_name, select_tags
from exif_jax.weights.release_file import Model

_STRIDE = 32  # pixels between patches: that of the default grid on a photo of a megapixel
_MAX_REGIONS = 3
_RESAMPLES = 200
# The regions of a photo side by side, by the name of a size (`score_samples.SIZES`).
_REGIONS = ("1 region", "2 regions", "3 regions")


@dataclasses.dataclass(frozen=True, eq=False)
class KnownPhoto:
    """A pristine photo.

    Attributes:
        exif: canonical tags.
        samples: what its first 1, 2, 3 regions side by side scored, as many as it has: rows as
            `score_measuring.measure` gives them.
        z_D: mean of its patches' unit embeddings.
    """

    exif: dict[str, str]
    samples: tuple[Row, ...]
    z_D: np.ndarray

    @property
    def camera(self) -> str:
        """Make and model; "" where the photo does not say."""
        return camera_name(self.exif)

    @property
    def direction_D(self) -> np.ndarray:
        """`z_D` at unit length."""
        return self.z_D / np.linalg.norm(self.z_D)


def known_photos(folder: str, model: Model) -> list[KnownPhoto]:
    """Analyses the photos of the validation split. Raises RecordError."""
    reader = records.RecordReader(folder, "validation")
    photos = []
    for numbers in tqdm(reader.photos(), unit="photo", desc="validation photos"):
        regions = [records.decode_record(reader[i]) for i in numbers]
        pixels = [records.decode_image(region) for region in regions]
        side = min(min(image.shape[:2]) for image in pixels)
        pixels = [image[:side, :side] for image in pixels]
        exif = regions[0].exif
        about = {"kind": PRISTINE, "photo": regions[0].photo_id[:12], "camera": camera_name(exif)}
        samples, z_PxD = [], np.zeros((0, 1), np.float32)
        for count in range(1, min(len(pixels), _MAX_REGIONS) + 1):
            # Regions of one photo side by side are one camera's work, as a larger photo is.
            image = np.concatenate(pixels[:count], axis=1)
            steps = max(1, (image.shape[1] - model.patch_size) // _STRIDE)
            localization = localize(image, model, LocalizationSettings(num_per_dim=steps))
            size = {"size": _REGIONS[count - 1], "quality": None}
            samples.append(about | size | figures(localization))
            z_PxD = localization.embeddings
        photos.append(KnownPhoto(exif, tuple(samples), z_PxD.mean(axis=0)))
    return photos


def posteriors_of(
    photos: Sequence[KnownPhoto], reference_set: ReferenceSet, model: Model
) -> list[dict[str, dict[str, tuple[float, float]]]]:
    """Returns what the pixels of each photo say of every tag (`reference_set.tag_posteriors`)."""
    scale = logit_scale(model)
    return [
        reference_sets.tag_posteriors(
            reference_sets.photo_posterior(photo.direction_D, reference_set, scale), reference_set
        )
        for photo in photos
    ]


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

    def auc(camera_weights: np.ndarray) -> float:
        share = camera_weights / counts
        weight = share[first] * share[second]
        if not (weight[truth].sum() > 0 and weight[~truth].sum() > 0):
            return 0.5
        weight = weight / np.where(truth, weight[truth].sum(), weight[~truth].sum())
        return float(roc_auc_score(truth, ratio, sample_weight=weight))

    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(cameras), np.full(len(cameras), 1 / len(cameras)), _RESAMPLES)
    low = np.quantile([auc(draw.astype(float)) for draw in draws], 0.05)
    return {
        "auc": round(auc(np.ones(len(cameras))), 3),
        "auc_low": round(float(low), 3),
        "num_photos": len(known),
        "num_cameras": len(cameras),
    }


def exif_calibration(model: Model, folder: str) -> tuple[dict[str, Any], list[KnownPhoto]]:
    """What `exif_jax.verify` needs of a calibration, and the photos that it was measured on.

    Args:
        model: a loaded model.
        folder: of records; `exif_jax.forensics.calibration` says what becomes of them.

    Raises:
        exif_jax.data.records.RecordError: the folder holds no records, or damaged ones.
    """
    reader = records.RecordReader(folder, "train")
    first_regions = (records.decode_record(reader[numbers[0]]) for numbers in reader.photos())
    training_exif = [select_tags(record.exif, model.tags) for record in first_regions]
    training_exif = [tags for tags in training_exif if tags]
    # Kept in the file: to encode hundreds of texts would take longer than the photo.
    reference_json = reference_sets.to_json(
        reference_sets.make_reference_set(training_exif, embed_exif(training_exif, model))
    )
    # As it will be read: the file rounds the embeddings.
    reference_set = reference_sets.from_json(reference_json, model.config.embed_dim)
    photos = known_photos(folder, model)
    exif = [photo.exif for photo in photos]
    cameras = [photo.camera for photo in photos]
    posteriors = posteriors_of(photos, reference_set, model)
    agreements = [
        reference_sets.agreement(values, tags)
        for values, tags in zip(posteriors, exif, strict=True)
    ]
    skills = {
        tag: measure_skill(posteriors, exif, tag)
        for tag in tqdm(model.tags, unit="tag", desc="skill of tags")
    }
    return {
        "reference_set": reference_json,
        "agreement_null": null_distribution(agreements, cameras),
        "tag_skill": {tag: skill for tag, skill in skills.items() if skill},
        "grid": grid_of(LocalizationSettings()),
        "measured_on": {"num_photos": len(photos), "num_cameras": len(set(cameras))},
    }, photos


def grid_of(settings: LocalizationSettings) -> dict[str, int]:
    """What of the settings decides where the patches lie."""
    names = ("num_per_dim", "max_patches", "align")
    return {name: getattr(settings, name) for name in names}


def without_old_keys(model: Model) -> Model:
    """The model without what earlier versions kept of its scores' null distribution."""
    calibration = {key: value for key, value in model.calibration.items() if key != "score_null"}
    return dataclasses.replace(model, calibration=calibration)
