"""Every benchmark's reader, on a miniature in its true layout."""

import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from exif_jax.evaluation.datasets import COPY_MOVE, REMOVAL, SPLICE, TAMPERED
from exif_jax.evaluation.masks import DatasetError, read_mask
from exif_jax.evaluation.public_datasets import DATASET_NAMES, DATASETS, read_dataset, read_public
from exif_jax.reading.photo import EXTENSIONS, read_photo

# The left third of every miniature is tampered; photos are 12 x 8 pixels.
TRUTH = np.zeros((8, 12), bool)
TRUTH[:, :4] = True


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path, tampered=255, other=0):
    """A mask of grey levels, or of colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.where(TRUTH[..., None], tampered, other).astype(np.uint8)
    Image.fromarray(levels if np.ndim(tampered) else levels[..., 0]).save(path)


def columbia(root):
    name = "canong3_canonxt_sub_01"
    photo(root / "4cam_splc" / f"{name}.tif")
    mask(root / "4cam_splc" / "edgemask" / f"{name}_edgemask.jpg", (0, 200, 0), (200, 0, 0))
    mask(root / "4cam_splc" / "edgemask" / f"{name}_edgemask_3.jpg", (0, 0, 200), (200, 0, 0))
    photo(root / "4cam_auth" / "canong3_02_sub_01.tif")


def dso1(root):
    photo(root / "DSO-1" / "splicing-01.png")
    mask(root / "DSO-1-Fake-Images-Masks" / "splicing-01.png", 0, 255)
    photo(root / "DSO-1" / "normal-01.png")


def realistic_tampering(root):
    for camera, level in (("Canon_60D", 255), ("Sony_A57", 127)):  # grey is tampered too
        photo(root / camera / "tampered-realistic" / "r1.TIF")
        mask(root / camera / "ground-truth" / "r1.PNG", level)
        photo(root / camera / "pristine" / "r1.TIF")


def in_the_wild(root):
    photo(root / "label_in_wild" / "images" / "1.jpg")
    mask(root / "label_in_wild" / "masks" / "1.png")


def hays(root):
    photo(root / "1.png")
    mask(root / "1_mask.png")
    photo(root / "2.png")
    mask(root / "2_mask.jpg", 250, 6)  # lossy


def casia1(root):
    for kind, letter in (("Sp", "D"), ("CM", "S")):
        stem = f"Sp_{letter}_CND_A_pla0005_pla0005_0281"
        photo(root / "Tp" / kind / f"{stem}.jpg")
        mask(root / "CASIA 1.0 groundtruth" / kind / f"{stem}_gt.png", 1)
    photo(root / "Au" / "Au_ani_0001.jpg")


def casia2(root):
    photo(root / "Tp" / "Tp_D_CND_M_N_ani00018_sec00096_00138.tif")
    mask(root / "CASIA 2 Groundtruth" / "Tp_D_CND_M_N_ani00018_sec00096_00138_gt.png")
    photo(root / "Au" / "Au_ani_00001.jpg")
    photo(root / "Au" / "Au_pla_00002.tif")


def coverage(root):
    photo(root / "image" / "7.tif")
    photo(root / "image" / "7t.tif")
    mask(root / "mask" / "7forged.tif")
    mask(root / "mask" / "7copy.tif", 0, 255)  # not the one that counts


NIST_HEADER = (
    "TaskID|ProbeFileID|ProbeFileName|ProbeMaskFileName|IsTarget|IsManipulationTypeRemoval|"
    "IsManipulationTypeSplice|IsManipulationTypeCopyClone"
)


def nist16(root):
    rows = {
        "manipulation": [
            "manipulation|1|probe/N_1.jpg|reference/manipulation/mask/N_1.png|Y|N|Y|N",
            "manipulation|2|probe/N_2.jpg||N|||",
            "manipulation|3|probe/N_3.jpg||Y|Y|N|N",  # its mask is in another table
            "manipulation|4|probe/N_4.jpg||Y|N|N|Y",  # and its in none
        ],
        "splice": [
            "splice|1|probe/N_1.jpg|reference/splice/mask/N_1.png|Y|N|Y|N",
            "splice|3|probe/N_3.jpg||N|||",  # no splice of this donor, but no pristine photo either
            "splice|5|../../etc/passwd|reference/m/N_1.png|Y|N|Y|N",
            "splice|5|/etc/passwd|reference/m/N_1.png|Y|N|Y|N",
        ],
        "removal": ["removal|3|probe\\N_3.jpg|reference\\removal\\mask\\N_3.png|Y|Y|N|N"],
    }
    for task, lines in rows.items():
        table = root / "reference" / task / f"NC2016-{task}-ref.csv"
        table.parent.mkdir(parents=True)
        table.write_text("\ufeff" + "\n".join([NIST_HEADER, *lines]) + "\n")
    for k in range(1, 5):
        photo(root / "probe" / f"N_{k}.jpg", k)
    for task, k in (("manipulation", 1), ("splice", 1), ("removal", 3)):
        mask(root / "reference" / task / "mask" / f"N_{k}.png", 0, 255)


def imd2020(root):
    photo(root / "1a1ogs" / "1a1ogs_orig.jpg")
    photo(root / "1a1ogs" / "c8tf5mq_0.png")
    mask(root / "1a1ogs" / "c8tf5mq_0_mask.png")


def autosplice(root):
    for quality in (100, 90, 75):
        photo(root / f"Forged_JPEG{quality}" / "1234_2.jpg")
    mask(root / "Mask" / "1234_mask.png")
    photo(root / "Authentic" / "1234.jpg")


def osn(root):
    for network in ("Facebook", "WhatsApp", "Weibo", "Wechat"):  # capitals differ between copies
        photo(root / f"DSO_{network}" / "splicing-01.jpg")
        mask(root / f"DSO_{network}" / "DSO_GT" / "splicing-01_gt.png")  # not inverted here
        photo(root / f"Casia_{network}" / "Sp" / "Sp_1.jpg")
        mask(root / f"Casia_{network}" / "CASIA_GT" / "Sp_1_gt.png")


def trace(root):
    for kind in ("noise", "jpeg_quality", "jpeg_grid", "hybrid_select", "cfa_alg", "cfa_grid"):
        for part in ("exo", "endo"):
            photo(root / "r001" / f"{kind}_{part}.png")
            mask(root / "r001" / f"mask_{part}.png")


MINIATURES = {
    "columbia": (columbia, 1, 1),
    "dso-1": (dso1, 1, 1),
    "realistic-tampering": (realistic_tampering, 2, 2),
    "in-the-wild": (in_the_wild, 1, 0),
    "hays": (hays, 2, 0),
    "casia1": (casia1, 2, 1),
    "casia2": (casia2, 1, 2),
    "coverage": (coverage, 1, 1),
    "nist16": (nist16, 3, 1),
    "imd2020": (imd2020, 1, 1),
    "autosplice-100": (autosplice, 1, 1),
    "autosplice-90": (autosplice, 1, 1),
    "autosplice-75": (autosplice, 1, 1),
    **{
        f"osn-{source}-{network}": (osn, 1, 0)
        for source in ("dso", "casia")
        for network in ("facebook", "whatsapp", "weibo", "wechat")
    },
    **{name: (trace, 1, 0) for name in DATASETS if name.startswith("trace-")},
}


def test_every_dataset_has_a_miniature():
    without = {name for name in DATASETS if name not in MINIATURES}
    # Of the social networks' sets two sources stand for all four: one reader.
    assert all(name.startswith(("osn-columbia", "osn-nist")) for name in without)
    assert len([name for name in DATASETS if name.startswith("trace-")]) == 12


@pytest.mark.parametrize("name", MINIATURES)
@pytest.mark.parametrize("above", [0, 1, 2], ids=["itself", "the folder above", "two above"])
def test_miniatures(tmp_path, name, above):
    make, tampered, pristine = MINIATURES[name]
    make(tmp_path.joinpath(*["set"] * above))
    dataset = read_public(name, tmp_path, partial=True)
    assert len([s for s in dataset.samples if s.is_tampered]) == tampered
    assert len([s for s in dataset.samples if not s.is_tampered]) == pristine
    is_tampered = [s.is_tampered for s in dataset.samples]
    assert is_tampered == sorted(is_tampered, reverse=True)  # the tampered ones first
    for sample in dataset.samples:
        assert sample.image.is_file() and not pathlib.Path(sample.name).is_absolute()
        if sample.mask:
            np.testing.assert_array_equal(read_mask(sample.mask, TRUTH.shape).tampered, TRUTH)


def test_a_copy_that_lacks_something_is_told_what(tmp_path):
    columbia(tmp_path)
    with pytest.raises(DatasetError) as error:
        read_public("columbia", tmp_path)
    for words in (
        "1 tampered photos instead of 180",
        "1 pristine photos instead of 183",
        "4cam_splc/edgemask/*_edgemask.jpg",
        "4cam_auth.tar.bz2 (sha256 561dcc477824817e",
        "--partial",
    ):
        assert words in str(error.value)


def test_missing_masks_are_counted_and_their_photos_are_for_detection_only(tmp_path):
    dso1(tmp_path)
    for k in range(2, 7):
        photo(tmp_path / "DSO-1" / f"splicing-0{k}.png", k)
    with pytest.raises(DatasetError, match=r"5 masks are missing \(.*splicing-02.png.*, \.\.\.\)"):
        read_public("dso-1", tmp_path)
    dataset = read_public("dso-1", tmp_path, partial=True)
    assert dataset.summary() == "6 tampered photos, 1 with masks; 1 pristine photos"
    assert dataset.notes == (
        "tampered photos whose masks are missing, which count in detection only: 5",
    )


@pytest.mark.parametrize("name", DATASETS)
def test_another_folder_is_told_what_belongs_there(tmp_path, name):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "notes.txt").write_text("")
    photo(tmp_path / "holiday" / "images.jpg")
    with pytest.raises(DatasetError, match="no tampered photos found; a whole copy of"):
        read_public(name, tmp_path, partial=True)
    with pytest.raises(DatasetError, match="there is no such folder"):
        read_public(name, tmp_path / "none")


def test_archives_unpacked_into_folders_of_their_names(tmp_path):
    columbia(tmp_path)
    for name in ("4cam_splc", "4cam_auth"):
        (tmp_path / name).rename(tmp_path / "moved")
        (tmp_path / "moved").rename(tmp_path / f"{name}.new")
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.new").rename(tmp_path / name / name)
    dataset = read_public("columbia", tmp_path, partial=True)
    assert [s.name for s in dataset.samples] == [
        "4cam_splc/4cam_splc/canong3_canonxt_sub_01.tif",
        "4cam_auth/4cam_auth/canong3_02_sub_01.tif",
    ]
    assert dataset.samples[0].mask.path.is_file() and dataset.notes == ()


def test_coverage_as_mvss_net_has_it_and_its_nine_misfits(tmp_path):
    for k in (7, 41, 95):
        photo(tmp_path / "COVER" / "tampered" / f"{k}t.tif", k)
        photo(tmp_path / "COVER" / "Au" / f"{k}.tif", k)
        mask(tmp_path / "COVER" / "mask" / f"{k}forged.tif")
    Image.new("L", (12, 9)).save(tmp_path / "COVER" / "mask" / "41forged.tif")
    dataset = read_public("coverage", tmp_path, partial=True)
    assert [s.image.stem for s in dataset.samples if s.mask] == ["7t", "95t"]
    assert {s.kind for s in dataset.samples if s.is_tampered} == {COPY_MOVE}
    assert dataset.notes == (
        "photos whose masks have another size, which count in detection only: 1",
    )


def test_nist16_takes_kinds_and_masks_from_its_tables(tmp_path):
    nist16(tmp_path)
    dataset = read_public("nist16", tmp_path, partial=True)
    assert [(s.image.stem, s.kind, s.mask is None) for s in dataset.samples] == [
        *(("N_1", SPLICE, False), ("N_3", REMOVAL, False), ("N_4", COPY_MOVE, True)),
        ("N_2", "pristine", True),
    ]
    assert "manipulation" in dataset.samples[0].mask.path.as_posix()
    assert dataset.notes == (
        "photos without a mask in any table, which count in detection only: 1",
    )


def test_the_misfit_of_imd2020(tmp_path):
    imd2020(tmp_path)
    photo(tmp_path / "z14" / "00030_orig.jpg")
    photo(tmp_path / "z14" / "00030_fake.jpg")
    Image.new("L", (12, 9)).save(tmp_path / "z14" / "00030_fake_mask.png")
    dataset = read_public("imd2020", tmp_path, partial=True)
    assert dataset.summary() == "2 tampered photos, 1 with masks; 2 pristine photos"
    assert {s.kind for s in dataset.samples if s.is_tampered} == {TAMPERED}


def test_masks_of_social_networks_may_lie_beside_the_photos(tmp_path):
    osn(tmp_path)
    for network in ("Facebook", "WhatsApp", "Weibo", "Wechat"):
        truth = tmp_path / f"DSO_{network}" / "DSO_GT"
        if network == "Facebook":
            truth.rename(tmp_path / "DSO_GT")
        else:
            shutil.rmtree(truth)
    for network in ("facebook", "weibo"):
        (sample,) = read_public(f"osn-dso-{network}", tmp_path).samples
        assert sample.mask.path == tmp_path / "DSO_GT" / "splicing-01_gt.png"


def test_closed_folders_are_named(tmp_path, monkeypatch):
    dso1(tmp_path)

    def refuse(folder):  # root may read any folder
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(pathlib.Path, "iterdir", refuse)
    with pytest.raises(
        DatasetError, match=r"cannot be read \(Permission denied\); change its perm"
    ):
        read_public("dso-1", tmp_path)


def test_datasets_by_name_and_kind(tmp_path):
    assert DATASET_NAMES[0] == "folder" and set(DATASET_NAMES[1:]) == set(DATASETS)
    casia1(tmp_path)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    photo(tmp_path / "images" / "a.png")
    mask(tmp_path / "masks" / "a.png")
    assert read_dataset("folder", tmp_path).samples[0].name == "images/a.png"
    dataset = read_dataset("casia1", tmp_path, partial=True, kinds=(SPLICE,))
    assert [s.kind for s in dataset.samples] == [SPLICE, "pristine"]


@pytest.mark.parametrize("ending", sorted(EXTENSIONS))
def test_every_ending_that_readers_list_decodes(tmp_path, ending):
    """Of photos, and of masks in capital letters."""
    kinds = {".jpe": "JPEG", ".mpo": "JPEG", ".jfif": "JPEG", ".hif": "HEIF"}
    if ending in (".heic", ".heif", ".hif"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    kind = kinds.get(ending) or Image.registered_extensions()[ending]
    truth = np.zeros((64, 96), np.uint8)
    truth[:, :32] = 255
    for name, values in ((f"images/a{ending}", truth // 2), (f"masks/a_gt{ending.upper()}", truth)):
        (tmp_path / name).parent.mkdir()
        with open(tmp_path / name, "wb") as file:
            Image.fromarray(values).convert("RGB").save(file, kind)
    (sample,) = read_dataset("folder", tmp_path).samples
    tampered = read_mask(sample.mask, read_photo(sample.image).pixels.shape[:2]).tampered
    assert tampered[4:60, 4:28].all() and not tampered[4:60, 36:92].any()
