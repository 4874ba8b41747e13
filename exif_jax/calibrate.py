"""Gives a release file its reference set of EXIF and its calibration, from records of real photos.

python -m exif_jax.calibrate model.safetensors calibrated.safetensors --records DIR

The reference set is the EXIF of the training split. What pristine photos of unknown cameras look
like comes from the validation split, whose cameras the model never saw: the distribution of splice
scores, of agreements with their own EXIF, and, tag by tag, whether the pixels predict its value.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from exif_jax.cli import command
from exif_jax.forensics import reference_set as reference_sets
from exif_jax.forensics.calibration import fit_score_calibration, null_distribution
from exif_jax.forensics.embed import embed_exif
from exif_jax.forensics.localization import LocalizationSettings, localize
from exif_jax.forensics.reference_set import ReferenceSet, TagPosteriors, coarse_value
from exif_jax.forensics.verification import has_skill, logit_scale
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.exif import camera_name, select_tags
from exif_jax.weights.release_file import Model, load_model, save_model

with command.imports(__name__, "data,eval"):
    from sklearn.metrics import roc_auc_score

    from exif_jax.data import records

_STRIDE = 32  # pixels between patches: that of the default grid on a photo of a megapixel
_MAX_REGIONS = 3
_RESAMPLES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class KnownPhoto:
    """A pristine photo.

    Attributes:
        exif: canonical tags.
        scores: splice score of its first 1, 2, 3 regions side by side, as many as it has.
        gaps: `Localization.gradient_energy_gap` of each.
        z_D: mean of its patches' unit embeddings.
    """

    exif: dict[str, str]
    scores: tuple[float, ...]
    gaps: tuple[float, ...]
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
        scores, gaps, z_PxD = [], [], np.zeros((0, 1), np.float32)
        for count in range(1, min(len(pixels), _MAX_REGIONS) + 1):
            # Regions of one photo side by side are one camera's work, as a larger photo is.
            image = np.concatenate(pixels[:count], axis=1)
            steps = max(1, (image.shape[1] - model.patch_size) // _STRIDE)
            localization = localize(
                image, model, LocalizationSettings(num_per_dim=steps, method="cut")
            )
            scores.append(localization.score)
            gaps.append(localization.gradient_energy_gap)
            z_PxD = localization.embeddings
        photos.append(KnownPhoto(regions[0].exif, tuple(scores), tuple(gaps), z_PxD.mean(axis=0)))
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


def calibrate(model: Model, folder: str) -> tuple[Model, list[KnownPhoto]]:
    """Returns the model with its calibration, and the photos that it was measured on.

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
    settings = LocalizationSettings(method="cut")
    calibration = {
        "reference_set": reference_json,
        "agreement_null": null_distribution(agreements, cameras),
        "tag_skill": {tag: skill for tag, skill in skills.items() if skill},
        "score_null": fit_score_calibration(
            [photo.scores for photo in photos],
            [photo.gaps for photo in photos],
            (region_side(folder) / model.patch_size) ** 2,
            cameras,
            settings.method,
        ),
        "grid": {
            "num_per_dim": settings.num_per_dim,
            "max_patches": settings.max_patches,
            "align": settings.align,
        },
        "measured_on": {"num_photos": len(photos), "num_cameras": len(set(cameras))},
    }
    return dataclasses.replace(model, calibration=calibration, id=""), photos


def region_side(folder: str) -> int:
    """Side in pixels of the validation regions."""
    reader = records.RecordReader(folder, "validation")
    return min(records.decode_image(records.decode_record(reader[0])).shape[:2])


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.parser(
        "exif_jax.calibrate",
        "Writes a copy of a release file that can say how unusual a score is and "
        "verify EXIF: with the EXIF of the training photos, and the scores and agreements of the "
        "validation photos, whose cameras the model never saw. Needs the records that the model "
        "was trained with.",
        "exit codes: 0 written, 1 unreadable model or records, or cannot write, 2 wrong usage. "
        + command.QUIET,
    )
    parser.add_argument("model", help="release file to calibrate")
    parser.add_argument("out", type=pathlib.Path, help="release file to write")
    parser.add_argument("--records", required=True, help="output folder of data_prep.photos")
    args = parser.parse_args(argv)
    try:
        model = load_model(args.model)
        calibrated, photos = calibrate(model, args.records)
        save_model(calibrated, args.out)
    except ExifJaxError as e:
        return command.fail(e)
    except OSError as e:
        return command.fail(f"{args.out}: {e.strerror or e}; choose another OUT")
    cameras = {photo.camera for photo in photos}
    print(f"{len(photos)} photos of {len(cameras)} cameras; skill of the pixels by tag:")
    skills = calibrated.calibration["tag_skill"]
    for tag, skill in sorted(skills.items(), key=lambda item: -item[1]["auc"]):
        print(
            f"  {tag:28} AUC {skill['auc']:.3f} (low {skill['auc_low']:.3f}) "
            f"{skill['num_cameras']:3} cameras {'used' if has_skill(skill) else ''}"
        )
    return 0


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
