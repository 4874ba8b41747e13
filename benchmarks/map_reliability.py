"""Whether a map's probabilities come true: composites of photos that no training saw.

    python -m benchmarks.map_reliability POOL --picture docs/map_reliability.png

POOL is the folder that `python -m exif_jax.train_map` made its composites of; the photos that it
holds out are taken, and composites of 384 x 256 pixels made of them as in training. Blocks of 8 x 8
pixels are sorted by the probability that they got, and the share that is tampered in truth stands
beside it: for the network alone (its logits as they are), for the learned map as it is shown (its
logits lifted, since in training a tenth of all blocks was tampered), and for the default.
"""

from __future__ import annotations

import pathlib

import numpy as np
from tqdm import tqdm

from exif_jax.api import resolve_model
from exif_jax.cli import command
from exif_jax.data.composites import make_composite
from exif_jax.data.photo_pool import load_pool
from exif_jax.evaluation.tables import text_table
from exif_jax.forensics import learned_map
from exif_jax.forensics.localization import localize
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import json_bytes
from exif_jax.reading.pixels import BLOCK

HEIGHT, WIDTH = 256, 384
EDGES = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0])
NETWORK, SHOWN, DEFAULT = "network", "learned map", "default"


def main() -> None:
    parser = command.parser("benchmarks.map_reliability", __doc__)
    parser.add_argument("pool", type=pathlib.Path, metavar="POOL", help="folder of a pool")
    parser.add_argument("--count", type=int, default=400, help="composites (default 400)")
    parser.add_argument("--model", help="release file of encoders (default: what ships)")
    parser.add_argument("--map-model", default="", help="release file (default: what ships)")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file for the figures")
    parser.add_argument("--picture", type=pathlib.Path, metavar="PNG", help="write the plot there")
    args = parser.parse_args()
    probabilities, tampered = measure(args.pool, args.count, args.model, args.map_model)
    curves = {name: reliability(p, tampered) for name, p in probabilities.items()}
    for name, curve in curves.items():
        print(f"{name}: expected calibration error {curve['error']:.3f}")
        print(text_table(rows(curve)))
    if args.output:
        write_bytes(args.output, json_bytes({"composites": args.count, "curves": curves}))
    if args.picture:
        draw(curves, args.picture)


def measure(
    pool: pathlib.Path, count: int, model_path: str | None, map_model: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Probabilities of all blocks of some composites, [count * h * w], and their tampered share."""
    photos, model = load_pool(pool).part(validation=True), resolve_model(model_path)
    settings = LocalizationSettings(method="auto", map_model=map_model)
    learned = learned_map.loaded_map(map_model)
    found: dict[str, list[np.ndarray]] = {NETWORK: [], SHOWN: [], DEFAULT: []}
    tampered = []
    for k in tqdm(range(count), unit="composite", desc="composites"):
        composite = make_composite(photos, np.random.default_rng([1, k]), HEIGHT, WIDTH)
        logits = learned_map.block_logits(composite.picture, learned)
        found[NETWORK].append(learned_map.probability(logits - learned_map.LIFT))
        found[SHOWN].append(learned_map.probability(logits))
        heatmap = localize(composite.picture, model, settings).heatmap
        blocks = heatmap.reshape(HEIGHT // BLOCK, BLOCK, WIDTH // BLOCK, BLOCK)
        found[DEFAULT].append(blocks.mean((1, 3)))
        tampered.append(composite.tampered)
    flat = {name: np.concatenate([x.ravel() for x in maps]) for name, maps in found.items()}
    return flat, np.concatenate([x.ravel() for x in tampered])


def reliability(probability: np.ndarray, tampered: np.ndarray) -> dict:
    """How often what got some probability was tampered.

    Args:
        probability: float [N], in [0, 1].
        tampered: float [N], the truth, in [0, 1].

    Returns:
        blocks, said and true: for each step of EDGES the share of all blocks, their mean
        probability and their mean truth (0 where there are none); error: the expected calibration
        error, |said - true| averaged over blocks.
    """
    step = np.clip(np.searchsorted(EDGES, probability, "right") - 1, 0, len(EDGES) - 2)
    number = np.bincount(step, minlength=len(EDGES) - 1)
    said, true = (
        np.bincount(step, x, len(EDGES) - 1) / np.maximum(number, 1)
        for x in (probability, tampered)
    )
    shares = number / number.sum()
    error = float((shares * np.abs(said - true)).sum())
    curve = {"blocks": shares, "said": said, "true": true}
    return {name: x.tolist() for name, x in curve.items()} | {"error": error}


def rows(curve: dict) -> list[list[str]]:
    """A table: its head, and a row for each step that has blocks."""
    columns = zip(EDGES[:-1], EDGES[1:], curve["blocks"], curve["said"], curve["true"], strict=True)
    return [["probability", "", "of all blocks", "said", "true"]] + [
        [f"{low:.2f}", f"to {high:.2f}", f"{share:.1%}", f"{said:.3f}", f"{true:.3f}"]
        for low, high, share, said, true in columns
        if share
    ]


def draw(curves: dict[str, dict], path: pathlib.Path) -> None:
    """The tampered share against the probability."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="what was said")
    for name, curve in curves.items():
        said, true, share = (np.array(curve[key]) for key in ("said", "true", "blocks"))
        axes.plot(said[share > 0], true[share > 0], marker="o", label=name)
    axes.set(
        xlabel="probability of a block", ylabel="share that is tampered", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend()
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
