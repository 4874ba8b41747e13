"""Every benchmark's reader, on a miniature in its true layout."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from exif_jax.evaluation.datasets import DatasetError, read_mask
from exif_jax.evaluation.public_datasets import DATASETS, read_public

# The left third of every miniature is tampered; photos are 12 x 8 pixels.
TAMPERED = np.zeros((8, 12), bool)
TAMPERED[:, :4] = True


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path, tampered=255, other=0):
    """A mask of grey levels, or of colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.where(TAMPERED[..., None], tampered, other).astype(np.uint8)
    Image.fromarray(levels if np.ndim(tampered) else levels[..., 0]).save(path)


def columbia(root):
    name = "canong3_canonxt_sub_01"
    photo(root / "4cam_splc" / f"{name}.tif")
    mask(root / "4cam_splc" / "edgemask" / f"{name}_edgemask.jpg", (0, 200, 0), (200, 0, 0))
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
    for kind in ("Sp", "CM"):
        photo(root / "Tp" / kind / f"{kind}_D_1.jpg")
        mask(root / "CASIA 1.0 groundtruth" / kind / f"{kind}_D_1_gt.png", 1)
    photo(root / "Au" / "Au_ani_0001.jpg")


def casia2(root):
    photo(root / "Tp" / "Tp_D_1.tif")
    mask(root / "CASIA 2 Groundtruth" / "Tp_D_1_gt.png")
    photo(root / "Au" / "Au_ani_00001.jpg")
    photo(root / "Au" / "Au_pla_00002.bmp")


def coverage(root):
    photo(root / "image" / "7.tif")
    photo(root / "image" / "7t.tif")
    mask(root / "mask" / "7forged.tif")
    mask(root / "mask" / "7copy.tif", 0, 255)  # not the one that counts


def nist16(root):
    header = "TaskID|ProbeFileName|ProbeMaskFileName|IsTarget|"
    rows = {
        "manipulation": ["manipulation|probe/N_1.jpg|reference/m/N_1.png|Y|",
                         "manipulation|probe/N_2.jpg||N|"],
        "splice": ["splice|probe/N_1.jpg|reference/m/N_1.png|Y|",
                   "splice|../../etc/passwd|reference/m/N_1.png|Y|"],
    }  # fmt: skip
    for task, lines in rows.items():
        table = root / "reference" / task / f"NC2016-{task}-ref.csv"
        table.parent.mkdir(parents=True)
        table.write_text("\n".join([header, *lines]) + "\n")
    photo(root / "probe" / "N_1.jpg")
    photo(root / "probe" / "N_2.jpg")
    mask(root / "reference" / "m" / "N_1.png", 0, 255)


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
    "nist16": (nist16, 1, 1),
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
@pytest.mark.parametrize("above", [False, True], ids=["itself", "the folder above"])
def test_miniatures(tmp_path, name, above):
    make, spliced, pristine = MINIATURES[name]
    root = tmp_path / "set"
    make(root)
    samples = read_public(name, tmp_path if above else root, partial=True)
    assert len([s for s in samples if s.mask]) == spliced
    assert len([s for s in samples if not s.mask]) == pristine
    for sample in samples:
        assert sample.image.is_file() and not pathlib.Path(sample.name).is_absolute()
        if sample.mask:
            np.testing.assert_array_equal(read_mask(sample.mask, TAMPERED.shape), TAMPERED)


def test_a_copy_that_lacks_something_is_told_what(tmp_path):
    columbia(tmp_path)
    with pytest.raises(DatasetError) as error:
        read_public("columbia", tmp_path)
    for words in (
        "1 spliced photos instead of 180",
        "1 pristine photos instead of 183",
        "4cam_splc/edgemask/*_edgemask.jpg",
        "4cam_auth.tar.bz2 (sha256 561dcc477824817e",
        "--partial",
    ):
        assert words in str(error.value)


def test_missing_masks_are_counted_and_left_out(tmp_path):
    dso1(tmp_path)
    for k in range(2, 7):
        photo(tmp_path / "DSO-1" / f"splicing-0{k}.png", k)
    with pytest.raises(DatasetError, match=r"5 masks are missing \(.*splicing-02.png.*, \.\.\.\)"):
        read_public("dso-1", tmp_path)
    samples = read_public("dso-1", tmp_path, partial=True)
    assert [s.name for s in samples] == ["DSO-1/splicing-01.png", "DSO-1/normal-01.png"]


@pytest.mark.parametrize("name", DATASETS)
def test_another_folder_is_told_what_belongs_there(tmp_path, name):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "notes.txt").write_text("")
    with pytest.raises(DatasetError, match="no spliced photos found; a whole copy of"):
        read_public(name, tmp_path, partial=True)
    with pytest.raises(DatasetError, match="there is no such folder"):
        read_public(name, tmp_path / "none")
