"""Masks: which file belongs to a photo, and which of its pixels are tampered."""

from __future__ import annotations

import dataclasses
import pathlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.photo import EXTENSIONS, PhotoError, read_photo

MASK_SUFFIXES = ("", "_gt", "_mask")
"""What a mask's name may have after the stem of its photo, the first choice first."""
Meaning = Literal["bright", "marked", "dark", "green"]
_LARGEST_MASK = 2**20  # pixels that a mask may have, or four times those of its photo


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
        quarter_turns: how often the mask must be turned counter-clockwise by 90 degrees where its
            width is the photo's height and its height the photo's width; known of a few masks
            that were published turned. A mask of the photo's own size is never turned.
    """

    path: pathlib.Path
    tampered: Meaning = "bright"
    quarter_turns: int = 0


class MaskPixels(NamedTuple):
    """A mask that was read.

    Attributes:
        tampered: bool [H, W], true where tampered.
        note: what was done to the values, or "".
    """

    tampered: np.ndarray
    note: str = ""


def masks_by_stem(paths: Iterable[pathlib.Path]) -> dict[str, list[pathlib.Path]]:
    """Mask files by their stem in small letters.

    Where several files share a stem the order of the list is that of preference: PNG first, as it
    is lossless, then by name.

    Args:
        paths: files of any kind; those that the decoder does not read are passed over.
    """
    by_stem: dict[str, list[pathlib.Path]] = {}
    for path in sorted(paths, key=lambda path: (path.suffix.lower() != ".png", str(path))):
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
            by_stem.setdefault(path.stem.casefold(), []).append(path)
    return by_stem


def find_mask(
    by_stem: Mapping[str, Sequence[pathlib.Path]],
    stem: str,
    suffixes: Sequence[str] = MASK_SUFFIXES,
) -> pathlib.Path | None:
    """The mask of a photo, whatever the ending and the case of its name.

    Args:
        by_stem: of `masks_by_stem`.
        stem: of the photo's name.
        suffixes: what may follow the stem, in order of preference.

    Returns:
        The path of the mask, or None. A name in exactly the photo's letters is preferred to one
        that differs in case.
    """
    for suffix in suffixes:
        wanted = stem + suffix
        paths = by_stem.get(wanted.casefold(), ())
        same_case = [path for path in paths if path.stem == wanted]
        if paths:
            return (same_case or paths)[0]
    return None


def image_size(path: pathlib.Path, turned: bool = False) -> tuple[int, int] | None:
    """Width and height of an image by its header, or of it turned by 90 degrees.

    None where the header cannot be read; whoever reads the image says why.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            width, height = image.size
    except Exception:  # parsers of hostile files fail in any way
        return None
    return (height, width) if turned else (width, height)


def read_mask(mask: Mask, shape: tuple[int, int]) -> MaskPixels:
    """Reads a mask.

    Args:
        mask: the file, and what its values mean.
        shape: height and width of the photo it belongs to, in pixels.

    Returns:
        The tampered pixels, of that shape, and a note where the values 0 and 1 were taken as 0
        and 255.

    Raises:
        DatasetError: the mask is unreadable, of another size, or without both tampered and other
            pixels.
    """
    height, width = shape
    try:
        # Bounded before decoding, so that a huge file in disguise costs nothing.
        photo = read_photo(mask.path, max_pixels=max(4 * height * width, _LARGEST_MASK))
        image = photo.image if mask.tampered == "green" else photo.image.convert("L")
    except PhotoError as e:
        raise DatasetError(
            f"{mask.path}: the mask cannot be read ({e.cause}); its photo has {width} x {height} "
            "pixels"
        ) from e
    values = np.asarray(image)
    if mask.quarter_turns and values.shape[:2] == (width, height):
        values = np.rot90(values, mask.quarter_turns)
    if values.shape[:2] != shape:
        raise DatasetError(
            f"{mask.path}: the mask is {values.shape[1]} x {values.shape[0]} pixels, its photo "
            f"{width} x {height}"
        )
    note = ""
    if mask.tampered in ("bright", "dark") and values.max() == 1:
        values, note = values * 255, "mask values 0 and 1 taken as 0 and 255"
    tampered = _tampered(values, mask.tampered)
    if tampered.all() or not tampered.any():
        every = "every" if tampered.all() else "no"
        hints = [f"{mask.tampered} pixels count", f"values {values.min()} to {values.max()}"]
        raise DatasetError(
            f"{mask.path}: the mask marks {every} pixel as tampered "
            f"({'; '.join([*hints, *photo.notes])})"
        )
    return MaskPixels(tampered, note)


def _tampered(values: np.ndarray, meaning: str) -> np.ndarray:
    """bool [H, W] of grey uint8 [H, W] or, of "green", of colours [H, W, 3]."""
    if meaning == "green":
        return values[..., 1] > values[..., 0].astype(np.int16) + 50
    if meaning == "marked":
        return values > (10 if values.max() > 10 else 0)
    return values < 128 if meaning == "dark" else values > 127
