"""Which file is the mask of a photo, and what its pixels mean, hostile files included."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from exif_jax.evaluation.masks import (
    DatasetError,
    Mask,
    find_mask,
    image_size,
    masks_by_stem,
    read_mask,
)


def save(path, values):
    Image.fromarray(np.array(values, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("names", "stem", "expected"),
    [
        (["a.png"], "a", "a.png"),
        (["a.PNG"], "a", "a.PNG"),
        (["A.png"], "a", "A.png"),
        (["a.jpg"], "a", "a.jpg"),
        (["a.tif"], "a", "a.tif"),
        (["a_gt.png"], "a", "a_gt.png"),
        (["a_GT.TIFF"], "a", "a_GT.TIFF"),
        (["a_mask.png"], "a", "a_mask.png"),
        (["a_mask.png", "a.webp", "a_gt.png"], "a", "a.webp"),  # the photo's own name first
        (["a.jpg", "a.png"], "a", "a.png"),  # what is lossless first
        (["A.png", "a.jpg"], "a", "a.jpg"),  # the same case first
        (["a.png", "A.png"], "A", "A.png"),
        (["a.txt", "b.png", "._a.png", "aa.png"], "a", None),
        (["a.b_gt.png"], "a.b", "a.b_gt.png"),
    ],
)
def test_a_mask_is_found_by_its_stem(names, stem, expected):
    found = find_mask(masks_by_stem(map(pathlib.Path, names)), stem)
    assert found == (expected and pathlib.Path(expected))


def test_other_suffixes_can_be_asked_for():
    by_stem = masks_by_stem(map(pathlib.Path, ["a_edgemask.jpg", "a_edgemask_3.jpg", "a.png"]))
    assert find_mask(by_stem, "a", ("_edgemask",)) == pathlib.Path("a_edgemask.jpg")
    assert find_mask(by_stem, "b", ("_edgemask",)) is None


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
def test_what_values_mean(tmp_path, values, tampered, expected):
    mask = read_mask(Mask(save(tmp_path / "m.png", values), tampered), (2, 3))
    assert mask.tampered.dtype == bool and mask.note == ""
    np.testing.assert_array_equal(mask.tampered, expected)


@pytest.mark.parametrize(
    ("tampered", "expected"),
    [("bright", [[0, 1, 1], [0, 0, 0]]), ("dark", [[1, 0, 0], [1, 1, 1]])],
)
def test_zero_and_one_are_taken_for_black_and_white_and_noted(tmp_path, tampered, expected):
    path = save(tmp_path / "m.png", [[0, 1, 1], [0, 0, 0]])
    mask = read_mask(Mask(path, tampered), (2, 3))
    np.testing.assert_array_equal(mask.tampered, expected)
    assert mask.note == "mask values 0 and 1 taken as 0 and 255"
    save(path, [[0, 1, 2], [0, 0, 0]])  # no longer only 0 and 1
    with pytest.raises(DatasetError, match=r"pixel as tampered \(\w+ pixels count; values 0 to 2"):
        read_mask(Mask(path, tampered), (2, 3))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("m.png", mode) for mode in ("1", "P", "L", "RGB", "RGBA")),
        *(("m.tif", "L"), ("m.webp", "RGB"), ("m.jpg", "L")),
    ],
)
def test_masks_of_any_mode_and_format(tmp_path, name, mode):
    values = np.zeros((16, 24), np.uint8)
    values[:, :8] = 255
    options = {"lossless": True} if name.endswith("webp") else {}
    Image.fromarray(values).convert(mode).save(tmp_path / name, **options)
    mask = read_mask(Mask(tmp_path / name), (16, 24))
    np.testing.assert_array_equal(mask.tampered, values > 0)


def test_a_mask_that_was_published_turned_is_turned_back(tmp_path):
    values = np.zeros((4, 6), np.uint8)
    values[0, :2] = 255
    turned = save(tmp_path / "turned.png", np.rot90(values, -1))
    mask = Mask(turned, quarter_turns=1)
    np.testing.assert_array_equal(read_mask(mask, (4, 6)).tampered, values > 0)
    right = save(tmp_path / "right.png", values)  # a corrected copy
    np.testing.assert_array_equal(
        read_mask(Mask(right, quarter_turns=1), (4, 6)).tampered, values > 0
    )
    with pytest.raises(DatasetError, match="the mask is 4 x 6 pixels, its photo 6 x 4"):
        read_mask(Mask(turned), (4, 6))
    assert image_size(turned) == (4, 6) == image_size(right, turned=True)
    assert image_size(tmp_path / "none.png") is None


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((2, 3), np.uint8), "no pixel as tampered"),
        (np.full((2, 3), 255, np.uint8), "every pixel as tampered"),
        (np.eye(4, dtype=np.uint8) * 255, "the mask is 4 x 4 pixels, its photo 3 x 2"),
    ],
)
def test_bad_masks(tmp_path, values, why):
    save(tmp_path / "m.png", values)
    with pytest.raises(DatasetError, match=f"m.png: .*{why}"):
        read_mask(Mask(tmp_path / "m.png"), (2, 3))


def test_a_mask_much_larger_than_its_photo_is_not_decoded(tmp_path):
    for side, why in ((1024, "the mask is 1024 x 1024"), (1025, "1025 x 1025 pixels, more than")):
        Image.new("L", (side, side), 255).save(tmp_path / "m.png")
        with pytest.raises(DatasetError, match=rf"m\.png: .*{why}.*its photo"):
            read_mask(Mask(tmp_path / "m.png"), (9, 9))


def test_unreadable_masks(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.png: .*no such file"):
        read_mask(Mask(tmp_path / "none.png"), (2, 3))
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DatasetError, match=r"text\.png: the mask cannot be read"):
        read_mask(Mask(tmp_path / "text.png"), (2, 3))
    cut = save(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 255, (64, 64)))
    cut.write_bytes(cut.read_bytes()[:900])
    with pytest.raises(DatasetError, match=r"cut\.png: the mask cannot be read"):
        read_mask(Mask(cut), (64, 64))
