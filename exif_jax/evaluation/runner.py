"""Datasets times detectors: one row of figures for every photo, and their summary."""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from exif_jax.evaluation.datasets import Sample
from exif_jax.evaluation.detection_metrics import (
    detection_intervals,
    detection_metrics,
    mean_interval,
)
from exif_jax.evaluation.detectors import Detector
from exif_jax.evaluation.masks import DatasetError, read_mask
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
from exif_jax.io import jsonl
from exif_jax.io.text import printable
from exif_jax.reading.photo import MAX_PIXELS, PhotoError, read_photo

ROWS = "rows.jsonl"
Row = dict[str, Any]
RowKey = tuple[str, str, str]
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


def row_key(row: Row) -> RowKey:
    """What tells a row from all others."""
    return row["dataset"], row["image"], row["key"]


@contextlib.contextmanager
def open_rows(path: pathlib.Path) -> Iterator[tuple[dict[RowKey, Row], Callable[[Row], None]]]:
    """The rows of an earlier run in a file, by `row_key`, and what adds a row to it.

    The last row of each key counts; damaged lines are left out.

    Raises:
        OSError: the file cannot be read or written.
    """
    known = {}
    for row in jsonl.read_rows(path):
        with contextlib.suppress(KeyError, TypeError):
            known[row_key(row)] = row
    jsonl.rewrite(path, known.values())

    def write(row: Row) -> None:
        jsonl.append_rows(path, [row])

    yield known, write


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


def summarize(rows: Sequence[Row], dataset: str, detector: str) -> Row:
    """Means of a detector's rows on a dataset, with 95 % intervals (`mean_interval`).

    Returns:
        dataset, detector; tampered and pristine: numbers of photos; localized: how many have a
        mask; mean and interval: of each pixel metric that all of these have; pooled_weighted:
        `weighted` of the dataset's summed soft_counts, or None; detection and detection_interval:
        of `detection_metrics`, None where photos of a kind or scores are missing; seconds: the
        median of a photo.
    """
    tampered = [row for row in rows if row["tampered"]]
    pristine = [row for row in rows if not row["tampered"]]
    localized = [row for row in tampered if "ap" in row]
    names = [
        name
        for name in (*OF_ANY_MAP, *OF_PROBABILITIES, *OF_MASK)
        if localized and all(name in row for row in localized)
    ]
    values = {name: [row[name] for row in localized] for name in names}
    pooled = None
    if "f1_weighted" in values:
        pooled = weighted_metrics(np.sum([row["soft_counts"] for row in localized], axis=0))
    detection = detection_interval = None
    if tampered and pristine and all(row["score"] is not None for row in rows):
        high, low = (np.array([row["score"] for row in part]) for part in (tampered, pristine))
        detection, detection_interval = detection_metrics(high, low), detection_intervals(high, low)
    return {
        "dataset": dataset,
        "detector": detector,
        "tampered": len(tampered),
        "localized": len(localized),
        "pristine": len(pristine),
        "mean": {name: float(np.mean(x)) for name, x in values.items()},
        "interval": {name: mean_interval(x) for name, x in values.items()},
        "pooled_weighted": pooled,
        "detection": detection,
        "detection_interval": detection_interval,
        "seconds": float(np.median([row["seconds"] for row in rows])) if rows else None,
    }


def summarize_kinds(rows: Sequence[Row], dataset: str, detector: str) -> list[Row]:
    """`summarize` of all rows and, where there are several, of each kind with the pristine photos.

    The dataset is called "NAME (KIND)" there. Splices and copy-moves stand apart so: a method that
    compares cameras is blind to a copy-move, which is of one camera.
    """
    summaries = [summarize(rows, dataset, detector)]
    kinds = dict.fromkeys(row["kind"] for row in rows if row["tampered"])
    for kind in kinds if len(kinds) > 1 else ():
        part = [row for row in rows if row["kind"] == kind or not row["tampered"]]
        summaries.append(summarize(part, f"{dataset} ({kind})", detector))
    return summaries
