"""What all datasets have: kinds, counts in words, masks that are known not to fit."""

import pytest
from PIL import Image

from exif_jax.evaluation.datasets import (
    COPY_MOVE,
    SPLICE,
    Dataset,
    Sample,
    of_kinds,
    photos_in,
    subfolder,
    without_misfits,
)
from exif_jax.evaluation.masks import DatasetError, Mask


@pytest.fixture
def dataset(tmp_path):
    samples = []
    for name, kind in (("a", SPLICE), ("b", COPY_MOVE), ("c", SPLICE)):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{name}.png")
        Image.new("L", (8, 6)).save(tmp_path / f"{name}_mask.png")
        mask = Mask(tmp_path / f"{name}_mask.png")
        samples.append(Sample(f"{name}.png", tmp_path / f"{name}.png", kind, mask))
    return Dataset([*samples, Sample("p.png", tmp_path / "p.png")], ("a note",))


def test_kinds(dataset):
    assert dataset.kinds == (SPLICE, COPY_MOVE)
    assert dataset.summary() == "3 tampered photos (2 splice, 1 copy-move); 1 pristine photos"
    assert of_kinds(dataset, ()) is dataset
    part = of_kinds(dataset, (COPY_MOVE,))
    assert [sample.name for sample in part.samples] == ["b.png", "p.png"]
    assert part.notes == dataset.notes
    with pytest.raises(DatasetError, match="of the kind removal; the dataset has splice, copy-m"):
        of_kinds(dataset, ("removal",))


def test_known_misfits_lose_their_masks_and_corrected_ones_do_not(dataset, tmp_path):
    Image.new("L", (6, 8)).save(tmp_path / "a_mask.png")
    Image.new("L", (6, 8)).save(tmp_path / "c_mask.png")  # not known: the runner will say so
    (tmp_path / "b_mask.png").unlink()  # missing, which is something else
    result = without_misfits(dataset, lambda photo: photo.stem in "ab")
    assert [s.mask is None for s in result.samples] == [True, False, False, True]
    assert [s.is_tampered for s in result.samples] == [True, True, True, False]
    assert result.notes == (
        "a note",
        "photos whose masks have another size, which count in detection only: 1",
    )
    assert result.summary() == (
        "3 tampered photos (2 splice, 1 copy-move), 2 with masks; 1 pristine photos"
    )
    assert without_misfits(dataset, lambda photo: photo.stem == "b").notes == ("a note",)


def test_folders_are_found_in_any_case_and_inside_their_like(tmp_path):
    (tmp_path / "Masks" / "masks").mkdir(parents=True)
    assert subfolder(tmp_path, "MASKS") == tmp_path / "Masks" / "masks"
    Image.new("L", (6, 8)).save(tmp_path / "Masks" / "1.png")
    assert subfolder(tmp_path, "MASKS") == tmp_path / "Masks"
    assert subfolder(tmp_path, "other") == tmp_path / "other"
    assert photos_in(tmp_path / "other") == []
    (tmp_path / "Masks" / "._1.png").write_bytes(b"")
    assert photos_in(tmp_path / "Masks") == [tmp_path / "Masks" / "1.png"]
