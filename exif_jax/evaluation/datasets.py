"""Photos with masks of what was pasted into them, and photos nobody touched, as one list."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Collection
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.photo import EXTENSIONS


class DatasetError(ExifJaxError):
    """A dataset or one of its files cannot be used; the message names it and says why."""


@dataclasses.dataclass(frozen=True)
class Mask:
    """Where the mask of a photo lies, and which of its values mean tampered.

    Attributes:
        path: an image of the photo's size.
        tampered: "bright", grey above 127; "marked", grey above 10 (masks with several levels, or
            saved as JPEG), or above 0 where the whole mask is darker; "dark", grey below 128; or
            "green", green above red by more than 50 levels (red is the host).
    """

    path: pathlib.Path
    tampered: Literal["bright", "marked", "dark", "green"] = "bright"


@dataclasses.dataclass(frozen=True)
class Sample:
    """One photo of a benchmark.

    Attributes:
        name: how the row is called: the photo's path below the root, with forward slashes.
        image: the photo.
        mask: where it was pasted into; None: nobody touched it.
    """

    name: str
    image: pathlib.Path
    mask: Mask | None = None


def read_folder(root: str | os.PathLike) -> list[Sample]:
    """Lists a folder with images/ and masks/STEM.png, and photos nobody touched beside them.

    Those are in pristine/ or authentic/. With a manifest.jsonl its rows are the samples ("image"
    and "mask", optional "pristine", relative paths that must stay below the root); without one,
    every photo in images/, sorted by name, with the mask of its stem.

    Returns:
        The spliced photos, then the pristine ones, each once.

    Raises:
        DatasetError: no samples, or a manifest row that is malformed or leads out of the root.
            Files that do not exist are left to whoever opens them, except without a manifest.
    """
    root = pathlib.Path(root)
    manifest = root / "manifest.jsonl"
    if manifest.is_file():
        spliced, pristine = _from_manifest(root, manifest)
    elif (root / "images").is_dir():
        spliced, pristine = photos_in(root / "images"), photos_in(root / "pristine")
        spliced = [(path, root / "masks" / f"{path.stem}.png") for path in spliced]
    else:
        raise DatasetError(f"{root}: neither manifest.jsonl nor a folder images/ in it")
    pristine += photos_in(root / "authentic")
    if not spliced:
        raise DatasetError(f"{root}: no images in it")
    return [sample(root, image, Mask(mask)) for image, mask in spliced] + [
        sample(root, image) for image in dict.fromkeys(pristine)
    ]


def photos_in(folder: pathlib.Path, suffixes: Collection[str] = EXTENSIONS) -> list[pathlib.Path]:
    """The photos directly in a folder, sorted by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def sample(root: pathlib.Path, image: pathlib.Path, mask: Mask | None = None) -> Sample:
    """The sample of a photo below the root."""
    return Sample(image.relative_to(root).as_posix(), image, mask)


def _from_manifest(
    root: pathlib.Path, manifest: pathlib.Path
) -> tuple[list[tuple[pathlib.Path, pathlib.Path]], list[pathlib.Path]]:
    """Pairs of spliced photo and mask, and the pristine photos."""
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DatasetError(f"{manifest}: cannot be read ({e})") from e
    spliced, pristine = [], []
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
        spliced.append((image, mask))
        if pristine is not None:
            pristine.append(pristine)
    return spliced, pristine


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


def read_mask(mask: Mask, shape: tuple[int, int]) -> np.ndarray:
    """Reads a mask.

    Args:
        mask: the file, and what its values mean.
        shape: height and width of the photo it belongs to, in pixels.

    Returns:
        bool [H, W], true where tampered.

    Raises:
        DatasetError: unreadable, of another size, or without both tampered and other pixels.
    """
    path = mask.path
    try:
        with Image.open(path) as image:
            # Before decoding, so that a huge file in disguise costs nothing.
            if (image.height, image.width) != shape:
                raise DatasetError(
                    f"{path}: the mask is {image.width} x {image.height} pixels, "
                    f"its photo {shape[1]} x {shape[0]}"
                )
            values = np.asarray(image.convert("RGB" if mask.tampered == "green" else "L"))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as e:
        cause = getattr(e, "strerror", None) or e
        raise DatasetError(f"{path}: the mask cannot be read ({cause})") from e
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise DatasetError(f"{path}: the mask is too large") from e
    tampered = _tampered(values, mask.tampered)
    if not tampered.any():
        raise DatasetError(f"{path}: the mask marks no pixel as tampered ({mask.tampered})")
    if tampered.all():
        raise DatasetError(f"{path}: the mask marks every pixel as tampered ({mask.tampered})")
    return tampered


def _tampered(values: np.ndarray, meaning: str) -> np.ndarray:
    if meaning == "green":
        return values[..., 1] > values[..., 0].astype(np.int16) + 50
    if meaning == "marked":
        return values > (10 if values.max() > 10 else 0)
    return values < 128 if meaning == "dark" else values > 127
