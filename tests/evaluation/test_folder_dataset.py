"""Folders of one's own, with and without a manifest, and hostile ones."""

import json
import os
import pathlib

import pytest
from PIL import Image

from exif_jax.evaluation.datasets import PRISTINE, TAMPERED, Sample
from exif_jax.evaluation.folder_dataset import read_folder
from exif_jax.evaluation.masks import DatasetError, Mask


@pytest.fixture
def root(tmp_path):
    for folder in ("images", "masks", "pristine"):
        (tmp_path / folder).mkdir()
    for name in ("b.jpg", "a.png"):
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / name)
    Image.new("RGB", (8, 6)).save(tmp_path / "pristine" / "a.png")
    (tmp_path / "images" / "notes.txt").write_text("")
    return tmp_path


def manifest(root, *rows):
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (root / "manifest.jsonl").write_text("\n".join(lines))


def test_without_a_manifest(root):
    (root / "authentic").mkdir()
    Image.new("RGB", (8, 6)).save(root / "authentic" / "c.tif")
    dataset = read_folder(root)
    mask_a, mask_b = (Mask(root / "masks" / f"{stem}.png") for stem in "ab")
    assert dataset.samples == [
        Sample("images/a.png", root / "images" / "a.png", TAMPERED, mask_a),
        Sample("images/b.jpg", root / "images" / "b.jpg", TAMPERED, mask_b),
        Sample("pristine/a.png", root / "pristine" / "a.png", PRISTINE),
        Sample("authentic/c.tif", root / "authentic" / "c.tif", PRISTINE),
    ]
    assert dataset.notes == ("skipped 1 .txt",) and dataset.errors == ()
    assert dataset.summary() == "2 tampered photos; 2 pristine photos"


def test_masks_are_found_whatever_their_names_and_formats(root):
    for name in ("A_GT.TIF", "b_mask.jpg", "notes.txt"):
        (root / "masks" / name).write_bytes(b"")
    masks = [sample.mask.path.name for sample in read_folder(root).samples if sample.mask]
    assert masks == ["A_GT.TIF", "b_mask.jpg"]


def test_subfolders_keep_photos_of_one_name_apart(root):
    for folder in ("x", "y"):
        for part in ("images", "masks", "pristine"):
            (root / part / folder).mkdir()
            Image.new("RGB", (8, 6)).save(root / part / folder / "a.png")
    samples = read_folder(root).samples
    pairs = [(s.name, s.mask and s.mask.path.relative_to(root).as_posix()) for s in samples]
    assert pairs == [
        *(("images/a.png", "masks/a.png"), ("images/b.jpg", "masks/b.png")),
        *(("images/x/a.png", "masks/x/a.png"), ("images/y/a.png", "masks/y/a.png")),
        *(("pristine/a.png", None), ("pristine/x/a.png", None), ("pristine/y/a.png", None)),
    ]


def test_the_layout_of_imdl_benco(root):
    for old, new in (("images", "Tp"), ("masks", "Gt"), ("pristine", "Au")):
        (root / old).rename(root / new)
    (root / "Gt" / "a_gt.png").write_bytes(b"")
    samples = read_folder(root).samples
    assert [s.name for s in samples] == ["Tp/a.png", "Tp/b.jpg", "Au/a.png"]
    assert samples[0].mask.path == root / "Gt" / "a_gt.png"


def test_what_is_left_out_is_counted_and_closed_folders_are_named(root, monkeypatch):
    for name in ("c.heic", "d.HEIC", "._b.jpg", "Thumbs.db"):
        (root / "images" / name).write_bytes(b"")
    (root / "images" / "closed").mkdir()
    monkeypatch.setattr("exif_jax.evaluation.folder_dataset.EXTENSIONS", {".png", ".jpg"})
    scandir = os.scandir

    def refuse(folder):  # root may read any folder
        if pathlib.Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    dataset = read_folder(root)
    assert [s.name for s in dataset.samples][:2] == ["images/a.png", "images/b.jpg"]
    (note,) = dataset.notes
    assert "2 .heic (pip install pillow-heif)" in note and "2 of operating systems" in note
    (error,) = dataset.errors
    assert error == f"{root / 'images' / 'closed'}: Permission denied"


def test_with_a_manifest_its_order_and_rows_count(root):
    row = {"image": "images/b.jpg", "mask": "masks/other.png", "host_model": "ignored"}
    pristine = {"pristine": "images/b.jpg"}
    manifest(root, row, "", {"image": "images/a.png", "mask": "m.png", **pristine}, row | pristine)
    *tampered, last = read_folder(str(root)).samples
    assert [(s.name, s.mask.path) for s in tampered] == [
        ("images/b.jpg", root / "masks" / "other.png"),
        ("images/a.png", root / "m.png"),
        ("images/b.jpg", root / "masks" / "other.png"),
    ]
    assert last == Sample("images/b.jpg", root / "images" / "b.jpg")  # once


def test_a_manifest_of_pristine_photos_in_several_rows(root):
    rows = [
        {"image": "images/b.jpg", "mask": "m.png", "pristine": f"pristine/{name}.png"}
        for name in "abc"
    ]
    manifest(root, *rows)
    pristine = [s.name for s in read_folder(root).samples if not s.is_tampered]
    assert pristine == ["pristine/a.png", "pristine/b.png", "pristine/c.png"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "line 1: not JSON"),
        ("[" * 100_000, "line 1: not JSON"),
        ("[]", "not a JSON object"),
        ({"mask": "m.png"}, '"image" is not a path'),
        ({"image": 3, "mask": "m.png"}, '"image" is not a path'),
        ({"image": "a\0", "mask": "m.png"}, '"image" is not a path'),
        ({"image": "../a.png", "mask": "m.png"}, "leads out of"),
        ({"image": "images/a.png", "mask": "/etc/passwd"}, "leads out of"),
        ({"image": "images/a.png", "mask": "m.png", "pristine": "link/x"}, "leads out of"),
    ],
)
def test_hostile_manifests(root, row, why):
    (root / "link").symlink_to("/")
    manifest(root, row)
    with pytest.raises(DatasetError, match=why):
        read_folder(root)


def test_nothing_there(root, tmp_path):
    with pytest.raises(DatasetError, match="neither"):
        read_folder(tmp_path / "images")
    manifest(root)
    with pytest.raises(DatasetError, match="no images"):
        read_folder(root)
    (root / "manifest.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_folder(root)
