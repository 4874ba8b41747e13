"""CASIA v1 and v2 in every layout in circulation, on miniatures with the blemishes of real copies.

File names are those of the published sets; pictures are 12 x 8 pixels with the left third tampered.
"""

import dataclasses
import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from exif_jax.evaluation import public_datasets
from exif_jax.evaluation.casia import read_casia1, read_casia2
from exif_jax.evaluation.datasets import COPY_MOVE, PRISTINE, SPLICE
from exif_jax.evaluation.masks import DatasetError, read_mask
from exif_jax.evaluation.public_datasets import read_public
from exif_jax.reading.photo import EXTENSIONS, read_photo

TAMPERED = np.zeros((8, 12), bool)
TAMPERED[:, :4] = True

AUTHENTIC = ("Au_ani_0001.jpg", "Au_art_0044.JPG")
SPLICES = ("Sp_D_CND_A_pla0005_pla0023_0281", "Sp_D_NNN_A_ani0099_ani0100.0288")
COPY_MOVES = ("Sp_S_CND_A_pla0016_pla0016_0196",)
WITHOUT_MASK = "Sp_D_NRN_A_sce0011_cha0011_0542"
TURNED = "Sp_D_CNN_A_sec0012_ani0007_0275"
# Names of the original distribution and of the masks, one of each sort of difference.
RENAMED = {
    "Sp_D_NND_A_nat0054_nat0054_0189": "Sp_S_NND_A_nat0054_nat0054_0189",  # D and S
    "Sp_S_CRN_A_arc0007_arc0005_0228": "Sp_D_CRN_A_arc0007_arc0005_0228",
    "Sp_S_NRD_A_ani0040_ani0054.0257": "Sp_D_NRD_A_ani0040_ani0054_0257",  # and a dot
    "Sp_D_NRN_A_ani0001_arc0059_0404": "Sp_D_NRN_A_arc0059_ani0001_0404",  # the sources' order
    "Sp_D_NNN_A_sec0049_sec0049_0117": "Sp_D_NNN_A_sec0049_sec0050_0117",  # a wrong source
    "Sp_D_NRN_A_cha0037_cha0037_0513": "Sp_D_NRN_A_cha0037_cha0043_0513",
    "Sp_D_NRN_A_cha0041_cha0041_0514": "Sp_D_NRN_A_cha0041_cha0038_0514",
    "Sp_S_NNN_R_arc0003_arc0004_0051": "Sp_S_NNN_R_arc0003_arc0003_0051",
    "Sp_D_NRN_A_ant0063_nat0065_0443": "Sp_D_NRN_A_nat0063_nat0065_0443",  # a typing error
}


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    number = sum(map(ord, path.name))
    pixels = np.random.default_rng(number).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path, tampered=TAMPERED):
    path.parent.mkdir(parents=True, exist_ok=True)
    white = np.repeat(np.uint8(255) * tampered[..., None], 3, axis=2)
    Image.fromarray(white).convert("RGBA").save(path)


def kind_folder(stem):
    return "CM" if stem.startswith("Sp_S") else "Sp"


def masks(root, stems):
    for stem in stems:
        turned = np.rot90(TAMPERED, -1) if stem == TURNED else TAMPERED
        mask(root / kind_folder(stem) / f"{stem}_gt.png", turned)


def of_mask_authors(root):
    """The whole download: names corrected, and the original names in a second folder."""
    stems = [*SPLICES, *COPY_MOVES, TURNED, *RENAMED.values()]
    for stem in (*stems, WITHOUT_MASK):
        photo(root / "CASIA 1.0 dataset/Modified Tp/Tp" / kind_folder(stem) / f"{stem}.jpg")
    for stem in RENAMED:
        photo(root / "CASIA 1.0 dataset/Original Tp/Tp" / kind_folder(stem) / f"{stem}.jpg")
    for name in AUTHENTIC:
        photo(root / "CASIA 1.0 dataset/Au" / name)
    masks(root / "CASIA 1.0 groundtruth", stems)
    (root / "CASIA 1.0 groundtruth" / "CopyMove_groundtruth_list.txt").write_text("")
    return 0


def original(root, above=""):
    """Au/ and Sp/ with the original names, and the masks' folder beside them."""
    for stem in (*SPLICES, *COPY_MOVES, TURNED, WITHOUT_MASK, *RENAMED):
        photo(root / above / "Sp" / f"{stem}.jpg")
    for name in AUTHENTIC:
        photo(root / above / "Au" / name)
    masks(root / "CASIA 1.0 groundtruth", [*SPLICES, *COPY_MOVES, TURNED, *RENAMED.values()])
    return len(RENAMED)


def kaggle(root):
    """CASIA1/ beside CASIA2/, whose authentic photos have five digits."""
    photo(root / "CASIA2/Au/Au_ani_00001.jpg")
    photo(root / "CASIA2/Tp/Tp_D_CND_M_N_ani00018_sec00096_00138.tif")
    photo(root / "CASIA1/Au/._Au_ani_0001.jpg.png")
    return original(root, "CASIA1")


def photoholmes(root):
    stems = [*SPLICES, *COPY_MOVES, TURNED, *RENAMED.values()]
    for stem in (*stems, WITHOUT_MASK):
        photo(root / "Tp" / kind_folder(stem) / f"{stem}.jpg")
    for name in AUTHENTIC:
        photo(root / "Au" / name)
    masks(root / "CASIA 1.0 groundtruth", stems)
    return 0


def flat(root):
    """Tp/ and Gt/ as IMDL-BenCo wants them, in the other case, by MVSS-Net's folder names."""
    stems = [*SPLICES, *COPY_MOVES, TURNED, *RENAMED.values()]
    for stem in (*stems, "Sp_D_NRN_A_cha0011_sec0011_0542"):
        photo(root / "casiav1/TP" / f"{stem}.JPG")
    for name in AUTHENTIC:
        photo(root / "casiav1/Au" / name)
    for stem in stems:
        turned = np.rot90(TAMPERED, -1) if stem == TURNED else TAMPERED
        mask(root / "casiav1/mask" / f"{stem}_gt.PNG", turned)
    return 0


LAYOUTS = [of_mask_authors, original, kaggle, photoholmes, flat]


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_every_layout_of_casia1(tmp_path, make):
    renamed = make(tmp_path)
    dataset = read_casia1(tmp_path)
    kinds = [sample.kind for sample in dataset.samples]
    # Two of the nine renamed pictures are copy-moves by their corrected names.
    assert kinds.count(SPLICE) == 2 + 1 + 1 + 7 and kinds.count(COPY_MOVE) == 1 + 2
    assert kinds.count(PRISTINE) == 2 == kinds[-2:].count(PRISTINE)
    (unmasked,) = (s for s in dataset.samples if s.is_tampered and not s.mask)
    assert unmasked.image.stem.endswith("0542") and unmasked.kind == SPLICE
    for sample in dataset.samples:
        assert sample.image == tmp_path / sample.name and sample.image.is_file()
        if sample.mask:
            found = read_mask(sample.mask, TAMPERED.shape).tampered
            np.testing.assert_array_equal(found, TAMPERED)
            number = sample.image.stem[-4:]
            assert sample.mask.path.stem.endswith(f"{number}_gt")
    notes = [
        "splices published without a mask, which count in detection only: 1",
        "masks that are stored turned by 90 degrees and are turned back: 1",
        "photos with other names than their masks, which are found by their numbers: 9",
    ]
    assert list(dataset.notes) == notes[: 3 if renamed else 2]


def test_kinds_are_those_of_the_corrected_names(tmp_path):
    original(tmp_path)
    kinds = {sample.image.stem: sample.kind for sample in read_casia1(tmp_path).samples}
    for old, new in RENAMED.items():
        assert kinds[old] == (COPY_MOVE if new.startswith("Sp_S") else SPLICE)


def test_a_corrected_mask_is_not_turned(tmp_path):
    of_mask_authors(tmp_path)
    mask(tmp_path / "CASIA 1.0 groundtruth" / "Sp" / f"{TURNED}_gt.png")
    dataset = read_casia1(tmp_path)
    (sample,) = (s for s in dataset.samples if TURNED in s.name)
    np.testing.assert_array_equal(read_mask(sample.mask, TAMPERED.shape).tampered, TAMPERED)
    assert not any("turned" in note for note in dataset.notes)


def test_a_whole_copy_is_accepted_with_and_without_the_picture_that_has_no_mask(
    tmp_path, monkeypatch
):
    of_mask_authors(tmp_path)
    small = dataclasses.replace(
        public_datasets.DATASETS["casia1"], tampered=(14, 13), pristine=(2,)
    )
    monkeypatch.setitem(public_datasets.DATASETS, "casia1", small)
    assert len(read_public("casia1", tmp_path).samples) == 16
    (tmp_path / f"CASIA 1.0 dataset/Modified Tp/Tp/Sp/{WITHOUT_MASK}.jpg").unlink()
    assert len(read_public("casia1", tmp_path).samples) == 15
    # As at Kaggle, without any masks: refused with where they are, or used for detection only.
    shutil.rmtree(tmp_path / "CASIA 1.0 groundtruth")
    with pytest.raises(DatasetError) as error:
        read_public("casia1", tmp_path)
    for words in ("13 masks are missing", "CASIA 1.0 groundtruth", "namtpham/casia1groundtruth"):
        assert words in str(error.value)
    dataset = read_public("casia1", tmp_path, need_masks=False)
    assert len(dataset.samples) == 15 and not any(s.mask for s in dataset.samples)


def test_a_photo_that_is_there_twice_counts_once(tmp_path):
    photoholmes(tmp_path)
    shutil.copytree(tmp_path / "Au", tmp_path / "Au" / "Au")
    dataset = read_casia1(tmp_path)
    assert len([s for s in dataset.samples if not s.is_tampered]) == 2
    assert (
        dataset.notes[-1] == "photos that are there again under the same name and are left out: 2"
    )


@pytest.mark.parametrize("truth", ["CASIA 2 Groundtruth", "CASIA2.0_Groundtruth", "Groundtruth",
                                   "Gt", "mask"])  # fmt: skip
def test_casia2(tmp_path, truth):
    root = tmp_path / "CASIA2"
    pairs = {
        "Tp_D_CND_M_N_ani00018_sec00096_00138.tif": "Tp_D_CND_M_N_ani00018_sec00096_00138",
        "Tp_S_CnN_S_N_txt00071_txt00071_01297.tif": "Tp_S_CnN_S_N_txt00071_txt00071_01297",
        "Tp_D_CNN_M_N_ind00091_ind00091_10647.jpg": "Tp_S_CNN_M_N_ind00091_ind00091_10647",
        "Tp_S_CNN_S_N_cha0003_cha00003_00323.tif": "Tp_S_CNN_S_N_cha00003_cha00003_00323",
        "Tp_D_NNN_M_B_art00037_nat10103_10108.tif": "Tp_D_NNN_M_B_art00037_txt10112_10108",
    }
    for name, stem in pairs.items():
        photo(root / "Tp" / name)
        mask(root / truth / f"{stem}_gt.png")
    photo(root / "jpg/Tp_D_CND_M_N_ani00018_sec00096_00138.jpg")  # CAT-Net's copy
    misfit = "Tp_S_NNN_S_N_sec00012_sec00012_11230"
    photo(root / "Tp" / f"{misfit}.jpg")
    mask(root / truth / f"{misfit}_gt.png", TAMPERED.T)
    for name in ("Au_ani_00001.jpg", "Au_pla_00002.bmp"):
        photo(root / "Au" / name)
    photo(tmp_path / "CASIA1/Au/Au_ani_0001.jpg")
    (root / "Au" / "Thumbs.db").write_bytes(b"")
    dataset = read_casia2(tmp_path)
    kinds = [s.kind for s in dataset.samples]
    assert kinds.count(SPLICE) == 2 and kinds.count(COPY_MOVE) == 4
    assert kinds.count(PRISTINE) == 1 + (".bmp" in EXTENSIONS)
    assert [s.image.name for s in dataset.samples if s.is_tampered and not s.mask] == [
        f"{misfit}.jpg"
    ]
    for sample in dataset.samples:
        if sample.mask:
            assert sample.mask.path.stem == f"{pairs[sample.image.name]}_gt"
            found = read_mask(sample.mask, TAMPERED.shape).tampered
            np.testing.assert_array_equal(found, TAMPERED)
    assert dataset.notes == (
        "photos with other names than their masks, which are found by their numbers: 3",
        "photos whose masks have another size, which count in detection only: 1",
    )
    mask(root / truth / f"{misfit}_gt.png")  # a corrected copy
    assert all(s.mask for s in read_casia2(tmp_path).samples if s.is_tampered)


def test_closed_folders_are_named(tmp_path, monkeypatch):
    photoholmes(tmp_path)

    def refuse(folder):  # root may read any folder
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DatasetError, match="Permission denied; change the folder's permissions"):
        read_public("casia1", tmp_path)


def test_a_whole_copy_of_casia1_as_it_circulates():
    name = os.environ.get("EXIF_JAX_BENCHMARKS")
    if not name:
        pytest.skip("EXIF_JAX_BENCHMARKS is not set")
    dataset = read_public("casia1", pathlib.Path(name, "casia1"))
    assert dataset.summary() == (
        "921 tampered photos (462 splice, 459 copy-move), 920 with masks; 800 pristine photos"
    )
    assert [note.rpartition(": ")[2] for note in dataset.notes] == ["1", "1"]
    for sample in dataset.samples[:462:20] + [s for s in dataset.samples if TURNED in s.name]:
        shape = read_photo(sample.image).pixels.shape[:2]
        assert 0 < read_mask(sample.mask, shape).tampered.mean() < 0.9
