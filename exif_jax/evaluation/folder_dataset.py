"""Folders of one's own: photos, their masks beside them, pristine photos; or a manifest."""

from __future__ import annotations

import collections
import json
import os
import pathlib

from exif_jax.evaluation.datasets import TAMPERED, Dataset, make_sample
from exif_jax.evaluation.masks import DatasetError, Mask, find_mask, masks_by_stem
from exif_jax.reading.photo import EXTENSIONS
from exif_jax.reading.walk import WalkReport, find_photos

_MASK_FOLDERS = {"images": "masks", "Tp": "Gt"}  # where photos lie -> where their masks lie
_PRISTINE_FOLDERS = ("pristine", "authentic", "Au")


def read_folder(root: str | os.PathLike) -> Dataset:
    """Reads a folder of one's own.

    Layouts:
        * images/ with masks/, or Tp/ with Gt/ (as IMDL-BenCo has them): a mask has the stem of its
          photo, or STEM_gt or STEM_mask, in any case and image format, and lies in the same
          subfolder. pristine/, authentic/ and Au/ hold pristine photos. Subfolders are searched.
        * manifest.jsonl: its rows are the samples, in their order: "image", "mask" and optionally
          "pristine", relative paths that must stay below the root. authentic/ is read too.

    Returns:
        The samples, sorted by name or in the manifest's order. Of a photo without a mask the path
        is given at which the mask is missing. Notes count by ending what was passed over.

    Raises:
        DatasetError: there are no tampered photos, or a row of the manifest is malformed or leads
            out of the root.
    """
    root = pathlib.Path(root)
    manifest = root / "manifest.jsonl"
    layouts = [(root / a, root / b) for a, b in _MASK_FOLDERS.items() if (root / a).is_dir()]
    report = WalkReport()
    if manifest.is_file():
        pairs, pristine = _from_manifest(root, manifest)
        pristine += _photos_below(root / "authentic", report)
    elif layouts:
        pairs = _with_masks(*layouts[0], report)
        pristine = [p for name in _PRISTINE_FOLDERS for p in _photos_below(root / name, report)]
    else:
        raise DatasetError(f"{root}: neither manifest.jsonl nor a folder images/ in it")
    if not pairs:
        raise DatasetError("; ".join([f"{root}: no images in it", *report.unreadable]))
    samples = [make_sample(root, image, TAMPERED, Mask(mask)) for image, mask in pairs]
    samples += [make_sample(root, image) for image in dict.fromkeys(pristine)]
    notes = [report.summary()] if report.summary() else []
    return Dataset(samples, tuple(notes), tuple(report.unreadable))


def _photos_below(folder: pathlib.Path, report: WalkReport) -> list[pathlib.Path]:
    return list(find_photos(folder, report, EXTENSIONS)) if folder.is_dir() else []


def _with_masks(
    images: pathlib.Path, masks: pathlib.Path, report: WalkReport
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Pairs of a photo and its mask, or the path at which a mask would be looked for first."""
    files_of_folder = collections.defaultdict(list)
    if masks.is_dir():
        for path in find_photos(masks, report, EXTENSIONS):
            files_of_folder[path.parent.relative_to(masks)].append(path)
    stems_of_folder = {folder: masks_by_stem(files) for folder, files in files_of_folder.items()}
    pairs = []
    for image in _photos_below(images, report):
        folder = image.parent.relative_to(images)
        mask = find_mask(stems_of_folder.get(folder, {}), image.stem)
        pairs.append((image, mask or masks / folder / f"{image.stem}.png"))
    return pairs


def _from_manifest(
    root: pathlib.Path, manifest: pathlib.Path
) -> tuple[list[tuple[pathlib.Path, pathlib.Path]], list[pathlib.Path]]:
    """Pairs of a tampered photo and its mask, and the pristine photos."""
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DatasetError(f"{manifest}: cannot be read ({e})") from e
    pairs, pristine = [], []
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
        pairs.append(tuple(_below(root, row.get(key), key, where) for key in ("image", "mask")))
        if row.get("pristine") not in (None, ""):
            pristine.append(_below(root, row["pristine"], "pristine", where))
    return pairs, pristine


def _below(root: pathlib.Path, value: object, key: str, where: str) -> pathlib.Path:
    """The path of a manifest's value below the root. Raises DatasetError."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise DatasetError(f'{where}: "{key}" is not a path')
    path = root / value
    if not os.path.realpath(path).startswith(os.path.join(os.path.realpath(root), "")):
        raise DatasetError(f'{where}: "{key}" leads out of {root}')
    return path
