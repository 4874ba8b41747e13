"""Draws the method in one picture: `python -m benchmarks.method_picture docs/method.png`.

A splice made by simulated cameras, the affinity of one pristine and of one tampered patch to all
others, and the map that `localize` makes of them. Needs matplotlib.
"""

from __future__ import annotations

import io
import pathlib
import subprocess
import sys
import tempfile

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from PIL import Image

import exif_jax
from exif_jax.cli import command
from exif_jax.forensics.result import Localization
from exif_jax.io.atomic import write_bytes
from exif_jax.reports.render import LUT

MAP = ListedColormap(LUT / 255.0)
PRISTINE, TAMPERED = "#2f6fd0", "#e07000"


def main() -> None:
    parser = command.parser("benchmarks.method_picture", __doc__)
    parser.add_argument("picture", type=pathlib.Path, help="PNG to write")
    parser.add_argument("--seed", type=int, default=5, help="another gives another splice")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = f"-m data_prep.simulate --splices 1 --size 1024 --seed {args.seed} --output"
        subprocess.run([sys.executable, *flags.split(), folder], check=True)
        photo = next(pathlib.Path(folder, "images").iterdir())
        with Image.open(next(pathlib.Path(folder, "masks").iterdir())) as mask:
            tampered = np.asarray(mask) > 0
        with Image.open(photo) as image:
            pixels = np.asarray(image.convert("RGB"))
        localization = exif_jax.localize_photo(photo)
    write_bytes(args.picture, draw(pixels, tampered, localization))


def draw(pixels: np.ndarray, tampered: np.ndarray, localization: Localization) -> bytes:
    """PNG of uint8 [H, W, 3], its mask bool [H, W] and its localisation."""
    grid = localization.grid
    corners = grid.origins()
    patches = np.stack(
        [tampered[y : y + grid.patch, x : x + grid.patch].mean() for y, x in corners]
    )
    chosen = {
        PRISTINE: first(patches == 0, localization.affinity),
        TAMPERED: first(patches == patches.max(), localization.affinity),
    }
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.7), layout="constrained")
    axes[0].imshow(pixels)
    axes[0].set_title("Which part is of another camera?")
    scale = {"cmap": MAP, "vmin": 0, "vmax": 1}
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    for axis, (colour, patch) in zip(axes[1:3], chosen.items(), strict=True):
        distance = 1 - localization.affinity[patch].reshape(grid.rows, grid.columns)
        axis.imshow(distance, extent=extent, **scale)
        axis.contour(tampered, [0.5], colors="white", linewidths=1, linestyles="--")
        where = "a pristine" if colour == PRISTINE else "a tampered"
        axis.set_title(f"1 - affinity to {where} patch")
    for axis, colours in zip(axes, ([PRISTINE, TAMPERED], [PRISTINE], [TAMPERED]), strict=False):
        for colour in colours:
            y, x = corners[chosen[colour]]
            style = {"fill": False, "linewidth": 2.5, "edgecolor": colour}
            axis.add_patch(plt.Rectangle((x, y), grid.patch, grid.patch, **style))
    image = axes[3].imshow(localization.heatmap, **scale)
    axes[3].contour(tampered, [0.5], colors="white", linewidths=1, linestyles="--")
    axes[3].set_title("Heat map; dashed: the truth")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.01)
    bar.set_label("0 alike                1 unrelated")
    for axis in axes:
        axis.set_axis_off()
        axis.title.set_fontsize(10)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=80)
    plt.close(figure)
    return stream.getvalue()


def first(among_P: np.ndarray, affinity_PxP: np.ndarray) -> int:
    """Of some of the patches the one that most resembles the others of them: its index."""
    inside = np.flatnonzero(among_P)
    return int(inside[affinity_PxP[np.ix_(inside, inside)].sum(axis=1).argmax()])


if __name__ == "__main__":
    main()
