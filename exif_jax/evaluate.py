"""How well detectors find tampered regions: datasets and models in, tables and pictures out.

python -m exif_jax.evaluate --dataset folder --root DIR --model PATH --output DIR
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from exif_jax.cli import command, dataset_arguments
from exif_jax.evaluation import detectors, photoholmes, results, runner, tables
from exif_jax.evaluation.datasets import Dataset, Sample
from exif_jax.evaluation.detectors import Detector
from exif_jax.evaluation.public_datasets import read_dataset
from exif_jax.evaluation.row_files import Row, RowFiles, Shard, open_rows, row_paths, shard
from exif_jax.evaluation.splice_metrics import (
    COLUMNS,
    OF_ANY_MAP,
    OF_MASK,
    OF_PROBABILITIES,
)
from exif_jax.forensics.methods import DEFAULT_METHOD, METHOD_HELP, METHODS, LocalizationSettings
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import printable
from exif_jax.reports import outputs

with command.imports(__name__, "eval"):
    from exif_jax.evaluation.baselines import BASELINES

RESULTS = "evaluation.json"
TEXT, NONE = "text", "none"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    output = pathlib.Path(args.output)
    _check_arguments(parser, args)
    try:
        compared, about = _make_detectors(args)
        datasets, differs = _make_suite(args) if args.suite else (_read_datasets(args), "")
    except ExifJaxError as e:
        return command.fail(printable(e))
    if problem := outputs.prepare_folder(output):
        return command.fail(problem)
    _print_notes(datasets)

    failures: list[str] = []
    try:
        with open_rows(*row_paths(output, args.shard)) as stored:
            done = _evaluate(datasets, compared, stored, args, failures)
            if args.shard:
                print(f"shard {args.shard}: {sum(map(sum, done.values()))} rows")
            else:
                rows = _Rows(datasets, compared, stored, done)
                _write_results(output, rows, about, args, sys.argv[1:] if argv is None else argv)
    except OSError as e:
        return command.fail(
            f"cannot write the results ({e.strerror}); make room or choose another place"
        )
    if differs:
        return command.fail(differs)
    unreadable = [error for dataset in datasets.values() for error in dataset.errors]
    if failures or unreadable:
        total = sum(len(_of_shard(dataset, args.shard)) for dataset in datasets.values())
        return command.fail(
            f"{len(failures)} failures on {total} photos; the means leave them out"
            + (f"; {len(unreadable)} folders cannot be read" if unreadable else "")
        )
    return 0


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The rows of this run, read from the disk each time they are gone through.

    Attributes:
        datasets, compared: what was measured.
        stored: the rows.
        done: for each dataset a byte for each photo and detector: whether there is a row.
        title, detector: only theirs, where they are given.
    """

    datasets: dict[str, Dataset]
    compared: Sequence[Detector]
    stored: RowFiles
    done: dict[str, bytearray]
    title: str = ""
    detector: Detector | None = None

    def __iter__(self) -> Iterator[Row]:
        for title in [self.title] if self.title else self.datasets:
            flags = iter(self.done[title])
            for sample in self.datasets[title].samples:
                for detector, flag in zip(self.compared, flags, strict=False):
                    if flag and self.detector in (None, detector):
                        row = self.stored[title, sample.name, detector.key]
                        yield row | {"detector": detector.name}


def _check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the command where --dataset, --root and --suite do not fit together."""
    names, roots = len(args.dataset or ["folder"]), len(args.root or [])
    if args.suite and (args.dataset or roots > 1):
        parser.error("--suite takes no --dataset and one --root at most")
    if NONE in (args.method or []) and (len(args.method) > 1 or args.model):
        parser.error("--method none takes no other --method and no --model")
    if not args.suite and names != roots:
        parser.error(f"{names} --dataset need as many --root; there are {roots}")


def _read_datasets(args: argparse.Namespace) -> dict[str, Dataset]:
    """The datasets by what rows call them. Raises DatasetError."""
    names = args.dataset or ["folder"]
    return {
        title: read_dataset(name, root, args.partial, tuple(args.kind))
        for title, name, root in zip(_titles(names, args.root), names, args.root, strict=True)
    }


def _make_suite(args: argparse.Namespace) -> tuple[dict[str, Dataset], str]:
    """The suite's parts as datasets, made where they are not there, and how its files differ from
    those published, or "". Raises ExifJaxError.
    """
    from data_prep.simulation import suite

    root = pathlib.Path(*args.root or (args.output, args.suite))
    digest = suite.make_suite(root, os.cpu_count() or 1)
    differs = ""
    try:
        print(suite.report(digest), file=sys.stderr)
    except suite.SuiteError as e:
        differs = printable(e)
    return {
        f"{args.suite} {part}": read_dataset("folder", root / part, kinds=tuple(args.kind))
        for part in suite.PARTS
    }, differs


def _make_detectors(args: argparse.Namespace) -> tuple[list[Detector], Row]:
    """What to measure, and what the JSON says of the first model. Raises ExifJaxError."""
    from exif_jax.weights.release_file import PRETRAINED, load_model

    methods = args.method or [DEFAULT_METHOD]
    made: list[Detector] = []
    about: Row = {"model": None, "method": None}
    for path in [] if methods == [NONE] else args.model or [str(PRETRAINED)]:
        model = load_model(path)
        if not about["model"]:
            about = {"model": model.id, "method": methods[0]}
        for method in methods:
            stem = pathlib.Path(path).stem
            name = stem if method == DEFAULT_METHOD else f"{stem}, {method}"
            name += f" ({model.id[:6]})" if name in {detector.name for detector in made} else ""
            if method == TEXT:
                made.append(detectors.text_detector(model, name))
            else:
                made.append(
                    detectors.model_detector(
                        model, LocalizationSettings(method=method, map_model=args.map_model), name
                    )
                )
    made += [photoholmes.detector(name) for name in args.photoholmes or []]
    for name in args.baseline or BASELINES:
        made.append(detectors.map_detector(name, BASELINES[name]))
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
    stored: RowFiles,
    args: argparse.Namespace,
    failures: list[str],
) -> dict[str, bytearray]:
    """Makes the rows that are not stored yet; each is kept as soon as it is known.

    Returns:
        `_Rows.done`.
    """
    done = {}
    places = {detector.key: place for place, detector in enumerate(compared)}
    first, count = (args.shard.number - 1, args.shard.count) if args.shard else (0, 1)
    for title, dataset in datasets.items():
        flags = done[title] = bytearray(len(dataset.samples) * len(compared))
        progress = tqdm(_of_shard(dataset, args.shard), unit="photo", desc=printable(title))

        def report_failure(message: str, progress=progress) -> None:
            failures.append(message)
            progress.write(f"error: {command.in_options(message)}; skipped", file=sys.stderr)

        for number, sample in enumerate(progress):
            start = (first + number * count) * len(compared)
            for row in runner.evaluate(
                [sample],
                title,
                compared,
                report_failure,
                known=stored,
                write=stored.add,
                max_pixels=args.max_pixels,
            ):
                flags[start + places[row["key"]]] = True
    return done


def _of_shard(dataset: Dataset, part: Shard | None) -> list[Sample]:
    return dataset.samples[part.number - 1 :: part.count] if part else dataset.samples


def _write_results(
    output: pathlib.Path, rows: _Rows, about: Row, args: argparse.Namespace, words: Sequence[str]
) -> None:
    """Writes all but the rows, and prints the table. Raises OSError."""
    metrics, datasets = args.metric or COLUMNS, rows.datasets
    summaries = _summarize(rows)
    report = results.make_report(about, datasets, summaries, BASELINES)
    results.write_report(output / RESULTS, report, rows)
    notes = results.count_row_notes(rows) + results.verdict_notes(summaries)
    results.write_tables(output, rows, summaries, metrics, datasets, notes, words)
    if about["model"]:
        results.write_sheets(output, rows, datasets, rows.compared[0], args.max_pixels)
    for title, dataset in datasets.items():
        print(f"{printable(title)}: {dataset.summary()}")
    if about["model"]:
        print(f"model {about['model']}")
    short = [tables.cells(summary, metrics, intervals=False) for summary in summaries]
    print(tables.text_table([tables.header(metrics), *short]))
    for note in notes:
        print(f"note: {note}")


def _summarize(rows: _Rows) -> list[Row]:
    """The summaries of each dataset: of all its photos, then of each kind of several.

    Detectors stand below each other.
    """
    summaries: dict[str, list[Row]] = {}
    for title in rows.datasets:
        for detector in rows.compared:
            own = dataclasses.replace(rows, title=title, detector=detector)
            for summary in runner.summarize_kinds(own, title, detector.name):
                summaries.setdefault(summary["dataset"], []).append(summary)
    return [summary for group in summaries.values() for summary in group]


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
        "  python -m exif_jax.evaluate --suite own\n"
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
    add("--suite", choices=("own",),
        help="instead of --dataset: splices of simulated cameras, the same bytes on every machine; "
        "made in --root (default OUTPUT/own) where they are not there")  # fmt: skip
    add("--model", action="append", metavar="PATH",
        help="release file; again for more (default: what ships)")  # fmt: skip
    add("--method", choices=(*METHODS, TEXT, NONE), action="append",
        help=f"{METHOD_HELP}; text compares patches with the file's own EXIF instead of each "
        "other; none uses no model; again for more")  # fmt: skip
    add("--map-model", default="", metavar="PATH",
        help="the learned map's release file (default: what ships)")  # fmt: skip
    add("--baseline", choices=tuple(BASELINES), action="append",
        help="a trivial map; again for more (default: all)")  # fmt: skip
    add("--photoholmes", action="append", metavar="METHOD[=CONFIG]",
        help="a method of PhotoHolmes, where that is installed; CONFIG: its YAML file")  # fmt: skip
    add("--metric", action="append", metavar="NAME",
        choices=(*OF_ANY_MAP, *OF_PROBABILITIES, *OF_MASK),
        help=f"column of the tables instead of {', '.join(COLUMNS)}; again for more; all are in "
        "evaluation.json")  # fmt: skip
    add("--shard", type=shard, metavar="K/N",
        help="only every N-th photo from the K-th on, for N processes or machines with one "
        "--output; the same command without it afterwards writes the results")  # fmt: skip
    add("--output", default="evaluation", metavar="DIR",
        help="folder for figures, rows, tables and pictures (default evaluation)")  # fmt: skip
    return parser


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
