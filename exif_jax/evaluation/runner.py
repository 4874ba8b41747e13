"""Datasets times detectors: one row of figures for every photo, and their summary."""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from exif_jax import __version__
from exif_jax.evaluation.datasets import DatasetError, Sample, read_mask
from exif_jax.evaluation.detection_metrics import (
    detection_intervals,
    detection_metrics,
    mean_interval,
)
from exif_jax.evaluation.splice_metrics import (
    OF_ANY_MAP,
    OF_PROBABILITIES,
    pixel_metrics,
    soft_counts,
)
from exif_jax.evaluation.splice_metrics import weighted as weighted_metrics
from exif_jax.forensics import affinity
from exif_jax.forensics.embed import embed_exif
from exif_jax.forensics.localization import LocalizeError, Settings, localize
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import printable
from exif_jax.reading.photo import PhotoError, read_photo
from exif_jax.weights.release_file import Model

Row = dict[str, Any]
Change = Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray | None]]


class Prediction(NamedTuple):
    """What a detector makes of a photo.

    Attributes:
        map: float [H, W], higher where it suspects a splice.
        score: of the whole photo, higher where it suspects one; None where it gives none.
        p_value: how often a pristine photo scores as high; None where it does not know.
    """

    map: np.ndarray
    score: float | None = None
    p_value: float | None = None


class Detector(NamedTuple):
    """Something that looks for splices.

    Attributes:
        name: in tables.
        key: what its figures depend on (weights, settings): equal keys, equal figures.
        find: (uint8 [H, W, 3], the file they come from or None) -> Finding; raises LocalizeError.
    """

    name: str
    key: str
    find: Callable[[np.ndarray, pathlib.Path | None], Prediction]


def model_detector(model: Model, settings: Settings, name: str) -> Detector:
    """A model of ours as a detector."""

    def find(pixels: np.ndarray, _: pathlib.Path | None) -> Prediction:
        found = localize(pixels, model, settings)
        return Prediction(found.heatmap, found.score, found.p_value)

    return Detector(name, f"{model.id} {settings} {__version__}", find)


def text_detector(model: Model, name: str) -> Detector:
    """Patches against the file's own EXIF, and not against each other, as a detector.

    The map is (1 - cos) / 2 of each patch and the text, the score its mean over the patches: the
    paper's use of both encoders at test time. A photo without EXIF is refused.
    """

    def find(pixels: np.ndarray, file: pathlib.Path | None) -> Prediction:
        exif = read_photo(file).exif if file else {}
        known = {tag: value for tag, value in exif.items() if tag in model.tags}
        if not known:
            raise LocalizeError("the file says nothing of the camera; this needs its EXIF")
        found = localize(pixels, model)
        (z_D,) = embed_exif([known], model)
        grid, apart_P = found.grid, (1 - found.embeddings @ z_D) / 2
        down = affinity.cell_weights(grid.rows, grid.patch, grid.stride)
        across = affinity.cell_weights(grid.columns, grid.patch, grid.stride)
        apart = jnp.asarray(apart_P).reshape(grid.rows, grid.columns, 1)
        cells = affinity.patches_to_cells(apart, jnp.asarray(down), jnp.asarray(across))[..., 0]
        return Prediction(np.asarray(affinity.upsample(cells, grid)), float(apart_P.mean()))

    return Detector(name, f"{model.id} text {__version__}", find)


def map_detector(name: str, make_map: Callable[[np.ndarray], np.ndarray]) -> Detector:
    """A function from pixels to a map, without a score, as a detector."""
    return Detector(name, name, lambda pixels, _: Prediction(make_map(pixels)))


def score_photo(
    pixels: np.ndarray, mask: np.ndarray | None, detector: Detector, file: pathlib.Path | None
) -> Row:
    """What a detector is worth on one photo.

    Args:
        pixels: uint8 [H, W, 3].
        mask: bool [H, W], true where tampered; None: nobody touched the photo.
        detector: what to measure.
        file: where the pixels come from; None where they were changed since.

    Returns:
        spliced, score, p_value, seconds; of a spliced photo also tampered (the share), its
        `pixel_metrics` and, of a map of probabilities, its soft_counts.

    Raises:
        LocalizeError: the detector cannot use the photo, or its map does not fit.
    """
    start = time.perf_counter()
    found = detector.find(pixels, file)
    row: Row = {
        "spliced": mask is not None,
        "score": found.score,
        "p_value": found.p_value,
        "seconds": round(time.perf_counter() - start, 3),
    }
    if found.map.shape != pixels.shape[:2] or not np.isfinite(found.map).all():
        raise LocalizeError(
            f"{detector.name} gave a map of shape {found.map.shape} for pixels of shape "
            f"{pixels.shape}, or one that is not finite"
        )
    if mask is not None:
        row |= {"tampered_fraction": float(mask.mean())} | pixel_metrics(found.map, mask)
        if "f1_weighted" in row:
            row["soft_counts"] = soft_counts(found.map, mask)
    return row


def evaluate(
    samples: Iterable[Sample],
    dataset: str,
    detectors: Sequence[Detector],
    failed: Callable[[str], None],
    known: Mapping[tuple[str, str, str], Row] | None = None,
    write: Callable[[Row], object] = lambda row: None,
    change: Change | None = None,
) -> list[Row]:
    """Every detector on every photo that can be used.

    Args:
        samples: the photos.
        dataset: what rows call the dataset.
        detectors: what to measure.
        failed: told, in words, of each photo that is skipped, for one detector or for all.
        known: rows of an earlier run, by `row_key`; they are taken where the file is still the
            same.
        write: given each new row at once.
        change: what is done to pixels and mask before; None: nothing.

    Returns:
        The rows, photo by photo: dataset, image, detector, key, file (size and time), and what
        `score_photo` gives.
    """
    rows = []
    for sample in samples:
        try:
            stamp = _stamp(sample.image)
            stamps = [*stamp, *(_stamp(sample.mask.path) if sample.mask else ())]
            wanted = []
            for detector in detectors:
                row = (known or {}).get((dataset, sample.name, detector.key))
                if row and row.get("file") == stamps:
                    rows.append(row | {"detector": detector.name})
                else:
                    wanted.append(detector)
            if not wanted:
                continue
            pixels = read_photo(sample.image).pixels
            mask = read_mask(sample.mask, pixels.shape[:2]) if sample.mask else None
            if change:
                pixels, mask = change(pixels, mask)
        except (DatasetError, PhotoError) as e:
            failed(printable(e))
            continue
        except OSError as e:
            failed(f"{printable(sample.image)}: cannot be read ({e.strerror})")
            continue
        for detector in wanted:
            try:
                row = score_photo(pixels, mask, detector, None if change else sample.image)
            except LocalizeError as e:
                failed(f"{printable(sample.image)}: {printable(e)} ({detector.name})")
                continue
            place = {"dataset": dataset, "image": sample.name, "detector": detector.name}
            rows.append(place | {"key": detector.key, "file": stamps} | row)
            write(rows[-1])
    return rows


def row_key(row: Row) -> tuple[str, str, str]:
    """What tells a row from all others."""
    return row["dataset"], row["image"], row["key"]


def read_rows(path: pathlib.Path) -> dict[tuple[str, str, str], Row]:
    """The last row about each dataset, photo and detector; damaged lines are left out."""
    found = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            found[row_key(row)] = row
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


@contextlib.contextmanager
def open_rows(
    path: pathlib.Path | None,
) -> Iterator[tuple[dict[tuple[str, str, str], Row], Callable[[Row], object]]]:
    """The rows of an earlier run in a file, and what adds a row to it; nothing where None.

    Raises:
        OSError: the file cannot be read or written.
    """
    if path is None:
        yield {}, lambda row: None
        return
    known = read_rows(path)
    # Whole lines only: what a killed run left behind is dropped here.
    write_bytes(path, b"".join(map(row_line, known.values())))
    with open(path, "ab", buffering=0) as file:
        yield known, lambda row: file.write(row_line(row))


def row_line(row: Row) -> bytes:
    """A row as a line of strict JSON."""
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _stamp(path: pathlib.Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def summarize(rows: Sequence[Row], dataset: str, detector: str) -> Row:
    """Means of a detector's rows on a dataset, with 95 % intervals (`mean_interval`).

    Returns:
        dataset, detector; spliced and pristine: numbers of photos; mean and interval: of each
        pixel metric that all spliced photos have; pooled_weighted: `weighted` of the dataset's
        summed soft_counts, or None; detection and detection_interval: of `detection_metrics`, None
        where photos of a kind or scores are missing; seconds: the median of a photo.
    """
    spliced = [row for row in rows if row["spliced"]]
    pristine = [row for row in rows if not row["spliced"]]
    names = [
        m for m in (*OF_ANY_MAP, *OF_PROBABILITIES) if spliced and all(m in r for r in spliced)
    ]
    values = {m: [row[m] for row in spliced] for m in names}
    pooled = None
    if "f1_weighted" in values:
        pooled = weighted_metrics(np.sum([row["soft_counts"] for row in spliced], axis=0))
    detection = detection_interval = None
    if spliced and pristine and all(row["score"] is not None for row in rows):
        high, low = (np.array([row["score"] for row in part]) for part in (spliced, pristine))
        detection, detection_interval = detection_metrics(high, low), detection_intervals(high, low)
    return {
        "dataset": dataset,
        "detector": detector,
        "spliced": len(spliced),
        "pristine": len(pristine),
        "mean": {m: float(np.mean(x)) for m, x in values.items()},
        "interval": {m: mean_interval(x) for m, x in values.items()},
        "pooled_weighted": pooled,
        "detection": detection,
        "detection_interval": detection_interval,
        "seconds": float(np.median([row["seconds"] for row in rows])) if rows else None,
    }
