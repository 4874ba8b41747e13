"""A copy of a dataset with every photo saved anew as PNG: the same pixels, no trace of the files.

    python -m benchmarks.resave_png CASIA1 COPY
    python -m exif_jax.evaluate --dataset casia1 --root COPY --output copy

Where tampered and pristine photos were saved by different programs, as in CASIA, tables, sizes
and metadata tell them apart. Figures on the copy that are those on the original come from pixels
alone. Folders and names stay, endings become .png, masks and other files are copied.
"""

from __future__ import annotations

import pathlib
import shutil
import sys

import numpy as np
from PIL import Image
from tqdm import tqdm

from exif_jax.cli import command
from exif_jax.io.atomic import replacing
from exif_jax.reading.photo import EXTENSIONS, PhotoError, read_photo
from exif_jax.reading.walk import WalkReport, walk_files


def main() -> int:
    parser = command.parser("benchmarks.resave_png", __doc__)
    parser.add_argument("root", type=pathlib.Path, help="the dataset")
    parser.add_argument("copy", type=pathlib.Path, help="folder for the copy")
    args = parser.parse_args()
    report = WalkReport()
    changed = 0
    for path in tqdm(list(walk_files(args.root, report)), unit="file", file=sys.stderr):
        target = args.copy / path.relative_to(args.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() not in EXTENSIONS or path.suffix.lower() == ".png":
            shutil.copyfile(path, target)
            continue
        try:
            pixels = read_photo(path).pixels
            target = target.with_suffix(".png")
            with replacing(target) as file:
                Image.fromarray(pixels).save(file, "PNG", compress_level=1)
            assert np.array_equal(read_photo(target).pixels, pixels), target
        except PhotoError as e:
            return command.fail(str(e))
        changed += 1
    if report.unreadable:
        return command.fail("; ".join(report.unreadable))
    print(f"{changed} photos saved as PNG, read again and found to have the same pixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
