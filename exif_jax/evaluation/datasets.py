"""Datasets: tampered photos with masks and pristine photos, as one list.

`folder_dataset` reads folders of one's own, `public_datasets` the published sets by name.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Collection, Iterable, Sequence

from exif_jax.evaluation.masks import (
    DatasetError,
    Mask,
    Meaning,
    find_mask,
    image_size,
    masks_by_stem,
)
from exif_jax.reading.photo import EXTENSIONS

PRISTINE = "pristine"
SPLICE = "splice"
COPY_MOVE = "copy-move"
REMOVAL = "removal"
INPAINTING = "inpainting"
TAMPERED = "tampered"
"""Kinds of photos. TAMPERED: in a way that the dataset does not tell, or in several."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One photo of a dataset.

    Attributes:
        name: what rows call it: the photo's path below the root, with forward slashes.
        image: the photo.
        kind: PRISTINE, or how it was tampered with.
        mask: where it was tampered with. None of a pristine photo; also of a tampered photo that
            is known to have no usable mask, which counts in detection only.
    """

    name: str
    image: pathlib.Path
    kind: str = PRISTINE
    mask: Mask | None = None

    @property
    def is_tampered(self) -> bool:
        """Whether somebody tampered with the photo."""
        return self.kind != PRISTINE


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What a reader found.

    Attributes:
        samples: the tampered photos, then the pristine ones, each once.
        notes: what the reader left out or put right and how often, in sentences for people.
        errors: what could not be read although it should be; the other photos are in `samples`.
    """

    samples: list[Sample]
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the tampered photos, in order of appearance."""
        return tuple(dict.fromkeys(sample.kind for sample in self.samples if sample.is_tampered))

    def summary(self) -> str:
        """How many photos of which kind there are, in words."""
        counts = collections.Counter(sample.kind for sample in self.samples)
        pristine = counts.pop(PRISTINE, 0)
        tampered = sum(counts.values())
        masks = sum(sample.mask is not None for sample in self.samples)
        words = f"{tampered} tampered photos"
        if len(counts) > 1:
            words += f" ({', '.join(f'{count} {kind}' for kind, count in counts.items())})"
        if masks < tampered:
            words += f", {masks} with masks"
        return f"{words}; {pristine} pristine photos"


def of_kinds(dataset: Dataset, kinds: Sequence[str]) -> Dataset:
    """The pristine photos and the tampered ones of some kinds; everything where none is named.

    Raises:
        DatasetError: the dataset has no photo of a kind.
    """
    for kind in kinds:
        if kind not in dataset.kinds:
            there = ", ".join(dataset.kinds)
            raise DatasetError(f"there are no photos of the kind {kind}; the dataset has {there}")
    if not kinds:
        return dataset
    samples = [s for s in dataset.samples if s.kind in (PRISTINE, *kinds)]
    return dataclasses.replace(dataset, samples=samples)


def without_misfits(dataset: Dataset, is_known: Callable[[pathlib.Path], bool]) -> Dataset:
    """Takes away masks that are known not to have the size of their photos.

    Args:
        dataset: samples whose masks are there or missing.
        is_known: whether a photo is one of those with such a mask. A mask that has the size of its
            photo, as in corrected copies, stays.

    Returns:
        The dataset in which those photos have no mask and so count in detection only; a note
        says how many.
    """
    samples, misfits = [], 0
    for sample in dataset.samples:
        mask = sample.mask
        is_there = mask and is_known(sample.image) and mask.path.is_file()
        if mask and is_there and image_size(mask.path) != image_size(sample.image):
            sample = dataclasses.replace(sample, mask=None)
            misfits += 1
        samples.append(sample)
    note = f"photos whose masks have another size, which count in detection only: {misfits}"
    notes = (*dataset.notes, note) if misfits else dataset.notes
    return dataclasses.replace(dataset, samples=samples, notes=notes)


def photos_in(folder: pathlib.Path, extensions: Collection[str] = EXTENSIONS) -> list[pathlib.Path]:
    """The photos directly in a folder, sorted by name; none where there is no such folder.

    Raises:
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in extensions and not path.name.startswith("._")
    )


def make_sample(
    root: pathlib.Path, image: pathlib.Path, kind: str = PRISTINE, mask: Mask | None = None
) -> Sample:
    """The sample of a photo below the root."""
    return Sample(image.relative_to(root).as_posix(), image, kind, mask)


def subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders directly in a folder, sorted; none where it is no folder.

    Raises:
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and p.name != "__MACOSX")


def subfolder(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A folder in a folder by its name in any case, or the folder of the same name in that one.

    The path where it would be if there is none.
    """
    for path in subfolders(folder):
        if path.name.casefold() == name.casefold():
            nested = [p for p in subfolders(path) if p.name.casefold() == name.casefold()]
            return nested[0] if nested and not photos_in(path) else path
    return folder / name


def with_masks(
    root: pathlib.Path,
    photos: Iterable[pathlib.Path],
    masks: pathlib.Path,
    *,
    suffixes: Sequence[str] = ("",),
    meaning: Meaning = "marked",
    kind: str = TAMPERED,
    mask_stem: Callable[[pathlib.Path], str] = lambda photo: photo.stem,
) -> list[Sample]:
    """Tampered photos with their masks, or with the paths at which masks are missing.

    Args:
        root: of the dataset.
        photos: the photos.
        masks: the folder of the masks.
        suffixes: what follows `mask_stem` in the name of a mask, in order of preference.
        meaning: of the masks' values.
        kind: of the photos.
        mask_stem: of a photo.
    """
    by_stem = masks_by_stem(photos_in(masks))
    samples = []
    for photo in photos:
        stem = mask_stem(photo)
        path = find_mask(by_stem, stem, suffixes) or masks / f"{stem}{suffixes[0]}.png"
        samples.append(make_sample(root, photo, kind, Mask(path, meaning)))
    return samples


def samples_in(root: pathlib.Path, folder: pathlib.Path) -> list[Sample]:
    """The photos directly in a folder, as pristine ones."""
    return [make_sample(root, photo) for photo in photos_in(folder)]


def tampered_first(samples: Iterable[Sample]) -> list[Sample]:
    """The same samples, those that are tampered before the others."""
    return sorted(samples, key=lambda sample: not sample.is_tampered)
