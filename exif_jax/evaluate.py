"""How well detectors find tampered regions: datasets and models in, tables and pictures out.

python -m exif_jax.evaluate --dataset folder --root DIR --model PATH --output DIR
"""

from __future__ import annotations

import argparse
import pathlib
import shlex
import sys
from collections.abc import Sequence

from tqdm import tqdm

from exif_jax.cli import command, dataset_arguments
from exif_jax.evaluation import detectors, photoholmes, runner, tables
from exif_jax.evaluation.datasets import Dataset, Sample
from exif_jax.evaluation.detectors import Detector
from exif_jax.evaluation.masks import read_mask
from exif_jax.evaluation.public_datasets import read_dataset
from exif_jax.evaluation.runner import ROWS, Row
from exif_jax.evaluation.splice_metrics import (
    COLUMNS,
    METRICS,
    OF_ANY_MAP,
    OF_MASK,
    OF_PROBABILITIES,
)
from exif_jax.forensics.localization import LocalizationSettings
from exif_jax.forensics.methods import DEFAULT_METHOD, METHOD_HELP, METHODS
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.photo import read_photo
from exif_jax.reports import outputs
from exif_jax.reports.render import png_bytes

with command.imports(__name__, "eval"):
    from exif_jax.evaluation.baselines import BASELINES

RESULTS = "evaluation.json"
SCHEMA = "exif-jax/evaluation/3"
TEXT = "text"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    names = args.dataset or ["folder"]
    if len(names) != len(args.root):
        parser.error(f"{len(names)} --dataset need as many --root; there are {len(args.root)}")

    output = pathlib.Path(args.output)
    try:
        compared, about = _make_detectors(args)
        datasets = {
            title: read_dataset(name, root, args.partial, tuple(args.kind))
            for title, name, root in zip(_titles(names, args.root), names, args.root, strict=True)
        }
    except ExifJaxError as e:
        return command.fail(printable(e))
    if problem := outputs.prepare_folder(output):
        return command.fail(problem)
    _print_notes(datasets)

    failures: list[str] = []
    try:
        rows = _evaluate(datasets, compared, output, args.max_pixels, failures)
        summaries = _summarize(rows, list(datasets), compared)
        report = _make_report(about, datasets, summaries, rows)
        write_bytes(output / RESULTS, json_bytes(report))
        metrics = args.metric or COLUMNS
        _write_tables(output, rows, summaries, metrics, datasets, argv)
        _write_sheets(output, rows, datasets, compared[0], args.max_pixels)
    except OSError as e:
        return command.fail(
            f"cannot write the results ({e.strerror}); make room or choose another place"
        )
    for title, dataset in datasets.items():
        print(f"{printable(title)}: {dataset.summary()}")
    print(f"model {about['model']}")
    short = [tables.cells(summary, metrics, intervals=False) for summary in summaries]
    print(tables.text_table([tables.header(metrics), *short]))
    for note in _count_row_notes(rows):
        print(f"note: {note}")
    unreadable = [error for dataset in datasets.values() for error in dataset.errors]
    if failures or unreadable:
        total = sum(len(dataset.samples) for dataset in datasets.values())
        return command.fail(
            f"{len(failures)} failures on {total} photos; the means leave them out"
            + (f"; {len(unreadable)} folders cannot be read" if unreadable else "")
        )
    return 0


def _make_detectors(args: argparse.Namespace) -> tuple[list[Detector], Row]:
    """What to measure, and what the JSON says of the first. Raises ReleaseError."""
    from exif_jax.weights.release_file import PRETRAINED, load_model

    methods = args.method or [DEFAULT_METHOD]
    made: list[Detector] = []
    about: Row = {}
    for path in args.model or [str(PRETRAINED)]:
        model = load_model(path)
        about = about or {"model": model.id, "method": methods[0]}
        for method in methods:
            stem = pathlib.Path(path).stem
            name = stem if method == DEFAULT_METHOD else f"{stem}, {method}"
            name += f" ({model.id[:6]})" if name in {detector.name for detector in made} else ""
            if method == TEXT:
                made.append(detectors.text_detector(model, name))
            else:
                made.append(
                    detectors.model_detector(model, LocalizationSettings(method=method), name)
                )
    made += [photoholmes.detector(name) for name in args.photoholmes or []]
    made += [detectors.map_detector(name, make_map) for name, make_map in BASELINES.items()]
    return made, about


def _titles(names: Sequence[str], roots: Sequence[str]) -> list[str]:
    """What rows call the datasets: their names, of folders the folder's, and no two alike."""
    plain = [
        pathlib.Path(root).resolve().name if name == "folder" else name
        for name, root in zip(names, roots, strict=True)
    ]
    return [
        title if plain.count(title) == 1 else f"{title} {plain[: k + 1].count(title)}"
        for k, title in enumerate(plain)
    ]


def _print_notes(datasets: dict[str, Dataset]) -> None:
    for title, dataset in datasets.items():
        for note in dataset.notes:
            print(f"note: {printable(title)}: {printable(note)}", file=sys.stderr)
        for error in dataset.errors:
            print(f"error: {printable(error)}", file=sys.stderr)


def _evaluate(
    datasets: dict[str, Dataset],
    compared: Sequence[Detector],
    output: pathlib.Path,
    max_pixels: int,
    failures: list[str],
) -> list[Row]:
    """The rows of all datasets; each is kept in the output folder as soon as it is known."""
    rows: list[Row] = []
    with runner.open_rows(output / ROWS) as (known, write):
        for title, dataset in datasets.items():
            progress = tqdm(dataset.samples, unit="photo", desc=printable(title))

            def report_failure(message: str, progress=progress) -> None:
                failures.append(message)
                progress.write(f"error: {command.in_options(message)}; skipped", file=sys.stderr)

            rows += runner.evaluate(
                progress,
                title,
                compared,
                report_failure,
                known=known,
                write=write,
                max_pixels=max_pixels,
            )
    return rows


def _summarize(
    rows: Sequence[Row], titles: Sequence[str], compared: Sequence[Detector]
) -> list[Row]:
    """The summaries of each dataset: of all its photos, then of each kind of several.

    Detectors stand below each other.
    """
    summaries: dict[str, list[Row]] = {}
    for title in titles:
        for detector in compared:
            own = [row for row in rows if (row["dataset"], row["key"]) == (title, detector.key)]
            for summary in runner.summarize_kinds(own, title, detector.name):
                summaries.setdefault(summary["dataset"], []).append(summary)
    return [summary for group in summaries.values() for summary in group]


def _make_report(
    about: Row, datasets: dict[str, Dataset], summaries: Sequence[Row], rows: Sequence[Row]
) -> Row:
    """The JSON: the first model's figures on the first dataset on top, then everything."""
    first = summaries[0]
    baselines = {
        summary["detector"]: summary["mean"]
        for summary in summaries
        if summary["dataset"] == first["dataset"] and summary["detector"] in BASELINES
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
        "images": rows,
    }


def _count_row_notes(rows: Sequence[Row]) -> list[str]:
    """What was done to masks, and of how many photos."""
    photos = {(row["dataset"], row["image"]): row["note"] for row in rows if "note" in row}
    notes = sorted(set(photos.values()))
    return [f"{note} ({list(photos.values()).count(note)} photos)" for note in notes]


def _write_tables(
    output: pathlib.Path,
    rows: Sequence[Row],
    summaries: Sequence[Row],
    metrics: Sequence[str],
    datasets: dict[str, Dataset],
    argv: Sequence[str] | None,
) -> None:
    """Writes rows.csv and table.md."""
    write_bytes(output / "rows.csv", tables.csv_bytes(rows))
    words = sys.argv[1:] if argv is None else argv
    table = [tables.header(metrics), *(tables.cells(summary, metrics) for summary in summaries)]
    notes = [
        "; ".join((f"{title}: {dataset.summary()}", *dataset.notes)) + "."
        for title, dataset in datasets.items()
    ]
    notes += [f"{note}." for note in _count_row_notes(rows)]
    text = tables.markdown(table, f"python -m exif_jax.evaluate {shlex.join(words)}", notes)
    write_bytes(output / "table.md", text.encode("utf-8", "replace"))


def _write_sheets(
    output: pathlib.Path,
    rows: Sequence[Row],
    datasets: dict[str, Dataset],
    detector: Detector,
    max_pixels: int,
) -> None:
    """Writes DATASET.sheet.png of each dataset: the best, median and worst cases of a detector."""
    for title, dataset in datasets.items():
        samples = {sample.name: sample for sample in dataset.samples}
        own = [row for row in rows if row["dataset"] == title and row["key"] == detector.key]
        cases = [
            _make_case(place, row, samples[row["image"]], detector, max_pixels)
            for place, row in tables.best_median_worst(own)
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
    caption = f"{place} {row['image']}: AP {row['ap']:.3f}, score {row['score']:.3f}"
    heatmap = detector.predict(pixels, sample.image).heatmap
    return tables.Case(caption.strip(), pixels, mask, heatmap)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.evaluate",
        "Scores models on tampered photos with masks, beside four baselines that know "
        "nothing of cameras. ap, f1 (best threshold) and auc are over pixels and oriented: high "
        "in the heat map must mean tampered. p_map takes the better of the heat map and its "
        "inverse, photo by photo, as the paper does: an oracle. All are means over the tampered "
        "photos. Detection sets their scores against those of the pristine photos.",
        "examples:\n"
        "  python -m exif_jax.evaluate --root splices\n"
        "  python -m exif_jax.evaluate --dataset columbia --root COLUMBIA --dataset dso-1 \\\n"
        "      --root tifs-database --model a.safetensors --model b.safetensors \\\n"
        "      --output results\n\n"
        + dataset_arguments.LAYOUTS
        + "\n\nDIR of --output: evaluation.json (all figures), rows.jsonl (a photo and detector "
        "each,\nwritten as they come: the same command goes on where it stopped), rows.csv, "
        "table.md,\nDATASET.sheet.png (best, median and worst cases: photo, mask, heat map). A "
        "dataset of\nseveral kinds of tampering has a row for all and one for each kind.\n\n"
        "exit codes: 0 all photos scored, 1 some or all skipped (the messages say why), "
        "2 wrong usage\n" + command.QUIET,
    )
    dataset_arguments.add_arguments(parser, several=True)
    add = parser.add_argument
    add("--model", action="append", metavar="PATH",
        help="release file; again for more (default: what ships)")  # fmt: skip
    add("--method", choices=(*METHODS, TEXT), action="append",
        help=f"{METHOD_HELP}; text compares patches with the file's own EXIF instead of each "
        "other; again for more")  # fmt: skip
    add("--photoholmes", action="append", metavar="METHOD[=CONFIG]",
        help="a method of PhotoHolmes, where that is installed; CONFIG: its YAML file")  # fmt: skip
    add("--metric", action="append", metavar="NAME",
        choices=(*OF_ANY_MAP, *OF_PROBABILITIES, *OF_MASK),
        help=f"column of the tables instead of {', '.join(COLUMNS)}; again for more; all are in "
        "evaluation.json")  # fmt: skip
    add("--output", default="evaluation", metavar="DIR",
        help="folder for figures, rows, tables and pictures (default evaluation)")  # fmt: skip
    return parser


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
