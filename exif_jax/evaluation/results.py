"""What an evaluation writes: its figures as JSON, rows as CSV, a table, contact sheets."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exif_jax.evaluation import runner, tables
from exif_jax.evaluation.datasets import Dataset, Sample
from exif_jax.evaluation.detectors import Detector
from exif_jax.evaluation.masks import read_mask
from exif_jax.evaluation.row_files import Row
from exif_jax.evaluation.splice_metrics import METRICS
from exif_jax.io import jsonl
from exif_jax.io.atomic import replacing, write_bytes
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.photo import read_photo
from exif_jax.reports import outputs
from exif_jax.reports.render import png_bytes

SCHEMA = "exif-jax/evaluation/3"


def make_report(
    about: Mapping[str, Any],
    datasets: Mapping[str, Dataset],
    summaries: Sequence[Row],
    trivial: Iterable[str],
) -> dict[str, Any]:
    """The JSON without its rows: the first detector's figures on the first dataset on top.

    Args:
        about: what was measured; stands on top too.
        datasets: by what rows call them.
        summaries: of `runner.summarize`, the first one first.
        trivial: names of the detectors that know nothing of cameras.
    """
    first = summaries[0]
    trivial = set(trivial)
    baselines = {
        summary["detector"]: summary["mean"]
        for summary in summaries
        if summary["dataset"] == first["dataset"] and summary["detector"] in trivial
    }
    detection = first["detection"]
    return {
        "schema": SCHEMA,
        **about,
        "mean": dict.fromkeys(METRICS) | first["mean"],
        "detection_auc": detection["auc"] if detection else None,
        "baselines": baselines,
        "datasets": {
            title: {"photos": dataset.summary(), "notes": dataset.notes, "errors": dataset.errors}
            for title, dataset in datasets.items()
        },
        "results": summaries,
    }


def write_report(path: pathlib.Path, report: Mapping[str, Any], rows: Iterable[Row]) -> None:
    """Writes the report with its rows as "images", of which memory holds one at a time.

    Raises:
        OSError: it cannot be written.
    """
    head = json_bytes(dict(report)).rstrip().removesuffix(b"}").rstrip()
    with replacing(path) as file:
        file.write(head + b',\n  "images": [')
        between = b"\n    "
        for row in rows:
            file.write(between + jsonl.encode_row(row).rstrip(b"\n"))
            between = b",\n    "
        file.write(b"\n  ]\n}\n")


def count_row_notes(rows: Iterable[Row]) -> list[str]:
    """What was done to masks, and of how many photos."""
    photos = {(row["dataset"], row["image"]): row["note"] for row in rows if "note" in row}
    notes = sorted(set(photos.values()))
    return [f"{note} ({list(photos.values()).count(note)} photos)" for note in notes]


def verdict_notes(summaries: Iterable[Row]) -> list[str]:
    """How many photos each detector that gives p-values called tampered."""
    notes = []
    for summary in summaries:
        if not any(summary["judged"]):
            continue
        counts = " and ".join(
            f"{called} of {summary[kind]} {kind} photos ({judged} judged)"
            for kind, called, judged in zip(
                ("tampered", "pristine"), summary["called"], summary["judged"], strict=True
            )
        )
        notes.append(
            f"{printable(summary['dataset'])}, {printable(summary['detector'])}: p-value of at "
            f"most {runner.CALLED_AT:g} for {counts}"
        )
    return notes


def write_tables(
    output: pathlib.Path,
    rows: Iterable[Row],
    summaries: Sequence[Row],
    metrics: Sequence[str],
    datasets: Mapping[str, Dataset],
    row_notes: Sequence[str],
    words: Sequence[str],
) -> None:
    """Writes rows.csv and table.md.

    Args:
        output: the folder.
        rows: gone through twice.
        summaries: rows of the table.
        metrics: its columns.
        datasets: whose notes stand below it.
        row_notes: further notes.
        words: the arguments of the command.

    Raises:
        OSError: one of them cannot be written.
    """
    with replacing(output / "rows.csv") as file:
        for line in tables.csv_lines(rows):
            file.write(line)
    table = [tables.header(metrics), *(tables.cells(summary, metrics) for summary in summaries)]
    notes = [
        "; ".join((f"{title}: {dataset.summary()}", *dataset.notes)) + "."
        for title, dataset in datasets.items()
    ]
    notes += [f"{note}." for note in row_notes]
    text = tables.markdown(table, f"python -m exif_jax.evaluate {shlex.join(words)}", notes)
    write_bytes(output / "table.md", text.encode("utf-8", "replace"))


def write_sheets(
    output: pathlib.Path,
    rows: Iterable[Row],
    datasets: Mapping[str, Dataset],
    detector: Detector,
    max_pixels: int,
) -> None:
    """Writes DATASET.sheet.png of each dataset: the best, median and worst cases of a detector.

    Args:
        output: the folder.
        rows: those of other detectors are passed over.
        datasets: by what rows call them.
        detector: whose cases are shown.
        max_pixels: of the photos.

    Raises:
        OSError: one of them cannot be written.
    """
    figures: dict[str, list[Row]] = {title: [] for title in datasets}
    for row in rows:
        if row["key"] == detector.key and "ap" in row:
            shown = {name: row[name] for name in ("image", "ap", "score")}
            figures[row["dataset"]].append(shown)
    for title, own in figures.items():
        shown = tables.best_median_worst(own)
        names = {row["image"] for _, row in shown}
        samples = {s.name: s for s in datasets[title].samples if s.name in names}
        cases = [
            _make_case(place, row, samples[row["image"]], detector, max_pixels)
            for place, row in shown
        ]
        if cases:
            name = outputs.output_names([pathlib.Path(f"{title}.x")])[0]
            sheet = tables.contact_sheet(cases)
            write_bytes(output / f"{name}.sheet.png", png_bytes(sheet))


def _make_case(
    place: str, row: Row, sample: Sample, detector: Detector, max_pixels: int
) -> tables.Case:
    pixels = read_photo(sample.image, max_pixels=max_pixels).pixels
    assert sample.mask is not None
    mask = read_mask(sample.mask, pixels.shape[:2]).tampered
    caption = f"{place} {row['image']}: AP {row['ap']:.3f}"
    caption += "" if row["score"] is None else f", score {row['score']:.3f}"
    heatmap = detector.predict(pixels, sample.image).heatmap
    return tables.Case(caption.strip(), pixels, mask, heatmap)
