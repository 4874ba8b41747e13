"""What the commands on datasets have in common: the arguments that name a dataset."""

from __future__ import annotations

import argparse
import textwrap

from exif_jax.cli.photo_command import positive
from exif_jax.evaluation.datasets import COPY_MOVE, INPAINTING, REMOVAL, SPLICE, TAMPERED
from exif_jax.evaluation.public_datasets import DATASET_NAMES, DATASETS
from exif_jax.reading.photo import MAX_PIXELS

LAYOUTS = (
    "datasets: folder, which holds images/ and masks/ (a mask is called as its photo, or STEM_gt\n"
    "or STEM_mask, in any image format; 255 = tampered), and optionally pristine/ or authentic/,\n"
    "and manifest.jsonl; and copies that you hold of\n"
    + textwrap.indent(textwrap.fill(", ".join(DATASETS), 82, break_on_hyphens=False), "  ")
)


def add_arguments(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """--dataset, --root, --kind, --partial and --max-pixels.

    Args:
        parser: of the command.
        several: whether --dataset and --root may be given several times, in pairs; they are lists
            then, or None, and whoever parses them asks for a --root.
    """
    add = parser.add_argument
    add(
        "--dataset",
        choices=DATASET_NAMES,
        metavar="NAME",
        action="append" if several else "store",
        default=None if several else "folder",
        help="layout (default folder)" + ("; again, with its --root, for more" if several else ""),
    )
    add(
        "--root",
        required=not several,
        metavar="DIR",
        action="append" if several else "store",
        help="where the dataset lies",
    )
    add(
        "--kind",
        choices=(SPLICE, COPY_MOVE, REMOVAL, INPAINTING, TAMPERED),
        action="append",
        default=[],
        help="use only tampered photos of this kind, and the pristine ones; again for more "
        "(default: all)",
    )
    add("--partial", action="store_true", help="use a copy of which photos or masks are missing")
    add(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help=f"skip photos of more pixels, unread (default {MAX_PIXELS:,})",
    )
