"""Datasets times detectors: one row of figures for every photo, and their summary."""

from __future__ import annotations

import array
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from exif_jax.evaluation.datasets import Sample
from exif_jax.evaluation.detection_metrics import (
    detection_intervals,
    detection_metrics,
    mean_interval,
)
from exif_jax.evaluation.detectors import Detector
from exif_jax.evaluation.masks import DatasetError, read_mask
from exif_jax.evaluation.row_files import Row, RowKey
from exif_jax.evaluation.splice_metrics import (
    OF_ANY_MAP,
    OF_MASK,
    OF_PROBABILITIES,
    mask_metrics,
    pixel_metrics,
    soft_counts,
)
from exif_jax.evaluation.splice_metrics import weighted as weighted_metrics
from exif_jax.forensics.methods import LocalizeError
from exif_jax.io.text import printable
from exif_jax.reading.photo import MAX_PIXELS, PhotoError, read_photo

CALLED_AT = 0.05  # the p-value up to which a photo counts as called tampered

Change = Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray | None]]


def score_photo(
    pixels: np.ndarray, mask: np.ndarray | None, detector: Detector, file: pathlib.Path | None
) -> Row:
    """What a detector is worth on one photo.

    Args:
        pixels: uint8 [H, W, 3].
        mask: bool [H, W], true where tampered; None: there is nothing to find or no mask.
        detector: what to measure.
        file: where the pixels come from; None where they were changed since.

    Returns:
        score, p_value, seconds; with a mask also tampered_fraction, its `pixel_metrics` and, of a
        heat map of probabilities, its soft_counts, and `mask_metrics` of a detector's own mask.

    Raises:
        LocalizeError: the detector cannot use the photo, or its heat map does not fit.
    """
    start = time.perf_counter()
    prediction = detector.predict(pixels, file)
    row: Row = {
        "score": prediction.score,
        "p_value": prediction.p_value,
        "seconds": round(time.perf_counter() - start, 3),
    }
    heatmap = prediction.heatmap
    if heatmap.shape != pixels.shape[:2] or not np.isfinite(heatmap).all():
        raise LocalizeError(
            f"{detector.name} gave a heat map of shape {heatmap.shape} for pixels of shape "
            f"{pixels.shape}, or one that is not finite"
        )
    if mask is not None:
        row |= {"tampered_fraction": float(mask.mean())} | pixel_metrics(heatmap, mask)
        if "f1_weighted" in row:
            row["soft_counts"] = soft_counts(heatmap, mask)
        if prediction.mask is not None:
            row |= mask_metrics(prediction.mask, mask)
    return row


def evaluate(
    samples: Iterable[Sample],
    dataset: str,
    detectors: Sequence[Detector],
    report_failure: Callable[[str], object],
    known: Mapping[RowKey, Row] | None = None,
    write: Callable[[Row], object] = lambda row: None,
    change: Change | None = None,
    max_pixels: int = MAX_PIXELS,
) -> list[Row]:
    """Every detector on every photo that can be used.

    Args:
        samples: the photos.
        dataset: what rows call the dataset.
        detectors: what to measure.
        report_failure: takes a message about each photo that is skipped, for one detector or for
            all.
        known: rows of an earlier run, by `row_key`; they are taken where the files are still the
            same.
        write: is given each new row at once.
        change: what is done to pixels and mask before; None: nothing.
        max_pixels: photos of more are skipped.

    Returns:
        The rows, photo by photo: dataset, image, detector, key, file (sizes and times of photo and
        mask), kind, tampered, note (about the mask, where there is one), and what `score_photo`
        gives.
    """
    rows = []
    for sample in samples:
        try:
            stamps = _stamps(sample)
            wanted = []
            for detector in detectors:
                row = (known or {}).get((dataset, sample.name, detector.key))
                if row and row.get("file") == stamps:
                    rows.append(row | {"detector": detector.name})
                else:
                    wanted.append(detector)
            if not wanted:
                continue
            pixels = read_photo(sample.image, max_pixels=max_pixels).pixels
            mask, note = read_mask(sample.mask, pixels.shape[:2]) if sample.mask else (None, "")
            if change:
                pixels, mask = change(pixels, mask)
        except (DatasetError, PhotoError) as e:
            report_failure(printable(e))
            continue
        for detector in wanted:
            try:
                figures = score_photo(pixels, mask, detector, None if change else sample.image)
            except LocalizeError as e:
                report_failure(f"{printable(sample.image)}: {printable(e)} ({detector.name})")
                continue
            place = {"dataset": dataset, "image": sample.name, "detector": detector.name}
            about = {"kind": sample.kind, "tampered": sample.is_tampered}
            about |= {"note": note} if note else {}
            rows.append(place | {"key": detector.key, "file": stamps} | about | figures)
            write(rows[-1])
    return rows


def _stamps(sample: Sample) -> list[int]:
    """Sizes in bytes and times of change of a photo and its mask, to know them again.

    Raises:
        DatasetError: one of them is missing; the message names that one.
    """
    stamps = []
    for path in (sample.image, *([sample.mask.path] if sample.mask else [])):
        try:
            status = path.stat()
        except OSError as e:
            problem = f"{path}: cannot be read ({e.strerror})"
            if path != sample.image:
                problem += (
                    f"; it is the mask of {sample.image}, and may also be called STEM_gt or "
                    "STEM_mask and have another ending"
                )
            raise DatasetError(problem) from e
        stamps += [status.st_size, status.st_mtime_ns]
    return stamps


def summarize(rows: Iterable[Row], dataset: str, detector: str) -> Row:
    """Means of a detector's rows on a dataset, with 95 % intervals (`mean_interval`).

    Rows are gone through once, and of each only its numbers are kept.

    Returns:
        dataset, detector; tampered and pristine: numbers of photos; localized: how many have a
        mask; mean and interval: of each pixel metric that all of these have; pooled_weighted:
        `weighted` of the dataset's summed soft_counts, or None; detection and detection_interval:
        of `detection_metrics`, None where photos of a kind or scores are missing; judged and
        called: how many of the tampered and how many of the pristine photos have a p-value, and
        one of at most CALLED_AT; seconds: the median of a photo.
    """
    values = {name: array.array("d") for name in (*OF_ANY_MAP, *OF_PROBABILITIES, *OF_MASK)}
    scores = {True: array.array("d"), False: array.array("d")}
    counts, judged, called = ({True: 0, False: 0} for _ in range(3))
    seconds, sums, localized = array.array("d"), np.zeros(4), 0
    for row in rows:
        counts[row["tampered"]] += 1
        seconds.append(row["seconds"])
        if row.get("p_value") is not None:
            judged[row["tampered"]] += 1
            called[row["tampered"]] += row["p_value"] <= CALLED_AT
        if row["score"] is not None:
            scores[row["tampered"]].append(row["score"])
        if "ap" in row and row["tampered"]:
            localized += 1
            for name, column in values.items():
                if name in row:
                    column.append(row[name])
            sums += row.get("soft_counts", 0)
    values = {name: column for name, column in values.items() if 0 < len(column) == localized}
    detection = detection_interval = None
    if all(counts.values()) and all(len(scores[k]) == counts[k] for k in counts):
        high, low = np.array(scores[True]), np.array(scores[False])
        detection, detection_interval = detection_metrics(high, low), detection_intervals(high, low)
    return {
        "dataset": dataset,
        "detector": detector,
        "tampered": counts[True],
        "localized": localized,
        "pristine": counts[False],
        "mean": {name: float(np.mean(x)) for name, x in values.items()},
        "interval": {name: mean_interval(x) for name, x in values.items()},
        "pooled_weighted": weighted_metrics(sums.tolist()) if "f1_weighted" in values else None,
        "detection": detection,
        "detection_interval": detection_interval,
        "judged": [judged[True], judged[False]],
        "called": [called[True], called[False]],
        "seconds": float(np.median(seconds)) if seconds else None,
    }


def summarize_kinds(rows: Iterable[Row], dataset: str, detector: str) -> list[Row]:
    """`summarize` of all rows and, where there are several, of each kind with the pristine photos.

    The dataset is called "NAME (KIND)" there. Splices and copy-moves stand apart so: a method that
    compares cameras is blind to a copy-move, which is of one camera. The rows are gone through
    once for each, and once to see which there are.
    """
    summaries = [summarize(rows, dataset, detector)]
    kinds = dict.fromkeys(row["kind"] for row in rows if row["tampered"])
    for kind in kinds if len(kinds) > 1 else ():
        part = (row for row in rows if row["kind"] == kind or not row["tampered"])
        summaries.append(summarize(part, f"{dataset} ({kind})", detector))
    return summaries
