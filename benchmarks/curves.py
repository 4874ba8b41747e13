"""Draws the curves of a training run: `python -m benchmarks.curves RUN docs/training.png`.

Losses of the training batches, retrieval and tags on cameras held out, and splices where the run
measured them, against the step. Needs matplotlib.
"""

from __future__ import annotations

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from exif_jax.cli import command
from exif_jax.io import jsonl

PANELS = (
    (
        "training loss, nats",
        {"text_loss": "patches and texts", "image_loss": "among patches"},
    ),
    (
        "cameras held out",
        {
            "validation/image_to_exif_r10": "recall@10, patch to EXIF",
            "validation/tag_accuracy": "tags, zero-shot accuracy",
            "validation/tag_chance": "the same by the most frequent value",
        },
    ),
    (
        "development splices",
        {
            "validation/splice_p_map": "permuted AP",
            "validation/splice_ap": "AP",
            "validation/splice_detection_auc": "detection AUC",
        },
    ),
)
COLOURS = ("#1f5f8b", "#c8553d", "#7a7a7a")
SMOOTH = 15  # rows of the training loss that are averaged


def main() -> None:
    parser = command.parser("benchmarks.curves", __doc__)
    parser.add_argument("run", type=pathlib.Path, help="--workdir of exif_jax.train")
    parser.add_argument("picture", type=pathlib.Path, help="the PNG file to write")
    args = parser.parse_args()
    rows = list(jsonl.read_rows(args.run / "metrics.jsonl"))
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 3.4), layout="constrained")
    for axis, (title, names) in zip(axes, PANELS, strict=True):
        for (name, label), colour in zip(names.items(), COLOURS, strict=False):
            # A skipped step has no loss: its row holds null.
            points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            if not points:
                continue
            step, value = np.array(points).T
            if len(step) > 3 * SMOOTH:
                value = np.convolve(value, np.ones(SMOOTH) / SMOOTH, "valid")
                step = step[SMOOTH // 2 :][: len(value)]
            axis.plot(step, value, color=colour, label=label, linewidth=1.6)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("step", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.lines:
            axis.legend(fontsize=8, frameon=False)
        if axis is not axes[0]:
            axis.set_ylim(0, 1)
    figure.savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
