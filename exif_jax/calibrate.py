"""Gives a release file its bank of EXIF and its calibration, from records of real photos.

python -m exif_jax.calibrate model.safetensors calibrated.safetensors --records DIR

The bank is the EXIF of the training split. What pristine photos of unknown cameras look like
comes from the validation split, whose cameras the model never saw: the distribution of splice
scores, of agreements with their own EXIF, and, tag by tag, whether the pixels tell its value.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from exif_jax.cli import command
from exif_jax.forensics import reference_set as banks
from exif_jax.forensics import verification
from exif_jax.forensics.calibration import fit_score_calibration, null_distribution
from exif_jax.forensics.embed import embed_exif
from exif_jax.forensics.localization import Settings, localize
from exif_jax.reading.exif import select_tags
from exif_jax.weights.release_file import Model, ReleaseError, load_model, save_model

with command.imports(__name__, "data,eval"):
    from sklearn.metrics import roc_auc_score

    from exif_jax.data import records

_STRIDE = 32  # pixels between patches, about that of the default grid on a photo of a megapixel
_MOST_REGIONS = 3
_RESAMPLES = 200


@dataclasses.dataclass(frozen=True)
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
        return banks.camera_name(self.exif)


def known_photos(folder: str, model: Model) -> list[KnownPhoto]:
    """Analyses the photos of the validation split. Raises RecordError."""
    reader = records.RecordReader(folder, "validation")
    found = []
    for numbers in tqdm(reader.photos(), unit="photo", desc="validation photos"):
        regions = [records.decode_record(reader[i]) for i in numbers]
        pixels = [records.decode_image(region) for region in regions]
        side = min(min(image.shape[:2]) for image in pixels)
        pixels = [image[:side, :side] for image in pixels]
        scores, gaps, z_PxD = [], [], np.zeros((0, 1), np.float32)
        for count in range(1, min(len(pixels), _MOST_REGIONS) + 1):
            # Regions of one photo side by side are one camera's work, as a larger photo is.
            image = np.concatenate(pixels[:count], axis=1)
            steps = max(1, (image.shape[1] - model.patch_size) // _STRIDE)
            result = localize(image, model, Settings(num_per_dim=steps))
            scores.append(result.score)
            gaps.append(result.gradient_energy_gap)
            z_PxD = result.embeddings
        found.append(KnownPhoto(regions[0].exif, tuple(scores), tuple(gaps), z_PxD.mean(axis=0)))
    return found


def measure_skill(
    posteriors: Sequence[dict[str, dict[str, tuple[float, float]]]],
    exif: Sequence[dict[str, str]],
    tag: str,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Whether the pixels tell a tag's value, on photos of cameras that the model never saw.

    Args:
        posteriors: of each photo, `bank.tag_posteriors`.
        exif: of each photo.
        tag: its name.
        seed: of the bootstrap.

    Returns:
        "auc": the chance that a photo's log(posterior / share) is higher for its own value than
        for another camera's photo's different value, cameras weighing equally; "low": the 5th
        percentile of that over bootstrapped cameras; "photos" and "cameras". None where fewer
        than three cameras or two values are known to the bank.
    """
    rows = []
    for i, tags in enumerate(exif):
        value = banks.coarse_value(tag, tags.get(tag, ""))
        if value in posteriors[i].get(tag, {}):
            rows.append((i, value, banks.camera_name(tags)))
    cameras = sorted({camera for _, _, camera in rows})
    if len(cameras) < 3 or len({value for _, value, _ in rows}) < 2:
        return None
    number = {name: i for i, name in enumerate(cameras)}
    counts = np.bincount([number[camera] for _, _, camera in rows])
    truth, ratio, first, second = [], [], [], []
    for i, own, camera in rows:
        known = posteriors[i][tag]
        for _, other, other_camera in rows:
            if other == own and other_camera != camera:
                continue
            if other != own and other_camera == camera:
                continue
            truth.append(other == own)
            ratio.append(np.log(known[other][0] / known[other][1]))
            first.append(number[camera])
            second.append(number[other_camera])
    truth, first, second = map(np.array, (truth, first, second))
    if truth.all() or not truth.any():
        return None

    def auc(weight_of_camera):
        share = weight_of_camera / counts
        weight = share[first] * share[second]
        if not (weight[truth].sum() > 0 and weight[~truth].sum() > 0):
            return 0.5
        weight = weight / np.where(truth, weight[truth].sum(), weight[~truth].sum())
        return roc_auc_score(truth, ratio, sample_weight=weight)

    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(cameras), np.full(len(cameras), 1 / len(cameras)), _RESAMPLES)
    low = np.quantile([auc(draw.astype(float)) for draw in draws], 0.05)
    return {
        "auc": round(float(auc(np.ones(len(cameras)))), 3),
        "low": round(float(low), 3),
        "photos": len(rows),
        "cameras": len(cameras),
    }


def calibrate(model: Model, folder: str) -> tuple[Model, list[KnownPhoto]]:
    """The model with its bank and calibration, and the photos that it was measured on.

    Raises:
        exif_jax.data.records.RecordError: the folder holds no records, or damaged ones.
    """
    reader = records.RecordReader(folder, "train")
    first = (records.decode_record(reader[numbers[0]]) for numbers in reader.photos())
    kept = [select_tags(record.exif, model.tags) for record in first]
    bank = banks.make_reference_set([tags for tags in kept if tags])
    known = known_photos(folder, model)
    means_MxD = np.stack([photo.z_D / np.linalg.norm(photo.z_D) for photo in known])
    # Kept in the file: to encode hundreds of texts would take longer than the photo.
    packed = banks.encode_embeddings(embed_exif(bank.photos, model))
    texts_NxD = banks.decode_embeddings(packed, len(bank.photos), model.config.embed_dim)
    cosines_MxN = means_MxD @ texts_NxD.T
    posteriors = [verification.model_tag_posteriors(row, bank, model) for row in cosines_MxN]
    exif = [photo.exif for photo in known]
    cameras = [photo.camera for photo in known]
    agreements = [banks.agreement(p, tags) for p, tags in zip(posteriors, exif, strict=True)]
    skill = {
        tag: found
        for tag in tqdm(model.tags, unit="tag", desc="skill of tags")
        if (found := measure_skill(posteriors, exif, tag))
    }
    areas = (reader_side(folder) / model.patch_size) ** 2
    calibration = {
        "bank": banks.to_json(bank) | {"embeddings": packed},
        "agreement": null_distribution(agreements, cameras),
        "skill": skill,
        "scores": fit_score_calibration(
            [photo.scores for photo in known],
            [photo.gaps for photo in known],
            areas,
            cameras,
            Settings().method,
        ),
        "measured_on": {"photos": len(known), "cameras": len(set(cameras))},
    }
    return dataclasses.replace(model, calibration=calibration, id=""), known


def reader_side(folder: str) -> int:
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
        calibrated, known = calibrate(model, args.records)
        save_model(calibrated, args.out)
    except (ReleaseError, records.RecordError) as e:
        return command.fail(e)
    except OSError as e:
        return command.fail(f"{args.out}: {e.strerror or e}; choose another OUT")
    cameras = {photo.camera for photo in known}
    print(f"{len(known)} photos of {len(cameras)} cameras; skill of the pixels by tag:")
    skill = calibrated.calibration["skill"]
    for tag, of in sorted(skill.items(), key=lambda item: -item[1]["auc"]):
        used = "used" if verification.has_skill(of) else ""
        print(
            f"  {tag:28} AUC {of['auc']:.3f} (low {of['low']:.3f}) {of['cameras']:3} cameras {used}"
        )
    return 0


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
