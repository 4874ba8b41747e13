"""How detectors bear what happens to photos on their way: curves of p-mAP and detection AUC.

python -m exif_jax.robustness --root DIR --output DIR
"""

from __future__ import annotations

import argparse
import io
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from exif_jax.cli import command, dataset_arguments
from exif_jax.evaluation import runner, tables
from exif_jax.evaluation.datasets import Dataset
from exif_jax.evaluation.detectors import Detector, map_detector, model_detector
from exif_jax.evaluation.distortions import DISTORTIONS, Distortion
from exif_jax.evaluation.public_datasets import read_dataset
from exif_jax.evaluation.row_files import ROWS, Row, open_rows
from exif_jax.forensics.methods import DEFAULT_METHOD, METHOD_HELP, METHODS, LocalizationSettings
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.walk import SOFTWARE
from exif_jax.reports import outputs

with command.imports(__name__, "eval"):
    from exif_jax.evaluation.baselines import BASELINES

RESULTS = "robustness.json"
AS_IT_IS = Distortion("as it is", 0, "", lambda pixels, mask: (pixels, mask))
CURVES: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("p-mAP", lambda summary: summary["mean"].get("p_map")),
    ("detection AUC", lambda summary: (summary["detection"] or {}).get("auc")),
)


def draw_curves(summaries: dict[tuple[str, str], Row], names: Sequence[str]):
    """A matplotlib figure: a column for each kind of distortion, p-mAP above detection AUC.

    Args:
        summaries: by detector and title (`_title`) of the distortion.
        names: of the detectors.
    """
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(distortion.kind for distortion in DISTORTIONS))
    figure = Figure(figsize=(2.7 * len(kinds), 5.4), layout="constrained")
    axes = figure.subplots(len(CURVES), len(kinds), sharey="row", squeeze=False)
    for column, kind in enumerate(kinds):
        of_kind = [distortion for distortion in DISTORTIONS if distortion.kind == kind]
        of_kind.sort(key=lambda distortion: distortion.strength)
        labels = [distortion.label.replace(", ", "\n") for distortion in of_kind]
        for axis, (title, value) in zip(axes[:, column], CURVES, strict=True):
            for name in names:
                points = [value(summaries[name, _title(distortion)]) for distortion in of_kind]
                values = [np.nan if point is None else point for point in points]
                (line,) = axis.plot(range(len(of_kind)), values, marker="o", label=name)
                before = value(summaries[name, _title(AS_IT_IS)])
                if before is not None:
                    axis.axhline(before, color=line.get_color(), linestyle=":", linewidth=1)
            axis.set_xticks(range(len(of_kind)), labels, fontsize=7)
            axis.set_ylim(0, 1)
            axis.grid(alpha=0.3)
            if column == 0:
                axis.set_ylabel(title)
        axes[0][column].set_title(kind, fontsize=10)
    axes[0][0].legend(fontsize=7, loc="lower left")
    figure.supxlabel("dotted: the photos as they are", fontsize=8)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    from exif_jax.weights.release_file import PRETRAINED, load_model

    output = pathlib.Path(args.output)
    try:
        dataset = read_dataset(args.dataset, args.root, args.partial, tuple(args.kind))
        path = str(PRETRAINED) if args.model is None else args.model
        model = load_model(path)
    except ExifJaxError as e:
        return command.fail(printable(e))
    if problem := outputs.prepare_folder(output):
        return command.fail(problem)
    for note in dataset.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    compared = [
        model_detector(model, LocalizationSettings(method=args.method), pathlib.Path(path).stem),
        map_detector("error level", BASELINES["error level"]),
    ]
    failures = list(dataset.errors)
    try:
        summaries = _evaluate(dataset, compared, output, args.max_pixels, failures)
        for message in dict.fromkeys(failures):
            print(f"error: {command.in_options(printable(message))}; skipped", file=sys.stderr)
        table = [tables.cells(summary, intervals=False) for summary in summaries.values()]
        print(tables.text_table([tables.header(), *table]))
        report = {"model": model.id, "results": list(summaries.values())}
        write_bytes(output / RESULTS, json_bytes(report))
        figure = draw_curves(summaries, [detector.name for detector in compared])
        drawing = io.BytesIO()
        figure.savefig(drawing, format="png", dpi=110, metadata={"Software": SOFTWARE})
        write_bytes(output / "robustness.png", drawing.getvalue())
    except OSError as e:
        return command.fail(
            f"cannot write the results ({e.strerror}); make room or choose another place"
        )
    return int(bool(failures))


def _evaluate(
    dataset: Dataset,
    compared: Sequence[Detector],
    output: pathlib.Path,
    max_pixels: int,
    failures: list[str],
) -> dict[tuple[str, str], Row]:
    """Summaries by detector and title, of the photos as they are and under each distortion."""
    summaries: dict[tuple[str, str], Row] = {}
    with open_rows(output / ROWS) as stored:
        progress = tqdm(total=(1 + len(DISTORTIONS)) * len(dataset.samples), unit="photo")
        for distortion in (AS_IT_IS, *DISTORTIONS):
            title = _title(distortion)
            rows: list[Row] = []
            for sample in dataset.samples:
                rows += runner.evaluate(
                    [sample],
                    title,
                    compared,
                    failures.append,
                    known=stored,
                    write=stored.add,
                    change=distortion.change,
                    max_pixels=max_pixels,
                )
                progress.update()
            for detector in compared:
                own = [row for row in rows if row["key"] == detector.key]
                summaries[detector.name, title] = runner.summarize(own, title, detector.name)
    return summaries


def _title(distortion: Distortion) -> str:
    """What rows and tables call a distortion."""
    return f"{distortion.kind} {distortion.label}".strip()


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.robustness",
        "Localises tampered and pristine photos as they are and after compression, "
        "rescaling, blur, noise, and chains like those of social networks and screenshots; draws "
        "p-mAP and detection AUC against the strength. Each photo is localised "
        f"{1 + len(DISTORTIONS)} times; the same command goes on where it stopped.",
        dataset_arguments.LAYOUTS
        + "\n\nDIR of --output: robustness.png, robustness.json, rows.jsonl.\n"
        "example: python -m exif_jax.robustness --root splices --output robustness\n"
        "exit codes: 0 all photos scored, 1 some or all skipped (the messages say why), "
        "2 wrong usage\n" + command.QUIET,
    )
    dataset_arguments.add_arguments(parser)
    add = parser.add_argument
    add("--model", metavar="PATH", help="release file (default: what ships)")
    add("--method", choices=METHODS, default=DEFAULT_METHOD, help=METHOD_HELP)
    add("--output", default="robustness", metavar="DIR",
        help="folder for the results (default robustness)")  # fmt: skip
    return parser


if __name__ == "__main__":
    command.run(main)
