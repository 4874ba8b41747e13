"""How well detectors find tampered regions: datasets and models in, tables and pictures out.

python -m exif_jax.evaluate --dataset folder --root DIR --model PATH --json OUT
"""

from __future__ import annotations

import argparse
import pathlib
import shlex
import sys
import textwrap
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from exif_jax.cli import command
from exif_jax.evaluation import photoholmes, runner, tables
from exif_jax.evaluation.datasets import DatasetError, Sample, read_folder, read_mask
from exif_jax.evaluation.public_datasets import DATASETS, read_public
from exif_jax.evaluation.runner import Detector, Row
from exif_jax.evaluation.splice_metrics import METRICS
from exif_jax.forensics.localization import METHOD_HELP, METHODS, Settings
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.photo import read_photo
from exif_jax.reports import outputs
from exif_jax.reports.render import png_bytes

with command.imports(__name__, "eval"):
    from exif_jax.evaluation.baselines import BASELINES

RESULTS = "evaluation.json"
ROWS = "rows.jsonl"
TEXT = "text"
NAMES = ("folder", *DATASETS)


def read_dataset(name: str, root: str, partial: bool = False) -> list[Sample]:
    """The samples of a dataset by name. Raises DatasetError."""
    return read_folder(root) if name == "folder" else read_public(name, root, partial)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    datasets = args.dataset or ["folder"]
    if len(datasets) != len(args.root):
        parser.error(f"{len(datasets)} --dataset need as many --root; there are {len(args.root)}")
    from exif_jax.weights.release_file import ReleaseError

    output = pathlib.Path(args.output)
    try:
        detectors, about = _detectors(args)
        sets = [
            (title, read_dataset(name, root, args.partial))
            for title, name, root in zip(
                _titles(datasets, args.root), datasets, args.root, strict=True
            )
        ]
    except (DatasetError, ReleaseError, photoholmes.PhotoHolmesError) as e:
        return command.fail(printable(e))
    if problem := outputs.prepare_folder(output):
        return command.fail(problem)

    failures: list[str] = []
    try:
        rows = _evaluate(sets, detectors, output, failures)
        summaries = [
            runner.summarize(
                [r for r in rows if (r["dataset"], r["key"]) == (title, detector.key)],
                title,
                detector.name,
            )
            for title, _ in sets
            for detector in detectors
        ]
        table = [tables.HEADER, *map(tables.cells, summaries)]
        write_bytes(output / RESULTS, json_bytes(_facts(about, summaries, rows)))
        _write_output(output, rows, table, sets, detectors[0], argv)
    except OSError as e:
        return command.fail(
            f"cannot write the results ({e.strerror}); make room or choose another place"
        )
    for title, samples in sets:
        spliced = sum(sample.mask is not None for sample in samples)
        print(f"{printable(title)}: {spliced} spliced photos, {len(samples) - spliced} pristine")
    print(f"model {about['model']}")
    short = [tables.cells(summary, intervals=False) for summary in summaries]
    print(tables.text_table([tables.HEADER, *short]))
    if failures:
        total = sum(len(samples) for _, samples in sets)
        return command.fail(f"{len(failures)} failures on {total} photos; the means leave them out")
    return 0


def _detectors(args: argparse.Namespace) -> tuple[list[Detector], Row]:
    """What to measure, and what the JSON says of the first. Raises ReleaseError."""
    from exif_jax.weights.release_file import PRETRAINED, load_model

    methods, found = args.method or [METHODS[0]], []
    about: Row = {}
    for path in args.model or [str(PRETRAINED)]:
        model = load_model(path)
        about = about or {"model": model.id, "method": methods[0]}
        for method in methods:
            stem = pathlib.Path(path).stem
            name = stem if method == METHODS[0] else f"{stem}, {method}"
            name += f" ({model.id[:6]})" if name in {d.name for d in found} else ""
            found.append(
                runner.text_detector(model, name)
                if method == TEXT
                else runner.model_detector(model, Settings(method=method), name)
            )
    found += [photoholmes.detector(name) for name in args.photoholmes or []]
    return found + [runner.map_detector(name, f) for name, f in BASELINES.items()], about


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


def _evaluate(
    sets: Sequence[tuple[str, list[Sample]]],
    detectors: Sequence[Detector],
    output: pathlib.Path | None,
    failures: list[str],
) -> list[Row]:
    """The rows of all datasets; with an output folder each is kept there as soon as it is known."""
    rows: list[Row] = []
    with runner.open_rows(output and output / ROWS) as (known, write):
        for title, samples in sets:
            progress = tqdm(samples, unit="photo", desc=printable(title))

            def failed(message: str, progress=progress) -> None:
                failures.append(message)
                progress.write(f"error: {message}; skipped", file=sys.stderr)

            rows += runner.evaluate(progress, title, detectors, failed, known, write)
    return rows


def _facts(about: Row, summaries: Sequence[Row], rows: Sequence[Row]) -> Row:
    """The JSON: the first model's figures on the first dataset on top, then everything."""
    first = summaries[0]
    baselines = {
        s["detector"]: s["mean"]
        for s in summaries
        if s["dataset"] == first["dataset"] and s["detector"] in BASELINES
    }
    detection = first["detection"]
    return {
        "schema": "exif-jax/evaluation/2",
        **about,
        "mean": dict.fromkeys(METRICS) | first["mean"],
        "detection_auc": detection["auc"] if detection else None,
        "baselines": baselines,
        "results": summaries,
        "images": rows,
    }


def _write_output(
    output: pathlib.Path,
    rows: Sequence[Row],
    table: Sequence[Sequence[str]],
    sets: Sequence[tuple[str, list[Sample]]],
    detector: Detector,
    argv: Sequence[str] | None,
) -> None:
    write_bytes(output / "rows.csv", tables.csv_bytes(rows))
    words = sys.argv[1:] if argv is None else argv
    command = f"python -m exif_jax.evaluate {shlex.join(words)}"
    photos = " ".join(
        f"{title}: {sum(s.mask is not None for s in samples)} spliced photos, "
        f"{sum(s.mask is None for s in samples)} pristine."
        for title, samples in sets
    )
    text = tables.markdown(table, command, photos)
    write_bytes(output / "table.md", text.encode("utf-8", "replace"))
    for title, samples in sets:
        named = {sample.name: sample for sample in samples}
        of_first = [r for r in rows if r["dataset"] == title and r["key"] == detector.key]
        cases = []
        for place, row in tables.best_median_worst(of_first):
            sample = named[row["image"]]
            pixels = read_photo(sample.image).pixels
            prediction = detector.predict(pixels, sample.image)
            assert sample.mask is not None
            mask = read_mask(sample.mask, pixels.shape[:2])
            caption = f"{place} {row['image']}: AP {row['ap']:.3f}, score {row['score']:.3f}"
            cases.append((caption.strip(), pixels, mask, prediction.heatmap))
        if cases:
            name = outputs.output_names([pathlib.Path(f"{title}.x")])[0]
            sheet = tables.contact_sheet(cases)
            write_bytes(output / f"{name}.sheet.png", png_bytes(sheet))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.evaluate",
        "Scores models on spliced photos with masks, beside four baselines that know "
        "nothing of cameras. ap, f1 (best threshold) and auc are over pixels and oriented: high "
        "in the map must mean tampered. p_map takes the better of the map and its inverse, photo "
        "by photo, as the paper does: an oracle. All are means over the spliced photos. Detection "
        "sets their scores against those of the pristine photos.",
        "examples:\n"
        "  python -m exif_jax.evaluate --root splices\n"
        "  python -m exif_jax.evaluate --dataset columbia --root COLUMBIA --dataset dso-1 \\\n"
        "      --root tifs-database --model a.safetensors --model b.safetensors \\\n"
        "      --output results\n\n"
        "datasets: folder, which holds images/, masks/STEM.png (255 = tampered), and optionally\n"
        "pristine/ or authentic/ and manifest.jsonl; and copies that you hold of\n"
        + _wrapped(DATASETS)
        + "\n\nDIR of --output: evaluation.json (all figures), rows.jsonl (a photo and detector each, written as they come: the "
        "same\ncommand goes on where it stopped), rows.csv, table.md, DATASET.sheet.png (best, "
        "median\nand worst cases: photo, mask, map).\n\n"
        "exit codes: 0 all photos scored, 1 some or all skipped (the messages say why), "
        "2 wrong usage\n" + command.QUIET,
    )
    add = parser.add_argument
    add("--dataset", choices=NAMES, action="append", metavar="NAME",
        help="layout (default folder); again, with its --root, for more")  # fmt: skip
    add("--root", required=True, action="append", metavar="DIR", help="where the dataset lies")
    add("--model", action="append", metavar="PATH",
        help="release file; again for more (default: what ships)")  # fmt: skip
    add("--method", choices=(*METHODS, TEXT), action="append",
        help=f"{METHOD_HELP}; text compares patches with the file's own EXIF instead of each "
        "other; again for more")  # fmt: skip
    add("--photoholmes", action="append", metavar="METHOD[=CONFIG]",
        help="a method of PhotoHolmes, where that is installed; CONFIG: its YAML file")  # fmt: skip
    add("--output", default="evaluation", metavar="DIR",
        help="folder for figures, rows, tables and pictures (default evaluation)")  # fmt: skip
    add("--partial", action="store_true", help="use a copy of which photos or masks are missing")
    return parser


def _wrapped(names: Iterable[str]) -> str:
    return textwrap.indent(textwrap.fill(", ".join(names), 82, break_on_hyphens=False), "  ")


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
