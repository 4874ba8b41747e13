"""What a linear classifier reads off frozen embeddings: splices and radial distortion.

python -m exif_jax.linear_probe splices --dataset casia1 --root DIR
python -m exif_jax.linear_probe radial --input DIR

The paper's section 4.2: CASIA's spliced photos against pristine ones, each resized or cropped to
224 pixels; and 20 strengths of synthetic radial distortion. The encoder stays as it is.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from exif_jax.cli import command
from exif_jax.evaluation.datasets import DatasetError, photos_in
from exif_jax.evaluation.public_datasets import DATASETS, read_public
from exif_jax.forensics.embed import embed_tiles
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.photo import PhotoError, read_photo
from exif_jax.weights.release_file import PRETRAINED, Model, ReleaseError, load_model

SIDE = 224
CLASSES = 20
STRONGEST = 0.4  # of k1, both ways
SPLITS, HELD_OUT = 5, 0.2


def resized(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The whole photo by the bicubic filter, uint8 [side, side, 3], whatever its shape was."""
    how = Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((side, side), how))


def cropped(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The middle, as it is; black where the photo is smaller (as torchvision's CenterCrop)."""
    pads = [max(0, side - n) for n in pixels.shape[:2]]
    pixels = np.pad(pixels, (*((p // 2, p - p // 2) for p in pads), (0, 0)))
    y, x = ((n - side) // 2 for n in pixels.shape[:2])
    return pixels[y : y + side, x : x + side]


def distorted(pixels: np.ndarray, k1: float, side: int = SIDE) -> np.ndarray:
    """The middle of a photo as a lens of radial distortion k1 would draw it.

    Args:
        pixels: uint8 [H, W, 3]; the central square is first resized to 1.5 x `side`.
        k1: a point at radius r of the result is taken from r (1 + k1 r^2), r in half sides of the
            square; below 0 it is pincushion, above 0 barrel distortion.
        side: of the result, its middle.

    Returns:
        uint8 [side, side, 3], bilinear; what lies outside the square is its edge.
    """
    from scipy.ndimage import map_coordinates

    short = min(pixels.shape[:2])
    square = resized(cropped(pixels, short), round(1.5 * side)).astype(np.float32)
    half = (len(square) - 1) / 2
    at = (np.arange(side) - (side - 1) / 2) / half
    y, x = np.meshgrid(at, at, indexing="ij")
    stretch = 1 + k1 * (y**2 + x**2)
    place = np.stack([y * stretch, x * stretch]) * half + half
    channels = [map_coordinates(square[..., c], place, order=1, mode="nearest") for c in range(3)]
    return np.clip(np.rint(np.stack(channels, axis=-1)), 0, 255).astype(np.uint8)


def probe(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """Accuracy of logistic regression on standardised features, over five random splits.

    Args:
        features: float [N, F].
        labels: int [N].
        groups: int [N]; those of one group are all in the training or all in the test part.
        seed: of the splits, a fifth held out in each.

    Returns:
        accuracy, deviation (of the splits' accuracies) and chance: the share of the most frequent
        label. Of two labels also balanced_accuracy and auc.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score
    from sklearn.model_selection import GroupShuffleSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found: dict[str, list[float]] = {"accuracy": [], "balanced_accuracy": [], "auc": []}
    splits = GroupShuffleSplit(SPLITS, test_size=HELD_OUT, random_state=seed)
    for train, test in splits.split(features, labels, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
        model.fit(features[train], labels[train])
        said = model.predict(features[test])
        found["accuracy"].append(float((said == labels[test]).mean()))
        if len(np.unique(labels)) == 2 and len(np.unique(labels[test])) == 2:
            found["balanced_accuracy"].append(balanced_accuracy_score(labels[test], said))
            sure = model.predict_proba(features[test])[:, 1]
            found["auc"].append(roc_auc_score(labels[test], sure))
    result: dict[str, Any] = {k: float(np.mean(v)) for k, v in found.items() if v}
    result["deviation"] = float(np.std(found["accuracy"]))
    result["chance"] = float(np.bincount(labels).max() / len(labels))
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    try:
        model = load_model(args.model)
        if model.patch_size > SIDE:
            return command.fail(
                f"the model's patches of {model.patch_size} px do not fit into {SIDE} px"
            )
        results = (_splices if args.task == "splices" else _radial)(args, model)
    except (DatasetError, ReleaseError) as e:
        return command.fail(printable(e))
    print(f"model {model.id}; {SPLITS} random splits, {HELD_OUT:.0%} held out")
    for name, result in results.items():
        figures = "  ".join(f"{key} {value:.3f}" for key, value in result.items())
        print(f"{name:<10}  {figures}")
    if args.json:
        try:
            write_bytes(args.json, json_bytes({"model": model.id, "results": results}))
        except OSError as e:
            return command.fail(f"{printable(args.json)}: cannot be written ({e.strerror})")
    return 0


def _splices(args: argparse.Namespace, model: Model) -> dict[str, Any]:
    samples = read_public(args.dataset, args.root, args.partial)
    if not all(any(bool(s.mask) == kind for s in samples) for kind in (True, False)):
        raise DatasetError(f"{args.root}: needs spliced and pristine photos both")
    pixels, labels = [], []
    for sample in tqdm(samples, unit="photo"):
        try:
            image = read_photo(sample.image).pixels
        except PhotoError as e:
            tqdm.write(f"error: {printable(e)}; skipped", file=sys.stderr)
            continue
        pixels.append((resized(image), cropped(image)))
        labels.append(int(sample.mask is not None))
    truth, groups = np.array(labels), np.arange(len(labels))
    return {
        name: probe(embed_tiles((pair[k] for pair in pixels), model), truth, groups)
        for k, name in enumerate(("resized", "cropped"))
    }


def _radial(args: argparse.Namespace, model: Model) -> dict[str, Any]:
    paths = photos_in(pathlib.Path(args.input))
    if len(paths) < 5:
        raise DatasetError(f"{args.input}: {len(paths)} photos in it; at least 5 are needed")
    strengths = np.linspace(-STRONGEST, STRONGEST, CLASSES)
    images, labels, groups = [], [], []
    for k, path in enumerate(tqdm(paths, unit="photo")):
        rng = np.random.default_rng([args.seed, k])
        try:
            pixels = read_photo(path).pixels
        except PhotoError as e:
            tqdm.write(f"error: {printable(e)}; skipped", file=sys.stderr)
            continue
        for label in rng.choice(CLASSES, min(args.per_photo, CLASSES), replace=False):
            images.append(distorted(pixels, float(strengths[label])))
            labels.append(int(label))
            groups.append(k)
    result = probe(embed_tiles(images, model), np.array(labels), np.array(groups))
    return {"radial": result}


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.linear_probe",
        "Trains a logistic regression on a model's frozen embeddings, as the paper "
        "does, and prints its accuracy on held-out photos.",
        "exit codes: 0 done, 1 unreadable model or photos, 2 wrong usage. " + command.QUIET,
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    splices = tasks.add_parser("splices", help="spliced against pristine photos, at 224 px")
    splices.add_argument("--dataset", required=True, choices=sorted(DATASETS), metavar="NAME",
                         help="casia1, casia2 or another of exif_jax.evaluate's")  # fmt: skip
    splices.add_argument("--root", required=True, metavar="DIR", help="where the dataset lies")
    splices.add_argument("--partial", action="store_true", help="use an incomplete copy")
    radial = tasks.add_parser("radial", help=f"{CLASSES} strengths of radial distortion")
    radial.add_argument("--input", required=True, metavar="DIR", help="photos of any kind")
    radial.add_argument("--per-photo", type=int, default=10, help="strengths drawn for each photo")
    radial.add_argument("--seed", type=int, default=0, help="of the strengths")
    for task in (splices, radial):
        task.add_argument("--model", default=str(PRETRAINED), metavar="PATH",
                          help="release file (default: what ships)")  # fmt: skip
        task.add_argument("--json", metavar="OUT", help="file for the figures")
    return parser


if __name__ == "__main__":
    command.run(main)
