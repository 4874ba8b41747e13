"""How well a model finds pasted regions: a benchmark folder in, a table and a JSON file out.

python -m exif_jax.evaluate --dataset folder --root DIR --model PATH --json OUT
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from exif_jax import report
from exif_jax.atomic import write_bytes
from exif_jax.baselines import BASELINES
from exif_jax.forensic_datasets import DatasetError, Sample, read_folder, read_mask
from exif_jax.localization import METHOD_HELP, METHODS, Localization, LocalizeError, Settings
from exif_jax.localize import localize
from exif_jax.photo import Photo, PhotoError, read_photo
from exif_jax.report import printable
from exif_jax.splice_metrics import METRICS, detection_auc, pixel_metrics

Localizer = Callable[[np.ndarray], Localization]
Keep = Callable[[Sample, Photo, Localization], None]

DATASETS = {"folder": read_folder}


def evaluate(
    samples: Iterable[Sample],
    localizer: Localizer,
    failed: Callable[[str], None],
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Scores a localiser and the baselines on every sample that can be used.

    Args:
        samples: spliced photos with masks.
        localizer: uint8 [H, W, 3] -> Localization.
        failed: told, in words, of each sample that is skipped.
        keep: given every result, to write pictures; None for none.

    Returns:
        {"mean": {metric: value}, "detection_auc": float or None, "baselines": {name: {metric:
        value}}, "images": [rows]}. A row has image, ap, p_map, f1, auc, score and pristine_score
        (None without a pristine photo). The means are over the rows, None where there are none.
        Detection: scores of the spliced photos against those of the pristine ones.
    """
    rows, baselines = [], {name: [] for name in BASELINES}
    for sample in samples:
        try:
            row, photo, mask, found = score_sample(sample, localizer)
            base = {name: pixel_metrics(f(photo.pixels), mask) for name, f in BASELINES.items()}
            if keep:
                keep(sample, photo, found)
        except (DatasetError, PhotoError) as e:
            failed(printable(e))
        except LocalizeError as e:
            failed(f"{printable(sample.image)}: {printable(e)}")
        else:
            rows.append(row)
            for name, metrics in base.items():
                baselines[name].append(metrics)
    pristine = [row["pristine_score"] for row in rows if row["pristine_score"] is not None]
    return {
        "mean": _means(rows),
        "detection_auc": detection_auc(np.array([row["score"] for row in rows]), np.array(pristine))
        if pristine
        else None,
        "baselines": {name: _means(metrics) for name, metrics in baselines.items()},
        "images": rows,
    }


def score_sample(
    sample: Sample, localizer: Localizer
) -> tuple[dict[str, Any], Photo, np.ndarray, Localization]:
    """One spliced photo: its row of figures, the photo, the mask and what was found in it."""
    photo = read_photo(sample.image)
    mask = read_mask(sample.mask, photo.pixels.shape[:2])
    found = localizer(photo.pixels)
    row: dict[str, Any] = {"image": sample.name}
    row |= pixel_metrics(found.consistency, mask)
    row["score"] = found.score
    row["pristine_score"] = (
        localizer(read_photo(sample.pristine).pixels).score if sample.pristine else None
    )
    return row, photo, mask, found


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    return {m: float(np.mean([row[m] for row in rows])) if rows else None for m in METRICS}


def table(result: dict[str, Any]) -> str:
    """The means as text: the model, then the baselines."""
    lines = [("", *METRICS, "detection auc"), _table_row("model", result["mean"])]
    detection = result["detection_auc"]
    lines[1] += ("-" if detection is None else f"{detection:.3f}",)
    lines += [(*_table_row(name, mean), "") for name, mean in result["baselines"].items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _table_row(name: str, mean: dict[str, float | None]) -> tuple[str, ...]:
    return (name, *("-" if mean[m] is None else f"{mean[m]:.3f}" for m in METRICS))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    from exif_jax.release import ReleaseError, load_model

    target = pathlib.Path(args.json)
    overlays = pathlib.Path(args.overlays) if args.overlays else None
    try:
        samples = DATASETS[args.dataset](args.root)
        model = load_model(*filter(None, [args.model]))
    except (DatasetError, ReleaseError) as e:
        return _fail(printable(e))
    for folder in filter(None, [target.absolute().parent, overlays]):
        if problem := report.prepare_folder(folder):
            return _fail(problem)
    if target.is_dir():
        return _fail(f"{printable(target)}: is a folder; give --json the path of a file")

    settings = Settings(method=args.method)
    failures = []
    names = dict(zip(samples, report.output_names(s.image for s in samples), strict=True))
    progress = tqdm(samples, unit="image")

    def failed(message: str) -> None:
        failures.append(message)
        progress.write(f"error: {message}; skipped", file=sys.stderr)

    def keep(sample: Sample, photo: Photo, found: Localization) -> None:
        if overlays:
            facts = report.make_report(photo, printable(sample.name), model.id, settings, found)
            report.write_outputs(overlays, names[sample], photo, found, facts)

    try:
        result = evaluate(progress, lambda image: localize(image, model, settings), failed, keep)
        result = {"model": model.id, "method": settings.method} | result
        write_bytes(target, report.json_bytes(result))
    except OSError as e:
        return _fail(f"cannot write the results ({e.strerror}); make room or choose another place")
    print(f"{len(result['images'])} images in {printable(args.root)}, model {model.id}")
    print(table(result))
    if failures:
        return _fail(
            f"{len(failures)} of {len(samples)} images were skipped; the means leave them out"
        )
    return 0


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m exif_jax.evaluate",
        description="Scores a model on spliced photos with masks, beside four baselines that know "
        "nothing of cameras. ap, f1 (best threshold) and auc are over pixels and oriented: high "
        "in the map must mean pasted. p_map takes the better of the map and its inverse, photo "
        "by photo, as the paper does: an oracle. All are means over the spliced photos.",
        epilog="example:\n"
        "  python -m exif_jax.evaluate --dataset folder --root splices --model model.safetensors "
        "--json result.json\n\n"
        "The folder holds images/, masks/STEM.png (255 = pasted), and optionally pristine/ and\n"
        "manifest.jsonl.\n\n"
        "exit codes: 0 all images scored, 1 some or all skipped (the messages say why), "
        "2 wrong usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="folder", help="layout")
    parser.add_argument("--root", required=True, metavar="DIR", help="where the dataset lies")
    parser.add_argument("--model", metavar="PATH", help="release file (default: what ships)")
    parser.add_argument("--json", required=True, metavar="OUT", help="file for the figures")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0], help=METHOD_HELP)
    parser.add_argument("--overlays", metavar="DIR", help="also write a picture, map and JSON each")
    return parser


if __name__ == "__main__":
    sys.exit(main())
