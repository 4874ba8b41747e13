"""CASIA v1 and v2 as copies of them circulate: by the names of the files, wherever they lie.

Facts, as of 2026, from github.com/namtpham/casia1groundtruth and casia2groundtruth (the masks, and
tables of the names that they correct), github.com/SunnyHaze/IML-Dataset-Corrections (masks that do
not fit), github.com/YanLi8858/Image-Manipulation-Dataset (names in the copy at Kaggle), and from a
whole copy of v1.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Hashable

from exif_jax.evaluation.datasets import COPY_MOVE, SPLICE, Dataset, make_sample, without_misfits
from exif_jax.evaluation.masks import (
    DatasetError,
    Mask,
    find_mask,
    image_size,
    masks_by_stem,
)
from exif_jax.reading.photo import EXTENSIONS
from exif_jax.reading.walk import WalkReport, walk_files

_V1_NAME = re.compile(r"sp_[ds]_(\w{3}_\w)_([a-z]+\d+)_([a-z]+\d+)[_.](\d+)")
_V2_NUMBER = re.compile(r"tp_[ds]_.*_(\d{5})")
_V2_AUTHENTIC = re.compile(r"au_.*_\d{5}")
_IGNORED_FOLDERS = {"jpg", "0jpg"}  # JPEG copies of TIFF files that CAT-Net's scripts make
_GT = "_gt"

# Copies have the splice without a mask under one of two names.
_V1_WITHOUT_MASK = {"sp_d_nrn_a_sce0011_cha0011_0542", "sp_d_nrn_a_cha0011_sec0011_0542"}
_V1_TURNED = "sp_d_cnn_a_sec0012_ani0007_0275"
# Names of the original distribution whose sources are wrong -> the names that their masks have.
_V1_RENAMED = {
    "sp_d_nnn_a_sec0049_sec0049_0117": "sp_d_nnn_a_sec0049_sec0050_0117",
    "sp_d_nrn_a_cha0037_cha0037_0513": "sp_d_nrn_a_cha0037_cha0043_0513",
    "sp_d_nrn_a_cha0041_cha0041_0514": "sp_d_nrn_a_cha0041_cha0038_0514",
    "sp_s_nnn_r_arc0003_arc0004_0051": "sp_s_nnn_r_arc0003_arc0003_0051",
    "sp_d_nrn_a_ant0063_nat0065_0443": "sp_d_nrn_a_nat0063_nat0065_0443",
}
_V2_MISFITS = {
    *("tp_d_cnn_m_n_sec00011_cha00085_11227", "tp_d_crn_s_n_ani10191_ani10190_12437"),
    *("tp_d_crn_s_n_nat10130_pla00049_11524", "tp_d_nnd_m_b_nat20098_nat20073_01602"),
    *("tp_d_nrn_m_n_nat10134_nat00095_11912", "tp_d_nrn_m_n_nat10134_nat10124_11913"),
    *("tp_s_crn_s_n_art00059_art00059_10508", "tp_s_nnd_s_n_sec20064_sec20064_01654"),
    *("tp_s_nnn_s_n_art20077_art20077_01883", "tp_s_nnn_s_n_ind20037_ind20037_01778"),
    *("tp_s_nnn_s_n_sec00012_sec00012_11230", "tp_s_nnn_s_n_sec00074_sec00074_00751"),
    *("tp_s_nrd_s_n_arc20079_arc20079_01719", "tp_s_nrd_s_n_pla20071_pla20071_01971"),
    *("tp_s_nrn_s_b_ind10002_ind10002_20010", "tp_s_nrn_s_n_art20077_art20077_02316"),
    "tp_s_nrn_s_n_pla20080_pla20080_01980",
}


def read_casia1(root: pathlib.Path) -> Dataset:
    """CASIA v1: 800 authentic photos (Au_*) and 921 tampered ones (Sp_D_* and Sp_S_*).

    Layouts: any below the root in which files keep their names. In circulation are
        * "CASIA 1.0 dataset/{Au,Modified Tp/Tp/{CM,Sp}}" and "CASIA 1.0 groundtruth/{CM,Sp}", of
          the authors of the masks; where "Original Tp" was unpacked beside "Modified Tp" it is
          left out, as it holds the same pictures;
        * the original Au/ and Sp/, and CASIA1/{Au,Sp} as at Kaggle, with all tampered pictures in
          Sp/ and the masks' folder beside them;
        * Au/, Tp/{CM,Sp} and "CASIA 1.0 groundtruth" in one folder (PhotoHolmes), Groundtruth/,
          Gt/ or mask/ with or without subfolders (MVSS-Net, TruFor, IMDL-BenCo).

    Blemishes, each counted in the notes:
        * One splice was published without a mask; it counts in detection only. Copies from which
          it was removed have 920 tampered pictures.
        * The mask of Sp_D_CNN_A_sec0012_ani0007_0275 is stored turned by 90 degrees and is turned
          back; a copy in which it was corrected is taken as it is.
        * Original names differ from those of the masks: S or D (29 pictures, so that the original
          folders hold 451 splices and 470 copy-moves instead of 462 and 459), the order of the two
          sources (72), a typing error (4 and 1), a dot for an underscore. Masks are found by
          their exact name, then by technique, sources and number, then by a table. The kind is
          the mask's, whose names are corrected.

    Known duplicates: the authentic photos are in CASIA v2 as well, under other names; CASIA v1+
    of MVSS-Net replaces them by others of Corel.
    """
    return _read(root, "sp_", _is_v1_authentic, _v1_key, "CASIA 1.0 groundtruth")


def read_casia2(root: pathlib.Path) -> Dataset:
    """CASIA v2: 7,491 authentic photos (54 are BMP) and 5,123 tampered ones (3,059 are TIFF).

    Layouts: any below the root in which files keep their names: Au/, Tp/ and "CASIA 2
    Groundtruth", "CASIA2.0_Groundtruth", Groundtruth/, Gt/ or mask/ beside them. A folder jpg/
    (CAT-Net's copies of the TIFF files as JPEG) is left out.

    Blemishes, each counted in the notes:
        * 17 masks do not have the size of their photos (some are turned, some are cut); those
          photos count in detection only. Corrected masks are used.
        * Original names differ from those of the masks in 141 pictures (99 times S or D: 3,274
          copy-moves and 1,849 splices become 3,295 and 1,828). The last five digits are different
          for all pictures: where no mask has the exact name that with the number is taken.

    Other counts in circulation: 5,105 tampered pictures in CAT-Net's and TruFor's lists (without
    the 17 and one more), 5,063 in MVSS-Net's, and 7,437 authentic ones without the BMP files. The
    masks' authors list 23 pairs of equal authentic photos.
    """
    dataset = _read(root, "tp_", _is_v2_authentic, _v2_key, "CASIA 2 Groundtruth")
    return without_misfits(dataset, lambda path: path.stem.casefold() in _V2_MISFITS)


def _is_v1_authentic(stem: str) -> bool:
    return stem.startswith("au_") and not _is_v2_authentic(stem)


def _is_v2_authentic(stem: str) -> bool:
    return _V2_AUTHENTIC.fullmatch(stem) is not None


def _v1_key(stem: str) -> Hashable | None:
    """Technique, the two sources in either order, and number; they differ between all masks."""
    match = _V1_NAME.fullmatch(_V1_RENAMED.get(stem, stem))
    if not match:
        return None
    technique, first, second, number = match.groups()
    return technique, frozenset((first, second)), number


def _v2_key(stem: str) -> Hashable | None:
    match = _V2_NUMBER.fullmatch(stem)
    return match and match[1]


def _read(
    root: pathlib.Path,
    prefix: str,
    is_authentic: Callable[[str], bool],
    key: Callable[[str], Hashable | None],
    mask_folder: str,
) -> Dataset:
    """Reads a copy by the names of its files; stems are compared in small letters.

    Args:
        root: all that lies below it is looked at.
        prefix: of the stems of tampered photos.
        is_authentic: whether a stem is that of an authentic photo.
        key: of a stem; equal for a photo and its mask where their names differ.
        mask_folder: where masks are said to be missing.

    Raises:
        DatasetError: a folder cannot be read.
    """
    report = WalkReport()
    images = [p for p in walk_files(root, report) if p.suffix.lower() in EXTENSIONS]
    if report.unreadable:
        raise DatasetError(f"{'; '.join(report.unreadable)}; change the folder's permissions")
    images = _without_second_copies(root, images)
    masks = [path for path in images if path.stem.casefold().endswith(_GT)]
    tampered: dict[str, pathlib.Path] = {}
    authentic: dict[str, pathlib.Path] = {}
    repeated = 0
    for path in images:
        stem = path.stem.casefold()
        if stem.startswith(prefix) and not stem.endswith(_GT):
            group = tampered
        elif is_authentic(stem):
            group = authentic
        else:
            continue
        repeated += stem in group
        group.setdefault(stem, path)

    by_stem = masks_by_stem(masks)
    by_key = {key(path.stem.casefold().removesuffix(_GT)): path for path in masks}
    samples, renamed, turned, unmasked = [], 0, 0, 0
    for stem, image in sorted(tampered.items()):
        path = find_mask(by_stem, image.stem, (_GT,))
        if path is None and key(stem) is not None:
            path = by_key.get(key(stem))
            renamed += path is not None
        # The names of the masks are corrected, those of the photos not everywhere.
        kind = COPY_MOVE if (path or image).stem[3:4].upper() == "S" else SPLICE
        if path is None and stem in _V1_WITHOUT_MASK:
            unmasked += 1
            samples.append(make_sample(root, image, kind))
            continue
        mask = Mask(path or root / mask_folder / f"{image.stem}{_GT}.png", "marked")
        if stem == _V1_TURNED and path and image_size(path) == image_size(image, turned=True):
            turned += 1
            mask = Mask(path, "marked", quarter_turns=1)
        samples.append(make_sample(root, image, kind, mask))
    samples += [make_sample(root, image) for _, image in sorted(authentic.items())]
    notes = (
        (unmasked, "splices published without a mask, which count in detection only"),
        (turned, "masks that are stored turned by 90 degrees and are turned back"),
        (renamed, "photos with other names than their masks, which are found by their numbers"),
        (repeated, "photos that are there again under the same name and are left out"),
    )
    return Dataset(samples, tuple(f"{text}: {count}" for count, text in notes if count))


def _without_second_copies(root: pathlib.Path, images: list[pathlib.Path]) -> list[pathlib.Path]:
    """Leaves out folders that hold the same pictures again, in another format or by other names."""
    folders = {
        image: {part.casefold() for part in image.relative_to(root).parts[:-1]} for image in images
    }
    second_copies = set(_IGNORED_FOLDERS)
    if any("modified tp" in names for names in folders.values()):
        second_copies.add("original tp")
    return [image for image in images if not second_copies & folders[image]]
