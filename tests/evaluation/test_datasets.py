"""Benchmark folders, with and without a manifest, and hostile ones."""

import json

import numpy as np
import pytest
from PIL import Image

from exif_jax.evaluation.datasets import DatasetError, Mask, Sample, read_folder, read_mask


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
    assert read_folder(root) == [
        Sample("images/a.png", root / "images" / "a.png", Mask(root / "masks" / "a.png")),
        Sample("images/b.jpg", root / "images" / "b.jpg", Mask(root / "masks" / "b.png")),
        Sample("pristine/a.png", root / "pristine" / "a.png"),
        Sample("authentic/c.tif", root / "authentic" / "c.tif"),
    ]


def test_with_a_manifest_its_order_and_rows_count(root):
    row = {"image": "images/b.jpg", "mask": "masks/other.png", "host_model": "ignored"}
    pristine = {"pristine": "images/b.jpg"}
    manifest(root, row, "", {"image": "images/a.png", "mask": "m.png", **pristine}, row | pristine)
    *spliced, pristine = read_folder(str(root))
    assert [(s.name, s.mask.path) for s in spliced] == [
        ("images/b.jpg", root / "masks" / "other.png"),
        ("images/a.png", root / "m.png"),
        ("images/b.jpg", root / "masks" / "other.png"),
    ]
    assert pristine == Sample("images/b.jpg", root / "images" / "b.jpg")  # once


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


@pytest.mark.parametrize(
    ("values", "tampered", "expected"),
    [
        ([[0, 127, 128], [255, 1, 0]], "bright", [[0, 0, 1], [1, 0, 0]]),
        ([[0, 127, 128], [255, 1, 0]], "dark", [[1, 1, 0], [0, 1, 1]]),
        ([[0, 127, 11], [255, 10, 0]], "marked", [[0, 1, 1], [1, 0, 0]]),
        ([[0, 1, 0], [10, 0, 0]], "marked", [[0, 1, 0], [1, 0, 0]]),
        # Columbia: red is the host, green the donor, the edges brighter, all of it JPEG.
        (
            [[(200, 3, 0), (3, 200, 2), (255, 0, 0)], [(0, 255, 0), (90, 120, 0), (9, 14, 3)]],
            "green",
            [[0, 1, 0], [1, 0, 0]],
        ),
    ],
)
def test_masks(tmp_path, values, tampered, expected):
    Image.fromarray(np.array(values, np.uint8)).save(tmp_path / "m.png")
    mask = read_mask(Mask(tmp_path / "m.png", tampered), (2, 3))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((2, 3), np.uint8), "no pixel"),
        (np.full((2, 3), 255, np.uint8), "every pixel"),
        (np.eye(4, dtype=np.uint8) * 255, "the mask is 4 x 4 pixels, its photo 3 x 2"),
    ],
)
def test_bad_masks(tmp_path, values, why):
    Image.fromarray(values).save(tmp_path / "m.png")
    with pytest.raises(DatasetError, match=f"m.png: .*{why}"):
        read_mask(Mask(tmp_path / "m.png"), (2, 3))


def test_a_mask_that_would_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    Image.new("L", (9, 9), 255).save(tmp_path / "m.png")
    for limit in (80, 40):  # Pillow warns above the limit, and refuses above twice of it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DatasetError, match=r"m\.png: the mask is too large"):
            read_mask(Mask(tmp_path / "m.png"), (9, 9))


def test_unreadable_masks(tmp_path):
    with pytest.raises(DatasetError, match="No such file"):
        read_mask(Mask(tmp_path / "none.png"), (2, 3))
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DatasetError, match=r"text\.png: the mask cannot be read"):
        read_mask(Mask(tmp_path / "text.png"), (2, 3))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(
        tmp_path / "cut.png"
    )
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:900])
    with pytest.raises(DatasetError, match=r"cut\.png: the mask cannot be read"):
        read_mask(Mask(tmp_path / "cut.png"), (64, 64))
