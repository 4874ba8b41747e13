"""Benchmark folders of spliced photos with their masks, read as a list of samples."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from exif_jax.photo import EXTENSIONS


class DatasetError(Exception):
    """A dataset or one of its files cannot be used; the message names it and says why."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One spliced photo.

    Attributes:
        name: how the row is called: the photo's path below the root, with forward slashes.
        image: the spliced photo.
        mask: 8-bit image of the same size, 255 where pasted.
        pristine: the same photo without the splice, saved the same way; None where unknown.
    """

    name: str
    image: pathlib.Path
    mask: pathlib.Path
    pristine: pathlib.Path | None = None


def read_folder(root: str | os.PathLike) -> list[Sample]:
    """Lists a folder with images/, masks/STEM.png and optionally pristine/ and manifest.jsonl.

    With a manifest its rows are the samples ("image" and "mask", optional "pristine", relative
    paths that must stay below the root); without one, every photo in images/, sorted by name,
    with the mask of its stem and the pristine photo of its name.

    Raises:
        DatasetError: no samples, or a manifest row that is malformed or leads out of the root.
            Files that do not exist are left to whoever opens them, except without a manifest.
    """
    root = pathlib.Path(root)
    manifest = root / "manifest.jsonl"
    if manifest.is_file():
        samples = _from_manifest(root, manifest)
    elif (root / "images").is_dir():
        samples = _from_folders(root)
    else:
        raise DatasetError(f"{root}: neither manifest.jsonl nor a folder images/ in it")
    if not samples:
        raise DatasetError(f"{root}: no images in it")
    return samples


def _from_manifest(root: pathlib.Path, manifest: pathlib.Path) -> list[Sample]:
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DatasetError(f"{manifest}: cannot be read ({e})") from e
    samples = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{manifest}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise DatasetError(f"{where}: not JSON ({e})") from e
        if not isinstance(row, dict):
            raise DatasetError(f"{where}: not a JSON object")
        image, mask, pristine = (
            _below(root, row.get(key), key, where, optional=key == "pristine")
            for key in ("image", "mask", "pristine")
        )
        assert image is not None and mask is not None
        samples.append(Sample(image.relative_to(root).as_posix(), image, mask, pristine))
    return samples


def _below(
    root: pathlib.Path, value: object, key: str, where: str, optional: bool
) -> pathlib.Path | None:
    if optional and value in (None, ""):
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise DatasetError(f'{where}: "{key}" is not a path')
    path = root / value
    if not os.path.realpath(path).startswith(os.path.join(os.path.realpath(root), "")):
        raise DatasetError(f'{where}: "{key}" leads out of {root}')
    return path


def _from_folders(root: pathlib.Path) -> list[Sample]:
    samples = []
    for image in sorted((root / "images").iterdir()):
        if image.suffix.lower() not in EXTENSIONS:
            continue
        pristine = root / "pristine" / image.name
        samples.append(
            Sample(
                name=image.relative_to(root).as_posix(),
                image=image,
                mask=root / "masks" / f"{image.stem}.png",
                pristine=pristine if pristine.is_file() else None,
            )
        )
    return samples


def read_mask(path: str | os.PathLike, shape: tuple[int, int]) -> np.ndarray:
    """Reads a mask.

    Args:
        path: an 8-bit or 1-bit image; colour is turned into grey.
        shape: height and width of the photo it belongs to, in pixels.

    Returns:
        bool [H, W], true where pasted (grey above 127).

    Raises:
        DatasetError: unreadable, of another size, or without both pasted and other pixels.
    """
    try:
        with Image.open(path) as image:
            # Before decoding, so that a huge file in disguise costs nothing.
            if (image.height, image.width) != shape:
                raise DatasetError(
                    f"{path}: the mask is {image.width} x {image.height} pixels, "
                    f"its photo {shape[1]} x {shape[0]}"
                )
            mask = np.asarray(image.convert("L")) > 127
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as e:
        cause = getattr(e, "strerror", None) or e
        raise DatasetError(f"{path}: the mask cannot be read ({cause})") from e
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise DatasetError(f"{path}: the mask is too large") from e
    if not mask.any():
        raise DatasetError(f"{path}: the mask marks no pixel as pasted (255)")
    if mask.all():
        raise DatasetError(f"{path}: the mask marks every pixel as pasted")
    return mask
