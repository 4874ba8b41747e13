"""Records that are damaged: passed over, counted, named; the same ones whatever was read before."""

import pytest
from test_dataset import PHOTOS, PLAIN, assert_same, make, write_folder

from exif_jax.data.records import read_index, shard_name
from exif_jax.data.records_folder import DataError, open_split


def damage(folder, numbers: set[int]) -> None:
    """Flips a byte in the payload of some train records, numbered over both shards."""
    number = 0
    for shard in (0, 1):
        path = folder / shard_name("train", shard, 2)
        content = bytearray(path.read_bytes())
        for offset, length in read_index(path)[:, :2].tolist():
            if number in numbers:
                content[offset + length // 2] ^= 1
            number += 1
        path.write_bytes(bytes(content))


def test_damaged_records_are_passed_over_counted_and_named(tmp_path, capsys):
    folder = write_folder(tmp_path / "records")
    damage(folder, {3, 7})
    dataset = make(folder, max_corrupt_fraction=0.1, **PLAIN)
    shown = set()
    for step in range(30):
        batch = dataset.batch(step, 3)
        photos = [int(image[0, 0, 0]) for image in batch["image"]]
        assert len(set(photos)) == 3
        shown |= {(int(i[0, 0, 0]), int(i[0, 0, 1])) for i in batch["image"]}
    assert set(dataset.photos.corrupt) == {3, 7}
    messages = capsys.readouterr().err
    assert messages.count("record passed over") == 2 and "wrong checksum at offset" in messages
    every = {(photo, region) for photo in range(PHOTOS) for region in range(photo % 3 + 1)}
    assert len(every - shown) == 2 and shown < every


@pytest.mark.parametrize("augment_on", ["host", "device"])
def test_what_is_passed_over_does_not_depend_on_what_was_read_before(tmp_path, augment_on):
    folder = write_folder(tmp_path / "records")
    damage(folder, {0, 1, 5, 9})  # record 0 is its photo's only one
    changes = {"max_corrupt_fraction": 0.5, "texts_per_photo": 2, "augment_on": augment_on}
    a, b = (make(folder, **changes) for _ in range(2))
    forwards = {step: a.batch(step, 6) for step in range(12)}
    for step in reversed(range(12)):
        assert_same(b.batch(step, 6), forwards[step])
    assert a.photos.unreadable and a.photos.corrupt.keys() == b.photos.corrupt.keys()


def test_too_many_damaged_records_stop_the_run(tmp_path):
    folder = write_folder(tmp_path / "records")
    total = len(open_split(str(folder), "train"))
    damage(folder, {2, 4, 6})
    dataset = make(folder, max_corrupt_fraction=3 / total, **PLAIN)
    for step in range(30):
        dataset.batch(step, 3)
    dataset = make(folder, max_corrupt_fraction=2.9 / total, **PLAIN)
    with pytest.raises(DataError, match=rf"3 of {total} records are damaged.*max_corrupt_fraction"):
        for step in range(30):
            dataset.batch(step, 3)


def test_evaluation_leaves_out_what_it_cannot_read(tmp_path):
    folder = write_folder(tmp_path / "records")
    damage(folder, {0})
    dataset = make(folder, max_corrupt_fraction=0.5)

    batch = dataset.eval_batch(range(PHOTOS))
    (gone,) = dataset.photos.unreadable
    assert dataset.exif_of(gone) == {} and not batch["image"][gone].any()
    assert all(batch["image"][k].any() and dataset.exif_of(k) for k in range(PHOTOS) if k != gone)


def test_no_readable_photo_at_all(tmp_path):
    folder = write_folder(tmp_path / "records")
    damage(folder, set(range(100)))
    with pytest.raises(DataError, match="no photo is readable"):
        make(folder, max_corrupt_fraction=1.0).batch(0, 3)
