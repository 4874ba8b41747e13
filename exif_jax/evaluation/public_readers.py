"""Readers of the published splice datasets: where a copy keeps photos and masks, what masks mean.

Each takes the folder that holds what its layout names. Names of folders are found in any case,
photos and masks in any image format, and an archive that was unpacked into a folder of its own
name (4cam_splc/4cam_splc) is looked through. Layouts and meanings are those of the archives and of
public loaders, as of 2026: github.com/photoholmes/photoholmes (src/photoholmes/datasets),
hellomuffin/exif-as-language (datasets), yizhe-ang/fake-detection-lab, mjkwon2021/CAT-Net,
grip-unina/TruFor (test_docker/data_test), dong03/MVSS-Net (data), proteus1991/PSCC-Net; blemishes
from SunnyHaze/IML-Dataset-Corrections. Several of them disagree; what they count is said below.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator

from exif_jax.evaluation.datasets import (
    COPY_MOVE,
    INPAINTING,
    REMOVAL,
    SPLICE,
    TAMPERED,
    Dataset,
    Sample,
    make_sample,
    photos_in,
    samples_in,
    subfolder,
    subfolders,
    tampered_first,
    with_masks,
    without_misfits,
)
from exif_jax.evaluation.masks import Mask

Reader = Callable[[pathlib.Path], Dataset]

_COVERAGE_MISFITS = {f"{k}t" for k in (41, 48, 55, 56, 57, 58, 59, 61, 95)}


def read_columbia(root: pathlib.Path) -> Dataset:
    """Columbia Uncompressed: 180 splices, 183 authentic.

    Layout: 4cam_splc/ with edgemask/STEM_edgemask.jpg in it, and 4cam_auth/; TIFF, or WebP as in
    PhotoHolmes. The masks are colours saved as JPEG: red is the host, green the donor, brighter at
    the edges; STEM_edgemask_3.jpg, with a blue band, is another form and not used. Loaders take
    different pixels for tampered: green above red by more than 50 here, exactly (0, 200, 0) or
    (0, 255, 0) in the paper's evaluator, any green at all in PhotoHolmes.
    """
    spliced, authentic = subfolder(root, "4cam_splc"), subfolder(root, "4cam_auth")
    samples = with_masks(
        root,
        photos_in(spliced),
        subfolder(spliced, "edgemask"),
        suffixes=("_edgemask",),
        meaning="green",
        kind=SPLICE,
    )
    return Dataset([*samples, *samples_in(root, authentic)])


def read_dso1(root: pathlib.Path) -> Dataset:
    """DSO-1: 100 splices, 100 normal photos.

    Layout: DSO-1/{splicing,normal}-NN.png and DSO-1-Fake-Images-Masks/splicing-NN.png of
    tifs-database.zip. In the masks *dark* is tampered; one port of the earlier evaluator takes them
    the other way round, which made its 0.97.
    """
    photos = photos_in(subfolder(root, "DSO-1"))
    spliced = [photo for photo in photos if photo.stem.casefold().startswith("splicing")]
    masks = subfolder(root, "DSO-1-Fake-Images-Masks")
    samples = with_masks(root, spliced, masks, meaning="dark", kind=SPLICE)
    normal = [photo for photo in photos if photo.stem.casefold().startswith("normal")]
    return Dataset([*samples, *(make_sample(root, photo) for photo in normal)])


def read_realistic_tampering(root: pathlib.Path) -> Dataset:
    """Realistic Tampering (Korus): 220 tampered photos of four cameras, 220 pristine.

    Layout: {Canon_60D,Nikon_D90,Nikon_D7000,Sony_A57}/{tampered-realistic,pristine,ground-truth},
    in the archive below data-images/; TIFF with PNG masks, or WebP as in PhotoHolmes. Splices,
    copy-moves and removals without saying which. Masks have three levels, and grey is tampered too.
    """
    samples: list[Sample] = []
    for camera in ("Canon_60D", "Nikon_D90", "Nikon_D7000", "Sony_A57"):
        folder = subfolder(root, camera)
        photos = photos_in(subfolder(folder, "tampered-realistic"))
        samples += with_masks(root, photos, subfolder(folder, "ground-truth"))
        samples += samples_in(root, subfolder(folder, "pristine"))
    return Dataset(tampered_first(samples))


def read_in_the_wild(root: pathlib.Path) -> Dataset:
    """In-the-Wild (Huh et al.): 201 splices, no pristine photos.

    Layout: label_in_wild/images/N.jpg and label_in_wild/masks/N.png, or images/ and masks/ alone.
    """
    folder = subfolder(root, "label_in_wild")
    folder = folder if folder.is_dir() else root
    photos = photos_in(subfolder(folder, "images"))
    return Dataset(with_masks(root, photos, subfolder(folder, "masks"), kind=SPLICE))


def read_hays(root: pathlib.Path) -> Dataset:
    """Scene Completion (Hays and Efros): 51 composites, no pristine photos.

    Layout: NAME.EXT and NAME_mask.EXT, or NAME_mask.jpg, in one folder (test_set.zip). JPEG masks
    are cut at 127; the paper's evaluator takes every pixel above 0, compression noise included.
    """
    photos = [p for p in photos_in(root) if not p.stem.casefold().endswith("_mask")]
    samples = with_masks(root, photos, root, suffixes=("_mask",), meaning="bright", kind=SPLICE)
    # Any folder of photos would be this dataset if one mask did not have to be there.
    return Dataset(samples if any(s.mask and s.mask.path.is_file() for s in samples) else [])


def read_coverage(root: pathlib.Path) -> Dataset:
    """COVERAGE: 100 copy-moves, 100 originals with similar but genuine objects.

    Layouts: image/{N,Nt}.tif and mask/Nforged.tif (Ncopy and Npaste are other regions and not
    used); or tampered/Nt.tif, Au/N.tif and mask/ (MVSS-Net). The masks of nine photos do not have
    their size (41, 48, 55 to 59, 61, 95): those count in detection only unless corrected.
    """
    folders = [subfolder(root, name) for name in ("image", "tampered", "Au")]
    photos = [photo for folder in folders for photo in photos_in(folder)]
    tampered = [photo for photo in photos if photo.stem.casefold().endswith("t")]
    samples = with_masks(
        root,
        tampered,
        subfolder(root, "mask"),
        meaning="bright",
        kind=COPY_MOVE,
        mask_stem=lambda photo: f"{photo.stem[:-1]}forged",
    )
    samples += [make_sample(root, photo) for photo in photos if photo not in set(tampered)]
    return without_misfits(
        Dataset(samples), lambda photo: photo.stem.casefold() in _COVERAGE_MISFITS
    )


def read_nist16(root: pathlib.Path) -> Dataset:
    """NIST Nimble 2016 (NC2016_Test0613 or Test0601): 564 tampered photos, 560 others.

    Layout: probe/, and reference/{manipulation,splice,removal}/NC2016-*-ref.csv with the masks that
    they name. In the masks *dark* is tampered. The manipulation table has every photo; the others
    repeat some under masks of the same number, and pair probes with donors, so that "no target"
    there does not mean pristine. Kinds are the table's: 288 splices, 208 removals, 68 copy-moves.

    Known duplicates: the photos are few scenes saved many times (PSCC-Net's list has 564 photos
    with 282 different masks); TruFor evaluates on 160. Copies with masks renamed or cut to images
    (mask/mani_*, probe_save/) are not read, as nothing says whether dark is tampered in them.
    """
    tables = sorted(
        subfolder(root, "reference").glob("*/NC2016-*-ref.csv"),
        key=lambda path: ("manipulation" not in path.name, path.name),
    )
    tampered: dict[str, Sample] = {}
    unmasked: dict[str, Sample] = {}
    others: dict[str, Sample] = {}
    for table in tables:
        for row in _rows_of_table(table):
            probe = _inner_path(row.get("ProbeFileName"))
            mask = _inner_path(row.get("ProbeMaskFileName"))
            if not probe:
                continue
            if row.get("IsTarget") == "Y" and mask:
                truth = Mask(root / mask, "dark")
                tampered.setdefault(probe, make_sample(root, root / probe, _nist_kind(row), truth))
            elif row.get("IsTarget") == "Y":
                unmasked.setdefault(probe, make_sample(root, root / probe, _nist_kind(row)))
            elif "manipulation" in table.name:
                others.setdefault(probe, make_sample(root, root / probe))
    unmasked = {probe: s for probe, s in unmasked.items() if probe not in tampered}
    others = {probe: s for probe, s in others.items() if probe not in tampered | unmasked}
    note = f"photos without a mask in any table, which count in detection only: {len(unmasked)}"
    samples = [*tampered.values(), *unmasked.values(), *others.values()]
    return Dataset(samples, (note,) if unmasked else ())


def read_imd2020(root: pathlib.Path) -> Dataset:
    """IMD2020, real-life part: 2,010 manipulated photos of 414 originals.

    Layout: ID/ID_orig.jpg, ID/NAME.{jpg,png} and ID/NAME_mask.png. The mask of z14/00030_fake.jpg
    does not have its size: it counts in detection only unless corrected. Lists for training part
    the 2,010 into 1,869 and 141.
    """
    samples: list[Sample] = []
    for folder in subfolders(root):
        photos = photos_in(folder)
        originals = [photo for photo in photos if photo.stem.casefold().endswith("_orig")]
        if originals:
            others = [photo for photo in photos if photo not in originals]
            others = [photo for photo in others if not photo.stem.casefold().endswith("_mask")]
            samples += with_masks(root, others, folder, suffixes=("_mask",))
            samples += [make_sample(root, photo) for photo in originals]
    return without_misfits(
        Dataset(tampered_first(samples)), lambda photo: photo.stem.casefold() == "00030_fake"
    )


def read_autosplice(quality: int) -> Reader:
    """AutoSplice: photos filled in by DALL-E 2, at one of three JPEG qualities; authentic ones.

    Layout: Forged_JPEG100/, Forged_JPEG90/ and Forged_JPEG75/ID_K.jpg, Mask/ID_mask.png (one mask
    for all fillings of a photo) and Authentic/ID.jpg. The authors count 3,621 and 2,273; nothing
    tells whether each quality has them all, so copies are not checked.
    """

    def read(root: pathlib.Path) -> Dataset:
        samples = with_masks(
            root,
            photos_in(subfolder(root, f"Forged_JPEG{quality}")),
            subfolder(root, "Mask"),
            suffixes=("_mask",),
            kind=INPAINTING,
            mask_stem=lambda photo: photo.stem.split("_")[0],
        )
        return Dataset([*samples, *samples_in(root, subfolder(root, "Authentic"))])

    return read


def read_social_network(source: str, network: str) -> Reader:
    """Other datasets after a social network (ImageForensicsOSN); tampered photos only.

    Layout: SOURCE_NETWORK/ with photos, or Sp/ and CM/ with photos, in it; masks as
    SOURCE_GT/STEM_gt.png in it or beside it. The archives do not agree on capitals. All masks are
    bright where tampered, DSO-1's too. Of CASIA the name tells splices from copy-moves.
    """

    def read(root: pathlib.Path) -> Dataset:
        folder = subfolder(root, f"{source}_{network}")
        truth = next((f for f in subfolders(folder) if f.name.casefold().endswith("_gt")), None)
        samples: list[Sample] = []
        for place in (folder, subfolder(folder, "Sp"), subfolder(folder, "CM")):
            masks = truth or subfolder(root, f"{source}_GT")
            for photo in with_masks(root, photos_in(place), masks, suffixes=("_gt", "")):
                kind = _kind_of_source(source, photo.image)
                samples.append(dataclasses.replace(photo, kind=kind))
        return Dataset(samples)

    return read


def read_trace(trace: str, mask: str) -> Reader:
    """Trace (Bammey et al.): photos of RAISE of which a part was processed otherwise.

    Layout: PHOTO/TRACE_MASK.png and PHOTO/mask_MASK.png, TRACE one of noise, jpeg_quality,
    jpeg_grid, hybrid_select, cfa_alg, cfa_grid and MASK exo or endo. original.NEF is a raw file
    and not read. Copies are not checked.
    """

    def read(root: pathlib.Path) -> Dataset:
        samples: list[Sample] = []
        for folder in subfolders(root):
            image = folder / f"{trace}_{mask}.png"
            if image.is_file():
                truth = Mask(folder / f"mask_{mask}.png", "marked")
                samples.append(make_sample(root, image, TAMPERED, truth))
        return Dataset(samples)

    return read


def _kind_of_source(source: str, image: pathlib.Path) -> str:
    if source == "CASIA":
        return COPY_MOVE if image.stem[3:4].upper() == "S" else SPLICE
    return TAMPERED if source == "NIST" else SPLICE


def _rows_of_table(table: pathlib.Path) -> Iterator[dict[str, str]]:
    with open(table, newline="", encoding="utf-8-sig", errors="replace") as file:
        for row in csv.DictReader(file, delimiter="|"):
            yield {(k or "").strip(): v.strip() for k, v in row.items() if isinstance(v, str)}


def _inner_path(path: str | None) -> str:
    """A path of a table with forward slashes; "" where it is none or leads out of the dataset."""
    path = (path or "").replace("\\", "/")
    leads_out = os.path.isabs(path) or ".." in pathlib.PurePosixPath(path).parts or "\0" in path
    return "" if leads_out else path


def _nist_kind(row: dict[str, str]) -> str:
    for column, kind in (("Removal", REMOVAL), ("Splice", SPLICE), ("CopyClone", COPY_MOVE)):
        if row.get(f"IsManipulationType{column}") == "Y":
            return kind
    return TAMPERED
