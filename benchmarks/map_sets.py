"""Folders for judging the learned map: development splices as the web has them, and CASIA v1.

python -m benchmarks.map_sets OUT, and for each folder python -m exif_jax.evaluate --root OUT/NAME

OUT/web512, web640, web800: the splices of EXIF_JAX_PHOTOS and their pristine hosts, shrunk to so
many pixels on the longer side and saved as JPEG 80. OUT/cut384: 384 x 256 pixels of each of which
about a fifth is tampered (of a host the same place), as they are. OUT/made, only for reporting:
splices made of the photos of other cameras in EXIF_JAX_PHOTOS/pristine, as they are or saved as
JPEG, and their hosts. OUT/casia_look and OUT/casia_rest (with EXIF_JAX_BENCHMARKS): splices and
authentic photos of CASIA v1 whose stem's md5 is 0 modulo 3, for choosing, and all others, for
reporting.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil

import numpy as np
from PIL import Image

from exif_jax.cli import command
from exif_jax.evaluation import score_samples
from exif_jax.evaluation.datasets import SPLICE
from exif_jax.evaluation.folder_dataset import read_folder
from exif_jax.evaluation.masks import read_mask
from exif_jax.evaluation.public_datasets import read_dataset
from exif_jax.evaluation.score_measuring import photos_by_camera
from exif_jax.evaluation.score_samples import Treatment
from exif_jax.reading.photo import read_photo

_WEB, _QUALITY = (512, 640, 800), 80
_WIDTH, _HEIGHT = 384, 256
_OF_CAMERA = 2  # photos that splices are made of
_SAVED = (None, 95, 90, 80)  # None: not compressed again


def main() -> None:
    parser = command.parser("benchmarks.map_sets", __doc__ or "")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="folder for the sets")
    out = parser.parse_args().out
    if not os.environ.get("EXIF_JAX_PHOTOS"):
        parser.error("EXIF_JAX_PHOTOS is not set: it names the folder of photos")
    photos = pathlib.Path(os.environ["EXIF_JAX_PHOTOS"])
    _write_made(out / "made", photos / "pristine")
    splices = photos / "splices"
    for sample in read_folder(splices).samples:
        image = Image.open(sample.image).convert("RGB")
        mask = None
        if sample.mask is not None:
            mask = read_mask(sample.mask, (image.height, image.width)).tampered
        for side in _WEB:
            _write_web(out / f"web{side}", side, sample.image, image, mask)
        if mask is not None:
            hosts = [p for p in (splices / "pristine").iterdir() if p.stem == sample.image.stem]
            host = hosts[0] if hosts else None
            _write_cut(out / "cut384", sample.image, image, mask, host)
    if os.environ.get("EXIF_JAX_BENCHMARKS"):
        _write_casia(out, pathlib.Path(os.environ["EXIF_JAX_BENCHMARKS"]) / "casia1")


def _write_web(
    folder: pathlib.Path,
    side: int,
    path: pathlib.Path,
    image: Image.Image,
    mask: np.ndarray | None,
) -> None:
    factor = side / max(image.size)
    size = (round(image.width * factor), round(image.height * factor))
    _save(folder / ("pristine" if mask is None else "images") / f"{path.stem}.jpg",
          image.resize(size, Image.Resampling.LANCZOS), quality=_QUALITY)  # fmt: skip
    if mask is not None:
        small = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
        _save(folder / "masks" / f"{path.stem}.png", small.point(lambda v: 255 * (v > 127)))


def _write_cut(
    folder: pathlib.Path,
    path: pathlib.Path,
    image: Image.Image,
    mask: np.ndarray,
    host: pathlib.Path | None,
) -> None:
    """A place where between 3 and 40 % are tampered, if there is one, on the photo's own grid."""
    sums = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    ys = np.arange(0, image.height - _HEIGHT + 1, 8)
    xs = np.arange(0, image.width - _WIDTH + 1, 8)
    inside = (
        sums[np.ix_(ys + _HEIGHT, xs + _WIDTH)]
        - sums[np.ix_(ys, xs + _WIDTH)]
        - sums[np.ix_(ys + _HEIGHT, xs)]
        + sums[np.ix_(ys, xs)]
    ) / (_WIDTH * _HEIGHT)
    row, column = np.unravel_index(np.abs(inside - 0.2).argmin(), inside.shape)
    box = (int(xs[column]), int(ys[row]), int(xs[column]) + _WIDTH, int(ys[row]) + _HEIGHT)
    _save(folder / "images" / f"{path.stem}.png", image.crop(box))
    _save(folder / "masks" / f"{path.stem}.png",
          Image.fromarray(mask.astype(np.uint8) * 255).crop(box))  # fmt: skip
    if host is not None:
        _save(folder / "pristine" / f"{path.stem}.png", Image.open(host).convert("RGB").crop(box))


def _write_made(folder: pathlib.Path, photos: pathlib.Path) -> None:
    """A part of a photo by another camera in each of two photos by each camera."""
    by_camera = sorted(photos_by_camera([photos], print).items())
    hosts = [(i, j, p) for i, (_, paths) in enumerate(by_camera)
             for j, p in enumerate(paths[:_OF_CAMERA])]  # fmt: skip
    for n, (i, j, path) in enumerate(hosts):
        host = read_photo(path).pixels
        donor = read_photo(by_camera[(i + 7 + j) % len(by_camera)][1][0]).pixels
        treatment = Treatment("whole", _SAVED[n % len(_SAVED)])
        spliced, tampered = score_samples.splice(host, donor, f"o{i}{j}")
        for name, pixels in (("images", spliced), ("pristine", host)):
            pixels, _ = score_samples.treat(pixels, None, treatment, path.name)
            _save(folder / name / f"{path.stem}.png", Image.fromarray(pixels))
        mask = Image.fromarray(tampered.astype(np.uint8) * 255)
        _save(folder / "masks" / f"{path.stem}.png", mask)


def _write_casia(out: pathlib.Path, root: pathlib.Path) -> None:
    for sample in read_dataset("casia1", str(root), kinds=(SPLICE,)).samples:
        digest = int(hashlib.md5(sample.image.stem.encode()).hexdigest(), 16)
        folder = out / ("casia_look" if digest % 3 == 0 else "casia_rest")
        target = folder / ("images" if sample.is_tampered else "pristine") / sample.image.name
        if sample.is_tampered and sample.mask is None:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample.image, target)
        if sample.mask is not None:
            with Image.open(sample.image) as image:
                size = (image.height, image.width)
            tampered = read_mask(sample.mask, size).tampered.astype(np.uint8) * 255
            _save(folder / "masks" / f"{sample.image.stem}.png", Image.fromarray(tampered))


def _save(path: pathlib.Path, image: Image.Image, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


if __name__ == "__main__":
    main()
