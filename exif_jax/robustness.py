"""How detectors bear what happens to photos on their way: curves of p-mAP and detection AUC.

python -m exif_jax.robustness --root DIR --output OUT
"""

from __future__ import annotations

import argparse
import io
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from exif_jax.cli import command
from exif_jax.evaluation import runner, tables
from exif_jax.evaluation.datasets import DatasetError
from exif_jax.evaluation.runner import Change, Row
from exif_jax.forensics.localization import METHOD_HELP, METHODS, Settings
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.pixels import Jpeg, compress
from exif_jax.reports import outputs

with command.imports(__name__, "eval"):
    from exif_jax.evaluate import NAMES, ROWS, read_dataset


class Distortion(NamedTuple):
    """Something done to a photo.

    Attributes:
        kind: what, as its curve is called.
        strength: how much, along the curve.
        label: of the strength.
        change: (pixels, mask) -> (pixels, mask).
    """

    kind: str
    strength: float
    label: str
    change: Change


def rescaled(pixels: np.ndarray, mask: np.ndarray | None, factor: float, how: Image.Resampling):
    """Pixels, uint8 [H, W, 3], by a filter, mask by the nearest; at least one pixel a side."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if mask is not None:
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return np.asarray(Image.fromarray(pixels).resize(size, how)), mask


def jpeg(quality: int) -> Change:
    """Saved as JPEG with 4:2:0 chroma."""
    return lambda pixels, mask: (compress(pixels, Jpeg(quality, 2)), mask)


def rescale(factor: float) -> Change:
    """Resized by Lanczos' filter."""
    return lambda pixels, mask: rescaled(pixels, mask, factor, Image.Resampling.LANCZOS)


def blur(sigma: float) -> Change:
    """Gaussian blur of sigma pixels."""

    def change(pixels, mask):
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma))), mask

    return change


def noise(deviation: float) -> Change:
    """White Gaussian noise in levels of 255, the same for photos of one size."""

    def change(pixels, mask):
        added = np.random.default_rng(0).normal(0, deviation, pixels.shape)
        return np.clip(np.rint(pixels + added), 0, 255).astype(np.uint8), mask

    return change


def social(longest: int, quality: int) -> Change:
    """As social networks send photos on: shrunk to a longest side, sharpened a little, JPEG."""

    def change(pixels, mask):
        factor = min(1.0, longest / max(pixels.shape[:2]))
        if factor < 1:
            pixels, mask = rescaled(pixels, mask, factor, Image.Resampling.LANCZOS)
            sharp = Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(0.6, 60, 0))
            pixels = np.asarray(sharp)
        return compress(pixels, Jpeg(quality, 2)), mask

    return change


def screenshot(factor: float, quality: int | None) -> Change:
    """As a screen shows it: scaled bilinearly, cut by odd margins; saved as PNG or JPEG."""

    def change(pixels, mask):
        pixels, mask = rescaled(pixels, mask, factor, Image.Resampling.BILINEAR)
        pixels, mask = pixels[5:, 3:], mask if mask is None else mask[5:, 3:]
        return (compress(pixels, Jpeg(quality, 0)) if quality else pixels), mask

    return change


DISTORTIONS = (
    *(Distortion("JPEG quality", -q, str(q), jpeg(q)) for q in (100, 90, 80, 70, 60, 50)),
    *(Distortion("rescaling", f, f"{f:g}", rescale(f)) for f in (0.5, 0.75, 1.25, 1.5)),
    *(Distortion("blur, sigma in pixels", s, f"{s:g}", blur(s)) for s in (0.5, 1.0, 2.0)),
    *(Distortion("noise, levels", s, f"{s:g}", noise(s)) for s in (2, 5, 10)),
    *(
        Distortion("social network", k, f"{side} px, q {q}", social(side, q))
        for k, (side, q) in enumerate(((2048, 85), (960, 80), (720, 70)))
    ),
    *(
        Distortion("screenshot", k, f"x {f:g}, {f'q {q}' if q else 'PNG'}", screenshot(f, q))
        for k, (f, q) in enumerate(((0.9, None), (0.75, 90), (0.6, 80)))
    ),
)
CURVES: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("p-mAP", lambda summary: summary["mean"].get("p_map")),
    ("detection AUC", lambda summary: (summary["detection"] or {}).get("auc")),
)


def picture(pristine: Sequence[Row], rows: dict[tuple[str, str], Row], names: Sequence[str]):
    """A matplotlib figure: a column for each kind, p-mAP above detection AUC.

    Args:
        pristine: summaries of the photos as they are, one a detector.
        rows: (detector, kind and label) -> summary.
        names: of the detectors.
    """
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(d.kind for d in DISTORTIONS))
    figure = Figure(figsize=(2.7 * len(kinds), 5.4), layout="constrained")
    axes = figure.subplots(2, len(kinds), sharey="row", squeeze=False)
    for column, kind in enumerate(kinds):
        of_kind = sorted((d for d in DISTORTIONS if d.kind == kind), key=lambda d: d.strength)
        for row, (title, value) in enumerate(CURVES):
            axis = axes[row][column]
            for name, base in zip(names, pristine, strict=True):
                points = [value(rows[name, f"{d.kind} {d.label}"]) for d in of_kind]
                values = [np.nan if point is None else point for point in points]
                (line,) = axis.plot(range(len(of_kind)), values, marker="o", label=name)
                before = value(base)
                if before is not None:
                    axis.axhline(before, color=line.get_color(), linestyle=":", linewidth=1)
            axis.set_xticks(
                range(len(of_kind)), [d.label.replace(", ", "\n") for d in of_kind], fontsize=7
            )
            axis.set_ylim(0, 1)
            axis.grid(alpha=0.3)
            if column == 0:
                axis.set_ylabel(title)
            if row == 0:
                axis.set_title(kind, fontsize=10)
    axes[0][0].legend(fontsize=7, loc="lower left")
    figure.supxlabel("dotted: the photos as they are", fontsize=8)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    from exif_jax.evaluation.baselines import BASELINES
    from exif_jax.weights.release_file import PRETRAINED, ReleaseError, load_model

    output = pathlib.Path(args.output)
    try:
        samples = read_dataset(args.dataset, args.root, args.partial)
        path = args.model or str(PRETRAINED)
        model = load_model(path)
    except (DatasetError, ReleaseError) as e:
        return command.fail(printable(e))
    if problem := outputs.prepare_folder(output):
        return command.fail(problem)
    detectors = [
        runner.model_detector(model, Settings(method=args.method), pathlib.Path(path).stem),
        runner.map_detector("error level", BASELINES["error level"]),
    ]
    failures: list[str] = []
    as_it_is = Distortion("as it is", 0, "", lambda pixels, mask: (pixels, mask))
    summaries: dict[tuple[str, str], Row] = {}
    try:
        with runner.open_rows(output / ROWS) as (known, write):
            progress = tqdm(total=(1 + len(DISTORTIONS)) * len(samples), unit="photo")
            for distortion in (as_it_is, *DISTORTIONS):
                title = f"{distortion.kind} {distortion.label}".strip()
                rows: list[Row] = []
                for sample in samples:
                    rows += runner.evaluate(
                        [sample], title, detectors, failures.append, known, write, distortion.change
                    )
                    progress.update()
                for detector in detectors:
                    own = [row for row in rows if row["key"] == detector.key]
                    summaries[detector.name, title] = runner.summarize(own, title, detector.name)
        for message in dict.fromkeys(failures):
            print(f"error: {message}; skipped", file=sys.stderr)
        _write(output, summaries, [detector.name for detector in detectors], model.id)
    except OSError as e:
        return command.fail(
            f"cannot write the results ({e.strerror}); make room or choose another place"
        )
    return int(bool(failures))


def _write(
    output: pathlib.Path, summaries: dict[tuple[str, str], Row], names: Sequence[str], model: str
) -> None:
    table = [tables.HEADER]
    table += [tables.cells(s, intervals=False) for s in summaries.values()]
    print(tables.text_table(table))
    facts: dict[str, Any] = {"model": model, "results": list(summaries.values())}
    write_bytes(output / "robustness.json", json_bytes(facts))
    figure = picture([summaries[name, "as it is"] for name in names], summaries, names)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    write_bytes(output / "robustness.png", drawn.getvalue())


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.robustness",
        "Localises spliced and pristine photos as they are and after compression, "
        "rescaling, blur, noise, and chains like those of social networks and screenshots; draws "
        "p-mAP and detection AUC against the strength. Each photo is localised "
        f"{1 + len(DISTORTIONS)} times; the same command goes on where it stopped.",
        "DIR of --output: robustness.png, robustness.json, rows.jsonl.\n"
        "example: python -m exif_jax.robustness --root splices --output robustness\n"
        "exit codes: 0 all photos scored, 1 some or all skipped (the messages say why), "
        "2 wrong usage\n" + command.QUIET,
    )
    add = parser.add_argument
    add("--dataset", choices=NAMES, default="folder", metavar="NAME",
        help="layout, as exif_jax.evaluate has them (default folder)")  # fmt: skip
    add("--root", required=True, metavar="DIR", help="where the dataset lies")
    add("--model", metavar="PATH", help="release file (default: what ships)")
    add("--method", choices=METHODS, default=METHODS[0], help=METHOD_HELP)
    add("--output", required=True, metavar="DIR", help="folder for the results")
    add("--partial", action="store_true", help="use a copy of which photos or masks are missing")
    return parser


if __name__ == "__main__":
    command.run(main)
