"""What a model knows of EXIF on photos it never saw: retrieval both ways, and every tag.

python -m exif_jax.tag_prediction --records DIR

The paper's retrieval and zero-shot tag prediction, on the validation cameras of the records.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from exif_jax.cli import command
from exif_jax.evaluation.retrieval import retrieval_metrics, tag_metrics, tag_questions
from exif_jax.forensics.embed import embed_exif, embed_tiles
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.exif import select_tags
from exif_jax.reports import outputs
from exif_jax.weights.release_file import PRETRAINED, Model, ReleaseError, load_model

with command.imports(__name__, "data"):
    from exif_jax.data import records

RESULTS = "tag_prediction.json"
PER_TAG = ("tag_accuracy", "tag_chance", "tag_retrieval", "tag_prevalence")


def predict_tags(model: Model, folder: str, split: str = "validation") -> dict[str, float]:
    """The metrics of `retrieval_metrics` and `tag_metrics` on the photos of a split.

    A photo is the mean embedding of tiles over its first region; its text all its tags.

    Raises:
        exif_jax.data.records.RecordError: the folder holds no records, or damaged ones.
    """
    reader = records.RecordReader(folder, split)
    first_regions = [records.decode_record(reader[numbers[0]]) for numbers in reader.photos()]
    images = (records.decode_image(record) for record in tqdm(first_regions, unit="photo"))
    squares = (image[: min(image.shape[:2]), : min(image.shape[:2])] for image in images)
    features = embed_tiles(squares, model)
    z_img = features[:, : features.shape[1] // 2]
    z_img = z_img / np.maximum(np.linalg.norm(z_img, axis=1, keepdims=True), 1e-12)
    exif = [select_tags(record.exif, model.tags) for record in first_regions]
    questions = tag_questions(exif)
    values = [{question.tag: value} for question in questions for value in question.values]
    z_values = embed_exif(values, model) if values else np.zeros((0, z_img.shape[1]), np.float32)
    return {
        "photos": len(first_regions),
        **retrieval_metrics(z_img, embed_exif(exif, model)),
        **tag_metrics(z_img, z_values, questions),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    output = pathlib.Path(args.output)
    try:
        model = load_model(args.model)
        if problem := outputs.prepare_folder(output):
            return command.fail(problem)
        metrics = predict_tags(model, args.records, args.split)
    except (ReleaseError, records.RecordError, ValueError) as e:
        return command.fail(printable(e))
    try:
        write_bytes(output / RESULTS, json_bytes({"model": model.id} | metrics))
    except OSError as e:
        return command.fail(f"{printable(output / RESULTS)}: cannot be written ({e.strerror})")
    print(f"model {model.id}, {metrics['photos']:.0f} photos")
    _print_table(metrics)
    return 0


def _print_table(metrics: dict[str, float]) -> None:
    for name in ("image_to_exif", "exif_to_image"):
        shares = "  ".join(f"recall@{k} {metrics[f'{name}_r{k}']:.3f}" for k in (1, 5, 10))
        print(f"{name:<16}{shares}  median rank {metrics[f'{name}_median_rank']:g}")
    print(f"{'chance':<16}recall@1 {metrics['chance_r1']:.3f}\n")
    print(f"{'tag':<32}{'accuracy':>10}{'frequent':>10}{'retrieval':>11}{'random':>9}")
    tags = [name.removeprefix("tag_accuracy/") for name in metrics if "tag_accuracy/" in name]
    for tag in (*tags, ""):
        accuracy, frequent, retrieval, random = (
            metrics.get(f"{kind}/{tag}" if tag else kind, float("nan")) for kind in PER_TAG
        )
        row = f"{accuracy:10.3f}{frequent:10.3f}{retrieval:11.3f}{random:9.3f}"
        print(f"{tag or 'mean':<32}{row}")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.tag_prediction",
        "Finds each photo's EXIF among all and each EXIF's photo, and names every "
        "tag's value zero-shot, on photos of cameras outside training. Beside each figure: what "
        "the most frequent value, or a random order, would give.",
        f"DIR of --output: {RESULTS}.\n"
        "exit codes: 0 done, 1 unreadable model or records, 2 wrong usage\n" + command.QUIET,
    )
    add = parser.add_argument
    add("--records", required=True, metavar="DIR", help="of data_prep.photos")
    add("--split", choices=("validation", "train"), default="validation",
        help="of the records (default validation: cameras outside training)")  # fmt: skip
    add("--model", default=str(PRETRAINED), metavar="PATH",
        help="release file (default: what ships)")  # fmt: skip
    add("--output", default="tag_prediction", metavar="DIR",
        help=f"folder for {RESULTS} (default tag_prediction)")  # fmt: skip
    return parser


if __name__ == "__main__":
    command.run(main)
