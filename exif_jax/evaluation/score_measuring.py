"""Localises the samples that a calibration of scores is made of, and keeps what they scored.

A row of the journal is one sample: what was taken, of which photo and camera, and the figures of
its localisation (`score_samples.figures`). Those of the same weights and method are
not taken again.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from exif_jax.evaluation.datasets import Dataset
from exif_jax.evaluation.masks import DatasetError, read_mask
from exif_jax.evaluation.score_samples import (
    FIGURES,
    QUALITIES,
    Task,
    Treatment,
    figures,
    made_small,
    mask_figures,
    plan,
    saved_earlier,
    splice,
    treat,
)
from exif_jax.forensics.learned_map import loaded_map
from exif_jax.forensics.localization import localize
from exif_jax.forensics.methods import LEARNED, LocalizationSettings, LocalizeError
from exif_jax.forensics.score_calibration import SCORE_VERSION
from exif_jax.io import jsonl
from exif_jax.io.text import printable
from exif_jax.models.parameters import flatten_params
from exif_jax.reading.exif import camera_name
from exif_jax.reading.exif_block import read_exif, without_preamble
from exif_jax.reading.photo import PhotoError, read_photo
from exif_jax.reading.walk import WalkReport, find_photos
from exif_jax.weights.release_file import Model

PRISTINE, SIMULATED, SPLICE, HOST = "pristine", "simulated", "splice", "host"
"""Kinds of rows: a photo; a splice made here; a splice of a dataset, and its pristine photos."""

Row = dict[str, Any]
_AS_IT_IS = Treatment("whole", None)
_TREATMENTS_OF_DATASET = 2  # of each photo of a dataset, beside the photo as it is


class MeasuringError(DatasetError):
    """There is nothing to measure; the message says where and why."""


def photos_by_camera(
    folders: Sequence[str | os.PathLike], report_failure: Callable[[str], object]
) -> dict[str, list[pathlib.Path]]:
    """The photos below folders, by the make and model that their EXIF names.

    Args:
        folders: are searched with their subfolders; a camera's photos come from them in turn.
        report_failure: takes a message about each photo that is left out: it cannot be read or
            names no camera.

    Raises:
        MeasuringError: no photo is left.
    """
    found: dict[str, list[list[pathlib.Path]]] = collections.defaultdict(
        lambda: [[] for _ in folders]
    )
    paths = [
        (k, path)
        for k, folder in enumerate(folders)
        for path in find_photos(pathlib.Path(folder), WalkReport())
    ]
    for k, path in tqdm(paths, desc="reading cameras", unit="photo"):
        try:
            camera = _camera_of(path)
        except PhotoError as e:
            report_failure(printable(e))
            continue
        if camera:
            found[camera][k].append(path)
        else:
            report_failure(f"{printable(path)}: left out, as its EXIF names no camera")
    if not found:
        raise MeasuringError(
            f"{', '.join(map(str, folders))}: no photos whose EXIF names a camera; give a folder "
            "of camera originals"
        )
    return {
        camera: [path for turn in itertools.zip_longest(*lists) for path in turn if path]
        for camera, lists in found.items()
    }


def _camera_of(path: pathlib.Path) -> str:
    """The camera of a photo; of a JPEG file without decoding it. Raises PhotoError."""
    block = b""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        # Whatever Pillow makes of a hostile file, the photo's own reader has the last word.
        with contextlib.suppress(Exception), Image.open(path, formats=["JPEG", "MPO"]) as image:
            block = image.info.get("exif", b"")
    return camera_name(read_exif(without_preamble(block)).tags if block else read_photo(path).exif)


def weights_id(model: Model) -> str:
    """What a score depends on of a model: a digest of its weights, whatever its calibration."""
    digest = hashlib.sha256()
    for name, x in sorted(flatten_params(model.params).items()):
        digest.update(f"{name} {x.shape} {x.dtype}".encode())
        digest.update(np.ascontiguousarray(x).tobytes())
    return digest.hexdigest()[:12]


def measure(
    photos: Mapping[str, Sequence[pathlib.Path]],
    dataset: Dataset | None,
    model: Model,
    settings: LocalizationSettings,
    journal: pathlib.Path,
    report_failure: Callable[[str], object],
    max_samples: int | None = None,
) -> list[Row]:
    """Takes the samples that the journal lacks; returns all rows of these weights and method.

    By the learned map alone they are of small pictures; by both maps of these, too.

    Args:
        photos: pristine ones, of each camera.
        dataset: splices with masks and pristine photos; None: only those that are made here.
        model, settings: what localises.
        journal: of rows, which is made or added to.
        report_failure: takes a message about each sample that cannot be taken.
        max_samples: stop once the journal has so many; None: take all.

    Raises:
        OSError: the journal cannot be read or written.
    """
    about: dict[str, Any] = {"weights": weights_id(model), "method": settings.method}
    about["score_version"] = SCORE_VERSION
    if settings.method in LEARNED:
        about["map"] = loaded_map(settings.map_model).id
    # Rows of an earlier version, which lack a figure, are taken anew.
    known = [
        row
        for row in jsonl.read_rows(journal)
        if about.items() <= row.items() and ("skipped" in row or row.keys() >= FIGURES)
    ]
    taken = {row["key"] for row in known}
    cache = _Cache()
    # Two samples of a photo may be the same once they are made small.
    rounds = [_all_tasks(photos, dataset, small) for small in _small(settings.method)]
    all_tasks = {task[0]: task for turn in itertools.zip_longest(*rounds) for task in turn if task}
    tasks = [task for key, task in all_tasks.items() if key not in taken]
    tasks = tasks if max_samples is None else tasks[: max(0, max_samples - len(known))]
    for key, place, take in tqdm(tasks, desc="measuring", unit="sample"):
        try:
            pixels, mask = take(cache)
            localization = localize(pixels, model, settings)
            row = figures(localization)
            if mask is not None:
                row |= mask_figures(localization.heatmap, localization.mask, mask)
        except (PhotoError, DatasetError, LocalizeError, ValueError) as e:
            report_failure(f"{key}: {printable(e)}")
            row = {"skipped": str(e)[:200]}
        known.append({"key": key} | about | place | row)
        jsonl.append_rows(journal, [known[-1]])
    return [row for row in known if "skipped" not in row]


class _Cache:
    """The photo that was read last, as tasks of one photo follow each other."""

    def __init__(self):
        self.path, self.pixels = None, np.zeros((0, 0, 3), np.uint8)

    def read(self, path: pathlib.Path) -> np.ndarray:
        if path != self.path:
            self.pixels, self.path = read_photo(path).pixels, path
        return self.pixels


_Pixels = tuple[np.ndarray, np.ndarray | None]  # of a photo and its mask
_Take = Callable[[_Cache], _Pixels]


def _small(method: str) -> tuple[bool, ...]:
    """Whether a method's samples are small pictures, of photos of every size, or both in turn."""
    return {"map": (True,), "auto": (False, True)}.get(method, (False,))


def _all_tasks(
    photos: Mapping[str, Sequence[pathlib.Path]], dataset: Dataset | None, small: bool
) -> Iterable[tuple[str, Row, _Take]]:
    """(key, what the row says of it, how its pixels are made) of every sample, in order."""
    of_photos = [_of_photo(task) for task in plan(photos, small)]
    first_round = 3 * len(photos)
    whole, treated = _of_dataset(dataset, small) if dataset else ([], [])
    return itertools.chain(whole, of_photos[:first_round], treated, of_photos[first_round:])


def _of_photo(task: Task):
    def take(cache: _Cache) -> _Pixels:
        times = task.treatment.earlier
        pixels, mask = saved_earlier(cache.read(task.photo), times, task.photo.name), None
        if task.donor:
            donor = saved_earlier(read_photo(task.donor).pixels, times, task.donor.name)
            pixels, mask = splice(pixels, donor, task.key)
        return treat(pixels, mask, task.treatment, task.key)

    kind = SIMULATED if task.donor else PRISTINE
    return task.key, _place(task.photo.name, task.camera, kind, task.treatment), take


def _of_dataset(dataset: Dataset, small: bool):
    whole, treated = [], []
    for i, sample in enumerate(dataset.samples):
        kind = SPLICE if sample.is_tampered else HOST
        if sample.is_tampered and not sample.mask:
            continue
        treatments = [_AS_IT_IS] + [
            # Not "web": the photos of such datasets are small already.
            Treatment(("cut", "half", "whole")[(i + k) % 3], QUALITIES[(i // 2 + 3 * k) % 8] or 80)
            for k in range(_TREATMENTS_OF_DATASET)
        ]
        treatments = [made_small(each) for each in treatments] if small else treatments
        for k, treatment in enumerate(treatments):

            def take(cache: _Cache, sample=sample, treatment=treatment) -> _Pixels:
                pixels = cache.read(sample.image)
                mask = read_mask(sample.mask, pixels.shape[:2])[0] if sample.mask else None
                return treat(pixels, mask, treatment, sample.name)

            place = _place(sample.name, sample.image.stem, kind, treatment)
            (treated if k else whole).append((f"{sample.name}, {kind}, {treatment}", place, take))
    return whole, treated


def _place(photo: str, camera: str, kind: str, treatment: Treatment) -> Row:
    return {"kind": kind, "photo": photo, "camera": camera} | treatment._asdict()
