"""What a linear classifier reads off frozen embeddings: splices and radial distortion.

python -m exif_jax.linear_probe splices --dataset casia1 --root DIR --kind splice
python -m exif_jax.linear_probe radial --input DIR

The paper's section 4.2: CASIA's spliced photos against pristine ones, each resized or cropped to
224 pixels; and 20 strengths of synthetic radial distortion. The encoder stays as it is. The
released code takes the splices of CASIA v1 (--kind splice) and all tampered photos of v2.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from exif_jax.cli import command, dataset_arguments
from exif_jax.evaluation import probing
from exif_jax.evaluation.datasets import Sample, photos_in
from exif_jax.evaluation.masks import DatasetError
from exif_jax.evaluation.probing import HELD_OUT, SIDE, SPLITS
from exif_jax.evaluation.public_datasets import read_dataset
from exif_jax.forensics.embed import embed_tiles
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.photo import PhotoError, read_photo
from exif_jax.reports import outputs
from exif_jax.weights.release_file import PRETRAINED, Model, load_model

RESULTS = "linear_probe.json"
STRENGTHS = np.linspace(-0.4, 0.4, 20)  # of k1, each a class


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    output = pathlib.Path(args.output)
    failures: list[str] = []
    try:
        model = load_model(args.model)
        if model.patch_size > SIDE:
            return command.fail(
                f"the model's patches of {model.patch_size} px do not fit into {SIDE} px"
            )
        if problem := outputs.prepare_folder(output):
            return command.fail(problem)
        if args.task == "splices":
            results = _probe_splices(args, model, failures)
        else:
            results = {"radial": _probe_radial(args, model, failures)}
    except ExifJaxError as e:
        return command.fail(printable(e))
    print(f"model {model.id}; {SPLITS} random splits, {HELD_OUT:.0%} held out")
    for name, result in results.items():
        figures = "  ".join(f"{key} {value:.3f}" for key, value in result.items())
        print(f"{name:<10}  {figures}")
    try:
        write_bytes(output / RESULTS, json_bytes({"model": model.id, "results": results}))
    except OSError as e:
        return command.fail(f"{printable(output / RESULTS)}: cannot be written ({e.strerror})")
    return int(bool(failures))


def _probe_splices(
    args: argparse.Namespace, model: Model, failures: list[str]
) -> dict[str, dict[str, float]]:
    """The probe on photos that are resized and on photos that are cropped."""
    dataset = read_dataset(
        args.dataset, args.root, args.partial, tuple(args.kind), need_masks=False
    )
    for note in dataset.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    for error in dataset.errors:
        _report_failure(error, failures)
    if len({sample.is_tampered for sample in dataset.samples}) < 2:
        raise DatasetError(f"{args.root}: needs tampered and pristine photos both")
    results = {}
    for name, change in (("resized", probing.resize), ("cropped", probing.crop)):
        labels: list[int] = []
        # Photos are read once for each, so that memory holds none of them.
        pictures = _pictures(dataset.samples, change, args.max_pixels, labels, failures)
        features = embed_tiles(pictures, model)
        results[name] = probing.probe(features, np.array(labels), np.arange(len(labels)))
    return results


def _pictures(
    samples: Sequence[Sample],
    change: Callable[[np.ndarray], np.ndarray],
    max_pixels: int,
    labels: list[int],
    failures: list[str],
) -> Iterator[np.ndarray]:
    """Changed photos; appends the label of each, and the message of each that cannot be read."""
    for sample in tqdm(samples, unit="photo"):
        try:
            pixels = read_photo(sample.image, max_pixels=max_pixels).pixels
        except PhotoError as e:
            _report_failure(str(e), failures)
            continue
        labels.append(int(sample.is_tampered))
        yield change(pixels)


def _probe_radial(args: argparse.Namespace, model: Model, failures: list[str]) -> dict[str, float]:
    """The probe on photos distorted by some strengths each; those of a photo stay together."""
    try:
        paths = photos_in(pathlib.Path(args.input))
    except OSError as e:
        raise DatasetError(f"{args.input}: cannot be read ({e.strerror})") from e
    if len(paths) < 5:
        raise DatasetError(f"{args.input}: {len(paths)} photos in it; at least 5 are needed")
    pictures, labels, groups = [], [], []
    for number, path in enumerate(tqdm(paths, unit="photo")):
        rng = np.random.default_rng([args.seed, number])
        try:
            pixels = read_photo(path).pixels
        except PhotoError as e:
            _report_failure(str(e), failures)
            continue
        count = min(args.per_photo, len(STRENGTHS))
        for label in rng.choice(len(STRENGTHS), count, replace=False):
            pictures.append(probing.distort(pixels, float(STRENGTHS[label])))
            labels.append(int(label))
            groups.append(number)
    return probing.probe(embed_tiles(pictures, model), np.array(labels), np.array(groups))


def _report_failure(message: str, failures: list[str]) -> None:
    """Says once that a photo or folder is skipped, however often it is read."""
    if message not in failures:
        failures.append(message)
        tqdm.write(f"error: {command.in_options(printable(message))}; skipped", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.linear_probe",
        "Trains a logistic regression on a model's frozen embeddings, as the paper "
        "does, and prints its accuracy on held-out photos.",
        f"DIR of --output: {RESULTS}.\n"
        "exit codes: 0 done, 1 the model, the dataset or some photos cannot be read (the messages "
        "say why), 2 wrong usage\n" + command.QUIET,
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    splices = tasks.add_parser("splices", help="tampered against pristine photos, at 224 px")
    dataset_arguments.add_arguments(splices)
    radial = tasks.add_parser("radial", help=f"{len(STRENGTHS)} strengths of radial distortion")
    radial.add_argument("--input", required=True, metavar="DIR", help="photos of any kind")
    radial.add_argument("--per-photo", type=int, default=10, help="strengths drawn for each photo")
    radial.add_argument("--seed", type=int, default=0, help="of the strengths")
    for task in (splices, radial):
        task.add_argument("--model", default=str(PRETRAINED), metavar="PATH",
                          help="release file (default: what ships)")  # fmt: skip
        task.add_argument("--output", default="linear_probe", metavar="DIR",
                          help=f"folder for {RESULTS} (default linear_probe)")  # fmt: skip
    return parser


if __name__ == "__main__":
    command.run(main)
